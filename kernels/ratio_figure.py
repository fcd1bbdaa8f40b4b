"""Ratios of times of the operators, drawn."""

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Okabe-Ito palette, safe for colour-blind readers, and a marker for each form.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
WIDTH, LINE_HEIGHT = 6.4, 0.3


def plot_ratios(table: pd.DataFrame, path: Path) -> None:
    """Draw how many times as long as ours the other forms take: a line of panels for each operator, a column for each pass.

    Parameters
    ----------
    table : DataFrame
        Rows of `kernels.benchmark.measure`.
    path : Path
        Image file to write.
    """
    operators, passes = (list(dict.fromkeys(table[column])) for column in ("operator", "pass"))
    table = table.assign(case=table["shape"].map(_typeset) + "\nbatch " + table["batch"].astype(str))
    heights = [1.4 + table[table.operator == operator].case.nunique() for operator in operators]
    figure, panels = plt.subplots(
        len(operators),
        len(passes),
        figsize=(WIDTH, 1.2 + LINE_HEIGHT * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    looks = {form: _look(number) for number, form in enumerate(dict.fromkeys(table.against))}
    for operator, line in zip(operators, panels, strict=True):
        of_operator = table[table.operator == operator]
        for name, axes in zip(passes, line, strict=True):
            axes.set_title(f"{operator}\n{name}", fontsize=8)
            _draw(axes, of_operator[of_operator["pass"] == name], looks)
        cases = list(dict.fromkeys(of_operator.case))
        line[0].set_yticks(range(len(cases)), cases, fontsize=6.5)
        line[0].set_ylim(len(cases) - 0.4, -0.6)
    handles = {handle.get_label(): handle for axes in panels.flat for handle in axes.collections}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.supxlabel("time of the other form / our time; to the right of the line ours is faster", fontsize=8)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def _look(number: int) -> tuple[str, str]:
    """A colour and a marker, together of its own for each of 40 forms."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _typeset(shape: str) -> str:
    return shape.replace("->", "→").replace("x", "×")


def _draw(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    cases = list(dict.fromkeys(rows.case))
    for form, of_form in rows.groupby("against", sort=False):
        colour, marker = looks[str(form)]
        places = [cases.index(case) for case in of_form.case]
        axes.scatter(of_form["other / ours"], places, label=form, color=colour, marker=marker, s=26, alpha=0.85, zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.tick_params(axis="x", labelsize=8)
    axes.axvline(1, color="0.3", linewidth=1)
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
