"""The real Snakemake on temporary projects: what is planned, made, resumed and extended."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import mmdet
import numpy as np
import pytest


def planned(result, rule: str) -> int:
    assert result.returncode == 0, result.stderr + result.stdout
    found = re.search(rf"^{rule}\s+(\d+)$", result.stdout + result.stderr, re.MULTILINE)
    return int(found[1]) if found else 0


def metrics(project) -> dict[str, dict]:
    """Neck type to content of metrics.json."""
    contents = [json.loads(path.read_text()) for path in project.folder.glob("runs/*/metrics.json")]
    return {content["spec"]["neck"]["type"]: content for content in contents}


@pytest.mark.parametrize("scale", ["demo", "tiny_coco", "coco"])
def test_tables_2_to_6_plan_18_trainings(project, scale):
    project.configure(studies=["a2fpn"], scale=scale, data_root="/somewhere")
    # The figures of Table 6 ask for the trainings that the table would do without.
    targets = [*(f"reports/table{number}.md" for number in range(2, 6)), "reports/figures/table6_ap.png"]
    assert planned(project.snakemake("-n", *targets), "train") == 18
    assert planned(project.snakemake("-n", "--config", "seeds=[0,1,2]", "--", *targets), "train") == 54


@pytest.mark.parametrize(("scale", "checks"), [("demo", 0), ("coco", 1)])
def test_table_1_plans_its_17_trainings_and_looks_for_the_stuff_maps_that_are_not_drawn(project, scale, checks):
    project.configure(studies=["a2fpn"], scale=scale, data_root="/somewhere")
    result = project.snakemake("-n", "reports/table1.md")
    assert planned(result, "train") == 17
    assert planned(result, "stuff_maps") == checks
    assert planned(project.snakemake("-n", "reports/table2.md"), "stuff_maps") == 0


def test_single_tables_plan_only_their_own_trainings(project):
    project.configure(studies=["a2fpn"], scale="demo")
    assert planned(project.snakemake("-n", "reports/table2.md"), "train") == 9
    assert planned(project.snakemake("-n", "reports/table5.md"), "train") == 6
    assert planned(project.snakemake("-n", "reports/table2.md", "reports/table5.md"), "train") == 11


def test_a_table_about_cost_needs_no_training(project):
    project.configure(studies=["a2fpn"], scale="demo")
    result = project.snakemake("-n", "reports/table6.md")
    assert planned(result, "train") == 0
    assert planned(result, "speed") == 1


ALL_STUDIES = ["a2fpn", "fapn", "aff", "afa", "a3fpn", "necks"]


def test_all_studies_together_train_what_they_share_once(project):
    project.configure(studies=ALL_STUDIES, scale="demo")
    result = project.snakemake("-n")
    assert planned(result, "train") == 202
    assert "36 tables, 317 rows: 250 can be run and share 202 runs (1 seed), 0 of them finished" in result.stdout
    assert planned(project.snakemake("-n", "reports/necks.md"), "train") == 18
    assert planned(project.snakemake("-n", "reports/fapn_table2.md"), "train") == 4


def test_a_table_of_which_nothing_can_run_shows_what_was_published(project):
    project.configure(studies=ALL_STUDIES, scale="demo")
    result = project.snakemake("reports/fapn_table7.md", "reports/fapn_table7.html")
    assert planned(result, "train") == 0
    report = (project / "reports/fapn_table7.md").read_text()
    assert "| R50 | 1x FAST | FaPN | not available (41.8) |" in report
    assert "(mmdetection has no PanopticFCN)" in report


def test_the_slurm_profile_plans_gpus_and_resources(project):
    project.configure(studies=["a2fpn"], scale="coco", data_root="/somewhere")
    result = project.snakemake("--profile", "slurm", "-n")
    assert planned(result, "train") == 32
    text = result.stdout + result.stderr
    assert re.search(r"run [0-9a-f]{12}: .*; table2, .*: FPN, seed 0", text), text
    assert re.search(r"resources:.*mem_mb=64000.*runtime=2880.*gpu=4", text), text


def assert_details_are_of_the_run(path):
    """Predictions and resamples lie beside the metrics, which name them and agree with them."""
    record = json.loads(path.read_text())
    assert set(record["files"]) == {"predictions.json.gz", "bootstrap.npz"}
    for name, digest in record["files"].items():
        assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest
    replicates = np.load(path.with_name("bootstrap.npz"))
    assert set(replicates) == set(record["metrics"])
    for name, value in record["metrics"].items():
        assert replicates[name].shape == (1001,)
        assert np.isnan(replicates[name][0]) if value is None else replicates[name][0] == pytest.approx(value, abs=1e-9)
    of_classes = [metrics["box_AP"] for metrics in record["classes"].values() if metrics["box_AP"] is not None]
    assert np.mean(of_classes) == pytest.approx(record["metrics"]["box_AP"], abs=1e-9)
    with gzip.open(path.with_name("predictions.json.gz")) as file:
        assert {"image_id", "category_id", "bbox", "score", "segmentation"} <= set(json.load(file)[0])


def test_all_reports_are_made_and_each_run_is_trained_once(project):
    first = project.snakemake("reports/two_necks_table1.md")
    assert first.returncode == 0, first.stderr
    assert list(metrics(project)) == ["FPN"]
    fpn = next(project.folder.glob("runs/*/metrics.json"))
    written = fpn.stat().st_mtime_ns

    plan = project.snakemake("-n", "reports/two_necks_table2.md")
    assert planned(plan, "train") == 1

    everything = project.snakemake()
    assert everything.returncode == 0, everything.stderr
    assert re.search(r"run [0-9a-f]{12} A2FPN: epoch 3/3, loss \d", everything.stderr), "progress is shown"
    assert set(metrics(project)) == {"FPN", "A2FPN"}
    assert fpn.stat().st_mtime_ns == written
    assert json.loads(fpn.with_name("progress.json").read_text())["state"] == "done"

    assert_details_are_of_the_run(fpn)
    report = (project / "reports/two_necks_table2.md").read_text()
    assert re.search(r"^\| MGC \| .*\d+\.\d.* \(\*\*12\.0\*\*\) \| .*\d+\.\d", report, re.MULTILINE), report
    for name in ("table1", "table2"):
        for figure in ("ap", "flops", "curves"):
            for extension in ("png", "svg"):
                assert (project / f"reports/figures/two_necks_{name}_{figure}.{extension}").stat().st_size > 5000
        for extension in ("md", "tex", "html", "csv"):
            assert (project / f"reports/two_necks_{name}.{extension}").stat().st_size > 50
    assert "Nothing to be done" in project.snakemake().stdout + project.snakemake().stderr

    # A run that has gone is trained again, though the table is newer.
    fpn.parent.rename(project / "kept")
    gone = project.snakemake("-n", "reports/two_necks_table2.md")
    assert planned(gone, "train") == planned(gone, "tables") == 1
    (project / "kept").rename(fpn.parent)
    assert "Nothing to be done" in project.snakemake().stderr

    # A table from what exists: another seed is missing and nothing is trained for it.
    partial = project.snakemake("reports/two_necks_table2.md", "--config", "seeds=[0,1]", "train=none")
    assert partial.returncode == 0, partial.stderr
    assert "**Missing runs:** FPN: seed 1; MGC: seed 1" in (project / "reports/two_necks_table2.md").read_text()

    # Its neck's source changes: the run is stale, and the only one that would be trained again.
    neck = project / "necks/a2fpn.py"
    before = neck.read_text()
    neck.write_text(before + "CHANGED = 1\n")
    assert planned(project.snakemake("-n"), "train") == 1
    stale = project.snakemake("reports/two_necks_table2.md", "--config", "train=none")
    assert stale.returncode == 0, stale.stderr
    report = (project / "reports/two_necks_table2.md").read_text()
    assert re.search(r"^\| MGC † \| .*\d+\.\d", report, re.MULTILINE), report
    assert re.search(r"^\| FPN \| .*\d+\.\d", report, re.MULTILINE), report
    assert "have changed since: MGC (seed 0)" in report

    page = project.snakemake("--report", "report.html")
    assert page.returncode == 0, page.stderr
    assert (project / "report.html").stat().st_size > 100_000


RECORD = """
import json, sys
from experiments.__main__ import read_grid
from experiments.spec.fingerprint import fingerprints
for run in read_grid([]).runs.values():
    run.folder.mkdir(parents=True)
    run.metrics_file.write_text(json.dumps({"provenance": {"sources": fingerprints(run.models, run.task)}}, indent=1))
