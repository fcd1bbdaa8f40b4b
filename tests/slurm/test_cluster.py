"""The Slurm of the tests keeps away from machines that lack it or have one of their own."""

import os

from tests.slurm import cluster


def programs(folder, monkeypatch, ping: str) -> None:
    for name in cluster.PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho '{ping}'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_where_slurm_is_missing_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cluster, "ADMINISTRATION", "/nowhere")
    assert "apt-get install slurm-wlm munge" in cluster.why_not()


def test_a_user_other_than_root_is_told_so(tmp_path, monkeypatch):
    programs(tmp_path, monkeypatch, "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in cluster.why_not()


def test_a_slurm_that_runs_already_is_left_alone(tmp_path, monkeypatch):
    programs(tmp_path, monkeypatch, "Slurmctld(primary) at head is UP")
    assert "stays untouched" in cluster.why_not()


def test_a_machine_with_the_programs_and_nothing_running_will_do(tmp_path, monkeypatch):
    programs(tmp_path, monkeypatch, "Slurmctld(primary) at head is DOWN")
    assert cluster.why_not() is None
