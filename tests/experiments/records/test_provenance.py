"""Commits, packages and machines are told as they are."""

import hashlib
import subprocess

import pytest
import torch

from experiments.machine import vector_variables
from experiments.records import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], check=True, timeout=600)
    return tmp_path


def test_a_commit_is_clean_until_a_file_is_added(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    assert provenance.commit() == {"commit": head, "clean": True}
    (repository / "neck.py").write_text("")
    assert provenance.commit() == {"commit": head, "clean": False}


def test_a_folder_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == {"commit": None, "clean": None}


def test_the_width_of_vectors_is_recorded_where_it_was_fixed(monkeypatch):
    for name, value in vector_variables(256).items():
        monkeypatch.setenv(name, value)
    assert provenance.hardware()["vector_width"] == 256
    monkeypatch.delenv("MKL_CBWR")
    assert provenance.hardware()["vector_width"] is None


def test_packages_machine_and_memory_are_the_real_ones(tmp_path):
    assert provenance.versions()["torch"] == str(torch.__version__)
    assert provenance.hardware()["cores"] >= 1
    assert provenance.hardware()["gpus"] == []
    assert 0.05 < provenance.peak_memory_gib() < provenance.hardware()["memory_gib"]
    (tmp_path / "file").write_bytes(b"content")
    assert provenance.file_hash(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
