"""The A²-FPN study -> docs/power.md: how many seeds each of its published gains takes to be shown.

python docs/make_power.py > docs/power.md
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiments.cli.power import PowerPlanner, about_power, seeds_in_words  # noqa: E402
from experiments.records.run_status import RunReader  # noqa: E402
from experiments.spec.metrics import METRICS  # noqa: E402
from experiments.workflow.grid import Grid  # noqa: E402

CONFIGURATION = {"studies": "a2fpn", "scale": "coco", "seeds": [0], "data_root": "photos", "train": "missing"}
INTRODUCTION = """\
# What a claim costs

<!-- Written by docs/make_power.py from the study and the scale; a test keeps it true. -->

How many seeds each of the two rows needs until the gains that A²-FPN's paper prints can be told apart from chance at its own
setting, COCO. The standard deviation over seeds is the one that scale `coco` assumes, {deviation}; once two seeds of a table
have run, their own takes its place. `python -m experiments plan --power` prints this for any configuration, with the hours, and
`python -m experiments plan --seeds-for 0.5` the seeds with which each table shows a gain of 0.5.

{about}
"""


def page() -> str:
    """The page, as it stands in ``docs/power.md``."""
    grid = Grid(CONFIGURATION)
    statuses = {run_status.run.id: run_status for run_status in RunReader().statuses(grid.runs.values())}
    lines = [
        f"| {claim.report} | {claim.row} | {claim.against} | {METRICS[claim.metric].short_label} | {claim.gain:+.1f} |"
        f" {seeds_in_words(claim)} |"
        for claim in PowerPlanner(grid, statuses).claims(lambda run: 0.0)
    ]
    head = ["| table | gain of | over | metric | published | seeds a row |", "|:--|:--|:--|:--|--:|--:|"]
    deviation = grid.scale.assumed_seed_sd
    return INTRODUCTION.format(deviation=deviation, about=about_power()) + "\n" + "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
