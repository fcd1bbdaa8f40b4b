"""Tables as printed: values, deviations, differences, bold, gaps."""

import io
import json
import re
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.bootstrap.resamples import write_replicates
from experiments.records.cost_files import Speeds
from experiments.spec.metrics import METRICS, Metric
from experiments.spec.scale import load_scale
from experiments.spec.study import Study, load_study
from reports.collect import collect
from reports.gains import gains
from reports.render import FORMATS, render
from reports.tables import make_table


def table(study, key="table2", scale="demo", seeds=(0,), costs=(), machine=None, with_gains=False):
    keys = [setting.key for setting in study.tables[key].settings]
    collected = collect(study.tables[key], scale, list(seeds), dict(zip(keys, costs, strict=False)))
    of_rows = gains(study.tables[key], load_scale_of(scale), collected.results) if with_gains else None
    return make_table(study, key, load_scale_of(scale), collected.results, collected.runs, machine, gains=of_rows)


def load_scale_of(name):
    # Read before the test changed the folder.
    return SCALES[name]


SCALES = {name: load_scale(name) for name in ("demo", "coco")}
FAPN, AFF, A3FPN, NECKS = (load_study(name) for name in ("fapn", "aff", "a3fpn", "necks"))


def line(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


def test_a_row_shows_measured_and_published_with_bold_for_the_best(finished, study):
    finished("fpn", 20.04)
    finished("a2fpn", 25.0)
    text = render(table(study), "md")
    # Of one seed nothing is the best.
    assert line(text, "| FPN").startswith("| FPN |  |  |  | 20.0 (37.1) | 20.0 (34.1) | 19.0 (55.4) |")
    assert line(text, "| MC+GE+GP").startswith("| MC+GE+GP | ✓ | ✓ | ✓ | 25.0 (**40.0**) | 25.0 (**36.2**) | 24.0 (58.4) |")
    assert "One seed ranks nothing." in text


def test_what_has_not_run_says_so_and_is_listed(finished, study):
    finished("fpn", 20.0)
    text = render(table(study), "md")
    assert line(text, "| PAFPN").startswith("| PAFPN |  |  |  | not run (37.6) |")
    assert "**Missing runs:** GE: seed 0; GE+GP: seed 0; GP: seed 0; MC: seed 0" in text
    assert " FPN: seed 0" not in text
    several = render(table(study, seeds=(0, 1, 2, 5)), "md")
    assert "FPN: seeds 1, 2, 5; GE: seeds 0–2, 5;" in several


@pytest.mark.parametrize(("scale", "compared"), [("demo", ""), ("coco", ", +0.4")])
def test_test_dev_is_told_apart_from_what_is_measured_here(finished, study, scale, compared):
    run = finished("fpn", 20.0, scale=scale)
    collected = collect(study.tables["table1"], scale, [0])
    results = collected.results
    results.loc[(results.run == run.id) & (results.metric == "test_mask_AP"), "measured"] = 34.9
    text = render(make_table(study, "table1", load_scale_of(scale), results, collected.runs), "md")
    assert "| val AP | val AP^bb | test-dev AP | test-dev AP50 |" in text
    row = line(text, r"| Mask R-CNN\* | R-50-FPN")
    assert row.startswith(rf"| Mask R-CNN\* | R-50-FPN | 1x | 20.0 | 20.0 | 34.9 (34.5{compared}) | not measured (56.3) |")
    quoted = line(text, "| PANet, ms [26] | X-101-PAFPN")
    assert quoted.startswith("| PANet, ms [26] | X-101-PAFPN | – | not available | not available | not available (42.0) |")
    assert "[26] X-101-PAFPN (quoted from the paper's reference [26])" in text


def test_a_table_of_some_rows_says_so(finished, study):
    finished("fpn", 20.04)
    some, scale = study.only_rows(["FPN"]), load_scale_of("demo")
    collected = collect(some.tables["table2"], "demo", [0])
    text = render(make_table(some, "table2", scale, collected.results, collected.runs, all_rows=9), "md")
    assert "**Rows** 1 of the table's 9, as asked for." in text
    assert "| PAFPN |" not in text
    assert "**Rows**" not in render(table(study), "md")


def test_nothing_missing_is_not_mentioned(finished, study):
    for setting in ("fpn", "pafpn", "mgc_ascending", "mgc_uniform", "mgc"):
        finished(setting, 20.0)
    assert "Missing" not in render(table(study, "table4"), "md")


def test_several_seeds_give_mean_and_standard_deviation(finished, study):
    for seed, value in enumerate((20.0, 22.0, 24.0)):
        finished("fpn", value, seed)
    text = render(table(study, seeds=(0, 1, 2)), "md")
    assert line(text, "| FPN").startswith("| FPN |  |  |  | 22.0 ± 2.0 (37.1)")
    assert "**Seeds** 0, 1, 2" in text


def leave_seeds(finished, scale, **values):
    for setting, of_setting in values.items():
        for seed, value in enumerate(of_setting):
            finished(setting, value, seed, scale)


def test_gains_over_the_papers_baseline_have_intervals_and_published_gains(finished, study):
    leave_seeds(finished, "demo", pafpn=(20.0, 20.4, 20.2), gacarafe=(24.0, 24.5, 24.1), mgc=(20.1, 20.6, 20.4))
    text = render(table(study, seeds=(0, 1, 2), with_gains=True), "md")
    assert line(text, "| Neck |").startswith("| Neck | MC | GE | GP | AP^bb | Δ AP^bb | AP | Δ AP | AP50 |")
    assert line(text, "| GE |").startswith("| GE |  | ✓ |  | **24.2** ± 0.26 (39.4) | **+4.0** [+3.4, +4.6] (+1.8) |")
    assert line(text, "| MC |").startswith("| MC | ✓ |  |  | 20.4 ± 0.25 (38.6) | +0.2 [−0.4, +0.7] (+1.0) |")
    assert "| PAFPN |  |  |  | 20.2 ± 0.20 (37.6) | – |" in text
    assert "Δ is the gain over PAFPN, with a 95 % interval over seeds in brackets" in text
    assert "**Published gains in AP^bb:** 1 confirmed (GE); 1 not shown (MC)." in text


def test_one_seed_compares_checkpoints_and_marks_nothing(finished, study):
    for number, (setting, value) in enumerate((("pafpn", 20.0), ("gacarafe", 24.0))):
        run = finished(setting, value)
        drawn = np.random.default_rng(number).normal(value, 0.5, 1000)
        write_replicates(run.folder / "bootstrap.npz", {"box_AP": np.concatenate([[value], drawn])})
    text = render(table(study, with_gains=True), "md")
    assert re.search(r"^\| GE \|  \| ✓ \|  \| 24\.0 \(39\.4\) \| \+4\.0 ⟦\+2\.\d, \+5\.\d⟧ \(\+1\.8\) \|", text, re.MULTILINE)
    assert "It compares two checkpoints on images like these, not two necks" in text
    assert "confirmed" not in text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((39.2, 39.4, 39.5), "39.4 ± 0.15 (39.4 ≈)"),
        ((40.4, 40.6, 40.5), "40.5 ± 0.10 (39.4 ▲, +1.1)"),
        ((38.4, 38.6, 38.5), "38.5 ± 0.10 (39.4 ▼, −0.9)"),
        ((36.0, 43.0, 39.0), "39.3 ± 3.5 (39.4 ?, −0.1)"),
        ((39.5,), "39.5 (39.4 [≈])"),
    ],
)
def test_published_numbers_have_a_verdict_in_the_papers_setting(finished, study, values, shown):
    leave_seeds(finished, "coco", pafpn=[37.6 + 0.1 * n for n in range(len(values))], gacarafe=values)
    text = render(table(study, scale="coco", seeds=range(len(values)), with_gains=True), "md")
    assert f"| {shown} |" in line(text, "| GE |").replace("**", "")


