"""Trainings that ask for GPUs wait for the checks of GPUs and disk, and are never repeated for them."""

import json
import re

import pytest

from experiments.workflow.grid import Grid
from tests.workflow.disks import ENOUGH_DISK
from tests.workflow.sentences import sentence_of

GPUS_CHECKED, DISK_CHECKED = "checks/instant_1_gpus.json", "checks/instant_disk.json"
# What these tests are about happens before a training; this one says only which runs there were.
TRAINING = """
import sys
from pathlib import Path

with open("trained.txt", "a") as file:
    print(sys.argv[-1], file=file)
Path(sys.argv[-1]).write_text("{}")
"""


def ask_for_gpus(project, **resources):
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(resources={"gpus": 1, **resources}))


@pytest.fixture
def targets(project, monkeypatch):
    """Metrics of the two runs of a project that asks for a GPU and counts its trainings."""
    ask_for_gpus(project)
    (project / "experiments/training/train.py").write_text(TRAINING)
    monkeypatch.chdir(project.folder)
    runs = Grid({"studies": "two_necks", "scale": "instant", "seeds": 0}).runs.values()
    return [str(run.metrics_file) for run in runs]


def trained(project) -> list[str]:
    path = project / "trained.txt"
    return path.read_text().split() if path.exists() else []


def trainings(plan: str) -> int:
    """Number of trainings that a dry run tells."""
    return len(re.findall(r"^Job \d+: run ", plan, re.MULTILINE))


def test_trainings_wait_for_the_checks_and_are_never_repeated_for_them(project, targets):
    first, second = targets
    (project / "experiments/preflight/disk.py").write_text(ENOUGH_DISK)
    sentence = sentence_of(project.snakemake(first))
    assert "torch" in sentence
    assert "GPU" in sentence
    assert trained(project) == []
    assert (project / "logs/checks/gpus.log").read_text().splitlines()[-1] == sentence

    ask_for_gpus(project, check_gpus=False)
    result = project.snakemake(first)
    assert result.returncode == 0, result.stderr
    assert trained(project) == [first]
    assert not (project / GPUS_CHECKED).exists(), "what was not checked leaves nothing behind"
    assert not (project / DISK_CHECKED).exists(), "disk is looked at again whenever there is something to train"

    ask_for_gpus(project, check_gpus=True)
    plan = project.snakemake("-n", "--printshellcmds", *targets)
    assert trainings(plan.stdout) == plan.stdout.count("rule check_gpus:") == 1
    assert "Nothing to be done" in project.snakemake("-n", first).stdout
    (disk,) = re.findall(r"experiments\.preflight\.disk .*--runs (\w+)", plan.stdout)
    assert disk == second.split("/")[1], "only the run that is missing needs space"


def test_finished_runs_are_left_alone_where_the_identity_of_the_dataset_has_gone(project, targets):
    first, second = targets
    ask_for_gpus(project, check_gpus=False)
    (project / "experiments/preflight/disk.py").write_text(ENOUGH_DISK)
    assert project.snakemake(first).returncode == 0
    identity = project / "datasets/instant.json"
    content = identity.read_text()
    identity.unlink()
    plan = project.snakemake("-n").stdout
    assert plan.count("rule dataset:") == trainings(plan) == 1
    assert f": run {second.split('/')[1]}: " in plan

    identity.write_text(content)
    (project / first).write_text(json.dumps({"provenance": {"sources": {"necks/a.py": "0" * 16}}}, indent=1))
    assert trainings(project.snakemake("-n").stdout) == 2, "stale runs are trained as ever"
