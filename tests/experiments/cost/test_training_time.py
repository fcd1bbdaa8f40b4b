"""What `plan` assumes of a model that nobody has counted, beside the count."""

import pytest

from experiments.cost.complexity import model_multiply_adds
from experiments.cost.training_time import DETECTOR_FLOPS, assumed_multiply_adds
from experiments.paths import STUDIES
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study

COUNTED = {
    "cifar100": [f"cifar_{fusion}_{b}" for fusion in ("add", "iaff") for b in (1, 4)] + ["cifar_resnext_aff_5"],
    "imagenet": ["resnet50_160e", "aff_resnet50_160e", "iaff_resnext50_32x4d_160e"],
    "stopsign": ["signs_add_1", "signs_add_4"],
}


@pytest.mark.parametrize(
    ("scale", "setting"), [(scale, setting) for scale, settings in COUNTED.items() for setting in settings]
)
def test_assumed_multiply_adds_are_near_those_counted(scale, setting):
    run = Run(load_study("aff").settings[setting], load_scale(scale), seed=0)
    assert assumed_multiply_adds(run) == pytest.approx(model_multiply_adds(run), rel=0.05)


@pytest.mark.parametrize("study", sorted(path.stem for path in STUDIES.glob("*.yaml")))
def test_something_is_assumed_of_every_detector_of_the_studies(study):
    assert {setting.detector for setting in load_study(study).settings.values()} <= set(DETECTOR_FLOPS)
