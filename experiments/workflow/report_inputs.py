"""Reports: the tables, figures and pages that there are, and what each is made of."""

import hashlib
import json
import re
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from experiments.paths import COMPLEXITY, FIGURES, REPORTS, STUDIES
from experiments.records.server_results import answer_file
from experiments.spec.fingerprint import program_fingerprint, task_file
from experiments.spec.metrics import TEST_ACCURACY
from experiments.spec.offered_rows import cost_scale
from experiments.workflow.asked import Asked
from experiments.workflow.grid import Grid
from experiments.workflow.prerequisites import Prerequisites
from experiments.workflow.trainings import Trainings

# One page of all reports.
INDEX = str(REPORTS / "index.html")
# Figures drawn from metrics alone. Those about cost have rules of their own, so that a failed count does not block the others.
FIGURE_NAMES = ("gains", "ap", "curves")
NAMED_REPORTS = 12


class ReportInputs:
    """Input functions and parameters of the rules of reports.

    Parameters
    ----------
    grid : Grid
        The grid of the configuration.
    asked : Asked
        What the user asked for.
    prerequisites : Prerequisites
        Knows the dataset's file.
    trainings : Trainings
        Know which runs are stale.
    """

    def __init__(self, grid: Grid, asked: Asked, prerequisites: Prerequisites, trainings: Trainings) -> None:
        self.grid = grid
        self._asked = asked
        self._prerequisites = prerequisites
        self._trainings = trainings

    def all_reports(self, _wildcards: object = None) -> list[str]:
        """All tables and figures, including the trainings that a table about cost would do without."""
        tables = [str(REPORTS / f"{report}.md") for report in self.grid.tables]
        figures = [f"{report}_{figure}" for report in self.grid.reports_with_figures for figure in (*FIGURE_NAMES, "flops")]
        figures += [f"{report}_latency" for report in self.grid.reports_on_cost]
        return [*tables, *(str(FIGURES / f"{figure}.png") for figure in figures), INDEX]

    @property
    def unknown_reports(self) -> str:
        """Regular expression of names below ``reports/`` that belong to no table."""
        names = "|".join(map(re.escape, self.grid.tables))
        figures = "|".join((*FIGURE_NAMES, "flops", "latency", "examples"))
        known = rf"index|(?:{names})|data/(?:{names})(?:_history|_runs|_gains|_classes)?|figures/(?:{names})_(?:{figures})"
        return rf"(?!(?:{known})\.)[^.]+"

    def no_such_report(self, wildcards: Any) -> str:
        """Refuse a file of ``reports/`` that no table makes.

        Raises
        ------
        SystemExit
            With one sentence that names the nearest reports first.
        """
        tables = list(self.grid.tables)
        nearest = get_close_matches(Path(wildcards.unknown).name, tables, 3, 0.5)
        named = [*nearest, *(name for name in tables if name not in nearest)][:NAMED_REPORTS]
        others = f" and {len(tables) - len(named)} more" if len(tables) > len(named) else ""
        raise SystemExit(
            f"error: reports/{wildcards.unknown}.{wildcards.format}: {', '.join(self.grid.configuration.studies)} have no such"
            f" report; there are: {', '.join(named)}{others}; --config studies=… reads other studies"
        )

    def tables_of_index(self, _wildcards: object = None) -> list[str]:
        """The tables' pages that the page of all reports waits for: those asked for beside it. Others are shown as they are."""
        return [str(REPORTS / f"{report}.html") for report in self.grid.tables if report in self._asked.reports]

    def others_on_index(self, _wildcards: object, input: object) -> str:
        """Hash of the reports that have been made before; as a parameter it renews the page."""
        asked = set(self.tables_of_index())
        pages = [REPORTS / f"{report}.html" for report in self.grid.tables]
        made = [(str(page), page.stat().st_mtime_ns) for page in pages if str(page) not in asked and page.exists()]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]

    def metrics_of_table(self, wildcards: Any) -> list[str]:
        """Metrics files of a table: of all its runs, or of the finished ones if none is trained for it."""
        trains = self._asked.trains(wildcards.report)
        return self._metrics(wildcards.report) if trains else self._existing_metrics(wildcards.report)

    def metrics_of_figures(self, wildcards: Any) -> list[str]:
        """Metrics files that a figure needs although its table would do without them."""
        return [] if self.grid.table(wildcards.report).is_trained_for_itself else self._metrics(wildcards.report)

    def dataset_of_table(self, wildcards: Any) -> list[str]:
        """The identity of the dataset, if there are metrics that must come from it."""
        return [self._prerequisites.dataset_checked] if self.metrics_of_table(wildcards) else []

    def state_of_runs(self, wildcards: Any) -> str:
        """Hash of a table's inputs; as a parameter it collects again when a file is gone or a run has become stale."""
        metrics = self.metrics_of_table(wildcards)
        kept = self.grid.runs_of(wildcards.report) if self.grid.configuration.train == "none" else []
        stale = [run.id for run in kept if self._trainings.state_of(run.id) == "stale"]
        return hashlib.sha256(json.dumps([metrics, stale, self.server_results(wildcards)]).encode()).hexdigest()[:12]

    def _metrics(self, report: str) -> list[str]:
        if self.grid.configuration.train == "none":
            return self._existing_metrics(report)
        return list(dict.fromkeys(str(run.metrics_file) for run in self.grid.runs_of(report)))

    def _existing_metrics(self, report: str) -> list[str]:
        files = dict.fromkeys(run.metrics_file for run in self.grid.runs_of(report))
        return [str(file) for file in files if file.exists()]

    def counts_of_table(self, wildcards: Any) -> list[str]:
        """The file of counts of a table about cost, always at a paper's scale."""
        return self._costs_of_table(wildcards.report, "")

    def speeds_of_table(self, wildcards: Any) -> list[str]:
        """The file of speeds of a table about cost, always at a paper's scale."""
        return self._costs_of_table(wildcards.report, "_speed")

    def _costs_of_table(self, report: str, part: str) -> list[str]:
        if report not in self.grid.reports_on_cost:
            return []
        return [str(COMPLEXITY / cost_scale(self.grid.table(report)) / f"{report}{part}.json")]

    def server_results(self, wildcards: Any) -> list[str]:
        """The evaluation server's results of a report's runs, if the table has columns for them."""
        if not any(metric in TEST_ACCURACY for metric in self.grid.table(wildcards.report).columns):
            return []
        files = dict.fromkeys(answer_file(run.id) for run in self.grid.runs_of(wildcards.report))
        return [str(file) for file in files if file.exists()]

    def settings_json(self, wildcards: Any) -> str:
        """The settings of a report's rows as a JSON list."""
        return json.dumps([setting.model_dump() for setting in self.grid.table(wildcards.report).settings])

    def cost_fingerprint(self, wildcards: Any) -> str:
        """Fingerprint of the sources that decide the cost of a report's rows."""
        runs = self.grid.runs_of(wildcards.report)
        models = sorted({model for run in runs for model in run.models})
        tasks = sorted({str(task_file(run.task)) for run in runs})
        return program_fingerprint(("experiments/cost/complexity.py", "experiments/cost/speed.py", *tasks), models)

    def study_of(self, wildcards: Any) -> str:
        """Name of a report's study."""
        return self.grid.tables[wildcards.report][0].name

    def chosen_rows(self, _wildcards: object) -> str:
        """The option that restricts a report to some rows; empty for all."""
        rows = self.grid.configuration.rows
        return "" if rows is None else shlex.join(["--rows", *rows])

    def study_file(self, wildcards: Any) -> str:
        """File of a report's study."""
        return str(STUDIES / f"{self.study_of(wildcards)}.yaml")

    def table_of(self, wildcards: Any) -> str:
        """Key of a report's table in its study."""
        return self.grid.tables[wildcards.report][1]
