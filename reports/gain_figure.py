"""The gain of every row over its baseline: each seed, the mean, its interval, and what was published."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments.spec.metrics import Metric
from reports.figure_data import FigureData, shown_metrics
from reports.figure_style import COLUMN_WIDTH, LINE_HEIGHT, PALETTE, figure_of_words, wrapped

TOLD_APART, NOT_TOLD_APART, PUBLISHED, SEED = PALETTE[0], "0.45", PALETTE[3], "0.55"
# Half a unit of the last digit on either side of a difference of two numbers that are printed with one.
ROUNDING = 0.1
ABOVE, BELOW = 0.2, 0.17
TITLE_LETTERS = 90


def plot_gains(data: FigureData) -> Figure:
    """The gain of every row over its baseline, a panel for each metric that is tested; where baselines differ, below its own.

    Dots are seeds, the bar is their mean. The line is the interval over seeds, blue where it excludes no gain; with one seed it
    is that over images, dotted, of these checkpoints alone. Diamonds are published gains, with their rounding.

    Parameters
    ----------
    data : FigureData
        Results, gains and scale.
    """
    tested = [metric for metric in shown_metrics(data.results) if metric.is_tested]
    rows = data.results.dropna(subset=["seed", "measured"]).drop_duplicates("row").set_index("row").name
    shown = [metric for metric in tested if data.gains.gain[data.gains.metric == metric.name].notna().any()]
    if not shown:
        return figure_of_words("no row and its baseline were both measured")
    rows, over = _in_groups(rows, data.gains.dropna(subset=["gain"]))
    names = _row_names(rows, over)
    height = 1.35 + sum(max(0.4, LINE_HEIGHT * len(name.splitlines())) for name in names)
    figure, panels = plt.subplots(
        1, len(shown), sharey=True, squeeze=False, figsize=(COLUMN_WIDTH, height), layout="constrained"
    )
    heads = [place for place, row in enumerate(rows.index) if over and row not in over]
    for axes, metric in zip(panels[0], shown, strict=True):
        label = _draw_panel(axes, metric, data, {row: place for place, row in enumerate(rows.index)})
        axes.set_xlabel(label, fontsize=9)
        for place in heads[1:]:
            axes.axhline(place - 0.5, color="0.8", linewidth=0.8)
    panels[0, 0].set(yticks=range(len(rows)), yticklabels=names)
    panels[0, 0].invert_yaxis()
    figure.suptitle(textwrap.fill(_title(data), TITLE_LETTERS), fontsize=9)
    figure.draw_without_rendering()
    for axes in panels[0]:
        _break_lines(axes.xaxis.label, axes.bbox.width)
    return figure


def _break_lines(label: Text, width: float) -> None:
    """Break a label that is wider than its panel, in pixels."""
    text, needed = label.get_text(), label.get_window_extent().width
    if needed > width:
        label.set_text(textwrap.fill(text, max(1, int(len(text) * width / needed)), break_long_words=False))


def _in_groups(rows: pd.Series, compared: pd.DataFrame) -> tuple[pd.Series, dict[int, int]]:
    """The rows, each after its baseline where baselines differ, and the row that each of them is over."""
    if compared.against.nunique() == 1:
        return rows, {}
    first = {name: row for row, name in reversed(list(rows.items()))}
    over = {row: first[name] for row, name in zip(compared.row, compared.against, strict=True) if name in first}
    return rows.loc[sorted(rows.index, key=lambda row: _path(row, over))], over


def _path(row: int, over: dict[int, int]) -> list[int]:
    """A row's baselines, the first of all foremost, and the row itself."""
    path = [row]
    while path[0] in over and over[path[0]] not in path:
        path.insert(0, over[path[0]])
    return path


def _row_names(rows: pd.Series, over: dict[int, int]) -> list[str]:
    """Names of the rows; those whose baseline does not head their group say it."""
    said = {row: f"\nover {wrapped(rows[baseline])}" for row, baseline in over.items() if baseline in over}
    return [wrapped(name) + said.get(row, "") for row, name in rows.items()]


def _draw_panel(axes: Axes, metric: Metric, data: FigureData, places: dict[int, int]) -> str:
    """Draw the gains of one metric; returns what the axis shows."""
    gains = data.gains[data.gains.metric == metric.name].dropna(subset=["gain"])
    measured = data.results[data.results.metric == metric.name].dropna(subset=["measured"])
    samples = {row: values.to_numpy(float) / metric.unit for row, values in measured.groupby("row").measured}
    axes.axvline(0, color="black", linewidth=1.5, zorder=1)
    baselines = {}
    for line in gains.to_dict("records"):
        place, sample = places[line["row"]], samples[line["row"]]
        baselines[line["against"]] = sample.mean() - line["gain"]
        _draw_row(axes, line, place, sample - baselines[line["against"]])
    for name, mean in baselines.items():
        row = next((row for row, of_row in measured.groupby("row") if of_row.name.iloc[0] == name), None)
        if row is not None and row not in set(gains.row):
            axes.plot(samples[row] - mean, np.full(len(samples[row]), places[row]), "o", color="black", markersize=3.5)
    axes.grid(axis="y", visible=False)
    over = f" {next(iter(baselines))} ({next(iter(baselines.values())):.1f})" if len(baselines) == 1 else ""
    if metric.lower_is_better:
        return f"difference in {metric.short_label}{' from' if over else ''}{over}, less is better"
    return f"gain in {metric.short_label}{' over' if over else ''}{over}"


def _draw_row(axes: Axes, line: dict[str, Any], place: int, of_seeds: np.ndarray) -> None:
    is_over_seeds = pd.notna(line["low"])
    low, high = (line["low"], line["high"]) if is_over_seeds else (line["image_low"], line["image_high"])
    colour = TOLD_APART if is_over_seeds and (low > 0 or high < 0) else NOT_TOLD_APART
    if pd.notna(low):
        axes.plot([low, high], [place] * 2, color=colour, linewidth=2, linestyle="-" if is_over_seeds else ":")
    axes.plot(line["gain"], place, marker="|", markersize=11, markeredgewidth=2.5, color=colour)
    if len(of_seeds) > 1:
        axes.plot(of_seeds, np.full(len(of_seeds), place + BELOW), "o", color=SEED, markersize=2.8)
    if pd.notna(line["published_gain"]):
        axes.errorbar(
            line["published_gain"], place - ABOVE, xerr=ROUNDING, color=PUBLISHED, marker="D", markersize=5,
            markerfacecolor="white", markeredgewidth=1.3, elinewidth=1,
        )  # fmt: skip


def _title(data: FigureData) -> str:
    """What is seen, and how to read it."""
    seeds = int(data.results.seed.nunique())
    gains = data.gains
    if gains.low.notna().any():
        shown = f"{seeds} seeds. Bar and line: mean and 95 % interval over seeds, blue where it excludes 0; dots: seeds"
    elif gains.image_low.notna().any():
        shown = "one seed. Bar and dotted line: 95 % interval over images, of these checkpoints alone"
    else:
        shown = "one seed"
    published = "; diamond: published" if gains.published_gain.notna().any() else ""
    return f"Scale {data.scale.name}, {shown}{published}"
