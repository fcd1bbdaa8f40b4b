"""How far runs are, from what trainings leave; locks are held by real processes."""

import argparse
import errno
import os
import subprocess
import sys

import pytest

from experiments.cli import status
from experiments.errors import UserError
from experiments.records import locks
from experiments.records.locks import is_locked
from experiments.records.recorded_times import duration
from experiments.records.run_status import RunReader

HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
PROGRESS = {
    "state": "running",
    "epoch": 2,
    "max_epochs": 3,
    "iteration": 7,
    "max_iterations": 9,
    "seconds_per_iteration": 1.0,
    "seconds_left": 3 * 3600 + 120,
    "loss": 1.5,
    "metrics": {"box_AP": 31.25, "mask_AP": 28.0},
    "reason": None,
    "host": "node7",
    "process": 1,
    "slurm_job": "4711",
    "updated": "2026-01-02T03:04:05+00:00",
}


@pytest.fixture
def hold():
    """A function that lets another process hold the lock of a file, and returns that process."""
    processes = []

    def start(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", HOLD_LOCK, str(path)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=300)


@pytest.fixture(autouse=True)
def _as_wide_as_a_file(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def shown(grid, capsys, *options):
    parser = argparse.ArgumentParser()
    status.add_arguments(parser)
    status.main(grid, parser.parse_args(options))
    return capsys.readouterr().out


def line_of(run, text):
    return next(line for line in text.splitlines() if run.id in line).split()


def test_a_run_is_running_as_long_as_a_process_holds_its_lock(small_grid, leave, hold, capsys):
    grid = small_grid()
    fpn, mgc = grid.runs_of("two_necks_table2")
    leave(fpn, "progress.json", PROGRESS)
    process = hold(fpn.folder / "lock")
    text = shown(grid, capsys)
    assert text.startswith("2 runs: 1 running, 0 failed, 0 interrupted, 0 done, 1 queued")
    assert "running 2/3 3 h 2 min 31.2 28.0 on node7, Slurm job 4711" in " ".join(line_of(fpn, text))
    assert "queued" in line_of(mgc, text)
    process.kill()
    process.wait(timeout=300)
    text = shown(grid, capsys)
    assert "1 interrupted" in text
    assert "last seen" in text
    assert "3 h 2 min" not in text


def test_looking_leaves_the_lock_free(small_grid, hold, tmp_path):
    path = tmp_path / "lock"
    path.touch()
    assert is_locked(path) is False
    hold(path)
    assert is_locked(path) is True
    assert is_locked(tmp_path / "missing") is False


def test_without_locks_the_age_of_the_progress_decides(small_grid, leave, monkeypatch):
    run = small_grid().runs_of("two_necks_table1")[0]
    path = leave(run, "progress.json", PROGRESS)
    leave(run, "lock", "")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "lockf", no_locks)
    assert RunReader().status_of(run).state == "running"
    os.utime(path, (0, 0))
    assert RunReader().status_of(run).state == "interrupted"
    leave(run, "progress.json", PROGRESS | {"state": "failed"})
    assert RunReader().status_of(run).state == "failed"


def test_a_failed_run_tells_the_first_line_of_its_reason(small_grid, leave, capsys):
    grid = small_grid()
    fpn, mgc = grid.runs_of("two_necks_table2")
    leave(fpn, "progress.json", PROGRESS | {"state": "failed", "reason": "loss [nan] is not finite\nTraceback"})
    leave(mgc, "progress.json", PROGRESS | {"state": "preempted"})
    text = shown(grid, capsys)
    assert "loss [nan] is not finite" in text
    assert "Traceback" not in text
    assert text.index(fpn.id) < text.index(mgc.id)
    assert mgc.id not in shown(grid, capsys, "--failed")


def test_a_finished_run_shows_its_precision(small_grid, leave, capsys):
    grid = small_grid()
    run = grid.runs_of("two_necks_table1")[0]
    leave(run, "progress.json", PROGRESS)
    leave(run, "metrics.json", {"metrics": {"box_AP": 37.06, "mask_AP": None}})
    text = shown(grid, capsys, "--report", "two_necks_table1")
    assert text.startswith("1 runs: 0 running, 0 failed, 0 interrupted, 1 done, 0 queued")
    assert line_of(run, text)[-2:] == ["done", "37.1"]


@pytest.mark.parametrize("content", ['{"state": "runn', "", "[]", '"text"', '{"epoch": "two", "metrics": [1]}'])
def test_damaged_records_never_end_the_program(small_grid, leave, capsys, content):
    grid = small_grid()
    fpn, mgc = grid.runs_of("two_necks_table2")
    leave(fpn, "progress.json", content)
    leave(mgc, "metrics.json", content)
    text = shown(grid, capsys)
    assert "1 failed, 1 interrupted, 0 done" in text
    for path in (fpn.folder / "progress.json", mgc.metrics_file):
        assert len([line for line in text.splitlines() if line.startswith(f"{path} is damaged")]) == 1


def test_of_many_runs_only_the_interesting_ones_are_listed(small_grid, leave, capsys, monkeypatch):
    monkeypatch.setattr(status, "LISTED", 5)
    monkeypatch.setattr(status, "LISTED_OF_STATE", 2)
    grid = small_grid(seeds=list(range(6)))
    runs = list(grid.runs.values())
    for run in runs[:3]:
        leave(run, "progress.json", PROGRESS | {"state": "failed", "reason": "a reason"})
    leave(runs[3], "metrics.json", {})
    text = shown(grid, capsys)
    assert "12 runs: 0 running, 3 failed, 0 interrupted, 1 done, 8 queued" in text
    assert text.count("a reason") == 2
    assert "not listed: 1 failed, 1 done, 8 queued" in text
    assert shown(grid, capsys, "--failed").count("a reason") == 3


def test_watching_shows_again_until_interrupted(small_grid, capsys, monkeypatch):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", sleep)
    assert "2 queued" in shown(small_grid(), capsys, "--watch", "7")
    assert waited == [7, 7, 7]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--report", "table9"], "--report table9: no such table; allowed: two_necks_table1, two_necks_table2"),
        (["--watch", "0"], "--watch 0: expected a number of seconds above 0"),
        (["--watch", "-5"], "--watch -5: expected a number of seconds above 0"),
    ],
)
def test_wrong_options(small_grid, capsys, options, sentence):
    with pytest.raises(UserError, match=sentence):
        shown(small_grid(), capsys, *options)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7260, "2 h 1 min"), (200_000, "2 d 7 h")]
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text
