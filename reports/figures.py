"""Tidy results -> figures: the main metrics per row, and against FLOPs and latency, training curves; PNG and SVG.

The figure ``<name>`` is drawn by the function ``plot_<name>``.
"""

import argparse
from itertools import cycle, takewhile
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from experiments.errors import report_user_errors
from experiments.records.cost_files import Counts, Speeds, read_costs
from experiments.spec.metrics import Metric
from experiments.spec.scale import load_scale
from experiments.workflow.report_inputs import FIGURE_NAMES
from reports.cost_figure import plot_flops, plot_latency  # noqa: F401 - drawn by their names
from reports.curve_figure import plot_curves  # noqa: F401 - drawn by its name
from reports.figure_data import FigureData, shown_metrics
from reports.figure_style import COLUMN_WIDTH, LINE_HEIGHT, MARKERS, PALETTE, SETTING_COLOURS, STYLE, save_figure, wrapped
from reports.gain_figure import plot_gains  # noqa: F401 - drawn by its name
from reports.gains import no_gains
from reports.kept import keep_copies
from reports.tidy_files import read_tidy

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


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
        # Numbers with three decimals would touch.
        panel.locator_params(axis="x", nbins=4, steps=[1, 2, 5, 10])
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
    lines = _lines(results, shown)
    colours = _colours_of(lines, data.baselines)
    height = 3.2 + LINE_HEIGHT * (len(lines) // 2)
    figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(COLUMN_WIDTH, height), layout="constrained")
    for panel, (title, column) in zip(axes[0], panels.items(), strict=True):
        for index, (label, of_line) in enumerate(lines.items()):
            values = of_line.dropna(subset=[column]).groupby("x")[column]
            spread = values.std() if column == "measured" else None
            style = {"color": colours[index], "marker": MARKERS[index % len(MARKERS)], "label": label}
            panel.errorbar(values.mean().index, values.mean(), yerr=spread, capsize=3, **style)
        panel.set(title=title, xlabel=results.x_name.iloc[0], ylabel=_common_label(shown), xticks=sorted(set(results.x)))
    handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _colours_of(lines: dict[str | None, pd.DataFrame], baselines: set[str]) -> list[str]:
    """Black for a line of baselines; two other lines have colours far from each other."""
    step = 3 if len(lines) <= len(SETTING_COLOURS) // 3 else 1
    colours = cycle(SETTING_COLOURS[::step])
    return ["black" if set(of_line.name) <= baselines else next(colours) for of_line in lines.values()]


def _lines(results: pd.DataFrame, shown: list[Metric]) -> dict[str | None, pd.DataFrame]:
    """Results by what a legend says of them: the metric, and where several rows have one number, what they are beside it."""
    number = results.x.map("{:g}".format)
    rest = pd.Series(
        [name.removesuffix(f" {x}") for name, x in zip(results.name, number, strict=True)], index=results.index, dtype=object
    )
    has_several = results.drop_duplicates("row").duplicated("x").any()
    lines: dict[str | None, pd.DataFrame] = {}
    for metric in shown:
        of_metric = results[results.metric == metric.name]
        if not has_several:
            lines[metric.label] = of_metric
            continue
        for name, of_line in of_metric.groupby(rest, sort=False):
            lines[name if len(shown) == 1 else f"{name}, {metric.short_label}"] = of_line
    return lines


def _common_label(metrics: list[Metric]) -> str:
    """What the labels of metrics share at their end: "AP (%)" of "box AP (%)" and "mask AP (%)"."""
    words = [str(metric.label).split()[::-1] for metric in metrics]
    shared = takewhile(lambda each: len(set(each)) == 1, zip(*words, strict=False))
    return " ".join([each[0] for each in shared][::-1])


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
