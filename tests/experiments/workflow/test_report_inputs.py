"""Reports know what they are made of: the same answer whatever was asked before; a name that is none is refused."""

import re
from types import SimpleNamespace

import pytest

from experiments.workflow.grid import Grid

CONFIGURATION = {"studies": "a2fpn", "scale": "demo", "seeds": 0}
TABLE6 = SimpleNamespace(report="table6")


@pytest.fixture
def reports_of(rules_of):
    """A function from a configuration and what is asked for to the functions of reports."""
    return lambda configuration=CONFIGURATION, *asked: rules_of(Grid(configuration), *asked).reports


@pytest.fixture
def reports(small_grid, rules_of):
    return rules_of(small_grid()).reports


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["reports/table6.md"], 0),
        (["reports/table6.md", "reports/table60.md"], 0),
        (["reports/table6.md", "reports/figures/table6_ap.png"], 4),
        (["all"], 4),
        ([], 4),
    ],
)
def test_a_table_about_cost_wants_its_trainings_only_beside_everything_or_for_its_figures(
    monkeypatch, reports_of, asked, count
):
    monkeypatch.setattr("experiments.workflow.report_inputs.ReportInputs._existing_metrics", lambda *_: [])
    assert len(reports_of(CONFIGURATION, *asked).metrics_of_table(TABLE6)) == count


def test_no_answer_depends_on_the_questions_before(reports_of):
    reports = reports_of(CONFIGURATION, "reports/table6.md")
    before = reports.metrics_of_table(TABLE6)
    reports.all_reports()
    reports.metrics_of_figures(TABLE6)
    assert reports.metrics_of_table(TABLE6) == before


def test_reports_of_which_nothing_can_run_have_no_figures(reports_of):
    reports = reports_of({**CONFIGURATION, "studies": "fapn"}).all_reports()
    assert "reports/fapn_table7.md" in reports
    assert not [report for report in reports if "figures/fapn_table7" in report]


def test_reports_on_cost_have_a_figure_of_latency(reports_of):
    reports = reports_of({**CONFIGURATION, "studies": ["a2fpn", "necks"]}).all_reports()
    assert [report for report in reports if "latency" in report] == [
        "reports/figures/table6_latency.png",
        "reports/figures/necks_latency.png",
    ]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("two_necks_tabel2", "two_necks_table2"), ("table1", "two_necks_table1"), ("nothing", "two_necks_table1")],
)
def test_a_report_that_does_not_exist_is_told_the_nearest_first(reports, asked, nearest):
    with pytest.raises(SystemExit) as refused:
        reports.no_such_report(SimpleNamespace(unknown=asked, format="md"))
    assert str(refused.value).startswith(f"error: reports/{asked}.md: two_necks have no such report; there are: {nearest}, two")


def test_reports_and_their_files_are_known(reports):
    unknown = re.compile(f"reports/(?P<unknown>{reports.unknown_reports})[.](?P<format>md|csv|png)")
    known = ("two_necks_table1", "data/two_necks_table2", "data/two_necks_table2_runs", "figures/two_necks_table1_ap")
    assert not [name for name in known if unknown.fullmatch(f"reports/{name}.csv")]
    others = ("two_necks_table9", "two_necks_table11", "figures/two_necks_table1_pa", "data/two_necks_table1_x", "table1")
    assert all(unknown.fullmatch(f"reports/{name}.csv") for name in others)
