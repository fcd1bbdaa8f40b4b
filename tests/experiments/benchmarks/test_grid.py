"""The benchmark of large grids runs every command that it measures."""

import sys

import pandas as pd

from experiments.benchmarks import grid


def test_a_small_grid_is_measured_in_every_command(tmp_path, monkeypatch, capsys):
    table = tmp_path / "table.csv"
    monkeypatch.setattr(sys, "argv", ["grid", "--runs", "4", "--shapes", "one table", "--csv", str(table)])
    grid.main()
    measured = pd.read_csv(table)
    assert set(measured.command) == {"dry run", "dry run, all trained", "collect", "tables", "plan", "status"}
    assert (measured.seconds > 0).all()
    assert "dry run" in capsys.readouterr().out
