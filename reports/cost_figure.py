"""The main metric of every row against what its model costs."""

import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from experiments.spec.metrics import METRICS
from reports.figure_data import FigureData, shown_metrics
from reports.figure_style import COLUMN_WIDTH, LINE_HEIGHT, MARKERS, PALETTE, SETTING_COLOURS, wrapped
from reports.significance import LEVEL, Values, pooled_noise, t_interval

# Rows up to which names stand beside their points; more have a legend.
NAMED_BESIDE = 12
# Height of a line of such a name, of that of the axes.
BESIDE_GAP = 0.055
# Of rows that a legend names.
COLOURS = [*SETTING_COLOURS, "#882255"]
# Letters in a line: of a title beside a legend, and of the label of the axis of costs.
TITLE_LETTERS, LABEL_LETTERS = 40, 64
# Ratio of costs from which a linear axis would squeeze most of them together.
SQUEEZED = 3


def plot_flops(data: FigureData) -> Figure:
    """The main metric of every row against the multiply-adds of its model at the scale that it ran at, with the Pareto front.

    Parameters
    ----------
    data : FigureData
        Results, FLOPs and scale.
    """
    unit, name = (1e9, "G") if min(data.flops.values()) >= 1e9 else (1e6, "M")
    height, width = data.scale.complexity_image
    counts = {key: number / unit for key, number in data.flops.items()}
    return _plot_against_cost(data, counts, f"multiply-adds per {width} × {height} image", name)


def plot_latency(data: FigureData) -> Figure:
    """The main metric of every row against the time that its model takes for an image, with the Pareto front.

    Parameters
    ----------
    data : FigureData
        Results, frames per second and scale.
    """
    height, width = data.scale.complexity_image
    milliseconds = {key: 1000 / rate for key, rate in data.frames_per_second.items()}
    return _plot_against_cost(data, milliseconds, f"time per {width} × {height} image at batch 1", "ms")


def _plot_against_cost(data: FigureData, costs: dict[str, float], quantity: str, unit: str) -> Figure:
    results = data.results
    main = next(iter(shown_metrics(results)), METRICS["box_AP"])
    accuracy = results[(results.metric == main.name) & results.seed.notna()]
    points = accuracy.groupby(["row", "name", "setting"], as_index=False).measured.agg(["mean", "std"])
    points["cost"] = points.setting.map(costs)
    points = points.dropna(subset=["mean"])
    points, label = _relative(points, data.baselines, quantity, unit)
    names = {point.row: wrapped(point.name) for point in points.itertuples()}
    is_named_beside = len(names) <= NAMED_BESIDE
    size = (COLUMN_WIDTH, 3.8) if is_named_beside else _beside_legend(names.values())
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    samples = {row: values.to_numpy(float) for row, values in accuracy.dropna(subset=["measured"]).groupby("row").measured}
    front = _pareto_front(points, samples, main.lower_is_better)
    if len(front):
        # Steps: between two models there is none.
        axes.plot(front.cost, front["mean"], color="0.6", linewidth=1, zorder=0, label="Pareto front", drawstyle="steps-post")
    on_front, baselines = set(front.row), data.baselines
    looks = {
        point.row: (_look_beside(point.row in on_front) if is_named_beside else _look_of_row(point.row))
        | ({"color": "black"} if point.name in baselines else {})
        for point in points.itertuples()
    }
    drawn = _draw_points(axes, points, names, looks)
    if len(points) and points.cost.max() > SQUEEZED * points.cost.min():
        axes.set_xscale("log")
        for set_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            set_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set(xlabel=label, ylabel=main.label)
    title = f"{main.short_label} against cost, scale {data.scale.name}{_seeds(results)}"
    axes.set_title(title if is_named_beside else textwrap.fill(title, TITLE_LETTERS), fontsize=11, loc="left")
    if is_named_beside:
        _name_beside(axes, points, names)
    else:
        lines = [axes.lines[0]] if len(front) else []
        _add_legend(figure, [*lines, *drawn], [*["Pareto front" for _ in lines], *names.values()])
    return figure


