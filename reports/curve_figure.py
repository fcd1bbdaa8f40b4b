"""How the rows of a table trained, a panel for each: validated accuracy where there is any, else the training loss."""

import math
import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.spec.metrics import METRICS
from reports.figure_data import FigureData, shown_metrics
from reports.figure_style import COLUMN_WIDTH, colour_of, figure_of_words, wrapped

COLUMNS = 3
PANEL_HEIGHT = 1.35
TITLE_LETTERS = 30
# Share of the iterations whose losses, the highest, do not set the axis.
WARM_UP = 0.08
OTHERS = "0.85"


def plot_curves(data: FigureData) -> Figure:
    """The course of every row's training in a panel of its own, each seed a line, the other rows grey behind it.

    Where the scale validates during training that is the main metric against epochs, else the losses of the detector against
    iterations, without what a neck adds of its own. Losses of different detectors are not comparable: each detector has its own
    axis, and grey are rows of the same one.

    Parameters
    ----------
    data : FigureData
        Training curves, results, gains and scale.
    """
    validated = [metric for metric in shown_metrics(data.results) if metric.name in set(data.history.metric)]
    shown = validated[0].name if validated else "loss"
    curves = data.history[data.history.metric == shown]
    rows = curves.drop_duplicates("row").set_index("row")
    if rows.empty:
        return figure_of_words("no row has been trained")
    is_comparable = shown != "loss" or rows.detector.nunique() == 1
    lines = math.ceil(len(rows) / COLUMNS)
    figure, panels = plt.subplots(
        lines,
        min(COLUMNS, len(rows)),
        sharex=True,
        sharey=is_comparable,
        squeeze=False,
        figsize=(COLUMN_WIDTH, 0.9 + PANEL_HEIGHT * lines),
        layout="constrained",
    )
    at = "iteration" if shown == "loss" else "epoch"
    for axes, (row, place) in zip(panels.flat, rows.iterrows(), strict=False):
        alike = curves[curves.detector == place.detector] if shown == "loss" else curves
        _draw_panel(axes, alike, row, at, "black" if place["name"] in data.baselines else colour_of(place["setting"]))
        if shown == "loss":
            axes.set_ylim(*_limits(alike))
        axes.set_title(textwrap.fill(wrapped(place["name"]), TITLE_LETTERS), fontsize=8)
    for axes in list(panels.flat)[len(rows) :]:
        axes.axis("off")
    figure.supxlabel(at, fontsize=9)
    figure.supylabel("training loss" if shown == "loss" else f"validated {METRICS[shown].label}", fontsize=9)
    seeds = int(curves.seed.nunique())
    grey = "the other rows" if is_comparable else "other rows of the same detector"
    figure.suptitle(f"Scale {data.scale.name}, {seeds} seed{'s' * (seeds > 1)}, a line each; grey: {grey}", fontsize=9)
    return figure


def _draw_panel(axes: Axes, curves: pd.DataFrame, row: object, at: str, colour: str) -> None:
    means = curves.groupby(["row", at], as_index=False).value.mean()
    for other, points in means.groupby("row"):
        if other != row:
            axes.plot(points[at], points.value, color=OTHERS, linewidth=0.8, zorder=1)
    for _, points in curves[curves.row == row].groupby("seed"):
        axes.plot(points[at], points.value, color=colour, linewidth=1.1, zorder=2)
    axes.tick_params(labelsize=7)


def _limits(curves: pd.DataFrame) -> tuple[float, float]:
    """Of the losses after the first, high ones."""
    later = curves[curves.iteration >= WARM_UP * curves.iteration.max()].value
    low, high = float(later.min()), float(later.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
