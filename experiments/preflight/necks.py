"""Pre-flight check of the necks: each keeps the contract with the detector that it will be trained in."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from experiments.configs.build import build_neck
from experiments.errors import each_result, report_user_errors
from experiments.files import write_atomically
from experiments.preflight.arguments import read_arguments
from experiments.preflight.neck_contract import NoOperatorError, check_contract
from experiments.records.checked_necks import passed_file, record_passed
from experiments.spec.run import Run


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
    each_result(_check, tqdm(unchecked.values(), desc="checking necks", unit="neck", mininterval=1))
    return len(unchecked)


def _check(run: Run) -> None:
    try:
        record_passed(run, check_contract(run).words)
    except NoOperatorError as error:
        tqdm.write(f"not checked, for this machine has no GPU: {error}", file=sys.stderr)
        record_passed(run, ["not checked: it needs a GPU"])


def check_options(runs: Iterable[Run]) -> None:
    """Build the necks of runs, to find options that only a neck's constructor refuses.

    Parameters
    ----------
    runs : iterable of Run
        Runs whose necks have not passed `check_necks`.

    Raises
    ------
    UserError
        If a neck refuses its options. The others are built all the same, and every fault is printed.
    """
    each_result(build_neck, runs)


def main() -> None:
    """Check the necks of the runs to train."""
    runs, output = read_arguments(main.__doc__)
    write_atomically(output, {"checked_necks": check_necks(runs)})


if __name__ == "__main__":
    report_user_errors(main)
