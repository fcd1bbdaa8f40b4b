"""All reports of a configuration that have been made -> one page for readers, which works offline."""

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from experiments.errors import UserError, report_user_errors
from experiments.files import write_text_atomically
from experiments.paths import FIGURES, REPORTS
from experiments.records.run_status import STATES, RunReader
from experiments.spec.metrics import METRICS
from experiments.workflow.grid import Grid
from reports.cells import signed
from reports.render import FORMATS
from reports.tidy_files import read_tidy

TEMPLATE = Path(__file__).parent / "templates/index.html.j2"
# What is cut out of a table's own page.
START, END = "<!-- table -->", "<!-- /table -->"
FIGURE_TITLES = {
    "gains": "gains",
    "ap": "average precision",
    "curves": "training loss",
    "flops": "against multiply-adds",
    "latency": "against time per image",
    "examples": "on images",
}


@dataclass(frozen=True)
class Card:
    """One table of the page.

    Attributes
    ----------
    report, heading, study : str
        Name of the report, heading of the table, title of its study.
    body : str
        The table, HTML.
    figures : dict
        Name of each figure that exists to its alternative text.
    files : dict
        Ending to the file of each format that exists.
    runs, missing : set of str
        Ids of the table's runs, and of those that have not finished.
    notes : list of str
        Of the table and its study.
    """

    report: str
    heading: str
    study: str
    body: str
    figures: dict[str, str]
    files: dict[str, str]
    runs: set[str]
    missing: set[str]
    notes: list[str]


def make_index(grid: Grid) -> str:
    """The page.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration, whose reports are shown where they have been made.

    Raises
    ------
    UserError
        If none has been made.
    """
    gains, runs, cards, not_made = [], [], [], []
    for report, (study, key) in grid.tables.items():
        if not _is_made(grid, report):
            not_made.append(study.tables[key].heading)
            continue
        of_report = read_tidy(_data(report, "_gains"))
        gains.append(of_report)
        runs.append(read_tidy(_data(report, "_runs")).assign(report=report))
        cards.append(_card(grid, report, of_report))
    if not cards:
        raise UserError(
            f"{REPORTS}/index.html: no report of scale {grid.scale.name} has been made; ask for one beside it, such as"
            f" snakemake {REPORTS}/{next(iter(grid.tables))}.md {REPORTS}/index.html"
        )
    statuses = RunReader().statuses(grid.runs.values())
    states = Counter(run_status.state for run_status in statuses)
    all_gains, provenance = pd.concat(gains), _provenance(pd.concat(runs))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        scale=grid.scale,
        seeds=grid.configuration.seeds,
        cards=cards,
        reports=len(grid.tables),
        states=[(state, states[state]) for state in STATES if states[state]],
        number_of_runs=len(statuses),
        verdicts=all_gains.verdict.dropna().value_counts().to_dict(),
        claims=all_gains.claim.dropna().value_counts().to_dict(),
        provenance=provenance,
        to_come=_to_come(cards, provenance),
        not_made=not_made,
        titles=FIGURE_TITLES,
        bibtex=list(dict.fromkeys(study.bibtex.strip() for study, _ in grid.tables.values() if study.bibtex)),
        written=datetime.now().astimezone().isoformat(timespec="minutes"),
    )


def _to_come(cards: list[Card], provenance: list[dict[str, Any]]) -> dict[str, Any]:
    """How many trainings the tables of the page still wait for, of how many, and their minutes one after another."""
    missing = set().union(*(card.missing for card in cards))
    minutes = [line["minutes"] for line in provenance if line["minutes"] is not None]
    return {
        "trainings": len(missing),
        "of": len(set().union(*(card.runs for card in cards))),
        "minutes": len(missing) * sum(minutes) / len(minutes) if minutes else None,
    }


def _data(report: str, ending: str) -> Path:
    return REPORTS / "data" / f"{report}{ending}.csv"


def _is_made(grid: Grid, report: str) -> bool:
    """Whether a report's files exist, and are of runs of this configuration: another scale makes files of the same name."""
    needed = [REPORTS / f"{report}.html", _data(report, "_gains"), _data(report, "_runs")]
    if not all(path.exists() for path in needed):
        return False
    shown = set(read_tidy(_data(report, "_runs")).run.dropna())
    return shown <= grid.runs.keys()


def _card(grid: Grid, report: str, gains: pd.DataFrame) -> Card:
    study, key = grid.tables[report]
    page = (REPORTS / f"{report}.html").read_text(encoding="utf-8")
    body = page.partition(START)[2].partition(END)[0]
    figures = [name for name in FIGURE_TITLES if (FIGURES / f"{report}_{name}.png").exists()]
    runs = grid.runs_of(report)
    return Card(
        report=report,
        heading=study.tables[key].heading,
        study=study.title,
        body=body,
        figures={name: _in_words(name, gains) for name in figures},
        files={ending: f"{report}.{ending}" for ending in FORMATS if (REPORTS / f"{report}.{ending}").exists()},
        runs={run.id for run in runs},
        missing={run.id for run in runs if not run.metrics_file.exists()},
        notes=[*study.tables[key].notes, *study.notes],
    )


def _in_words(figure: str, gains: pd.DataFrame) -> str:
    """What a figure shows, for those who do not see it."""
    measured = gains.dropna(subset=["gain"])
    if figure != "gains" or measured.empty:
        return FIGURE_TITLES[figure]
    metric = measured.metric.iloc[0]
    lines = [_gain_in_words(line) for line in measured[measured.metric == metric].to_dict("records")]
    return f"gains in {METRICS[metric].short_label}: {'; '.join(lines)}"


def _gain_in_words(line: dict[str, Any]) -> str:
    interval = "" if pd.isna(line["low"]) else f", {signed(line['low'], 1)} to {signed(line['high'], 1)}"
    return f"{line['name']} over {line['against']} {signed(line['gain'], 1)}{interval}"


def _provenance(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """A line for each run, with the tables that show it."""
    lines = []
    for run, of_run in runs.groupby("run", sort=False):
        first = of_run.iloc[0]
        lines.append(
            {
                "run": run,
                "row": first["name"],
                "tables": ", ".join(dict.fromkeys(of_run.report)),
                "seed": int(first.seed),
                "minutes": None if pd.isna(first.seconds) else first.seconds / 60,
                "date": "" if pd.isna(first.date) else first.date[:16].replace("T", " "),
                "machine": "" if pd.isna(first.machine) else first.machine,
                "commit": "" if pd.isna(first.commit) else first.commit[:10],
                "stale": bool(first.stale),
            }
        )
    return lines


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--configuration", required=True, help="content of experiments/config.yaml, JSON")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    write_text_atomically(arguments.output, make_index(Grid(json.loads(arguments.configuration))))


if __name__ == "__main__":
    report_user_errors(main)
