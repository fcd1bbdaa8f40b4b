"""Tidy results -> figures: AP per row, AP against FLOPs and latency, training curves; PNG and SVG."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from experiments.errors import report_user_errors
from experiments.records.cost_files import read_counts, read_speeds
from experiments.spec.scale import Scale, load_scale

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every kind of colour vision.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D1F"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
LINES = ["-", "--", ":"]
KINDS = {"box_AP": ("box AP", PALETTE[0], "o"), "mask_AP": ("mask AP", PALETTE[3], "s")}
COLUMN_WIDTH = 6.4
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "reports",
    "legend.frameon": False,
    "savefig.dpi": 200,
}


def plot_average_precision(results: pd.DataFrame, scale: Scale) -> Figure:
    """AP of every row: measured with the standard deviation over the seeds, and in a second panel what was published, if any.

    Rows that can neither be run nor were published with these metrics are left out.

    Parameters
    ----------
    results : DataFrame
        Results from `reports.collect`.
    scale : Scale
        The scale of the runs.
    """
    shown = [metric for metric in KINDS if (results.metric == metric).any()]
    accuracies = results[results.metric.isin(shown)]
    rows = accuracies[accuracies.seed.notna() | accuracies.published.notna()].drop_duplicates("row").set_index("row").name
    titles = [f"measured, scale {scale.name}"]
    if accuracies.published.notna().any():
        titles.append("published")
    size = (COLUMN_WIDTH, 1.5 + 0.34 * len(rows))
    figure, panels = plt.subplots(1, len(titles), sharey=True, squeeze=False, figsize=size, layout="constrained")
    for offset, metric in zip((-0.12, 0.12) if len(shown) == 2 else (0,), shown, strict=True):
        label, colour, marker = KINDS[metric]
        values = results[results.metric == metric].groupby("row")
        style = {"color": colour, "marker": marker, "linestyle": "none", "label": label}
        positions = np.arange(len(rows)) + offset
        mean, deviation = (getattr(values.measured, name)().reindex(rows.index) for name in ("mean", "std"))
        panels[0, 0].errorbar(mean, positions, xerr=deviation.fillna(0), capsize=3, **style)
        for published in panels[0, 1:]:
            published.plot(values.published.first().reindex(rows.index), positions, **style)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set(title=title, xlabel="AP (%)")
    panels[0, 0].set(yticks=range(len(rows)), yticklabels=rows)
    panels[0, 0].invert_yaxis()
    handles, labels = panels[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def plot_against_flops(results: pd.DataFrame, flops: dict[str, float], scale: Scale) -> Figure:
    """Box AP of every row against the multiply-adds of its model at the scale that it ran at, with the Pareto front.

    Parameters
    ----------
    results : DataFrame
        Results from `reports.collect`.
    flops : dict
        `Setting.key` to multiply-adds per image, every one counted.
    scale : Scale
        The scale of the runs.
    """
    unit, name = (1e9, "G") if min(flops.values()) >= 1e9 else (1e6, "M")
    height, width = scale.complexity_image
    label = f"multiply-adds per {width} × {height} image ({name})"
    return _plot_against_cost(results, {key: number / unit for key, number in flops.items()}, label, scale)


def plot_against_latency(results: pd.DataFrame, frames_per_second: dict[str, float], scale: Scale) -> Figure:
    """Box AP of every row against the time that its detector takes for an image, with the Pareto front.

    Parameters
    ----------
    results : DataFrame
        Results from `reports.collect`.
    frames_per_second : dict
        `Setting.key` to frames per second at the scale's size.
    scale : Scale
        The scale of the runs.
    """
    height, width = scale.complexity_image
    milliseconds = {key: 1000 / rate for key, rate in frames_per_second.items()}
    return _plot_against_cost(results, milliseconds, f"time per {width} × {height} image (ms), batch 1", scale)


def _plot_against_cost(results: pd.DataFrame, costs: dict[str, float], label: str, scale: Scale) -> Figure:
    accuracy = results[(results.metric == "box_AP") & results.seed.notna()]
    points = accuracy.groupby(["row", "name", "setting"], as_index=False).measured.agg(["mean", "std"])
    points["cost"] = points.setting.map(costs)
    points = points.dropna(subset=["mean"])
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, max(3.8, 0.24 * len(points))), layout="constrained")
    front = _pareto_front(points)
    axes.plot(front.cost, front["mean"], color="0.6", linewidth=1, zorder=0, label="Pareto front")
    for point in points.itertuples():
        deviation = None if pd.isna(point.std) else point.std
        axes.errorbar(
            point.cost,
            point.mean,
            yerr=deviation,
            capsize=3,
            markersize=8,
            label=point.name,
            **_style(point.row, marker=True),
        )
    axes.set(xlabel=label, ylabel="box AP (%)", title=f"scale {scale.name}")
    figure.legend(loc="outside right upper")
    return figure


def _pareto_front(points: pd.DataFrame) -> pd.DataFrame:
    """The points that no other beats in both cost and mean, in the order of their cost."""
    ordered = points.sort_values(["cost", "mean"], ascending=[True, False])
    return ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=float("-inf"))]


def plot_training_curves(history: pd.DataFrame, scale: Scale) -> Figure:
    """Total training loss of every run over its iterations; the seeds of a row share its colour.

    Parameters
    ----------
    history : DataFrame
        Training curves from `reports.collect`.
    scale : Scale
        The scale of the runs.
    """
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 3.8), layout="constrained")
    first_seed = history.seed.min()
    for (row, label, seed), points in history.groupby(["row", "name", "seed"]):
        name = label if seed == first_seed else None
        axes.plot(points.iteration, points.loss, label=name, linewidth=1.2, **_style(row, marker=False))
    axes.set(xlabel="iteration", ylabel="training loss", title=f"scale {scale.name}")
    if not history.empty:
        figure.legend(loc="outside right upper")
    return figure


def _style(row: int, marker: bool) -> dict[str, Any]:
    colour = PALETTE[row % len(PALETTE)]
    if marker:
        return {"color": colour, "marker": MARKERS[row % len(MARKERS)], "linestyle": "none"}
    return {"color": colour, "linestyle": LINES[row // len(PALETTE) % len(LINES)]}


def main() -> None:
    """Draw the figures of one table, or with its speed the one about latency."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--complexity", type=Path, help="output of experiments.cost.complexity")
    parser.add_argument("--speed", type=Path, help="output of experiments.cost.speed")
    parser.add_argument("output", type=Path, help="the folder and the beginning of the files' names")
    arguments = parser.parse_args()
    scale, results = load_scale(arguments.scale), pd.read_csv(arguments.results, dtype={"run": str, "setting": str})
    figures: dict[str, Callable[[], Figure]] = {}
    if arguments.speed:
        rates = read_speeds(arguments.speed).frames_per_second
        figures["latency"] = lambda: plot_against_latency(results, rates, scale)
    else:
        history = pd.read_csv(arguments.history)
        flops = {key: counts["all_flops"] for key, counts in read_counts(arguments.complexity).counts.items()}
        figures["ap"] = lambda: plot_average_precision(results, scale)
        figures["flops"] = lambda: plot_against_flops(results, flops, scale)
        figures["curves"] = lambda: plot_training_curves(history, scale)
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]
    for name, plot in figures.items():
        figure = plot()
        for extension in ("png", "svg"):
            figure.savefig(f"{arguments.output}_{name}.{extension}", metadata={"Date": None} if extension == "svg" else None)
        plt.close(figure)


if __name__ == "__main__":
    report_user_errors(main)
