"""Where the commands print: as wide as the terminal, or as a page in a file."""

import os

from rich.console import Console

WIDTH_OF_FILES = 160


def make_console() -> Console:
    """A console of the terminal's width; in a file, of `WIDTH_OF_FILES`, unless the variable COLUMNS says otherwise."""
    console = Console()
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(width=WIDTH_OF_FILES)