def test_tables_of_pairs_say_over_what_each_gain_is(finished, study):
    leave_seeds(finished, "demo", a2fpn=(25.0, 25.2), a2fpn_no_gcn=(24.0, 24.1), gacarafe=(22.0, 22.3), carafe=(22.1, 22.2))
    text = render(table(study, "table3", seeds=(0, 1), with_gains=True), "md")
    assert "Δ is the gain over A²-FPN w/o GCN (A²-FPN), w/ CARAFE (w/ GACARAFE), with a 95 % interval" in text
    assert "Holm" in text
    assert "| **+1.1** [+0.6, +1.5] (+0.4) |" in line(text, "| A²-FPN | – |")


@pytest.mark.parametrize("extension", ["tex", "html"])
def test_gains_stand_in_every_format(finished, study, extension):
    leave_seeds(finished, "demo", pafpn=(20.0, 20.4), gacarafe=(24.0, 24.5), mgc=(15.1, 15.6))
    text = render(table(study, seeds=(0, 1), with_gains=True), extension)
    expected = {
        "tex": (r"\textbf{+4.1}\,{\scriptsize [+2.", r"\textbf{$-$4.8}\,{\scriptsize [$-$", r"& \checkmark &", "Δ"),
        "html": ('class="gain"><b>+4.1</b><small>+2.', 'class="loss"><b>−4.8</b>', 'aria-label="on"', "+1.8 confirmed"),
    }
    for part in expected[extension]:
        assert part in text, part


