"""What papers print is what can be true: relations between the published numbers of every study, whatever was typed."""

import re

import pytest

from experiments.paths import STUDIES
from experiments.spec.study import load_study

TABLES = {
    f"{path.stem}.{key}": table
    for path in sorted(STUDIES.glob("*.yaml"))
    for key, table in load_study(path.stem).tables.items()
}
ROWS = {f"{name}.{row.label}": row.published for name, table in TABLES.items() for row in table.rows if row.published}
# As printed, and impossible; the study's notes say so.
IMPOSSIBLE = {"fapn.table5.R101 3x FaPN"}
THINGS, STUFF = 80, 53
DATASETS = ("COCO", "VOC", "VisDrone", "Cityscapes", "ADE20K", "ImageNet", "CIFAR", "StopSign")
SCHEDULES = re.compile(r"\b(1x|3x|epochs|iterations|test-dev|Appendix)\b|[\d],000")


@pytest.mark.parametrize("name", ROWS)
def test_average_precisions_fall_with_the_threshold(name):
    published = ROWS[name]
    for prefix in ("box_", "mask_", "test_box_", "test_mask_"):
        ap, ap50, ap75 = (published.get(prefix + metric) for metric in ("AP", "AP50", "AP75"))
        if ap50 is not None:
            assert all(other is None or other <= ap50 for other in (ap, ap75))


@pytest.mark.parametrize("name", [name for name, published in ROWS.items() if published.get("PQ_things") is not None])
def test_panoptic_quality_is_the_mean_over_things_and_stuff(name):
    published = ROWS[name]
    mean = (THINGS * published["PQ_things"] + STUFF * published["PQ_stuff"]) / (THINGS + STUFF)
    assert (abs(mean - published["PQ"]) < 0.1) == (name not in IMPOSSIBLE)


@pytest.mark.parametrize(
    "name", [name for name in TABLES if not name.startswith(("necks.", "dense_necks.", "panoptic_necks.", "fusions."))]
)
def test_the_title_of_a_papers_table_names_data_set_and_schedule(name):
    heading = TABLES[name].heading
    assert any(dataset in heading for dataset in DATASETS)
    assert SCHEDULES.search(heading), heading
    assert TABLES[name].printed_as


def test_gains_are_over_the_papers_own_baselines():
    def pairs(name):
        table = TABLES[name]
        found = ((row.label, baseline) for row, baseline in zip(table.rows, table.baselines, strict=True))
        return {label: None if baseline is None else table.rows[baseline].label for label, baseline in found}

    for key in ("table2", "table4"):
        assert set(pairs(f"a2fpn.{key}").values()) == {"PAFPN", None}
    assert pairs("a2fpn.table3")["w/ GACARAFE"] == "w/ CARAFE"
    assert pairs("a2fpn.table5")["w/ GACAP 2σ"] == "w/ GACAP σ"
    stars = {label: baseline for label, baseline in pairs("a2fpn.table1").items() if baseline}
    assert len(stars) == 8
    assert all("*" in baseline for baseline in stars.values())
    assert pairs("afa.table1")["CMRCN MSSA R50"] == "CMRCN Sum-Up (AdamW) R50"
    assert pairs("afa.table1")["CMRCN MSSA-Adp R101"] is None
    assert pairs("a3fpn.table1")["mmdetection A3-FPN"] == "mmdetection FPN"


def test_numbers_of_model_zoos_say_so():
    named = {name: row.source for name, table in TABLES.items() for row in table.rows if row.source}
    assert set(named) == {"fapn.table1", "fapn.table2", "fapn.table3", "fapn.table5", "a3fpn.table1", "a3fpn.table3"} | {
        "a3fpn.table5",
        "a3fpn.table6",
    }
    assert all("model zoo" in source for source in named.values())
