"""Training on real photos at full width: the proof that the data path is right."""

import json

import pytest


@pytest.mark.slow
def test_training_lowers_the_loss_and_finds_more_than_an_untrained_model(project, tiny_coco):
    project.configure(scale="tiny_coco", data_root=str(tiny_coco))
    made = project.snakemake("reports/two_necks_table1.md")
    assert made.returncode == 0, made.stderr
    (path,) = project.folder.glob("runs/*/metrics.json")
    trained = json.loads(path.read_text())
    losses = [point["loss"] for point in trained["history"]]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.8 * sum(losses[:tenth])

    # The same config without an epoch of training.
    config = path.with_name("config.py")
    text = config.read_text()
    untrained = project / "untrained"
    untrained.mkdir()
    assert "max_epochs=" in text
    (untrained / "config.py").write_text(
        text + f"\ntrain_cfg = dict(max_epochs=0)\nwork_dir = {str(untrained / 'checkpoints')!r}\n"
    )
    measured = project.python(
        "-m", "experiments.training.train", "--dataset", "datasets/tiny_coco.json", "--log-file", "untrained/log",
        "untrained/config.py", "untrained/metrics.json",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    before = json.loads((untrained / "metrics.json").read_text())["metrics"]
    assert trained["metrics"]["box_AP"] > before["box_AP"]
    assert trained["metrics"]["mask_AP"] > before["mask_AP"]
