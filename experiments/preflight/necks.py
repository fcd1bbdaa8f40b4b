"""Pre-flight check of the necks: each keeps the contract with the detector that it will be trained in."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from mmdet.utils import register_all_modules
from tqdm import tqdm

from experiments.errors import UserError, report_user_errors
from experiments.files import write_atomically
from experiments.preflight.neck_contract import NoOperatorError, check_contract
from experiments.records.checked_necks import passed_file, record_passed
from experiments.spec.run import Run
from experiments.workflow.grid import Grid


def check_necks(runs: Iterable[Run]) -> int:
    """Check the necks of runs that have not passed before, and record those that pass.

    Parameters
    ----------
    runs : iterable of Run
        Runs to be trained.

    Returns
    -------
    int
        Number of necks that were checked now.

    Raises
    ------
    UserError
        If one breaks the contract. The others are checked all the same, and every fault is printed.
    """
    unchecked = {path: run for run in runs if not (path := passed_file(run)).exists()}
    faults = []
    for run in tqdm(unchecked.values(), desc="checking necks", unit="neck", mininterval=1):
        try:
            record_passed(run, check_contract(run).words)
        except NoOperatorError as error:
            tqdm.write(f"not checked, for this machine has no GPU: {error}", file=sys.stderr)
            record_passed(run, ["not checked: it needs a GPU"])
        except UserError as error:
            faults.append(error)
    for fault in faults[1:]:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        raise faults[0]
    return len(unchecked)


def main() -> None:
    """Check the necks of the runs to train."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--configuration", required=True, help="content of experiments/config.yaml, JSON")
    parser.add_argument("--runs", nargs="*", default=[], help="ids of the runs to train; all of the grid where none is named")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    register_all_modules()
    runs = Grid(json.loads(arguments.configuration)).runs
    write_atomically(arguments.output, {"checked_necks": check_necks([runs[run] for run in arguments.runs] or runs.values())})


if __name__ == "__main__":
    report_user_errors(main)
