"""Identity of a run."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.spec.offered_rows import study_at
from experiments.spec.run import Run
from experiments.spec.scale import Training, load_scale
from experiments.spec.setting import Setting
from experiments.spec.study import load_study

DEMO = load_scale("demo")


def setting(**neck):
    return Setting(neck={"type": "A2FPN", **neck}, detector="mask_rcnn", backbone="resnet50", schedule="1x")


def test_id_does_not_depend_on_the_order_of_options():
    one = setting(lateral="mgc", top_down="carafe")
    other = setting(top_down="carafe", lateral="mgc")
    assert Run(one, DEMO, 0).id == Run(other, DEMO, 0).id


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_id_tells_seeds_apart(first, second):
    assert (Run(setting(), DEMO, first).id == Run(setting(), DEMO, second).id) == (first == second)


@pytest.mark.parametrize(
    "change",
    [
        {"out_channels": 64},
        {"batch_size": 4},
        {"image_scale": (128, 128)},
        {"config": {"optim_wrapper": {"optimizer": {"lr": 1.0}}}},
        {"dataset": DEMO.dataset.replace(seed=1)},
        {"schedules": {"1x": DEMO.schedules["1x"].replace(epochs=1)}},
    ],
)
def test_id_changes_with_whatever_decides_the_result(change):
    assert Run(setting(), DEMO.replace(**change), 0).id != Run(setting(), DEMO, 0).id


@pytest.mark.parametrize(
    "change",
    [
        {"title": "another"},
        {"resources": DEMO.resources.replace(memory_mb=1)},
        {"schedules": {**DEMO.schedules, "2x": DEMO.schedules["1x"]}},
        {"validation_interval": 1},
    ],
)
def test_id_stays_when_something_else_changes(change):
    assert Run(setting(), DEMO.replace(**change), 0).id == Run(setting(), DEMO, 0).id


def test_what_a_scale_does_not_offer_is_named():
    with pytest.raises(UserError, match=r"schedule '3x' is not offered by scale demo; allowed: 1x, "):
        Run(Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone="resnet50", schedule="3x"), DEMO, 0)


@pytest.mark.parametrize(
    ("scale", "digest"), [("demo", "6de4ce3db406"), ("tiny_coco", "5c7b89830089"), ("coco", "c482d34abb19")]
)
def test_runs_of_a2fpn_keep_the_ids_that_they_have_been_trained_under(scale, digest):
    tables = [table for key, table in load_study("a2fpn").tables.items() if key != "table1"]
    offered = load_scale(scale)
    runs = [Run(setting, offered, 0) for table in tables for setting in table.settings]
    ids = " ".join(sorted({run.id for run in runs}))
    assert hashlib.sha256(ids.encode()).hexdigest().startswith(digest)


def test_a_schedule_may_have_its_own_batch_size():
    schedule = DEMO.schedules["1x"].replace(batch_size=2)
    run = Run(setting(), DEMO.replace(schedules={"1x": schedule}), 0)
    assert run.batch_size == run.spec["batch_size"] == 2
    assert Run(setting(), DEMO, 0).batch_size == DEMO.batch_size


def test_a_run_names_the_models_that_it_is_made_of():
    chain = Setting(
        neck=[{"type": "FPN"}, {"type": "BFP", "num_levels": 5}], detector="mask_rcnn", backbone="resnet50", schedule="1x"
    )
    assert Run(chain, DEMO, 0).models == ["FPN", "BFP"]
    fusing = Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone="aff_resnet50", schedule="1x")
    assert Run(fusing, DEMO, 0).models == ["FPN", "AFFResNet"]


def test_the_choices_are_part_of_what_a_run_is():
    scale = DEMO
    ids = {
        Run(setting(), scale.replace(training=Training(**training)), 0).id
        for training in (
            {},
            {"precision": "bfloat16"},
            {"channels_last": True},
            {"gradient_checkpointing": ["neck"]},
            {"base_batch_size": 16},
            {"deterministic": True},
        )
    }
    assert len(ids) == 6
    # A rule that multiplies by one says nothing.
    assert Run(setting(), scale.replace(training=Training(base_batch_size=8)), 0).id in ids


RUN_IDS = json.loads((Path(__file__).parent / "run_ids.json").read_text())


@pytest.mark.parametrize(("scale", "study"), [(scale, study) for scale, studies in RUN_IDS.items() for study in studies])
def test_the_runs_of_all_studies_and_scales_keep_their_ids(scale, study):
    """A user's finished runs are found by their ids. Change run_ids.json only for rows that are added or meant to change."""
    loaded = load_scale(scale)
    tables = study_at(load_study(study), loaded).tables.values()
    ids = [Run(setting, loaded, seed).id for table in tables for setting in table.settings for seed in (0, 1)]
    once = list(dict.fromkeys(ids))
    assert [len(once), hashlib.sha256(" ".join(once).encode()).hexdigest()[:16]] == RUN_IDS[scale][study]


@pytest.mark.parametrize(("key", "value", "task"), [
    ("albumentations", [{"type": "Blur"}], "detection"), ("photometric", True, "semantic_segmentation")
])  # fmt: skip
def test_changes_of_images_that_a_task_would_leave_out_are_refused(key, value, task):
    demo = load_scale("demo")
    schedules = {**demo.schedules, "1x": demo.schedules["1x"].replace(**{key: value})}
    with pytest.raises(UserError, match=rf"demo\.yaml: schedules\.1x\.{key}: detector 'mask_rcnn' is for .*for {task}"):
        Run(setting(), demo.replace(schedules=schedules), 0)


def test_a_run_begins_with_a_run_of_its_own_scale_and_seed():
    begun = Run(setting().replace(load_from=setting(top_down="carafe")), DEMO, 3)
    assert begun.source == Run(setting(top_down="carafe"), DEMO, 3)
    assert begun.spec["load_from"] == begun.load_from == begun.source.id
    assert begun.id != Run(setting(), DEMO, 3).id
    assert [run.id for run in begun.with_sources] == [begun.id, begun.source.id]
    by_id = Run(setting().replace(load_from=begun.source.id), DEMO, 3)
    assert by_id.source is None
    assert by_id.id == begun.id, "the same training, however it is named"


def test_a_run_begins_with_no_other_backbone():
    other = setting().replace(backbone="resnet101")
    with pytest.raises(UserError, match="backbone 'resnet101' has no weights for 'resnet50'; allowed: a setting with the same"):
        Run(setting().replace(load_from=other), DEMO, 0)
