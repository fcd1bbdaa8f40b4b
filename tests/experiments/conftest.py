"""A small project in which no training is needed: its configuration, and what runs would leave."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from experiments.workflow.grid import Grid

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def small_grid(tmp_path, monkeypatch):
    """A function from changes of the configuration to the grid of the tests' study; the working folder is its project."""
    root = TESTS.parent
    shutil.copytree(root / "experiments/scales", tmp_path / "experiments/scales")
    shutil.copytree(TESTS / "scales", tmp_path / "experiments/scales", dirs_exist_ok=True)
    shutil.copytree(TESTS / "studies", tmp_path / "experiments/studies")
    for package in ("necks", "kernels", *(f"experiments/{room}" for room in ("training", "configs", "tasks", "preflight"))):
        (tmp_path / package).symlink_to(root / package)
    configuration = {"studies": ["two_necks"], "scale": "instant", "seeds": [0], "data_root": "/nowhere", "train": "missing"}
    (tmp_path / "experiments/config.yaml").write_text(yaml.safe_dump(configuration))
    monkeypatch.chdir(tmp_path)
    return lambda **changes: Grid(configuration | changes)


@pytest.fixture
def leave():
    """A function that writes a file of a run as JSON, or as it is where it is given as text; metrics get what all have."""

    def write(run, name, content):
        run.folder.mkdir(parents=True, exist_ok=True)
        path = run.folder / name
        if name == "metrics.json" and isinstance(content, dict):
            content = {"run": run.id, "metrics": {"box_AP": 1.0}} | content | {"run": run.id}
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
