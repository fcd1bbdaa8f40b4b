"""What the Snakefile makes of a grid: what was asked for, and the functions of its rules."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from experiments.workflow.asked import Asked
from experiments.workflow.grid import Grid
from experiments.workflow.prerequisites import Prerequisites
from experiments.workflow.report_inputs import ReportInputs
from experiments.workflow.trainings import Trainings


def refuse(file):
    raise AssertionError(f"{file} need not be made again")


@pytest.fixture
def rules_of() -> Callable[..., SimpleNamespace]:
    """A function from a grid and what is asked for to the functions of the rules."""

    def make(grid: Grid, *asked: str, force: Callable[[str], object] = refuse, is_dry_run: bool = False) -> SimpleNamespace:
        requested = Asked(grid, lambda: asked)
        prerequisites = Prerequisites(grid, requested, is_dry_run)
        trainings = Trainings(grid, requested, prerequisites, force)
        reports = ReportInputs(grid, requested, prerequisites, trainings)
        return SimpleNamespace(grid=grid, prerequisites=prerequisites, trainings=trainings, reports=reports)

    return make
