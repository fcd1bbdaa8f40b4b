"""Times and memory of growing grids, drawn."""

from pathlib import Path

import matplotlib
import pandas as pd

from experiments.benchmarks.synthetic_grid import SHAPES

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw processor time and memory against the number of runs, both axes logarithmic, with a line of slope 1.

    Parameters
    ----------
    table : DataFrame
        Columns shape, runs, command, seconds, processor_seconds, gibibytes.
    path : Path
        Image file to write.
    """
    quantities = {"processor_seconds": "processor time (s)", "gibibytes": "peak memory of a process (GiB)"}
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    styles = dict(zip(table.command.unique(), zip(COLOURS, MARKERS, strict=True), strict=False))
    for panel, (quantity, label) in zip(panels, quantities.items(), strict=True):
        for (shape, command), costs in table.groupby(["shape", "command"], sort=False):
            colour, marker = styles[command]
            line = "-" if shape == SHAPES[0] else ":"
            name = f"{command}, {shape}" if table["shape"].nunique() > 1 else command
            panel.plot(costs.runs, costs[quantity], line, color=colour, marker=marker, markersize=5, label=name)
        sizes = [table.runs.min(), table.runs.max()]
        top = table[quantity][table.runs == sizes[1]].max()
        panel.plot(sizes, [top * sizes[0] / sizes[1], top], "--", color="0.5", linewidth=1, label="slope 1: linear")
        panel.set(xscale="log", yscale="log", xlabel="runs", ylabel=label)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_formatter("")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter("{x:,g}")
        # Extend the line below the smallest measured size.
        panel.set_ylim(bottom=0.7 * table[quantity].min())
        panel.grid(which="major", color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    figure.savefig(path, dpi=200)
    plt.close(figure)
