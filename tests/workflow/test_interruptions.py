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

import psutil
import pytest
import torch
from training import Training

from experiments.training.signals import SIGNALS
from tests.workflow.disks import mounted

pytestmark = pytest.mark.long

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


MOMENTS = ("first step", "epoch", "resuming", "validation", "test")
LAYOUTS = {"one-process": (1, 0, 3), "workers": (1, 2, 3), "two-processes": (2, 1, 3)}


def assert_interrupted(training, kind, moment, times=1):
    checkpoint = training.folder / "checkpoints/interrupted.pth"
    before = checkpoint.exists() and checkpoint.stat().st_mtime_ns
    code, said = training.interrupt_everything(kind, moment, times)
    assert code == os.EX_TEMPFAIL, (kind, moment, said)
    assert "Traceback" not in said
    sentences = [line for line in said.splitlines() if "the same command goes on" in line]
    assert sentences, said
    assert len(set(sentences)) == 1, said
    # Of several processes, one may not have begun its step, and torchrun passes some signals on as SIGTERM.
    is_in_step = moment in ("first step", "epoch") and (training.processes == 1 or "after epoch" in sentences[0])
    if is_in_step:
        name = kind.name if training.processes == 1 else r"(\w+|a signal to another process)"
        assert re.search(rf"stopped by {name} after epoch [123], iteration \d", sentences[0])
        assert checkpoint.stat().st_mtime_ns != before, "a checkpoint is written within the epoch"
    assert json.loads((training.folder / "progress.json").read_text())["state"] == "preempted"


@pytest.fixture
def stopping(project, request):
    """A training that validates after each epoch and waits at a moment, and its metrics where nothing stops it."""
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(validation_interval=1))
    processes, workers, epochs = LAYOUTS[request.param]
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale["schedules"]["1x"].update(epochs=epochs))
    training = Training(project, processes, workers)
    training.stop_at_moments()
    return training


@pytest.mark.slow
@pytest.mark.parametrize("stopping", ["workers", "two-processes"], indirect=True)
def test_a_signal_to_every_process_leaves_a_checkpoint_and_the_same_numbers(stopping):
    expected = stopping.finish()
    stopping.forget()
    # A signal that comes again changes nothing. Each at each moment: the slow test below.
    for kind, moment, times in zip(SIGNALS, ("epoch", "validation", "test"), (3, 1, 1), strict=False):
        assert_interrupted(stopping, kind, moment, times)
    actual = stopping.finish()
    assert actual["provenance"]["resumed_from"] == "epoch_3.pth"
    assert_same(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("stopping", LAYOUTS, indirect=True)
def test_every_signal_at_every_moment_leaves_the_same_numbers(stopping, kind):
    expected = stopping.finish()
    for times in (1, 2):
        stopping.forget()
        for moment in MOMENTS:
            assert_interrupted(stopping, kind, moment, times)
        assert_same(stopping.finish(), expected)


@pytest.mark.parametrize("training", [(1, 2, 20)], indirect=True, ids=[""])
def test_workers_end_with_a_training_that_is_killed(training):
    process = training.start()
    training.until_it_trains(process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=60)
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not left


@pytest.mark.slow
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
    with mounted(folder, "5m"):
        yield lambda: subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True, timeout=600)


@pytest.fixture
def counted(project, request):
    """A training of a segmentor that ends within its last pass over the images, by a schedule of as many iterations."""
    processes, workers, iterations = request.param
    decay = {"type": "PolyLR", "power": 0.9, "eta_min": 0, "by_epoch": False, "begin": 0, "end": iterations}
    by_iterations = {"iterations": iterations, "param_scheduler": [decay]}
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale["schedules"].update({"1x": by_iterations}))
    project.change_yaml("experiments/studies/segmented.yaml", lambda study: study["tables"].pop("table2"))
    project.configure(studies=["segmented"])
    return Training(project, processes, workers)


@pytest.mark.slow
@pytest.mark.parametrize("training", [(1, 2, 20), (2, 0, 50)], indirect=True, ids=["one-process", "two-processes"])
def test_ten_random_kills_leave_the_numbers_as_they_were(training):
    assert_killed_ten_times(training)


@pytest.mark.slow
@pytest.mark.parametrize("counted", [(1, 2, 71), (2, 0, 100)], indirect=True, ids=["one-process", "two-processes"])
def test_ten_random_kills_leave_a_training_that_counts_iterations_as_it_was(counted):
    assert_killed_ten_times(counted)
    progress = json.loads((counted.folder / "progress.json").read_text())
    assert progress["iteration"] == progress["max_iterations"] in (71, 100)


def assert_killed_ten_times(training):
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
