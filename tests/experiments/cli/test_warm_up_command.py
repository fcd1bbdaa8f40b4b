"""``warm-up`` says in one sentence where there is nothing to warm up."""

from argparse import ArgumentParser

import pytest

from experiments.cli import warm_up
from experiments.errors import UserError


def warm_up_at(grid):
    parser = ArgumentParser()
    warm_up.add_arguments(parser)
    warm_up.main(grid, parser.parse_args([]))


def test_trainings_on_the_cpu_compile_nothing(small_grid):
    with pytest.raises(UserError, match="warm-up: scale instant trains on the CPU, where trainings compile nothing"):
        warm_up_at(small_grid())


@pytest.mark.torch
def test_a_machine_without_a_gpu_is_named(small_grid, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="scale coco trains on GPUs and torch sees none here; call it on a node with a GPU"):
        warm_up_at(small_grid(scale="coco"))


@pytest.mark.torch
def test_the_seconds_of_each_neck_with_kernels_are_said(small_grid, monkeypatch, capsys):
    from experiments.cost import warm_up as steps

    grid = small_grid(scale="coco")
    found = [steps.FirstSteps(grid.runs_of("two_necks_table2")[-1], [12.3, 0.456])]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(steps, "warm_up", lambda runs, device: found if device == "cuda" and len(list(runs)) == 2 else [])
    warm_up_at(grid)
    assert "A2FPN in mask_rcnn: first step 12.3 s, second 0.46 s" in capsys.readouterr().out
