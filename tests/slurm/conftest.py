"""A Slurm for the tests, and projects whose trainings take long enough to be disturbed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project, fresh_project
from tests.slurm.cluster import Cluster, why_not
from tests.slurm.head import Head

EPOCHS = 30


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Slurm of one node with two pretended GPUs, set up for these tests and taken down after them."""
    if reason := why_not():
        if os.environ.get("SLURM_REQUIRED"):
            pytest.fail(f"SLURM_REQUIRED is set, but no Slurm can be set up: {reason}")
        pytest.skip(reason)
    # Not pytest's folder: the path of a socket has room for 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm_"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def prepare(project: Project) -> Project:
    """Give the trainings a GPU each, dataloader workers, resources to recognise, and more epochs."""

    def change(scale: dict) -> None:
        # The GPUs are pretended: none of them computes.
        scale["resources"] = {"gpus": 1, "check_gpus": False, "memory_mb": 2000, "runtime_minutes": 10, "workers": 2}
        scale["schedules"]["1x"]["epochs"] = EPOCHS

    project.change_yaml("experiments/scales/instant.yaml", change)
    return project


@pytest.fixture
def cluster_project(project) -> Project:
    """A fresh project for the cluster."""
    return prepare(project)


@pytest.fixture(scope="session")
def undisturbed(cluster, tmp_path_factory) -> Iterator[Head]:
    """A report made through Slurm without any fault, its trainings watched while both ran, and a second head refused."""
    project = prepare(fresh_project(tmp_path_factory.mktemp("undisturbed")))
    with Head(project, cluster, "undisturbed") as head:
        head.watch_two_trainings()
        with Head(project, cluster, "second") as second:
            second.process.wait(60)
        head.refused = second
        head.finish()
        yield head
