"""The figure of growing grids."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from experiments.benchmarks.growth_figure import plot

COMMANDS = ["dry run", "plan", "collect", "tables"]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    table = pd.DataFrame(
        {"shape": shape, "runs": runs, "command": command, "processor_seconds": 1 + runs / 100, "gibibytes": 0.1 + runs / 1e5}
        for shape in ("tables of 100 rows", "one table")
        for command in COMMANDS
        for runs in (100, 1000, 10_000)
    )
    monkeypatch.setattr(plt, "close", lambda figure: None)
    plot(table, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    yield plt.gcf()
    monkeypatch.undo()
    plt.close("all")


def test_every_command_has_a_panel_for_time_and_one_for_memory(parts):
    time, memory = parts.subfigs
    for part in (time, memory):
        drawn = [axes for axes in part.axes if axes.lines]
        assert [axes.get_title() for axes in drawn] == COMMANDS
    (first, *_) = time.axes
    assert [line.get_label() for line in first.lines] == ["tables of 100 rows", "one table", "as the number of runs"]
    assert list(first.lines[0].get_ydata()) == [2, 11, 101]


def test_the_dotted_line_is_proportional_and_ends_at_the_greatest_cost(parts):
    proportional = parts.subfigs[0].axes[0].lines[-1]
    assert list(proportional.get_xdata()) == [100, 10_000]
    assert list(proportional.get_ydata()) == pytest.approx([1.01, 101])


def test_panels_share_one_legend(parts):
    (legend,) = parts.legends
    assert len(legend.get_texts()) == 3
