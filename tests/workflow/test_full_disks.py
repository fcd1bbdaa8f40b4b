"""On a full disk every rule says so and fails, and the same command ends with the right result once there is room."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workflow.disks import fill, mounted

pytestmark = pytest.mark.long


@contextmanager
def on_a_disk_of_its_own(folder: Path) -> Iterator[None]:
    """Move a folder with its content to a small disk, and back."""
    content = folder.with_name(f"{folder.name}_kept")
    folder.rename(content)
    folder.mkdir()
    try:
        with mounted(folder, "64m"):
            shutil.copytree(content, folder, dirs_exist_ok=True)
            shutil.rmtree(content)
            try:
                yield
            finally:
                shutil.copytree(folder, content)
    finally:
        folder.rmdir()
        content.rename(folder)


TARGETS = {
    "datasets": "datasets/instant.json",
    "complexity": "complexity/instant/two_necks_table1.json",
    "reports/data": "reports/data/two_necks_table1.csv",
    "reports": "reports/two_necks_table1.md",
    "reports/figures": "reports/figures/two_necks_table1_ap.svg",
    # Last, since a run that is trained again has another date.
    "runs": "runs/{run}/metrics.json",
    "logs": "runs/{run}/metrics.json",
}


EVERY_DAY = ("reports", "runs")


@pytest.fixture(scope="module")
def trained(shared_project):
    """A project with Table 1."""
    result = shared_project.snakemake(TARGETS["reports"])
    assert result.returncode == 0, result.stderr
    return shared_project


@pytest.fixture
def finished(trained, folder):
    """A project that has made what a folder holds."""
    if "{run}" not in TARGETS[folder]:
        result = trained.snakemake(TARGETS[folder])
        assert result.returncode == 0, result.stderr
    return trained


def content_of(path: Path) -> object:
    """What a file says; of a run the numbers, which do not depend on when it was trained."""
    if path.name != "metrics.json":
        return path.read_bytes()
    record = json.loads(path.read_text())
    return {key: record[key] for key in ("metrics", "history", "dataset", "parameters")}


@pytest.mark.parametrize(
    "folder", [pytest.param(folder, marks=() if folder in EVERY_DAY else pytest.mark.slow) for folder in TARGETS]
)
def test_after_a_full_disk_the_same_command_ends_with_the_right_result(finished, folder):
    run = next(finished.folder.glob("runs/*/metrics.json")).parent.name
    target = TARGETS[folder].format(run=run)
    expected = content_of(finished / target)
    (finished / target).unlink()
    if "{run}" in TARGETS[folder]:
        shutil.rmtree(finished / f"runs/{run}")
        (finished / f"logs/train/{run}.log").unlink()
    with on_a_disk_of_its_own(finished / folder):
        filler = fill(finished / folder)
        result = finished.snakemake(target)
        said = result.stdout + result.stderr
        assert result.returncode != 0, said
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert not (finished / target).exists()
        filler.unlink()
        result = finished.snakemake(target)
        assert result.returncode == 0, result.stderr
        assert content_of(finished / target) == expected
