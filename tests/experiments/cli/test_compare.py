"""Two runs side by side, and what they are told where they cannot be compared."""

import argparse

import numpy as np
import pytest

from experiments.bootstrap.resamples import write_replicates
from experiments.cli import compare
from experiments.errors import UserError

SPLIT = {"images": 6, "annotations": 20, "annotations_sha256": "a1"}
OTHER = {**SPLIT, "annotations_sha256": "b2"}


@pytest.fixture
def runs(small_grid, leave):
    """The two runs of the tests' study, finished."""
    grid = small_grid()
    values = {"FPN": (10.0, 9.0), "A2FPN": (12.5, 8.0)}
    for run in grid.runs.values():
        box, mask = values[run.setting.neck["type"]]
        classes = {name: {"box_AP": box + number} for number, name in enumerate(("disc", "star | [red]", "cross"))}
        record = {"metrics": {"box_AP": box, "mask_AP": mask}, "dataset": {"train": SPLIT, "val": OTHER}, "classes": classes}
        leave(run, "metrics.json", record)
        drawn = np.random.default_rng(len(run.id)).normal(0, 0.5, 1000)
        write_replicates(run.folder / "bootstrap.npz", {"box_AP": np.concatenate([[box], box + drawn * box / 10])})
    return grid, [run.id for run in grid.runs.values()]


def compared(grid, capsys, *ids):
    compare.main(grid, argparse.Namespace(one=ids[0], other=ids[1]))
    return capsys.readouterr().out


def line(text, start):
    return next(found for found in text.splitlines() if found.strip().startswith(start)).split()


def test_metrics_have_intervals_over_images_and_classes_are_listed(runs, capsys):
    grid, (fpn, a2fpn) = runs
    text = compared(grid, capsys, fpn, a2fpn)
    assert f"{fpn}: FPN, seed None" in text
    name, one, other, difference, low, _, high = line(text, "box_AP")
    assert (name, one, other, difference) == ("box_AP", "10.00", "12.50", "+2.50")
    assert float(low) < 2.5 < float(high)
    # Only one of them has left resamples of masks.
    assert line(text, "mask_AP") == ["mask_AP", "9.00", "8.00", "-1.00"]
    assert line(text, "star") == ["star", "|", "[red],", "box_AP", "11.00", "13.50", "+2.50"]
    assert "Two necks differ if" in text


def test_a_run_that_has_not_finished_is_answered_with_those_that_have(runs, capsys):
    grid, (fpn, a2fpn) = runs
    with pytest.raises(UserError, match=rf"run nothing has not finished; finished are: {min(fpn, a2fpn)}, {max(fpn, a2fpn)}$"):
        compared(grid, capsys, fpn, "nothing")


def test_runs_on_different_images_are_not_compared(runs, leave, capsys):
    grid, (fpn, a2fpn) = runs
    leave(grid.runs[a2fpn], "metrics.json", {"metrics": {"box_AP": 1.0}, "dataset": {"train": SPLIT, "val": SPLIT}})
    with pytest.raises(UserError, match="were tested on different images, so their difference says nothing"):
        compared(grid, capsys, fpn, a2fpn)
