"""What a configuration is said to cost, against arithmetic done by hand."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.__main__ import read_grid
from experiments.cli import plan
from experiments.cli.plan import makespan
from experiments.cost.power import seeds_needed
from experiments.cost.training_time import TrainingTimeEstimator
from experiments.errors import UserError
from experiments.records.checked_necks import record_passed
from experiments.records.cost_files import Measurement
from experiments.records.run_status import RunReader
from experiments.spec.dataset_identity import CheckedDataset, DatasetIdentity, SplitIdentity, write_checked_dataset
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting

ROOT = Path(__file__).resolve().parents[3]


def planned(grid, capsys, *options):
    """The plan for programs: lines by name, and all sentences."""
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    plan.main(grid, parser.parse_args([*options, "--json"]))
    content = json.loads(capsys.readouterr().out)
    return {line["name"]: line for line in content["lines"]}, content["notes"] + content["damaged"]


def total(lines):
    return lines["all together"]


def left_by(run, seconds_per_iteration=2.0, evaluation=5.0, **made):
    iterations = 9
    return {
        "run": run.id,
        "spec": run.spec,
        "metrics": {"box_AP": 1.0},
        "history": [{"iteration": 4, "loss": 2.0}, {"iteration": iterations, "loss": 1.0}],
        "provenance": {
            "seconds": seconds_per_iteration * iterations + evaluation,
            "seconds_per_iteration": seconds_per_iteration,
            "resumed_from": None,
            **made,
        },
    }


def test_hours_at_the_papers_scale_follow_from_counted_multiply_adds(small_grid, capsys):
    counted = Path("complexity/coco/two_necks_table1.json")
    counted.parent.mkdir(parents=True)
    # Three times two times these are 3.5 TFLOP for an image: at 7 TFLOP/s half a second, a second for a GPU's two images.
    grid = small_grid(scale="coco")
    (setting,) = grid.table("two_necks_table1").settings
    counted.write_text(json.dumps({"counts": {setting.key: {"all_flops": 3.5e12 / 6}}}))
    lines, notes = planned(grid, capsys, "--gpus", "8")
    training, evaluation = 12 * 14_659 * 1.0, 13 * 5000 * 0.5 / 3 / 4
    line = lines["two_necks_table1"]
    assert line["hours"] == pytest.approx(4 * (training + evaluation) / 3600)
    assert line["wall_seconds"] == pytest.approx(training + evaluation)
    assert line["seconds_per_iteration"] == [pytest.approx(1.0)] * 2
    assert line["sources"] == {"assumed": 1}
    text = "\n".join(notes)
    assert "117,266 training images" in text
    assert "7 TFLOP/s per GPU" in text
    assert "0.4536 s" in text
    assert "counted for 1 of these runs; for 1 those of the detector and the backbone with FPN are taken" in text
    assert "snakemake complexity/coco/two_necks_table2.json" in text


def test_label_maps_are_counted_once_an_image(small_grid, tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        folder = tmp_path / f"cityscapes/gtFine/{split}/ulm"
        folder.mkdir(parents=True)
        for number in range(count):
            for kind in ("labelTrainIds", "labelIds", "instanceIds"):
                (folder / f"ulm_{number}_gtFine_{kind}.png").touch()
    times = TrainingTimeEstimator(small_grid(scale="cityscapes", data_root=str(tmp_path / "cityscapes")), RunReader())
    assert (times.train_images, times.val_images) == (3, 2)


def test_where_there_are_no_label_maps_yet_those_that_the_scale_expects_are_counted(small_grid):
    times = TrainingTimeEstimator(small_grid(scale="cityscapes"), RunReader())
    assert (times.train_images, times.val_images) == (2975, 500)


def test_each_detector_and_backbone_has_multiply_adds_of_its_own(small_grid):
    times, coco = TrainingTimeEstimator(small_grid(scale="coco"), RunReader()), load_scale("coco")

    def flops(detector, backbone="resnet50"):
        setting = Setting.model_validate(
            {"neck": {"type": "FPN"}, "detector": detector, "backbone": backbone, "schedule": "1x"}
        )
        return times.flops(Run(setting, coco, 0))

    assert flops("mask_rcnn") == pytest.approx(267e9, rel=0.01)
    assert flops("faster_rcnn") < flops("mask_rcnn") < flops("cascade_mask_rcnn") < flops("htc")
    assert flops("mask_rcnn", "resnet101") == pytest.approx(346e9, rel=0.01)


def test_twice_the_rate_is_half_the_time(small_grid, capsys):
    slow, fast = (total(planned(small_grid(scale="coco"), capsys, "--teraflops", rate)[0])["hours"] for rate in ("10", "20"))
    assert slow == pytest.approx(2 * fast)


def test_a_faster_gpu_takes_less_time_and_says_where_its_rate_is_from(small_grid, capsys):
    plans = {name: planned(small_grid(scale="coco"), capsys, "--gpu-type", name) for name in ("v100", "A100", "h100")}
    hours = {name: total(lines)["hours"] for name, (lines, _) in plans.items()}
    assert hours["v100"] == pytest.approx(total(planned(small_grid(scale="coco"), capsys)[0])["hours"])
    assert hours["v100"] / hours["A100"] == pytest.approx(16.5 / 7)
    assert hours["v100"] / hours["h100"] == pytest.approx(21 / 7)
    for name, source in (("v100", "MODEL_ZOO.md"), ("A100", "NGC catalogue"), ("h100", "0.15 s per iteration")):
        assert any(source in note for note in plans[name][1])


def test_times_of_other_gpus_are_left_out_where_a_type_is_named(small_grid, leave, capsys):
    grid = small_grid(scale="coco")
    run = grid.runs_of("two_necks_table1")[0]
    leave(run, "metrics.json", left_by(run, hardware={"gpus": ["NVIDIA H100 80GB HBM3"]}))
    for options, recorded in (((), True), (("--gpu-type", "h100"), True), (("--gpu-type", "a100"), False)):
        _, notes = planned(grid, capsys, *options)
        assert any(note.startswith("Recorded") for note in notes) == recorded, options


def test_shared_runs_are_counted_once_in_the_total(small_grid, capsys):
    lines, _ = planned(small_grid(seeds=[0, 1, 2]), capsys)
    assert [line["runs"] for line in lines.values()] == [3, 6, 6]
    assert [line["rows"] for line in lines.values()] == [1, 2, 3]
    assert total(lines)["hours"] == pytest.approx(lines["two_necks_table2"]["hours"])


def test_a_finished_run_tells_the_time_of_its_other_seeds(small_grid, leave, capsys):
    grid = small_grid(seeds=[0, 1])
    fpn = grid.runs_of("two_necks_table1")[0]
    leave(fpn, "metrics.json", left_by(fpn))
    line = planned(grid, capsys)[0]["two_necks_table1"]
    assert (line["runs"], line["done"], line["sources"]) == (2, 1, {"recorded": 2})
    assert line["hours"] == pytest.approx(2 * (9 * 2.0 + 5.0) / 3600)
    assert line["hours_left"] == pytest.approx((9 * 2.0 + 5.0) / 3600)


def test_a_seed_that_the_configuration_does_not_ask_for_tells_it_too(small_grid, leave, capsys):
    other = small_grid(seeds=[7]).runs_of("two_necks_table1")[0]
    leave(other, "metrics.json", left_by(other))
    line = planned(small_grid(seeds=[0]), capsys)[0]["two_necks_table1"]
    assert (line["done"], line["sources"]) == (0, {"recorded": 1})


@pytest.mark.parametrize("option", [{"precision": "bfloat16"}, {"channels_last": True}, {"gradient_checkpointing": ["neck"]}])
def test_a_model_that_is_computed_otherwise_tells_nothing(small_grid, leave, capsys, option):
    other = small_grid().runs_of("two_necks_table1")[0]
    leave(other, "metrics.json", left_by(other))
    scale = Path("experiments/scales/instant.yaml")
    scale.write_text(yaml.safe_dump(yaml.safe_load(scale.read_text()) | {"training": option}))
    assert "recorded" not in planned(small_grid(), capsys)[0]["two_necks_table1"]["sources"]


def test_a_model_with_another_schedule_tells_the_time_per_image(small_grid, leave, capsys):
    scale, study = Path("experiments/scales/instant.yaml"), Path("experiments/studies/two_necks.yaml")
    content = yaml.safe_load(scale.read_text())
    # Half of the images in a step, so that a step takes half of the time and an epoch has twice as many.
    content["schedules"]["long"] = {"epochs": 5, "param_scheduler": [], "batch_size": 2}
    scale.write_text(yaml.safe_dump(content))
    content = yaml.safe_load(study.read_text())
    row = {"name": "FPN, long", "setting": {"neck": {"type": "FPN"}, "schedule": "long"}}
    content["tables"]["table3"] = {**content["tables"]["table1"], "rows": [row]}
    study.write_text(yaml.safe_dump(content))
    grid = small_grid()
    fpn = grid.runs_of("two_necks_table1")[0]
    leave(fpn, "metrics.json", left_by(fpn))
    line = planned(grid, capsys)[0]["two_necks_table3"]
    assert line["sources"] == {"recorded": 1}
    assert line["hours"] == pytest.approx((5 * 6 * 1.0 + 5.0) / 3600)


def test_metrics_of_before_tell_their_seconds_with_evaluation_unless_resumed(small_grid, leave, capsys):
    grid = small_grid()
    fpn = grid.runs_of("two_necks_table1")[0]
    leave(fpn, "metrics.json", left_by(fpn, seconds=45.0) | {"provenance": {"seconds": 45.0, "resumed_from": None}})
    assert planned(grid, capsys)[0]["two_necks_table1"]["hours"] == pytest.approx(45 / 3600)
    leave(fpn, "metrics.json", left_by(fpn) | {"provenance": {"seconds": 45.0, "resumed_from": "epoch_1.pth"}})
    assert planned(grid, capsys)[0]["two_necks_table1"]["sources"] == {"assumed": 1}


def test_what_is_done_of_a_run_is_not_left(small_grid, leave, capsys):
    grid = small_grid()
    fpn = grid.runs_of("two_necks_table1")[0]
    progress = {"state": "preempted", "epoch": 1, "max_epochs": 3, "iteration": 5, "max_iterations": 9}
    leave(fpn, "progress.json", progress | {"seconds_per_iteration": 4.0})
    line = planned(grid, capsys)[0]["two_necks_table1"]
    assert line["sources"] == {"recorded": 1}
    assert line["seconds_per_iteration"] == [4.0, 4.0]
    assert line["hours_left"] == pytest.approx(line["hours"] * 2 / 3)


@pytest.mark.parametrize(
    "older",
    [
        {"run": "0123456789ab", "spec": {"neck": {"type": "FPN"}}, "history": [{"iteration": 1}], "made": {"seconds": 1.0}},
        {"run": "0123456789ab", "history": [{"loss": 1.0}], "made": {"seconds": 1.0}},
        {"run": "0123456789ab", "history": [], "made": {"seconds": 1.0}},
        {"metrics": {"box_AP": 1.0}},
    ],
    ids=["no schedule", "no iteration", "no history", "metrics alone"],
)
def test_metrics_of_an_older_version_say_nothing_about_time_and_are_no_damage(small_grid, leave, capsys, older):
    grid = small_grid()
    leave(grid.runs_of("two_necks_table1")[0], "metrics.json", older)
    lines, sentences = planned(grid, capsys)
    assert "recorded" not in total(lines)["sources"]
    assert not [sentence for sentence in sentences if "damaged" in sentence]


def test_a_damaged_file_is_named_and_the_plan_is_made(small_grid, leave, capsys):
    grid = small_grid()
    fpn, mgc = grid.runs_of("two_necks_table2")
    damaged = leave(fpn, "metrics.json", '{"provenance": ')
    unfinished = leave(mgc, "progress.json", "[1, 2]")
    lines, sentences = planned(grid, capsys)
    assert lines["two_necks_table2"]["done"] == 0
    for path in (damaged, unfinished):
        assert len([sentence for sentence in sentences if sentence.startswith(f"{path} is damaged")]) == 1


def test_images_of_a_small_dataset_are_counted_without_empty_ones(small_grid, tmp_path, capsys):
    (tmp_path / "photos/annotations").mkdir(parents=True)
    annotations = [{"image_id": 1}, {"image_id": 1}, {"image_id": 2}, {"image_id": 3, "iscrowd": 1}]
    content = json.dumps({"images": [{"id": n} for n in range(9)], "annotations": annotations})
    (tmp_path / "photos/annotations/instances_train2017.json").write_text(content)
    _, notes = planned(small_grid(scale="tiny_coco", data_root=str(tmp_path / "photos")), capsys)
    assert any("with 2 training images" in note for note in notes)


def checked(images: int, val: SplitIdentity) -> CheckedDataset:
    return CheckedDataset(identity=DatasetIdentity(train=val.model_copy(update={"images": images}), val=val))


def test_the_dataset_that_was_checked_counts(small_grid, capsys):
    path, sha256 = Path("datasets/coco.json"), "0" * 64
    path.parent.mkdir()
    val = SplitIdentity(annotations_sha256=sha256, images=5000, annotations=1)
    write_checked_dataset(path, checked(118_287, val))
    assert any("with 117,266 training images" in note for note in planned(small_grid(scale="coco"), capsys)[1])
    write_checked_dataset(path, checked(1000, val))
    assert any("with 1,000 training images" in note for note in planned(small_grid(scale="coco"), capsys)[1])


def test_concurrent_runs_start_the_longest_first():
    assert makespan([2, 3, 2, 3, 2], 1) == 12
    assert makespan([2, 3, 2, 3, 2], 2) == 7
    assert makespan([1, 1, 1, 3], 2) == 3
    assert makespan([2, 3, 2, 3, 2], 9) == 3
    assert makespan([], 2) == 0


def test_a_runtime_that_is_too_short_is_told(small_grid, capsys):
    _, notes = planned(small_grid(scale="coco"), capsys, "--teraflops", "0.1")
    assert any("too short for one attempt" in note and "resources.runtime_minutes" in note for note in notes)
    _, notes = planned(small_grid(scale="coco"), capsys, "--teraflops", "100")
    assert not any("too short" in note for note in notes)


@pytest.mark.parametrize(
    ("scale", "options", "sentence"),
    [
        ("coco", ["--gpus", "-1"], "--gpus -1: one run at scale coco asks for 4; give a multiple of it"),
        ("coco", ["--gpus", "3"], "--gpus 3: one run at scale coco asks for 4"),
        ("coco", ["--cores", "3"], "--cores: scale coco trains on GPUs; say --gpus"),
        ("instant", ["--gpus", "4"], "--gpus: scale instant trains on the CPU; say --cores"),
        ("instant", ["--cores", "0"], "--cores 0: one run at scale instant asks for 1"),
        ("instant", ["--gpu-type", "h100"], "--gpu-type: scale instant trains on the CPU"),
        ("coco", ["--gpu-type", "k80"], "--gpu-type k80: allowed: V100, A100, H100, or --teraflops for another"),
        ("coco", ["--gpu-type", "h100", "--probe"], "--probe measures the GPU of this machine; leave one of them out"),
        ("instant", ["--teraflops", "-2"], "--teraflops -2: expected a number above 0"),
        pytest.param(
            *("coco", ["--probe"], "--probe: scale coco trains on GPUs and torch sees none here; call it on a node with a GPU"),
            marks=pytest.mark.torch,
        ),
    ],
)
def test_wrong_options(small_grid, capsys, scale, options, sentence):
    with pytest.raises(UserError, match=sentence):
        planned(small_grid(scale=scale), capsys, *options)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("scal=coco", "unknown key 'scal'; allowed: studies, scale"),
        ("scale=dmeo", r"experiments/scales/dmeo.yaml does not exist; there are: .*coco"),
        ("scale", "--config scale: expected key=value"),
        ("seeds=[0", r"experiments/config.yaml: seeds: one is '\[0'; allowed: whole numbers from 0 to 4294967295"),
        ("seeds=[010]", "seeds: one is '010'"),
        ("seeds=[true]", "seeds: one is 'true'"),
        ("seeds=1e3", "seeds: one is 1000.0"),
        ("seeds=-1", "seeds: one is -1"),
        ("seeds=99999999999999999999", "seeds: one is 99999999999999999999"),
        ("scale=../demo", r"scale: is '../demo'; allowed: a name, not a path"),
        ("studies=[a2fpn,../x]", r"studies.1: is '../x'; allowed: a name, not a path"),
        ("=x", "expected key=value"),
    ],
)
def test_wrong_overrides(small_grid, override, sentence):
    with pytest.raises(UserError, match=sentence):
        read_grid([override])


def test_overrides_are_those_of_snakemake(small_grid):
    grid = read_grid(["seeds=[3,4]", "studies=two_necks", "scale=coco", "data_root=/data/coco"])
    assert grid.configuration.seeds == [3, 4]
    assert (grid.scale.name, grid.configuration.data_root) == ("coco", "/data/coco")


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_on_a_narrow_screen(small_grid, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    plan.main(small_grid(scale="coco", seeds=list(range(1000))), parser.parse_args(["--gpus", "4"]))
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith(" all together")]
    assert line.split()[-2:] == ["2000", "assumed"]
    assert ("0.458" in line) == (width == 120)
    assert "…" not in text


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_neither_verb_needs_torch_or_the_lock_of_snakemake_once_the_necks_have_passed(small_grid, verb):
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("held")
    for run in small_grid().runs.values():
        record_passed(run, [])
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = [{verb!r}]; from experiments.__main__ import main;"
        "main(); sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "two_necks_table" in result.stdout


def power(grid, capsys, *options):
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    plan.main(grid, parser.parse_args([*options, "--json"]))
    return json.loads(capsys.readouterr().out)


def test_power_takes_the_scales_deviation_until_the_tables_own_is_known(small_grid, leave, capsys):
    Path("experiments/scales/instant.yaml").write_text(
        Path("experiments/scales/instant.yaml").read_text() + "\nassumed_seed_sd: 1.0\n"
    )
    grid = small_grid(seeds=[0, 1])
    claims = power(grid, capsys, "--power")["claims"]
    assert [(claim["row"], claim["against"], claim["gain"]) for claim in claims] == [("MGC", "FPN", 2.0)]
    assert claims[0]["seeds"] == seeds_needed(2.0, 1.0, 2)
    assert not claims[0]["is_measured"]
    for number, run in enumerate(grid.runs.values()):
        leave(run, "metrics.json", {"metrics": {"box_AP": 10.0 + 0.1 * (number % 2), "mask_AP": 9.0}})
    (claim,) = power(grid, capsys, "--power")["claims"]
    assert claim["is_measured"]
    assert claim["deviation"] == pytest.approx(0.1 / 2**0.5)
    assert claim["seeds"] == 2
    (found,) = power(grid, capsys, "--seeds-for", "0.1")["seeds_for"]
    assert found["seeds"] == seeds_needed(0.1, found["deviation"], 2)


def test_power_without_a_deviation_says_what_to_give(small_grid, capsys):
    with pytest.raises(UserError, match=r"instant\.yaml: assumed_seed_sd: is missing, and no row of two_necks_table2 has two"):
        power(small_grid(), capsys, "--power")


def test_seeds_for_wants_a_gain(small_grid, capsys):
    with pytest.raises(UserError, match=r"--seeds-for -1: expected a gain above 0"):
        power(small_grid(), capsys, "--seeds-for", "-1")


WRONG_OPTION = {"type": "A2FPN", "lateral": "mgc", "context_ratio": 0}


@pytest.fixture
def grid_with_a_wrong_option(small_grid):
    """A grid with a value that only the neck's constructor can refuse."""
    path = Path("experiments/studies/two_necks.yaml")
    study = yaml.safe_load(path.read_text())
    study["tables"]["table2"]["rows"][1]["setting"] = {"neck": WRONG_OPTION}
    path.write_text(yaml.safe_dump(study))
    return small_grid()


