"""Generated configs: readable, buildable by mmengine, trainable at the paper's setting."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from experiments.run import Run
from experiments.scale import load_scale
from experiments.study import load_study
from experiments.write_config import config_text, to_python
from necks.auxiliary_loss_hook import add_auxiliary_losses

SETTINGS = load_study("a2fpn").settings

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(min_size=1) | st.from_regex(r"[a-z]{1,9}", fullmatch=True), inner)
    ),
    max_leaves=12,
)


@given(plain)
@example({"µ": 1, "class": {"{}": "\U00010000"}})
def test_python_source_means_the_data(value):
    assert eval(to_python(value)) == value


def load(tmp_path, setting, scale, seed=0):
    path = tmp_path / "config.py"
    path.write_text(config_text(Run(setting, load_scale(scale), seed)))
    return Config.fromfile(path)


@pytest.mark.parametrize("scale", ["demo", "tiny_coco", "coco"])
def test_lines_fit_and_the_base_is_mmdets(scale):
    text = config_text(Run(SETTINGS["a2fpn"], load_scale(scale), 0))
    assert '_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"' in text
    assert max(len(line) for line in text.splitlines()) <= 140


def test_paper_setting_is_the_papers(tmp_path):
    config = load(tmp_path, SETTINGS["a2fpn"], "coco", seed=3)
    assert config.train_dataloader.batch_size * load_scale("coco").resources.gpus == 8
    assert config.optim_wrapper.optimizer == {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001}
    assert config.train_cfg.max_epochs == 12
    assert config.param_scheduler[1].milestones == [8, 11]
    assert config.train_dataloader.dataset.pipeline[2].scale == (1333, 800)
    assert config.test_dataloader.dataset.ann_file == "annotations/instances_val2017.json"
    assert config.model.backbone.init_cfg.checkpoint.startswith("https://")
    assert config.randomness.seed == 3


@pytest.mark.parametrize("name", SETTINGS)
def test_model_of_the_paper_setting_trains_one_step(name, tmp_path):
    config = load(tmp_path, SETTINGS[name], "coco")
    config.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    add_auxiliary_losses(model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {name: p.detach().clone() for name, p in model.neck.named_parameters()}
    data = demo_mm_inputs(1, [[3, 64, 96]], num_items=[2], num_classes=80, with_mask=True, use_box_type=False)
    logged = model.train_step(data, wrapper)
    assert torch.isfinite(logged["loss"])
    assert ("loss_orthogonal" in logged) == (SETTINGS[name].neck.get("lateral") == "mgc")
    assert any(not torch.equal(p, before[name]) for name, p in model.neck.named_parameters())