def test_of_errors_less_is_better_and_a_rise_is_a_loss(finished, study, monkeypatch):
    monkeypatch.setitem(METRICS, "box_AP", replace(METRICS["box_AP"], lower_is_better=True))
    leave_seeds(finished, "demo", pafpn=(20.0, 20.4), gacarafe=(24.0, 24.5), mgc=(15.1, 15.6))
    context = table(study, seeds=(0, 1), with_gains=True)
    text = render(context, "md")
    assert "Δ is the difference from PAFPN, with a 95 % interval over seeds" in text
    assert "in parentheses the published difference. Of AP^bb less is better." in text
    page = render(context, "html")
    assert 'class="loss"><b>+4.1</b>' in page
    assert 'class="gain"><b>−4.8</b>' in page


def test_difference_to_the_paper_stands_only_at_the_papers_scale(finished, study):
    finished("fpn", 37.3, scale="coco")
    finished("fpn", 37.3, scale="demo")
    assert "(37.1, +0.2)" in line(render(table(study, scale="coco"), "md"), "| FPN")
    assert "+0.2" not in render(table(study, scale="demo"), "md")


def test_table_6_adds_honest_columns_and_the_ratio_to_the_first_row(finished, study):
    costs = [
        {"parameters": 44176374, "flops": 283.281e9, "all_parameters": 44.4e6, "all_flops": 267e9, "fps": 2.0},
        {"parameters": 47716854, "flops": 309.056e9, "all_parameters": 47.9e6, "all_flops": 293e9, "fps": 1.9},
        {"parameters": 57493490, "flops": 375.391e9, "all_parameters": 57.7e6, "all_flops": 394e9, "fps": 1.0},
        {"parameters": 48829747, "flops": 319.912e9, "all_parameters": 49.0e6, "all_flops": 313e9, "fps": 1.5},
    ]
    machine = Speeds(frames_per_second={}, image=[832, 1280], machine="a machine", repetitions=5)
    text = render(table(study, "table6", costs=costs, machine=machine), "md")
    row = line(text, "| A²-FPN |")
    assert row.startswith(
        "| A²-FPN | 57.49 (57.49) | 57.70 | 375.39 (375.39) | 394.00 | 1 (9.5) | 0.500 (0.725) | not run (**40.0**)"
    )
    assert "1280 × 832" in text
    assert "a machine" in text
    assert "**44.18** (**44.18**)" in line(text, "| FPN")


