"""The estimate of disk for checkpoints is what torch writes, and too little of it is a sentence."""

import io
import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from experiments.configs.build import build_model
from experiments.errors import UserError
from experiments.preflight import disk as module
from experiments.preflight.disk import CheckpointSize, check_disk, checkpoint_size, prediction_bytes
from experiments.spec.run import Run
from experiments.workflow.grid import Grid

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": [0, 1]}
GIB = 2**30
# Predictions of a run of demo.
KEPT = 200 * 9_000


@pytest.fixture(scope="module")
def runs():
    return list(Grid(CONFIGURATION).runs.values())


def written(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of what mmengine saves, after a step in which every trained weight had a gradient."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    file = io.BytesIO()
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    return file.tell()


@pytest.mark.parametrize(
    ("scale", "optimizer"),
    [("demo", lambda p: torch.optim.AdamW(p)), ("coco", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))],
)
def test_the_estimate_is_what_torch_writes(scale, optimizer):
    run = next(iter(Grid({**CONFIGURATION, "scale": scale, "data_root": "/somewhere"}).runs.values()))
    demand = checkpoint_size(run)
    model = build_model(run)
    size = written(model, optimizer([p for p in model.parameters() if p.requires_grad]))
    assert demand.checkpoint_bytes == pytest.approx(size, rel=0.05)
    assert demand.kept == 2


@pytest.fixture
def disk(monkeypatch, tmp_path):
    """An empty folder on a disk with 10 GiB free, and models whose checkpoints take one."""
    monkeypatch.chdir(tmp_path)
    disk = SimpleNamespace(free=10 * GIB, counted=[])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    monkeypatch.setattr(module, "checkpoint_size", lambda run: disk.counted.append(run) or CheckpointSize(GIB, 2))
    return disk


def test_checkpoints_kept_of_every_run_and_one_being_written_must_fit(runs, disk):
    assert check_disk(runs[:4]) == {"runs": 4, "needed_bytes": 9 * GIB + 4 * KEPT, "free_bytes": 10 * GIB}
    with pytest.raises(UserError) as error:
        check_disk(runs[:5])
    for word in ("10.00 GiB free", "5 runs to train", "11.01 GiB more", "1.00 GiB each", "larger disk", "fewer tables"):
        assert word in str(error.value)


def test_what_is_saved_already_needs_no_more_space(runs, disk):
    folder = runs[0].folder / "checkpoints"
    folder.mkdir(parents=True)
    with (folder / "epoch_3.pth").open("wb") as file:
        file.truncate(GIB)
    disk.free = 11 * GIB
    assert check_disk(runs[:5])["needed_bytes"] == 10 * GIB + 5 * KEPT


def test_equal_models_are_counted_once_and_of_very_many_only_some(runs, disk, monkeypatch):
    disk.free = 1000 * GIB
    assert check_disk(runs)["runs"] == len(runs)
    assert len(disk.counted) == len(runs) / 2, "seeds share a model"
    monkeypatch.setattr(module, "COUNTED_MODELS", 5)
    disk.counted.clear()
    assert check_disk(runs)["needed_bytes"] == (2 * len(runs) + 1) * GIB + len(runs) * KEPT
    assert len(disk.counted) == 5


def test_the_program_checks_the_named_runs_or_else_all_that_are_missing(runs, disk, monkeypatch, tmp_path):
    disk.free = 1000 * GIB
    monkeypatch.setattr(
        "experiments.preflight.arguments.Grid", lambda configuration: SimpleNamespace(runs={run.id: run for run in runs})
    )
    runs[3].folder.mkdir(parents=True)
    runs[3].metrics_file.write_text("{}")
    for named, count in (([], len(runs) - 1), ([runs[0].id, runs[5].id], 2)):
        arguments = ["check_disk", "--configuration", json.dumps(CONFIGURATION), "found.json", "--runs", *named]
        monkeypatch.setattr("sys.argv", arguments)
        module.main()
        assert json.loads((tmp_path / "found.json").read_text())["runs"] == count


def test_predictions_are_counted_by_the_images_of_the_test_unless_none_are_kept(runs):
    assert prediction_bytes(runs[0]) == KEPT
    coco = next(iter(Grid({**CONFIGURATION, "scale": "coco", "data_root": "/somewhere"}).runs.values()))
    assert prediction_bytes(coco) == 5_000 * 9_000
    assert prediction_bytes(Run(coco.setting, coco.scale.replace(keep_predictions=False), 0)) == 0


def test_no_run_needs_nothing(disk):
    assert check_disk([])["needed_bytes"] == 0
