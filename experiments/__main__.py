"""What a configuration costs, how far it is, whether its data and necks are right: ``python -m experiments plan``, …"""

import argparse
import gc

from experiments.cli import check_data, check_neck, compare, convert, plan, status, warm_up
from experiments.errors import report_user_errors
from experiments.spec.configuration import read_configuration
from experiments.workflow.grid import Grid

VERBS = {
    "plan": plan,
    "status": status,
    "check-data": check_data,
    "check-neck": check_neck,
    "compare": compare,
    "convert": convert,
    "warm-up": warm_up,
}


def read_grid(overrides: list[str]) -> Grid:
    """The grid of ``experiments/config.yaml``.

    Parameters
    ----------
    overrides : list of str
        ``key=value`` each, as after ``snakemake --config``.

    Raises
    ------
    UserError
        If the configuration or an override is wrong.
    """
    return Grid(read_configuration(overrides))


def main() -> None:
    """What the configuration will cost (plan), how far it is (status), whether its data and a neck are right (check-…), …"""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=main.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.main.__doc__.splitlines()[0], description=module.__doc__)
        verb.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as after snakemake --config")
        module.add_arguments(verb)
    arguments = parser.parse_args()
    VERBS[arguments.verb].main(read_grid(arguments.config), arguments)


if __name__ == "__main__":
    # Fewer garbage collections save a third of the time on thousands of runs.
    gc.set_threshold(1_000_000, 50, 50)
    report_user_errors(main)