"""


def files(project) -> dict[str, int]:
    """Every file of the project, without Snakemake's and Python's own, and when it was written."""
    found = (path for path in project.folder.rglob("*") if not {".snakemake", "__pycache__"} & set(path.parts))
    return {str(path): path.stat().st_mtime_ns for path in found if path.is_file()}


def test_only_runs_whose_sources_mean_something_else_are_trained_again(project):
    assert project.python("-c", RECORD).returncode == 0
    target, neck = "reports/two_necks_table2.md", project / "necks/a2fpn.py"
    before, present = neck.read_text(), files(project)

    def trained_again():
        return planned(project.snakemake("-n", target), "train")

    assert trained_again() == 0
    for command in ("plan", "status"):
        assert project.python("-m", "experiments", command).returncode == 0
    assert files(project) == present, "looking writes nothing"
    neck.write_text(before + "# a comment\n")
    assert trained_again() == 0
    neck.write_text(before + "CHANGED = 1\n")
    assert trained_again() == 1
    neck.write_text(before)
    assert trained_again() == 0, "the file is put back"
    train = project / "experiments/training/train.py"
    train.write_text(train.read_text() + "CHANGED = 1\n")
    assert trained_again() == 2


def test_runs_that_were_moved_to_another_folder_stay_finished(project, tmp_path_factory):
    assert project.python("-c", RECORD).returncode == 0
    moved = type(project)(tmp_path_factory.mktemp("moved") / "project")
    shutil.copytree(project.folder, moved.folder, copy_function=shutil.copyfile)
    for _ in range(2):
        assert planned(moved.snakemake("-n", "reports/two_necks_table2.md"), "train") == 0


def test_a_training_writes_its_config_and_the_config_can_be_had_before(project):
    run = run_ids(project)[0]
    config = project / f"runs/{run}/config.py"
    assert project.snakemake(f"runs/{run}/config.py").returncode == 0
    before = config.read_text()
    config.unlink()
    (project / "experiments/training/train.py").write_text("import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text('{}')")
    result = project.snakemake(f"runs/{run}/metrics.json")
    assert result.returncode == 0, result.stderr
    assert config.read_text() == before


NEW_NECK = '''
"""A neck that a user adds."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class PlainLaterals(BaseModule):
    """1x1 convolutions and nothing else."""

    def __init__(self, in_channels, out_channels, num_outs, bias=True):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1, bias=bias) for channels in in_channels)

    def forward(self, inputs):
        outputs = [conv(features) for conv, features in zip(self.convs, inputs)]
        return (*outputs, F.max_pool2d(outputs[-1], 1, stride=2))
