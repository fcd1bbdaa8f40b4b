"""Trainings that are killed and told to stop end with the numbers of undisturbed ones, in one process and in two."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from training import Training

KINDS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL)
COMPARED = ("spec", "metrics", "history", "parameters", "dataset")


@pytest.fixture
def training(project, request):
    """A training with as many processes, workers that load data for each, and epochs as the test says, ready to be started."""
    processes, workers, epochs = request.param
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale["schedules"]["1x"].update(epochs=epochs))
    return Training(project, processes, workers)


def assert_same(actual: dict, expected: dict) -> None:
    for part in COMPARED:
        assert actual[part] == expected[part], part


@pytest.mark.parametrize("training", [(2, 1, 3)], indirect=True, ids=[""])
def test_two_processes_told_to_stop_in_an_epoch_go_on_as_if_never_stopped(training):
    expected = training.finish()
    training.forget()
    code, said = training.interrupt(signal.SIGUSR1, 0)
    assert code == os.EX_TEMPFAIL
    # A fast machine may have begun the second epoch by then.
    assert len(re.findall(r"stopped by SIGUSR1 after epoch [12], iteration \d", said)) == 1, said
    assert "Traceback" not in said
    assert (training.folder / "checkpoints/interrupted.pth").exists()
    actual = training.finish()
    assert actual["provenance"]["resumed_from"] == "interrupted.pth"
    assert_same(actual, expected)


@pytest.mark.parametrize("training", [(1, 0, 2)], indirect=True, ids=[""])
def test_a_full_disk_leaves_the_checkpoint_before(training):
    folder = training.folder / "checkpoints"
    with small_disk(training.project / "disk") as enlarge:
        shutil.copy(training.folder / "config.py", training.project / "disk")
        shutil.rmtree(training.folder)
        training.folder.symlink_to(training.project / "disk")
        process = training.start()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 1, said
        assert "No space left on device; make room, the checkpoints before are kept" in said
        assert "Traceback" not in said
        assert torch.load(folder / "epoch_1.pth", weights_only=False)["meta"]["iter"] == 3
        told = json.loads((training.folder / "progress.json").read_text())
        assert (told["state"], "No space left" in told["reason"]) == ("failed", True)
        enlarge()
        assert training.finish()["provenance"]["resumed_from"] == "epoch_1.pth"


@contextmanager
def small_disk(folder: Path):
    """Mount at a folder a disk with room for one checkpoint; hand out a function that makes it large."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", folder], capture_output=True, check=False, timeout=600
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True, timeout=600)
    finally:
        subprocess.run(["umount", folder], check=True, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("training", [(1, 2, 20), (2, 0, 50)], indirect=True, ids=["one-process", "two-processes"])
def test_ten_random_kills_leave_the_numbers_as_they_were(training):
    expected = training.finish()
    training.forget()
    moments = random.Random(0)
    kinds = [moments.choice(KINDS) for _ in range(10)]
    for number, kind in enumerate(kinds):
        # Short enough that the training is not at its end before the last kill.
        code, said = training.interrupt(kind, moments.uniform(0, 0.6))
        assert code != 0, f"kill {number}: the training ended before it: {said}"
    actual = training.finish()
    assert actual["provenance"]["resumed_from"] is not None
    assert_same(actual, expected)
