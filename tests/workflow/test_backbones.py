"""A run that begins with another run's backbone: trained first, loaded whole, refused where it does not fit."""

import json

import pytest
import yaml

from experiments.workflow.grid import Grid
from tests.workflow.sentences import sentence_of

pytestmark = pytest.mark.long

REPORT = "reports/two_necks_table3.md"


@pytest.fixture
def study(project, monkeypatch):
    """A table for labels with a row that begins with the backbone of a row for objects; a function from its rows to runs."""

    def add_table(study):
        labels = {"neck": {"type": "FPN"}, "detector": "semantic_fpn"}
        study["settings"] |= {"labels": labels, "begun": {**labels, "load_from": "mgc"}}
        rows = [{"name": "from scratch", "setting": "labels"}, {"name": "from objects", "setting": "begun"}]
        study["tables"]["table3"] = {"title": "Labels", "columns": {"mIoU": "mIoU"}, "rows": rows}

    project.change_yaml("experiments/studies/two_necks.yaml", add_table)
    monkeypatch.chdir(project.folder)
    grid = Grid({"studies": "two_necks", "scale": "instant", "seeds": 0})
    return dict(zip(("scratch", "begun"), grid.runs_of("two_necks_table3"), strict=True))


def test_the_other_run_is_trained_first_and_its_backbone_is_loaded(project, study):
    begun = study["begun"]
    source = begun.source.id
    result = project.snakemake(REPORT)
    assert result.returncode == 0, result.stderr
    assert {path.parent.name for path in project.folder.glob("runs/*/metrics.json")} == {study["scratch"].id, begun.id, source}
    assert f"run {source}: two_necks_table1" not in result.stdout, "its own tables are not asked for, but it is named"
    assert (
        f"load backbone. in model from: pretrained/backbones/{source}.pth"
        in (project / f"logs/train/{begun.id}.log").read_text()
    )
    metrics = json.loads((project / f"runs/{begun.id}/metrics.json").read_text())
    weights = json.loads((project / f"pretrained/backbones/{source}.json").read_text())
    assert metrics["spec"]["load_from"] == source
    assert metrics["provenance"]["sources"][f"pretrained/backbones/{source}.pth"] == weights["sha256"]
    assert "Nothing to be done" in project.snakemake("-n", REPORT).stdout

    # Another backbone of the same run: what began with the former one is trained again, and nothing else.
    (project / f"pretrained/backbones/{source}.json").write_text(json.dumps(weights | {"sha256": "0" * 64}))
    assert "†" in _report_as_it_is(project)
    planned = project.snakemake("-n", REPORT).stdout
    assert f"runs/{begun.id}/metrics.json" in planned
    assert f"output: runs/{source}/metrics.json" not in planned
    assert f"output: runs/{study['scratch'].id}/metrics.json" not in planned


def _report_as_it_is(project):
    result = project.snakemake("--config", "train=none", "--", REPORT)
    assert result.returncode == 0, result.stderr
    return (project / REPORT).read_text()


def test_a_backbone_of_another_shape_is_refused_before_the_first_step(project, study):
    import torch

    source = study["begun"].source.id
    folder = project / "runs" / source
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = {"meta": {"iter": 1}, "state_dict": {"backbone.conv1.weight": torch.zeros(4, 3, 7, 7)}}
    torch.save(checkpoint, folder / "checkpoints/epoch_1.pth")
    result = project.snakemake(f"pretrained/backbones/{source}.pth", "--allowed-rules", "backbone")
    assert result.returncode != 0

    (folder / "metrics.json").write_text(json.dumps({"run": source, "metrics": {"box_AP": 1.0}}))
    sentence = sentence_of(project.snakemake(REPORT))
    assert f"pretrained/backbones/{source}.pth: the backbone of run {source} does not fit ResNet" in sentence
    assert "conv1.weight, wanted (8, 3, 7, 7), which has (4, 3, 7, 7)" in sentence


@pytest.mark.parametrize(
    ("load_from", "sentence"),
    [
        ("mg", "'mg' is no run; allowed: a setting of the study, or a run's id, 12 hexadecimal digits"),
        ("0123456789ab", "load_from: run 0123456789ab is not finished here, and only its own scale and study can train it"),
        ("begun", "load_from goes round in a circle: begun -> begun"),
    ],
)
def test_a_wrong_name_is_one_sentence(project, study, load_from, sentence):
    project.change_yaml(
        "experiments/studies/two_necks.yaml", lambda study: study["settings"]["begun"].update(load_from=load_from)
    )
    assert sentence in sentence_of(project.snakemake("-n", REPORT))


def test_a_finished_run_of_another_scale_is_begun_with_by_its_id(project, study):
    source = study["begun"].source.id
    assert project.snakemake(f"runs/{source}/metrics.json").returncode == 0
    other = yaml.safe_load((project / "experiments/scales/instant.yaml").read_text())
    other["batch_size"] = 3
    (project / "experiments/scales/other.yaml").write_text(yaml.safe_dump(other))
    project.change_yaml("experiments/studies/two_necks.yaml", lambda study: study["settings"]["begun"].update(load_from=source))
    project.configure(scale="other", rows=["from objects"])
    result = project.snakemake(REPORT)
    assert result.returncode == 0, result.stderr
    begun = [path for path in project.folder.glob("runs/*/metrics.json") if path.parent.name != source]
    assert [json.loads(path.read_text())["spec"]["load_from"] for path in begun] == [source]