def test_speeds_are_bold_where_their_rounds_do_not_tell_them_apart_from_the_fastest(study):
    keys = [setting.key for setting in study.tables["table6"].settings]
    rates = [[2.0, 1.0, 2.2], [2.02, 0.99, 2.21], [1.0, 0.5, 1.1], [1.5, 0.75, 1.7]]
    costs = [{"fps": statistics.median(of_model)} for of_model in rates]
    machine = {"frames_per_second": {}, "image": [832, 1280], "machine": "a machine", "repetitions": 3}
    with_rounds = Speeds(**machine, rounds=dict(zip(keys, rates, strict=True)))
    text = render(table(study, "table6", costs=costs, machine=with_rounds), "md")
    shown = {name: line(text, f"| {name} |").split(" | ")[5:7] for name in ("FPN", "PAFPN", "A²-FPN", "A²-FPN-Lite")}
    assert shown["FPN"] == ["**2** (**13.1**)", "**1.000** (**1.000**)"]
    assert shown["PAFPN"] == ["**2.02** (12.8)", "**1.010** (0.977)"]
    assert shown["A²-FPN"] == ["1 (9.5)", "0.500 (0.725)"]
    assert shown["A²-FPN-Lite"] == ["1.5 (11.1)", "0.750 (0.847)"]
    assert "median of 3, bold where these do not tell it apart from the fastest (Tukey)" in text
    without = render(table(study, "table6", costs=costs, machine=Speeds(**machine)), "md")
    assert "| 2 (**13.1**) | 1.000 (**1.000**) |" in line(without, "| FPN |"), "one number for each ranks nothing"
    assert "median of 3.\n" in without


@pytest.mark.parametrize("extension", ["md", "html", "tex"])
def test_a_table_of_costs_alone_says_what_was_counted_and_that_nothing_is_trained(extension):
    machine = Speeds(frames_per_second={}, image=[224, 224], machine="a machine", repetitions=5)
    costs = [{"parameters": 25.6e6, "all_parameters": 25.6e6, "flops": 4.37e9, "all_flops": 4.33e9, "fps": 7.0}]
    text = render(table(AFF, "table10", costs=costs, machine=machine), extension)
    assert "None of the rows can be run here" not in text
    assert "4.37" in text
    if extension == "tex":
        assert "Models of scale imagenet (published)." in text
    else:
        assert "at 224 × 224 pixels with the models of scale imagenet" in text
        assert "Nothing is trained for this table. Each cell: counted or timed" in text


def test_a_table_of_cost_and_accuracy_has_gains_whatever_else_is_counted(finished, study):
    leave_seeds(finished, "demo", fpn=(20.0, 20.4), pafpn=(24.0, 24.5))
    counted = {"parameters": 44e6, "flops": 283e9, "neck_parameters": 3e6, "something_new": 1.0}
    text = render(table(study, "table6", costs=[counted] * 4, seeds=(0, 1), with_gains=True), "md")
    assert "| +4.1 [" in line(text, "| PAFPN |") or "**+4.1** [" in line(text, "| PAFPN |")


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_is_written_for_every_table(finished, study, extension):
    finished("fpn", 20.0)
    for key in study.tables:
        text = render(table(study, key), extension)
        assert "FPN" in text


def test_latex_has_as_many_cells_as_columns_and_no_bare_specials(finished, study):
    text = render(table(study, "table4"), "tex")
    groups, *rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert groups.count("&") == 3  # two names, two groups
    assert len(rows) == 6
    assert {row.replace(r"\&", "").count("&") for row in rows} == {8}
    assert r"n\_i" in text
    assert "#" not in render(table(study, "table6"), "tex").replace(r"\#", "")


def test_latex_groups_columns_that_belong_together(finished, study):
    text = render(table(study, "table2"), "tex")
    assert r" & \multicolumn{3}{c}{modules} & \multicolumn{1}{c}{boxes} & \multicolumn{6}{c}{masks} \\" in text
    assert r"\cmidrule(lr){2-4}\cmidrule(lr){5-5}\cmidrule(lr){6-11}" in text


def test_a_table_of_one_kind_of_columns_has_no_groups(finished, study):
    own = study.tables["table2"].model_copy(update={"marks": {}, "columns": {"box_AP": "AP", "box_AP50": "AP50"}})
    text = render(table(study.model_copy(update={"tables": {"table2": own}})), "tex")
    assert "multicolumn" not in text


def test_a_caption_of_ones_own_stands_in_latex(finished, study):
    own = study.tables["table2"].model_copy(update={"caption": "Modules & more."})
    text = render(table(study.model_copy(update={"tables": {"table2": own}})), "tex")
    assert r"\caption{Modules \& more.}" in text


