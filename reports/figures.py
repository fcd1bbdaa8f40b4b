"""Tidy results -> figures: the main metrics per row, and against FLOPs and latency, training curves; PNG and SVG.

The figure ``<name>`` is drawn by the function ``plot_<name>``.
"""

import argparse
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from experiments.errors import report_user_errors
from experiments.records.cost_files import Counts, Speeds, read_costs
from experiments.spec.metrics import METRICS, Metric
from experiments.spec.scale import load_scale
from experiments.workflow.targets import FIGURE_NAMES
from reports.curve_figure import plot_curves  # noqa: F401 - drawn by its name
from reports.figure_data import FigureData, shown_metrics
from reports.figure_style import COLUMN_WIDTH, LINE_HEIGHT, MARKERS, PALETTE, STYLE, save_figure, wrapped
from reports.gain_figure import plot_gains  # noqa: F401 - drawn by its name
from reports.gains import no_gains
from reports.kept import keep_copies
from reports.significance import LEVEL, Values, pooled_noise, t_interval
from reports.tidy_files import read_tidy

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Rows up to which names stand beside their points; more have a legend.
NAMED_BESIDE = 12
# Height of a line of such a name, of that of the axes.
BESIDE_GAP = 0.055
# Ratio of costs from which a linear axis would squeeze most of them together.
SQUEEZED = 3


def plot_ap(data: FigureData) -> Figure:
    """The main metrics of every row: measured with the standard deviation over the seeds, and what was published, if any.

    Where rows vary one number, over that number. Rows that can neither be run nor were published with these metrics are left
    out.

    Parameters
    ----------
    data : FigureData
        Results and scale.
    """
    results, scale = data.results, data.scale
    shown = shown_metrics(results)
    if results.x.notna().any():
        return _plot_over_number(data, shown)
    accuracies = results[results.metric.isin([metric.name for metric in shown])]
    rows = accuracies[accuracies.seed.notna() | accuracies.published.notna()].drop_duplicates("row").set_index("row").name
    titles = [f"measured, scale {scale.name}"]
    if accuracies.published.notna().any():
        titles.append("published")
    names = [wrapped(name) for name in rows]
    size = (COLUMN_WIDTH, 1.5 + sum(max(0.34, LINE_HEIGHT * len(name.splitlines())) for name in names))
    figure, panels = plt.subplots(1, len(titles), sharey=True, squeeze=False, figsize=size, layout="constrained")
    for index, metric in enumerate(shown):
        offset = 0.24 * (index - (len(shown) - 1) / 2)
        values = results[results.metric == metric.name].groupby("row")
        style = {
            "color": PALETTE[3 * index % len(PALETTE)],
            "marker": MARKERS[index],
            "linestyle": "none",
            "label": metric.label,
        }
        positions = np.arange(len(rows)) + offset
        mean, deviation = (getattr(values.measured, name)().reindex(rows.index) for name in ("mean", "std"))
        panels[0, 0].errorbar(mean, positions, xerr=deviation.fillna(0), capsize=3, **style)
        for published in panels[0, 1:]:
            published.plot(values.published.first().reindex(rows.index), positions, **style)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set(title=title, xlabel=_common_label(shown))
    panels[0, 0].set(yticks=range(len(rows)), yticklabels=names)
    panels[0, 0].invert_yaxis()
    handles, labels = panels[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _plot_over_number(data: FigureData, shown: list[Metric]) -> Figure:
    results = data.results.dropna(subset=["x"])
    panels = {f"measured, scale {data.scale.name}": "measured", "published": "published"}
    panels = {title: column for title, column in panels.items() if results[column].notna().any()}
    if not panels:
        panels = {f"measured, scale {data.scale.name}": "measured"}
    figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(COLUMN_WIDTH, 3.2), layout="constrained")
    for panel, (title, column) in zip(axes[0], panels.items(), strict=True):
        for index, metric in enumerate(shown):
            values = results[results.metric == metric.name].dropna(subset=[column]).groupby("x")[column]
            spread = values.std() if column == "measured" else None
            style = {"color": PALETTE[3 * index % len(PALETTE)], "marker": MARKERS[index], "label": metric.label}
            panel.errorbar(values.mean().index, values.mean(), yerr=spread, capsize=3, **style)
        panel.set(title=title, xlabel=results.x_name.iloc[0], ylabel=_common_label(shown), xticks=sorted(set(results.x)))
    handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _common_label(metrics: list[Metric]) -> str:
    """What the labels of metrics share at their end: "AP (%)" of "box AP (%)" and "mask AP (%)"."""
    words = [str(metric.label).split()[::-1] for metric in metrics]
    shared = takewhile(lambda each: len(set(each)) == 1, zip(*words, strict=False))
    return " ".join([each[0] for each in shared][::-1])


