"""Studies as data: what the A²-FPN study contains, and what wrong ones are told."""

import sys
from datetime import date

import pytest
import yaml

from experiments.errors import UserError
from experiments.spec.offered_rows import study_at
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import Table, load_study
from experiments.spec.yaml_models import load_yaml

VALID = {
    "title": "t",
    "reference": "r",
    "defaults": {"detector": "mask_rcnn", "backbone": "resnet50", "schedule": "1x"},
    "settings": {"fpn": {"neck": {"type": "FPN"}}},
    "tables": {
        "table1": {"title": "t", "columns": {"box_AP": "AP"}, "rows": [{"name": "FPN", "setting": "fpn", "published": [1.0]}]}
    },
}


@pytest.fixture
def write_study(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.spec.study.STUDIES", tmp_path)

    def write(change=lambda study: None):
        study = yaml.safe_load(yaml.safe_dump(VALID))
        change(study)
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
        return load_study("mine")

    return write


def ablations():
    """A²-FPN's Tables 2 to 6."""
    return {key: table for key, table in load_study("a2fpn").tables.items() if key != "table1"}


def test_a2fpns_ablations_have_32_rows_and_18_runs_per_seed():
    rows = [row for table in ablations().values() for row in table.rows]
    assert len(rows) == 32
    for scale in map(load_scale, ("demo", "tiny_coco", "coco")):
        assert len({Run(row.setting, scale, seed=0).id for row in rows}) == 18


def test_table_1_runs_its_own_17_rows_and_quotes_13():
    table = load_study("a2fpn").tables["table1"]
    own = [row for row in table.rows if row.setting]
    assert (len(own), len(table.rows)) == (17, 30)
    assert all("*" in row.label or "(ours)" in row.label for row in own)
    assert all(row.unavailable.startswith("quoted from") for row in table.rows if row not in own)
    shared = {setting.model_dump_json() for ablation in ablations().values() for setting in ablation.settings}
    assert sum(row.setting.model_dump_json() in shared for row in own) == 3


SCALES_OF_PAPERS = (
    "tiny_coco",
    "coco",
    "coco_panoptic",
    "cityscapes",
    "ade20k",
    "coco_stuff10k",
    "voc",
    "visdrone",
    "stopsign",
    "imagenet",
    "cifar100",
    "cifar100_fine",
)
BACKBONES = {"R-50": "resnet50", "R-101": "resnet101", "X-101": "resnext101_64x4d"}
DETECTORS = {"Mask R-CNN": "mask_rcnn", "Cascade Mask R-CNN": "cascade_mask_rcnn", "HTC": "htc"}
NECKS = {"FPN": "fpn", "A²-FPN": "a2fpn", "A²-FPN-Lite": "a2fpn_lite"}


def test_settings_of_table_1_are_what_their_rows_say():
    study = load_study("a2fpn")
    for row in (row for row in study.tables["table1"].rows if row.setting):
        method, place, schedule = row.name
        backbone, neck = next((b, place.removeprefix(f"{b}-")) for b in BACKBONES if place.startswith(f"{b}-"))
        assert row.setting.detector == DETECTORS[method.removesuffix("*").removesuffix(" (ours)").removesuffix(", ms")]
        assert row.setting.backbone == BACKBONES[backbone]
        assert row.setting.neck == study.settings[NECKS[neck]].neck
        assert row.setting.schedule.split("_")[0] == schedule
        assert ("multi_scale" in row.setting.schedule) == (", ms" in method)


def test_published_numbers_of_table_1_are_test_devs_and_in_the_order_of_their_columns():
    for row in load_study("a2fpn").tables["table1"].rows:
        assert (row.published["mask_AP"], row.published["box_AP"]) == (None, None)
        for kind in ("box", "mask"):
            ap, ap50, ap75, small, medium, large = (
                row.published[f"test_{kind}_{name}"] for name in ("AP", "AP50", "AP75", "APS", "APM", "APL")
            )
            assert row.setting is None or None not in (ap, ap50, ap75, small, medium, large)
            if None not in (ap75, small):
                assert small < ap < large
                assert small < medium < large
                assert ap < ap75 < ap50


def test_every_row_of_a2fpns_ablations_has_all_published_numbers():
    for table in ablations().values():
        for row in table.rows:
            assert list(row.published) == list(table.columns)
            assert None not in row.published.values()


def test_equal_rows_of_a2fpn_are_published_with_equal_numbers():
    published = {}
    for key, table in ablations().items():
        for row in table.rows:
            numbers = {m: v for m, v in row.published.items() if m in ("box_AP", "mask_AP")}
            assert published.setdefault(row.setting.model_dump_json(), numbers) == numbers, (key, row.name)


def test_a_setting_may_be_written_into_the_row(write_study):
    def change(study):
        study["tables"]["table1"]["rows"][0]["setting"] = {"neck": {"type": "PAFPN"}}

    assert write_study(change).tables["table1"].rows[0].setting.neck == {"type": "PAFPN"}


def test_reports_are_prefixed_by_the_study_unless_it_says_otherwise(write_study):
    assert write_study().report("table1") == "mine_table1"
    assert write_study(edit("report_prefix", value="")).report("table1") == "table1"


def edit(*path, value):
    def change(study):
        place = study
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


ROW = ("tables", "table1", "rows")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit("titel", value="t"), ["titel", "allowed", "title"]),
        (edit("settings", "fpn", "neck", "type", value="FNP"), ["settings.fpn.neck", "unknown neck 'FNP'", "A2FPN", "FPN"]),
        (edit("settings", "fpn", "neck", value={"type": "A2FPN", "laterl": "mgc"}), ["no option 'laterl'", "lateral"]),
        (edit("settings", "fpn", "neck", value={"out_channels": 3}), ["settings.fpn.neck", "'type' is missing"]),
        (edit("settings", "fpn", "nekc", value={}), ["settings.fpn", "unknown key 'nekc'", "neck"]),
        (edit(*ROW, 0, "setting", value="fnp"), ["row 'FPN'", "unknown setting 'fnp'", "fpn"]),
        (edit(*ROW, value=[VALID["tables"]["table1"]["rows"][0]] * 2), ["tables.table1", "duplicate row name 'FPN'"]),
        (edit(*ROW, value=[]), ["tables.table1.rows"]),
        (edit(*ROW, 0, "published", value=[1.0, 2.0]), ["row 'FPN'", "2 published numbers for 1 columns"]),
        (edit(*ROW, 0, "name", value=["FPN", "x"]), ["row 'FPN x'", "2 names"]),
        (edit("tables", "table1", "columns", value={"box_ap": "AP"}), ["unknown metric 'box_ap'", "box_AP"]),
        (edit("tables", value=[1, 2]), ["tables"]),
        (edit("settings", value="fpn"), ["settings"]),
        (edit(*ROW, value=["fpn"]), ["tables.table1.rows"]),
        (edit("tables", "table1", value=None), ["tables.table1"]),
        (edit(*ROW, 0, value={"name": "FPN"}), ["row 'FPN'", "'setting'", "'unavailable'"]),
        (edit("settings", "fpn", "neck", value=[]), ["settings.fpn.neck", "expected a neck"]),
        (edit("settings", "fpn", "neck", value=["FPN"]), ["settings.fpn.neck", "expected a neck"]),
        (edit("settings", "fpn", "neck", value="FPN"), ["settings.fpn.neck", "expected a neck"]),
        (edit(*ROW, 0, value={"name": "FPN", "unavailable": ""}), ["tables.table1.rows.0.unavailable"]),
        (edit(*ROW, 0, "published", value={"box_ap": 1.0}), ["row 'FPN'", "'box_ap'", "no column", "box_AP"]),
        (edit(*ROW, 0, "published", value=["37,1"]), ["box_AP is '37,1'", "number"]),
        (edit(*ROW, 0, "published", value=[float("nan")]), ["box_AP is nan", "number"]),
        (edit("tables", "table1", "columns", value=5), ["tables.table1"]),
        (edit("tables", "table1", "columns", value={}), ["tables.table1"]),
        (edit("tables", value={}), ["tables"]),
        (edit(*ROW, 0, "published", value=[0.386]), ["box_AP is 0.386", "percent, from 0 to 100", "written as 38.6"]),
        (edit(*ROW, 0, "published", value=[386]), ["box_AP is 386", "percent, from 0 to 100"]),
        (edit(*ROW, 0, "published", value=[-3]), ["box_AP is -3", "percent, from 0 to 100"]),
        (edit(*ROW, 0, "name", value=1), ["tables.table1.rows.0.name: is 1, which YAML takes for a number", "quotes: '1'"]),
        (edit(*ROW, 0, "name", value=False), ["rows.0.name: is False, which YAML takes for true or false"]),
        (edit(*ROW, 0, "name", value=date(2021, 5, 3)), ["is 2021-05-03, which YAML takes for a date; put it into quotes"]),
        (edit(*ROW, 0, "name", value=["FPN", 4]), ["rows.0.name: is 4, which YAML takes for a number"]),
        (edit(*ROW, 0, "name", value=" "), ["rows.0.name: is ' '; allowed: text"]),
        (edit("settings", 1, value={}), ["settings.the key 1 is a number to YAML; put it into quotes: '1'"]),
        (edit("settings", "fpn", True, value="on"), ["settings.fpn.the key True is true or false to YAML"]),
        (edit("report_prefix", value="../x"), ["report_prefix"]),
        (edit(*ROW, 0, "name", value="a\u202eb"), ["rows.0.name.0: has the control character U+202E; allowed: printed text"]),
        (edit("title", value="a\x07"), ["title: has the control character U+0007"]),
        (edit("notes", value=["a\u200f"]), ["notes.0: has the control character U+200F"]),
        (edit("tables", "table1", "row_header", value=["box_AP"]), ["row_header names 'box_AP'", "each once"]),
        *(
            (
                lambda study, key=key: study["tables"].update({key: study["tables"].pop("table1")}),
                ["tables", key[:9], "letters, digits"],
            )
            for key in ("a/b", "..", "table one", "a%b{x}", "x" * 260, "")
        ),
        (
            edit("settings", "fpn", "neck", value={"type": "A2FPN", "lateral": "mgcc"}),
            ["lateral is 'mgcc'; allowed: conv, mgc"],
        ),
        (
            edit("settings", "fpn", "neck", value={"type": "A2FPN", "activation": "relu"}),
            ["activation is 'relu'; allowed: 2sigm"],
        ),
        (
            edit("settings", "fpn", "neck", value={"type": "A2FPN", "context_ratio": "5e-1"}),
            ["context_ratio is '5e-1'; allowed: a number; YAML takes 5e-1 for text"],
        ),
        (edit("settings", "fpn", "neck", value={"type": "A2FPN", "context_ratio": True}), ["context_ratio is True"]),
        (edit("settings", "fpn", "neck", value={"type": "A2FPN", "gcn": "no"}), ["gcn is 'no'; allowed: true or false"]),
        (
            edit("settings", "fpn", "neck", value={"type": "FPN", "start_level": 1.5}),
            ["start_level is 1.5; allowed: a whole number"],
        ),
        (edit("bibtex", value="Hu et al."), ["bibtex"]),
        (edit(*ROW, 0, "x", value={"n": "four"}), ["rows.0.x.n"]),
        (edit(*ROW, 0, "x", value={"n": 1, "m": 2}), ["rows.0.x"]),
        (edit(*ROW, 0, "unavailable", value="why"), ["row 'FPN'", "either the key 'setting' or the key 'unavailable'"]),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_and_allowed_values(write_study, change, words):
    with pytest.raises(UserError) as error:
        write_study(change)
    message = str(error.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_rows_vary_one_number(write_study):
    def change(study):
        rows = study["tables"]["table1"]["rows"]
        rows.append({**rows[0], "name": "other", "x": {"m": 2}})
        rows[0]["x"] = {"n": 1}

    with pytest.raises(UserError, match=r"tables\.table1: rows have different names in x: n, m; allowed: one"):
        write_study(change)


def test_an_unknown_study_names_those_that_exist(write_study):
    write_study()
    with pytest.raises(UserError, match=r"other.yaml does not exist; there are: mine"):
        load_study("other")


def test_duplicate_keys_and_broken_yaml_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.spec.study.STUDIES", tmp_path)
    (tmp_path / "twice.yaml").write_text("title: a\ntitle: b\n")
    with pytest.raises(UserError, match=r"twice.yaml, line 2: duplicate key 'title'"):
        load_study("twice")
    (tmp_path / "broken.yaml").write_text("title: [a\n")
    with pytest.raises(UserError, match=r"broken.yaml, line 2"):
        load_study("broken")


def test_a_mapping_may_take_over_the_keys_of_another_and_replace_some(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: &c\n  <<: *a\n  z: 4\nd: {<<: *c, z: 5}\n")
    expected = {"x": 1, "y": 2}
    assert load_yaml(path) == {"a": expected, "b": {"x": 1, "y": 3}, "c": expected | {"z": 4}, "d": expected | {"z": 5}}
    path.write_text("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n  y: 3\n")
    with pytest.raises(UserError, match=r"merged.yaml, line 5: duplicate key 'y'"):
        load_yaml(path)


@pytest.mark.parametrize("name", ["fapn", "aff", "afa", "a3fpn", "necks", "dense_necks", "panoptic_necks", "fusions"])
def test_every_study_has_runs_at_every_scale_and_says_why_other_rows_have_none(name):
    study = load_study(name)
    rows = [row for table in study.tables.values() for row in table.rows]
    assert any(row.setting for row in rows)
    for row in rows:
        assert (row.setting is None) == bool(row.unavailable)
    demo = load_scale("demo")
    assert all(Run(row.setting, demo, seed=0).id for row in rows if row.setting)
    for scale in map(load_scale, SCALES_OF_PAPERS):
        for table in study_at(study, scale).tables.values():
            for setting in table.settings:
                assert Run(setting, scale, seed=0).id


def test_every_row_that_can_be_run_can_be_run_at_its_papers_scale():
    scales = [load_scale(name) for name in SCALES_OF_PAPERS]
    for name in ("a2fpn", "fapn", "aff", "afa", "a3fpn"):
        study = load_study(name)
        offered = [study_at(study, scale) for scale in scales]
        for key, table in study.tables.items():
            for index, row in enumerate(table.rows):
                assert not row.setting or any(at.tables[key].rows[index].setting for at in offered), (key, row.label)


def test_equal_rows_of_a_study_are_published_with_equal_numbers():
    for name in ("fapn", "aff", "afa", "a3fpn"):
        published = {}
        for table in load_study(name).tables.values():
            for row in table.rows:
                numbers = {m: v for m, v in row.published.items() if m in ("box_AP", "mask_AP")}
                if row.setting and numbers:
                    assert published.setdefault(row.setting.model_dump_json(), numbers) == numbers, (name, row.label)


def calls_of(function):
    """How many functions are called, those written in C among them."""
    calls = []
    sys.setprofile(lambda _, event, __: calls.append(event) if event in ("call", "c_call") else None)
    try:
        function()
    finally:
        sys.setprofile(None)
    return len(calls)


@pytest.mark.parametrize("against", [None, "row 0"], ids=["nothing", "a row"])
def test_checking_a_table_takes_work_in_proportion_to_its_rows(against, write_study):
    small = write_study().tables["table1"]
    (first,) = small.rows

    def check(count):
        rows = [first.replace(name=[f"row {number}"], against=against if number else None) for number in range(count)]
        table = Table.model_validate({"title": "t", "columns": small.columns, "rows": rows})
        assert table.baselines == [None, *[0] * (count - 1)]

    assert calls_of(lambda: check(400)) < 6 * calls_of(lambda: check(100))


def test_a_row_that_cannot_run_has_a_reason_in_the_place_of_its_setting(write_study):
    table = write_study(edit(*ROW, 0, value={"name": "FPN", "unavailable": "ADE20K is not wired"})).tables["table1"]
    assert table.settings == []
    assert table.rows[0].unavailable == "ADE20K is not wired"


def test_a_chain_of_necks_is_checked_link_by_link(write_study):
    chain = [{"type": "FPN"}, {"type": "BFP", "refine_level": 2}]
    assert write_study(edit("settings", "fpn", "neck", value=chain)).settings["fpn"].neck_types == ["FPN", "BFP"]
    with pytest.raises(UserError, match="neck BFP has no option 'refine'"):
        write_study(edit("settings", "fpn", "neck", value=[{"type": "FPN"}, {"type": "BFP", "refine": 2}]))


def test_a_table_about_cost_is_made_without_training_unless_it_says_otherwise(write_study):
    columns = edit("tables", "table1", "columns", value={"fps": "FPS"})
    assert not write_study(columns).tables["table1"].is_trained_for_itself
    assert write_study().tables["table1"].is_trained_for_itself

    def insist(study):
        columns(study)
        edit("tables", "table1", "train_when_alone", value=True)(study)

    assert write_study(insist).tables["table1"].is_trained_for_itself


def test_a_chain_of_one_is_that_neck(write_study):
    assert write_study(edit("settings", "fpn", "neck", value=[{"type": "FPN"}])).settings["fpn"].neck == {"type": "FPN"}


def test_published_numbers_keep_their_digits():
    published = load_study("a3fpn").tables["table1"].rows[1].published
    assert published == {"box_AP": 43.7, "mask_AP": 39.19}
    assert published["box_AP"].text == "43.70"


def test_a_setting_begins_with_the_backbone_of_another(write_study):
    settings = {
        "first": {"neck": {"type": "FPN"}},
        "second": {"neck": {"type": "PAFPN"}, "load_from": "first"},
        "third": {"neck": {"type": "FPN"}, "load_from": "second"},
    }
    study = write_study(lambda study: study["settings"].update(settings))
    first, second, third = (study.settings[name] for name in ("first", "second", "third"))
    assert second.load_from == first
    assert third.load_from == second
    assert third.key == first.key, "costs do not depend on weights"
    assert "load_from" not in first.model_dump()
