"""Each pipeline of a configuration's trainings is measured once, over a dataset that has been prepared."""

from pathlib import Path

import pytest

from experiments.benchmarks.loading import Pipeline, about, measure
from experiments.data.prepare import prepare_dataset
from experiments.errors import UserError
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study

pytestmark = pytest.mark.torch


@pytest.fixture
def runs(tmp_path, monkeypatch) -> list[Run]:
    """Two seeds of two detectors that read the same, and a model that labels pixels, in an empty folder."""
    scale = load_scale("demo")
    settings = load_study("fusions").settings
    monkeypatch.chdir(tmp_path)
    return [Run(settings[name], scale, seed) for name in ("add", "concat", "labels_add") for seed in (0, 1)]


def test_every_pipeline_is_measured_once(runs):
    drawn = runs[0].scale.dataset.model_copy(update={"train_count": 4, "val_count": 2})
    prepare_dataset(drawn, Path("datasets/demo"), None)
    objects, labels = measure(runs, images=6)
    assert objects.name == "instance_segmentation, mask_rcnn, 1x"
    assert list(objects.milliseconds) == ["LoadImageFromFile", "LoadAnnotations", "Resize", "RandomFlip", "PackDetInputs"]
    assert labels.name.startswith("semantic_segmentation")
    assert list(labels.milliseconds)[-1] == "PackSegInputs"
    assert min(*objects.milliseconds.values(), *labels.milliseconds.values()) > 0


def test_a_dataset_that_is_not_there_is_named_with_its_remedy(runs):
    with pytest.raises(UserError, match=r"datasets/demo/\S+ is missing; `snakemake datasets/demo.json` prepares them"):
        next(measure(runs, images=1))


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        (0, "of 4 images without workers that is 40 ms of every step"),
        (1, "of 4 images 1 worker keeps up with steps of 40 ms or longer"),
        (2, "of 4 images 2 workers keep up with steps of 20 ms or longer"),
    ],
)
def test_the_steps_that_workers_keep_up_with_are_said(workers, said):
    text = about(Pipeline("detection", 4, {"Resize": 8.0, "RandomFlip": 2.0}), workers)
    assert f"detection: 100 images per second on one core; {said}." in text
    assert "| Resize      |           8.00 |" in text