'''


def test_a_new_neck_is_one_file_and_one_row(project):
    assert project.snakemake("reports/two_necks_table1.md").returncode == 0
    before = metrics(project)["FPN"]
    (project / "necks/plain_laterals.py").write_text(NEW_NECK)
    row = {"name": "mine", "setting": {"neck": {"type": "PlainLaterals", "bias": False}}}
    project.change_yaml("experiments/studies/two_necks.yaml", lambda s: s["tables"]["table1"]["rows"].append(row))
    assert planned(project.snakemake("-n", "reports/two_necks_table1.md"), "train") == 1
    result = project.snakemake("reports/two_necks_table1.md")
    assert result.returncode == 0, result.stderr
    assert metrics(project)["FPN"] == before
    report = (project / "reports/two_necks_table1.md").read_text()
    assert re.search(r"^\| mine \| [\d.]+ \| [+−][\d.]+ ⟦.*⟧ \| [\d.]+ \| [+−][\d.]+ ⟦.*⟧ \|$", report, re.MULTILINE), report


@pytest.mark.slow
def test_a_chain_of_necks_trains_beside_a_row_that_cannot(project):
    refined = [{"type": "FPN"}, {"type": "BFP", "num_levels": 5, "refine_level": 2, "refine_type": "non_local"}]
    rows = [
        {"name": "BFP", "setting": {"neck": refined}},
        {"name": "FPN in PointRend", "unavailable": "PointRend is not wired", "published": [39.4, 37.6]},
    ]
    project.change_yaml("experiments/studies/two_necks.yaml", lambda study: study["tables"]["table1"].update(rows=rows))
    result = project.snakemake("reports/two_necks_table1.md", "reports/figures/two_necks_table1_ap.png")
    assert result.returncode == 0, result.stderr
    report = (project / "reports/two_necks_table1.md").read_text()
    assert re.search(r"^\| BFP \| [\d*.]+ \| [\d*.]+ \|$", report, re.MULTILINE), report
    assert "| FPN in PointRend | not available (**39.4**) | not available (**37.6**) |" in report
    assert "**Not available:** FPN in PointRend (PointRend is not wired)." in report


def test_a_killed_training_resumes_and_ends_bit_for_bit_as_an_undisturbed_one(project):
    target = f"runs/{run_ids(project)[1]}/metrics.json"
    undisturbed = project.snakemake(target)
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected, run = metrics(project)["A2FPN"], (project / target).parent
    (run / "metrics.json").unlink()
    (run / "checkpoints").rename(project / "undisturbed")

    process = subprocess.Popen(
        project.command(target),
        cwd=project.folder,
        env=project.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    # Written after the first checkpoint is whole.
    while not (run / "checkpoints/last_checkpoint").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=300)
    assert not (project / target).exists()

    unlocked = project.snakemake("--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    resumed = project.snakemake(target)
    assert resumed.returncode == 0, resumed.stderr
    actual = metrics(project)["A2FPN"]
    assert actual["provenance"]["resumed_from"] in ("epoch_1.pth", "epoch_2.pth")
    assert expected["provenance"]["resumed_from"] is None
    for part in ("spec", "metrics", "history", "parameters", "dataset"):
        assert actual[part] == expected[part], part


def test_mmdets_own_tool_trains_a_generated_config(project):
    run = run_ids(project)[0]
    made = project.snakemake(f"runs/{run}/config.py", "datasets/instant.json")
    assert made.returncode == 0, made.stderr
    tool = os.path.join(os.path.dirname(mmdet.__file__), ".mim", "tools", "train.py")
    result = project.python(tool, f"runs/{run}/config.py")
    assert result.returncode == 0, result.stderr
    assert (project / f"runs/{run}/checkpoints/epoch_3.pth").exists()


def run_ids(project) -> list[str]:
    code = "from experiments.__main__ import read_grid; print(*read_grid([]).runs)"
    return project.python("-c", code).stdout.split()