def test_headings_have_superscripts_in_html(finished, study):
    text = render(table(study), "html")
    assert "<th>AP<sup>bb</sup></th>" in text
    assert "^" not in text.partition("<tbody>")[0].partition("<thead>")[2]


def test_csv_holds_the_numbers_at_full_precision(finished, study):
    finished("fpn", 20.123456)
    frame = pd.read_csv(io.StringIO(render(table(study), "csv")))
    assert frame.box_AP[0] == 20.123456
    assert frame.box_AP_published[8] == 40.0
    assert frame.box_AP_runs.tolist() == [1] + [0] * 8


def test_html_escapes_what_a_study_says(finished, study):
    changed = study.replace(title="<script>")
    text = render(table(changed), "html")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_row_that_cannot_run_shows_its_published_number_and_why(finished, study):
    changed = {"table1": study.tables["table2"].model_dump()}
    rows = changed["table1"]["rows"]
    rows[1] |= {"setting": None, "unavailable": "ADE20K is not wired"}
    other = Study.model_validate({**study.model_dump(), "tables": changed})
    finished("fpn", 20.0)
    for extension, reason in (
        ("md", "**Not available:** PAFPN (ADE20K is not wired)."),
        ("html", "PAFPN (ADE20K is not wired)"),
    ):
        text = render(table(other, "table1"), extension)
        assert reason in text
    text = render(table(other, "table1"), "md")
    assert line(text, "| PAFPN").startswith("| PAFPN |  |  |  | not available (37.6) |")
    assert "PAFPN: seed 0" not in text.split("Missing runs")[1].split("##")[0]


def test_a_table_of_which_nothing_can_run_shows_what_was_published(study):
    text = render(table(FAPN, "table7"), "md")
    assert "None of the rows can be run here" in text
    assert "| R50 | 1x FAST | FaPN | not available (41.8) | not available (42.0) |" in text
    assert "**Not available:** all rows (mmdetection has no PanopticFCN)." in text
    assert "Seeds" not in text
    assert "measured" not in text
    assert r"\begin{tabular}" in render(table(FAPN, "table5"), "tex")


def test_columns_have_the_decimals_that_they_were_printed_with():
    assert "(20.2803)" in render(table(AFF, "table8"), "md")
    assert "(20.28)" not in render(table(AFF, "table8"), "md")


def test_the_comparison_of_necks_has_no_number_and_no_published_column(finished):
    finished("fpn", 20.0)
    costs = [{"all_parameters": 4e7, "all_flops": 3e11, "fps": 2.0 / (n + 1), "training_memory": 2**30} for n in range(18)]
    text = render(table(NECKS, "necks", costs=costs), "md")
    assert text.startswith("# Every neck in Mask R-CNN R-50, trained alike")
    assert "published" not in text.split("##")[0]
    assert line(text, "| FPN |").startswith("| FPN | 20.0 | 20.0 | **40.00** | **300.00** | 1.000 | **1.00** |")
    assert line(text, "| PAFPN |").endswith("| 0.500 | **1.00** |")


def test_published_numbers_stand_as_they_were_printed():
    text = render(table(A3FPN, "table1"), "md")
    assert "| detectron2 | A3-FPN | not run (**43.70**) | not run (**39.19**) |" in text
    assert "| detectron2 | FPN | not run (41.0) | not run (37.2) |" in text


def test_the_ratio_of_speeds_is_to_the_first_row_that_has_one(finished, study):
    rows = [{"name": row.name, "setting": row.setting.model_dump()} for row in study.tables["table6"].rows[:2]]
    rows.insert(0, {"name": ["quoted"], "unavailable": "no code"})
    speeds = {"speeds": {"title": "t", "columns": {"fps": "FPS"}, "rows": rows}}
    other = Study.model_validate({**study.model_dump(), "tables": speeds})
    text = render(table(other, "speeds", costs=[{"fps": 2.0}, {"fps": 1.0}]), "md")
    assert line(text, "| PAFPN").startswith("| PAFPN | 1 | 0.500 |")


