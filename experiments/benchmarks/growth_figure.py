"""Times and memory of growing grids, drawn."""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

COLOURS = ("#0072B2", "#E69F00")
LINES = ("-", "--")
QUANTITIES = {"processor_seconds": "processor time (s)", "gibibytes": "peak memory of a process (GiB)"}
COLUMNS, PANEL = 3, (6.4 / 3, 1.2)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw processor time and memory against the number of runs, a panel for each command, all axes logarithmic.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.
    path : Path
        Image file to write.
    """
    commands = list(dict.fromkeys(table.command))
    looks = dict(zip(dict.fromkeys(table["shape"]), zip(COLOURS, LINES, strict=True), strict=False))
    lines = -(-len(commands) // COLUMNS)
    height = 0.3 + len(QUANTITIES) * (0.6 + PANEL[1] * lines)
    figure = plt.figure(figsize=(COLUMNS * PANEL[0], height), layout="constrained")
    parts = figure.subfigures(len(QUANTITIES), squeeze=False)[:, 0]
    for part, (quantity, label) in zip(parts, QUANTITIES.items(), strict=True):
        panels = part.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes, command in zip(panels.flat, commands, strict=False):
            axes.set_title(command, fontsize=8)
            _draw(axes, table[table.command == command].set_index("runs"), quantity, looks)
        for axes in panels.flat[len(commands) :]:
            axes.axis("off")
        # The line of proportion goes on below what was measured.
        panels[0, 0].set_ylim(0.7 * table[quantity].min(), 1.4 * table[quantity].max())
        part.supylabel(label, fontsize=8)
        part.supxlabel("runs", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def _draw(axes: Axes, costs: pd.DataFrame, quantity: str, looks: dict[str, tuple[str, str]]) -> None:
    for shape, of_shape in costs.groupby("shape", sort=False):
        colour, line = looks[str(shape)]
        axes.plot(of_shape.index, of_shape[quantity], line, color=colour, marker="o", markersize=3, label=str(shape))
    sizes = [costs.index.min(), costs.index.max()]
    top = costs[costs.index == sizes[1]][quantity].max()
    axes.plot(sizes, [top * sizes[0] / sizes[1], top], ":", color="0.5", linewidth=1, label="as the number of runs", zorder=0)
    axes.set(xscale="log", yscale="log")
    if quantity == "gibibytes":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter("")
    axes.tick_params(labelsize=7)
    axes.grid(which="major", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
