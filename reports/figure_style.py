"""How figures look: sizes, colours, names."""

import textwrap
import zlib
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from experiments.files import replacing

# Okabe-Ito palette, safe for colour-blind readers.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D1F"]
# Of settings; black is for baselines.
SETTING_COLOURS = [colour for colour in PALETTE if colour != "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", ">"]
COLUMN_WIDTH = 6.4
# Of names: letters in a line and lines, before they are cut.
NAME_LETTERS, NAME_LINES = 36, 3
LINE_HEIGHT = 0.22
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "reports",
    "legend.frameon": False,
    # Names are text, with dollars and all.
    "text.parse_math": False,
    "savefig.dpi": 200,
}


def colour_of(setting: str) -> str:
    """The colour of a setting, the same in every table and at every scale.

    Parameters
    ----------
    setting : str
        `Setting.key`.
    """
    return SETTING_COLOURS[zlib.crc32(setting.encode()) % len(SETTING_COLOURS)]


def wrapped(name: str) -> str:
    """A name in lines of a legend or an axis; what does not fit is cut, and the cut shown.

    Parameters
    ----------
    name : str
        The name.
    """
    return textwrap.fill(name, NAME_LETTERS, max_lines=NAME_LINES, placeholder=" …", break_on_hyphens=False)


def figure_of_words(words: str) -> Figure:
    """A figure that says why there is nothing to draw.

    Parameters
    ----------
    words : str
        The reason.
    """
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 1.2), layout="constrained")
    axes.axis("off")
    axes.text(0.5, 0.5, words, ha="center", va="center")
    return figure


def save_figure(figure: Figure, output: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, and close it.

    Parameters
    ----------
    figure : Figure
        The figure.
    output : Path
        The folder and the beginning of the files' names.
    name : str
        What the figure shows, the end of their names.
    """
    files = [output.with_name(f"{output.name}_{name}.{extension}") for extension in ("png", "svg")]
    for file in files:
        with replacing(file) as draft:
            figure.savefig(draft, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)
    return files