def test_where_the_numbers_come_from_stands_under_the_table(finished, study):
    commit, checkpoint = "0123456789abcdef", "fedcba9876543210"
    made = {"seconds": 90.0, "seconds_per_iteration": 0.25, "effective_batch": 8, "learning_rate": 0.01, "commit": commit}
    made |= {"clean": False, "checkpoint": checkpoint, "hardware": {"processor": "Z80", "gpus": []}}
    run = finished("fpn", 20.0, made=made)
    text = render(table(study), "md")
    cells = [
        "FPN",
        "0",
        "2026-01-02 03:04",
        "0123456789 + changes",
        "Z80",
        "1.5",
        "0.25",
        "–",
        "8",
        "0.01",
        "6",
        "a1",
        "fedcba9876",
    ]
    assert line(text, f"| {run.id} |") == f"| {run.id} | {' | '.join(cells)} |"
    assert "<h2>Provenance</h2>" in render(table(study), "html")
    assert line(render(table(study), "tex"), f"% {run.id} |") == f"% {run.id} | {' | '.join(cells)}"


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"processor": "Z80", "gpus": []}, "bit for bit, on a machine with the same processor; on another"),
        ({"processor": "Z80", "gpus": [], "vector_width": 256}, "bit for bit, on any x86 machine with AVX2."),
        ({"processor": "Z80", "gpus": ["H100"]}, "the same commit gives other numbers, as another seed does."),
        ({}, None),
    ],
)
def test_the_page_says_where_its_numbers_repeat(finished, study, hardware, words):
    finished("fpn", 20.0, made={"hardware": hardware})
    for extension in ("md", "html"):
        text = render(table(study), extension)
        assert (words in text) if words else "The same commit" not in text


def test_what_repeats_least_decides(finished, study):
    finished("fpn", 20.0, made={"hardware": {"processor": "Z80", "gpus": [], "vector_width": 256}})
    finished("pafpn", 20.0, made={"hardware": {"processor": "Z80", "gpus": []}})
    assert "on a machine with the same processor" in render(table(study), "md")


def test_notes_of_one_table_stand_under_it_alone(finished, study):
    finished("fpn", 20.0)
    for extension in ("md", "html"):
        texts = {key: render(table(study, key), extension) for key in ("table1", "table2")}
        assert "Every published number is the evaluation server" in texts["table1"]
        assert "evaluation server" not in texts["table2"]
        assert all("Layers are initialised as mmdetection" in text for text in texts.values())


def test_a_run_whose_sources_have_changed_is_marked(finished, study, monkeypatch):
    monkeypatch.setattr("reports.collect.is_stale", lambda run, recorded: recorded == {"necks/a.py": "old"})
    finished("fpn", 20.0, made={"sources": {"necks/a.py": "old"}})
    finished("pafpn", 21.0, made={"sources": {"necks/a.py": "new"}})
    text = render(table(study), "md")
    assert line(text, "| FPN †")
    assert line(text, "| PAFPN |")
    assert "**Stale runs** (†), trained with sources of neck or training that have changed since: FPN (seed 0);" in text
    assert r"FPN $\dagger$" in render(table(study), "tex")


def test_a_new_metric_is_a_line_of_the_table_of_metrics_and_a_column_of_a_study(finished, study, monkeypatch):
    monkeypatch.setitem(METRICS, "sharpness", Metric("sharpness", "run", unit=10.0, decimals=2, lower_is_better=True))
    columns = {"box_AP": "AP", "sharpness": "Blur"}
    rows = [row.replace(published={}) for row in study.tables["table2"].rows]
    changed = study.replace(tables={"table2": study.tables["table2"].replace(columns=columns, rows=rows)})
    for setting, value in (("fpn", 72.5), ("pafpn", 80.0)):
        path = finished(setting, 20.0).metrics_file
        content = json.loads(path.read_text())
        content["metrics"]["sharpness"] = value
        path.write_text(json.dumps(content))
    text = render(table(changed), "md")
    assert line(text, "| Neck | MC | GE | GP | AP | Blur |")
    assert "7.25" in line(text, "| FPN |")
    assert "| 8.00" in line(text, "| PAFPN |")