def _draw_points(axes: Axes, points: pd.DataFrame, names: dict[int, str], looks: dict[int, dict[str, Any]]) -> list[Artist]:
    drawn: list[Artist] = []
    for point in points.itertuples():
        deviation = None if pd.isna(point.std) else point.std
        (marker, *_) = axes.errorbar(
            point.cost, point.mean, yerr=deviation, capsize=3, label=names[point.row], linestyle="none", **looks[point.row]
        )
        drawn.append(marker)
    return drawn


def _relative(points: pd.DataFrame, baselines: set[str], quantity: str, unit: str) -> tuple[pd.DataFrame, str]:
    """Costs in per cent of the baseline's, where all gains are over one, and the axis's label.

    Most of a cost is that of the backbone and the heads, which rows share: an axis from 390 to 427 M makes 9 % look like a
    multiple.
    """
    of_baselines = points[points.name.isin(baselines)].dropna(subset=["cost"])
    if of_baselines.cost.nunique() != 1:
        return points, f"{quantity} ({unit})"
    baseline = of_baselines.iloc[0]
    label = f"{quantity} (% of {baseline['name']}'s {baseline.cost:.3g} {unit})"
    return points.assign(cost=100 * points.cost / baseline.cost), textwrap.fill(label, LABEL_LETTERS)


def _look_beside(is_on_front: bool) -> dict[str, Any]:
    """Blue on the front, grey for the others."""
    return {"color": PALETTE[0] if is_on_front else "0.55", "marker": "o", "markersize": 6}


def _look_of_row(row: int) -> dict[str, Any]:
    """A look of its own for each of 80 rows."""
    colour, turn = COLOURS[row % len(COLOURS)], row // len(COLOURS)
    return {"color": colour, "marker": MARKERS[(row + turn) % len(MARKERS)], "markersize": 8}


def _seeds(results: pd.DataFrame) -> str:
    number = int(results.seed.nunique())
    return "" if not number else ", one seed" if number == 1 else f", {number} seeds, bars one standard deviation"


def _name_beside(axes: Axes, points: pd.DataFrame, names: dict[int, str]) -> None:
    """Names at the right edge, in the order of their points, each with a line to its own."""
    low, high = axes.get_ylim()
    ordered = points.sort_values("mean")
    heights = np.array([BESIDE_GAP * len(names[row].splitlines()) for row in ordered.row])
    places: list[float] = []
    for wanted, height in zip((ordered["mean"] - low) / (high - low), heights, strict=True):
        places.append(max(wanted, places[-1] + height) if places else max(0.0, wanted))
    over = max(0.0, places[-1] - 1) if places else 0.0
    for point, place in zip(ordered.itertuples(), places, strict=True):
        axes.annotate(
            names[point.row],
            (point.cost, point.mean),
            (1.03, place - over),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.7},
        )


def _pareto_front(points: pd.DataFrame, samples: dict[int, Values], lower_is_better: bool) -> pd.DataFrame:
    """The cheapest point, and each costlier one that is told apart as better from the point of the front before it.

    By Student's t with the standard deviation pooled over all points, Bonferroni over as many comparisons as there may be; none
    where all have one seed, which ranks nothing.
    """
    ordered = points.dropna(subset=["cost"]).sort_values(["cost", "mean"], ascending=[True, lower_is_better])
    noise, sign = pooled_noise(list(samples.values())), -1 if lower_is_better else 1
    level = 1 - (1 - LEVEL) / max(1, len(ordered) - 1)
    front: list[int] = []
    for row in ordered.row if noise.freedom else ():
        if not front or t_interval(sign * samples[row], sign * samples[front[-1]], noise, level).low > 0:
            front.append(row)
    return ordered[ordered.row.isin(front)]


def _beside_legend(names: Iterable[str]) -> tuple[float, float]:
    """Size of a figure, in inches, with room for a legend of all names."""
    lines = [line for name in names for line in name.splitlines()]
    longest = max(map(len, lines), default=0)
    return max(COLUMN_WIDTH, 3.9 + 0.085 * longest), max(3.8, 0.6 + LINE_HEIGHT * len(lines))


def _add_legend(figure: Figure, handles: list[Artist], labels: list[str]) -> None:
    """A legend of everything given: by itself, matplotlib leaves out what begins with an underscore."""
    figure.legend(handles, labels, loc="outside right upper")