@pytest.mark.torch
def test_an_option_that_only_the_constructor_refuses_is_refused(grid_with_a_wrong_option, capsys):
    with pytest.raises(UserError, match=r"^neck .*A2FPN.*: context_ratio \* out_channels is 0; it must be a multiple of 4"):
        planned(grid_with_a_wrong_option, capsys)


def test_without_torch_a_note_says_that_no_neck_was_built(grid_with_a_wrong_option, capsys, monkeypatch):
    monkeypatch.setattr(plan, "find_spec", lambda name: None)
    _, notes = planned(grid_with_a_wrong_option, capsys)
    assert (
        "No neck was built to try its options, for torch is not installed here; the check before trainings builds them."
        in notes
    )


def test_more_necks_than_a_plan_has_time_for_are_left_to_the_check_before_trainings(
    grid_with_a_wrong_option, capsys, monkeypatch
):
    monkeypatch.setattr(plan, "MOST_NECKS", 1)
    _, notes = planned(grid_with_a_wrong_option, capsys)
    assert "No neck was built to try its options, for there are 2 necks; the check before trainings builds them." in notes


@pytest.mark.torch
def test_a_probe_measures_each_model_once(small_grid, capsys):
    grid = small_grid(seeds=[0, 1])
    lines, _ = planned(grid, capsys, "--probe")
    assert total(lines)["sources"] == {"measured": 4}
    entries = json.loads(Path("complexity/instant/probe.json").read_text())
    assert sorted(entry["model"] for entry in entries.values()) == [
        f"{neck} in mask_rcnn, resnet50" for neck in ("A2FPN", "FPN")
    ]
    for entry in entries.values():
        assert 0 < min(entry["steps"]) / 4 <= entry["seconds_per_image"] <= max(entry["steps"]) / 4
    expected = {4 * entry["seconds_per_image"] for entry in entries.values()}
    assert total(lines)["seconds_per_iteration"] == [pytest.approx(min(expected)), pytest.approx(max(expected))]


@pytest.mark.torch
def test_a_stopped_probe_keeps_what_it_has_and_goes_on(small_grid, capsys, monkeypatch):
    calls = []

    def measure(run):
        calls.append(run.setting.neck["type"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return Measurement(seconds_per_image=1.0, machine="a test")

    from experiments.cost import probe

    monkeypatch.setattr(probe, "measure", measure)
    grid = small_grid()
    parser = argparse.ArgumentParser()
    plan.add_arguments(parser)
    plan.main(grid, parser.parse_args(["--probe"]))
    assert "stopped; 1 of 2 models are kept in complexity/instant/probe.json" in capsys.readouterr().out
    assert total(planned(grid, capsys, "--probe")[0])["sources"] == {"measured": 2}
    assert calls == ["FPN", "A2FPN", "A2FPN"]
