"""A file that is asked for belongs to one report, whatever the others are called."""

import pytest

from experiments.paths import FIGURES
from experiments.workflow.asked import asked_reports

REPORTS = ("table1", "table10", "table1_wide", "necks", "dense_necks")


@pytest.mark.parametrize(
    ("file", "report"),
    [
        ("reports/table1.md", "table1"),
        ("reports/table10.html", "table10"),
        ("reports/data/table10.csv", "table10"),
        ("reports/data/table1_gains.csv", "table1"),
        ("reports/data/table1_wide_gains.csv", "table1_wide"),
        ("reports/figures/table10_ap.png", "table10"),
        ("reports/figures/table1_wide_ap.png", "table1_wide"),
        ("reports/figures/dense_necks_examples.svg", "dense_necks"),
    ],
)
def test_a_file_belongs_to_the_longest_name_that_fits(file, report):
    assert asked_reports([file], REPORTS) == {report}


@pytest.mark.parametrize("file", ["all", "reports/index.html", "runs/0123456789ab/metrics.json", "reports/table2.md"])
def test_other_files_belong_to_none(file):
    assert not asked_reports([file], REPORTS)


def test_folders_may_be_chosen():
    files = ["reports/table1.md", "reports/figures/necks_ap.png"]
    assert asked_reports(files, REPORTS) == {"table1", "necks"}
    assert asked_reports(files, REPORTS, (FIGURES,)) == {"necks"}
