"""The benchmark of large grids runs every command that it measures."""

import sys

import pandas as pd
import pytest

from experiments.benchmarks import grid

pytestmark = pytest.mark.long


@pytest.mark.slow
def test_a_small_grid_is_measured_in_every_command(tmp_path, monkeypatch, capsys):
    table = tmp_path / "table.csv"
    monkeypatch.setattr(sys, "argv", ["grid", "--runs", "4", "--shapes", "one table", "--csv", str(table)])
    grid.main()
    measured = pd.read_csv(table)
    assert set(measured.command) == {"dry run", "dry run, all trained", "collect", "tables", "plan", "status"}
    assert (measured.seconds > 0).all()
    assert "dry run" in capsys.readouterr().out


def test_a_command_that_grows_faster_than_the_grid_is_named():
    table = pd.DataFrame(
        {
            "shape": "one table",
            "runs": runs,
            "command": command,
            "seconds": 1,
            "processor_seconds": 2 + cost(runs),
            "gibibytes": 0.1,
        }
        for command, cost in (("plan", lambda runs: runs / 1000), ("tables", lambda runs: (runs / 1000) ** 2))
        for runs in (100, 1000, 3000)
    )
    assert grid.over_limits(table) == [
        "tables, one table: its time grows with the runs to the power of 1.89; allowed up to 1.3"
    ]
