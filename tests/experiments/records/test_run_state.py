"""What a run tells of itself, and its lock, between real processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.errors import UserError
from experiments.records.progress_file import Progress
from experiments.records.run_state import INVOCATION, raise_if_failed_for_good, record_exit, run_lock, write_progress

HOLD = """
import sys, time
from pathlib import Path
from experiments.records.run_state import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder, seconds, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_second_process_waits_and_says_for_whom(tmp_path):
    first = hold(tmp_path, 60, SLURM_JOB_ID="17")
    assert first.stdout.readline() == "held\n"
    second = hold(tmp_path, 0)
    said = second.stderr.readline()
    assert f"waiting: process {first.pid} on " in said
    assert f"(Slurm job 17) trains {tmp_path} already" in said
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    assert second.stdout.readline() == "held\n"
    assert (first.wait(timeout=300), second.wait(timeout=300)) == (-signal.SIGKILL, 0)
    for process in (first, second):
        process.communicate(timeout=300)


def test_the_other_processes_of_a_training_wait_for_its_first(tmp_path):
    launch = {"TORCHELASTIC_RUN_ID": "launch-2"}
    (tmp_path / "lock").write_text(json.dumps({"launch": "launch-1"}))
    other = hold(tmp_path, 0, RANK="1", **launch)
    time.sleep(1.5)
    assert other.poll() is None
    first = hold(tmp_path, 0, RANK="0", **launch)
    assert [first.communicate(timeout=300)[0], other.communicate(timeout=300)[0]] == ["held\n", "held\n"]


def test_what_is_not_told_anew_stays(tmp_path):
    write_progress(tmp_path, Progress(state="running", epoch=3))
    write_progress(tmp_path, Progress(state="failed", reason="no memory"))
    told = json.loads((tmp_path / "progress.json").read_text())
    assert (told["state"], told["epoch"], told["reason"], told["process"]) == ("failed", 3, "no memory", os.getpid())
    assert "iteration" not in told, "a key appears with its value"
    write_progress(tmp_path, Progress(state="running", reason=None))
    assert "reason" not in json.loads((tmp_path / "progress.json").read_text())


def test_a_certain_failure_is_not_repeated_within_the_same_call_of_snakemake(tmp_path, monkeypatch):
    monkeypatch.setenv(INVOCATION, "first")
    with run_lock(tmp_path):
        record_exit(tmp_path, "failed", "loss is not finite", is_certain=True)
    with pytest.raises(UserError, match="loss is not finite; not tried again"):
        raise_if_failed_for_good(tmp_path)
    monkeypatch.setenv(INVOCATION, "second")
    raise_if_failed_for_good(tmp_path)
    with run_lock(tmp_path):
        record_exit(tmp_path, "failed", "node lost")
    raise_if_failed_for_good(tmp_path)


def test_without_snakemake_every_training_is_tried(tmp_path, monkeypatch):
    monkeypatch.delenv(INVOCATION, raising=False)
    with run_lock(tmp_path):
        record_exit(tmp_path, "failed", "loss is not finite", is_certain=True)
    raise_if_failed_for_good(tmp_path)


def test_the_first_word_about_the_end_counts(tmp_path):
    with run_lock(tmp_path):
        record_exit(tmp_path, "failed", "loss is not finite")
        record_exit(tmp_path, "failed", "connection closed by peer")
    assert json.loads((tmp_path / "progress.json").read_text())["reason"] == "loss is not finite"
