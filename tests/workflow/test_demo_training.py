"""A whole training at the demo scale: defects that no single step shows end in a low average precision."""

import json

import pytest

from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study


@pytest.mark.slow
@pytest.mark.parametrize(("study", "row", "box_ap"), [("a2fpn", "a2fpn", 15.0)])
def test_a_trained_neck_finds_the_shapes(project, study, row, box_ap):
    project.configure(studies=[study], scale="demo")
    run = Run(load_study(study).settings[row], load_scale("demo"), seed=0)
    result = project.snakemake(str(run.metrics_file))
    assert result.returncode == 0, result.stderr
    assert json.loads((project / str(run.metrics_file)).read_text())["metrics"]["box_AP"] > box_ap