def plot_flops(data: FigureData) -> Figure:
    """The main metric of every row against the multiply-adds of its model at the scale that it ran at, with the Pareto front.

    Parameters
    ----------
    data : FigureData
        Results, FLOPs and scale.
    """
    unit, name = (1e9, "G") if min(data.flops.values()) >= 1e9 else (1e6, "M")
    height, width = data.scale.complexity_image
    label = f"multiply-adds per {width} × {height} image ({name})"
    return _plot_against_cost(data, {key: number / unit for key, number in data.flops.items()}, label)


def plot_latency(data: FigureData) -> Figure:
    """The main metric of every row against the time that its model takes for an image, with the Pareto front.

    Parameters
    ----------
    data : FigureData
        Results, frames per second and scale.
    """
    height, width = data.scale.complexity_image
    milliseconds = {key: 1000 / rate for key, rate in data.frames_per_second.items()}
    return _plot_against_cost(data, milliseconds, f"time per {width} × {height} image (ms), batch 1")


def _plot_against_cost(data: FigureData, costs: dict[str, float], label: str) -> Figure:
    results = data.results
    main = next(iter(shown_metrics(results)), METRICS["box_AP"])
    accuracy = results[(results.metric == main.name) & results.seed.notna()]
    points = accuracy.groupby(["row", "name", "setting"], as_index=False).measured.agg(["mean", "std"])
    points["cost"] = points.setting.map(costs)
    points = points.dropna(subset=["mean"])
    names = {point.row: wrapped(point.name) for point in points.itertuples()}
    is_named_beside = len(names) <= NAMED_BESIDE
    size = (COLUMN_WIDTH, 3.8) if is_named_beside else _beside_legend(names.values())
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    samples = {row: values.to_numpy(float) for row, values in accuracy.dropna(subset=["measured"]).groupby("row").measured}
    front = _pareto_front(points, samples, main.lower_is_better)
    if len(front):
        # Steps: between two models there is none.
        axes.plot(front.cost, front["mean"], color="0.6", linewidth=1, zorder=0, label="Pareto front", drawstyle="steps-post")
    drawn: list[Artist] = []
    for point in points.itertuples():
        look = {"color": _colour(point, front, data.baselines), "marker": "o"} if is_named_beside else _marker(point.row)
        (marker, *_) = axes.errorbar(
            point.cost,
            point.mean,
            yerr=None if pd.isna(point.std) else point.std,
            capsize=3,
            markersize=6 if is_named_beside else 8,
            label=names[point.row],
            linestyle="none",
            color=look["color"],
            marker=look["marker"],
        )
        drawn.append(marker)
    if len(points) and points.cost.max() > SQUEEZED * points.cost.min():
        axes.set_xscale("log")
    axes.set(
        xlabel=label, ylabel=main.label, title=f"{main.short_label} against cost, scale {data.scale.name}{_seeds(results)}"
    )
    if is_named_beside:
        _name_beside(axes, points, names)
    else:
        lines = [axes.lines[0]] if len(front) else []
        _add_legend(figure, [*lines, *drawn], [*["Pareto front" for _ in lines], *names.values()])
    return figure


def _colour(point: Any, front: pd.DataFrame, baselines: set[str]) -> str:
    """Black for a baseline, as everywhere; blue on the front; grey for the others."""
    if point.name in baselines:
        return "black"
    return PALETTE[0] if point.row in set(front.row) else "0.55"


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


def _marker(row: int) -> dict[str, Any]:
    """A look of its own for each of 80 rows."""
    colour, turn = PALETTE[row % len(PALETTE)], row // len(PALETTE)
    return {"color": colour, "marker": MARKERS[(row + turn) % len(MARKERS)]}


def main() -> None:
    """Draw figures of one table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--figures", required=True, nargs="+", choices=[*FIGURE_NAMES, "flops", "latency"])
    parser.add_argument("--rows", nargs="*", help="of the report, where it has not all rows of its table")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--gains", type=Path)
    parser.add_argument("--complexity", type=Path, help="output of experiments.cost.complexity")
    parser.add_argument("--speed", type=Path, help="output of experiments.cost.speed")
    parser.add_argument("output", type=Path, help="the folder and the beginning of the files' names")
    arguments = parser.parse_args()
    data = FigureData(
        load_scale(arguments.scale),
        read_tidy(arguments.results),
        read_tidy(arguments.history) if arguments.history else pd.DataFrame(),
        _read_flops(arguments.complexity) if arguments.complexity else {},
        read_costs(arguments.speed, Speeds).frames_per_second if arguments.speed else {},
        read_tidy(arguments.gains) if arguments.gains else no_gains(),
    )
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]
    plots = {name: globals()[f"plot_{name}"] for name in arguments.figures}
    files = [file for name, plot in plots.items() for file in save_figure(plot(data), arguments.output, name)]
    keep_copies(files, data.scale.name, data.results, arguments.rows is None)


def _read_flops(path: Path) -> dict[str, float]:
    return {key: counts["all_flops"] for key, counts in read_costs(path, Counts).counts.items()}


if __name__ == "__main__":
    report_user_errors(main)
