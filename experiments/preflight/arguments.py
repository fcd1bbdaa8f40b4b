"""The arguments that the checks before trainings share: the configuration, the runs that it will train, and a file to write."""

import argparse
import json
from pathlib import Path

from mmdet.utils import register_all_modules

from experiments.spec.run import Run
from experiments.workflow.grid import Grid


def read_arguments(description: str | None) -> tuple[list[Run], Path]:
    """The runs of the command line and the file that receives what was found; mmdetection's modules are registered.

    Parameters
    ----------
    description : str or None
        What the program does.

    Returns
    -------
    list of Run
        The runs that are named, or all of the configuration where none is.
    Path
        The file.

    Raises
    ------
    UserError
        If the configuration is wrong.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--configuration", required=True, help="content of experiments/config.yaml, JSON")
    parser.add_argument("--runs", nargs="*", default=[], help="ids of the runs to train; all where none is named")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    register_all_modules()
    runs = Grid(json.loads(arguments.configuration)).runs
    return [runs[run] for run in arguments.runs] or list(runs.values()), arguments.output
