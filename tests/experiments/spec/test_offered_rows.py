"""Rows whose detector another scale has are unavailable here, with the reason; a detector that none has is refused."""

import pytest

from experiments.errors import UserError
from experiments.spec.datasets import LabelMapDataset
from experiments.spec.offered_rows import cost_scale, study_at, table_at
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study

DEMO = load_scale("demo")
FOLDERS = {f"{split}_{kind}": f"{kind}/{split}/" for split in ("train", "val") for kind in ("images", "maps")}
LABELLED = DEMO.replace(name="labelled", dataset=LabelMapDataset(kind="label_maps", classes=["a", "b"], **FOLDERS))


def test_rows_that_the_scale_offers_stay():
    study = load_study("a2fpn")
    assert study_at(study, DEMO) == study


def test_rows_of_other_scales_say_which_have_them():
    table = table_at(load_study("a2fpn").tables["table2"], LABELLED)
    assert {row.setting for row in table.rows} == {None}
    assert table.rows[0].unavailable == "scale labelled has no mask_rcnn; coco, coco_panoptic, demo, quick, tiny_coco have"
    assert table.settings == []


def test_a_backbone_or_a_schedule_of_another_scale_counts_too():
    rows = table_at(load_study("fapn").tables["table8"], load_scale("ade20k")).rows
    assert [row.setting is None for row in rows] == [False, False, True, True]
    assert rows[2].unavailable == "scale ade20k has no resnet101 and no 60k_batch_32; coco_stuff10k, demo, quick have"


def test_a_detector_that_no_scale_has_is_refused_where_its_run_is_made():
    table = load_study("a2fpn").tables["table2"]
    row = table.rows[0]
    misspelt = table.model_copy(
        update={"rows": [row.model_copy(update={"setting": row.setting.model_copy(update={"detector": "mask_rcn"})})]}
    )
    assert table_at(misspelt, DEMO) == misspelt
    with pytest.raises(UserError, match="detector 'mask_rcn' is not offered by scale demo"):
        Run(misspelt.rows[0].setting, DEMO, seed=0)


def test_another_folder_has_other_scales(small_grid):
    small_grid()
    row = table_at(load_study("two_necks").tables["table2"], LABELLED).rows[0]
    assert row.unavailable.endswith("demo, instant, quick, tiny_coco have")


@pytest.mark.parametrize(
    ("study", "table", "expected"),
    [
        ("a2fpn", "table6", "coco"),
        ("aff", "table10", "imagenet"),
        ("aff", "table8", "imagenet"),
        ("fapn", "table5", "coco_panoptic"),
        ("fapn", "table8", "coco"),  # no scale has all of its models
    ],
)
def test_costs_are_counted_at_the_papers_scale_that_has_all_rows(study, table, expected):
    assert cost_scale(load_study(study).tables[table]) == expected


def test_a_row_whose_backbone_another_scale_trains_is_unavailable_here():
    study = load_study("aff")
    table = study.tables["table1"]
    classifier = study.settings["aff_resnet50_160e"]
    row = table.rows[0]
    begun = row.setting.replace(backbone="aff_resnet50", load_from=classifier)
    rows = [row.model_copy(update={"setting": begun})]
    table = table.model_copy(update={"rows": rows})
    assert table_at(table, DEMO).rows == rows
    assert "no classifier" in table_at(table, load_scale("coco")).rows[0].unavailable
