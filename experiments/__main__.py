"""What a configuration will cost and how far it is, also while Snakemake runs: ``python -m experiments plan``, ``status``."""

import argparse
import gc
from pathlib import Path
from typing import Any

import yaml

from experiments.cli import plan, status
from experiments.errors import UserError, run_or_explain
from experiments.workflow.grid import Grid

CONFIGURATION = Path("experiments/config.yaml")
VERBS = {"plan": plan, "status": status}


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
    try:
        configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{CONFIGURATION} does not exist: run this in the project's folder") from None
    except yaml.YAMLError as error:
        raise UserError(f"{CONFIGURATION}: {error}".replace("\n", " ")) from None
    if not isinstance(configuration, dict):
        raise UserError(f"{CONFIGURATION}: expected keys and values")
    return Grid(configuration | dict(_parse(override) for override in overrides))


def _parse(override: str) -> tuple[str, Any]:
    key, sign, value = override.partition("=")
    if not sign or not key:
        raise UserError(f"--config {override}: expected key=value, such as scale=coco")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--config {override}: the value is not YAML") from None


def main() -> None:
    """What the configuration will cost (plan), and how far it is (status); works while Snakemake runs."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=main.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.main.__doc__.splitlines()[0], description=module.__doc__)
        verb.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as after snakemake --config")
        module.add_arguments(verb)
    arguments = parser.parse_args()
    VERBS[arguments.verb].main(read_grid(arguments.config), arguments)


if __name__ == "__main__":
    # Thousands of runs are no garbage: looking through them less often saves a third of the time.
    gc.set_threshold(1_000_000, 50, 50)
    run_or_explain(main)
