"""Generated configs: readable, buildable by mmengine, trainable at the paper's setting."""

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from mmdet.registry import DATASETS, MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from experiments.configs.python_source import to_python
from experiments.configs.write import config_text
from experiments.data.prepare import prepare_dataset
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting
from experiments.spec.study import load_study
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
    scale = load_scale(scale) if isinstance(scale, str) else scale
    path.write_text(config_text(Run(setting, scale, seed)))
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
    assert config.val_evaluator.type == "FasterCocoMetric"
    assert config.val_evaluator.metric == ["bbox", "segm"]
    assert config.model.backbone.init_cfg.checkpoint.startswith("https://")
    assert config.randomness.seed == 3


def models_of_the_paper():
    """The ablation's necks; Table 1's own rows, those with deep backbones only where there is time."""
    quick = ["fpn", "a2fpn", "cascade_a2fpn"]
    own = {name for name, setting in SETTINGS.items() if setting in load_study("a2fpn").tables["table1"].settings}
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in sorted({"pafpn", "a2fpn_lite", *own} - set(quick))]
    assert len(own) == 17
    return quick + slow


@pytest.mark.parametrize("name", models_of_the_paper())
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
    stuff_maps = SETTINGS[name].detector == "htc"
    data = demo_mm_inputs(
        1, [[3, 64, 96]], num_items=[2], num_classes=80, with_mask=True, with_semantic=stuff_maps, use_box_type=False
    )
    logged = model.train_step(data, wrapper)
    assert torch.isfinite(logged["loss"])
    assert ("loss_semantic_seg" in logged) == stuff_maps
    assert ("loss_orthogonal" in logged) == (SETTINGS[name].neck.get("lateral") == "mgc")
    assert any(not torch.equal(p, before[name]) for name, p in model.neck.named_parameters())


def settings_of(neck, detector="mask_rcnn", backbone="resnet50", schedule="1x"):
    return Setting(neck=neck, detector=detector, backbone=backbone, schedule=schedule)


def test_a_chain_of_necks_reads_the_levels_of_the_one_before(tmp_path):
    chain = [{"type": "FPN"}, {"type": "BFP", "num_levels": 5, "refine_level": 2, "refine_type": "non_local"}]
    config = load(tmp_path, settings_of(chain), "demo")
    assert config.model.neck[0] == {"type": "FPN", "in_channels": [16, 32, 64, 128], "out_channels": 48, "num_outs": 5}
    assert config.model.neck[1] == {**chain[1], "in_channels": 48}


@pytest.mark.parametrize("neck", [{"type": "FPN_CARAFE"}, {"type": "NASFPN", "stack_times": 7}])
def test_mmdets_necks_are_reachable_without_new_code(neck, tmp_path):
    config = load(tmp_path, settings_of(neck), "coco")
    assert sum(parameter.numel() for parameter in MODELS.build(config.model.neck).parameters()) > 3_000_000


def test_a_schedule_may_change_batch_size_image_sizes_and_optimiser(tmp_path):
    config = load(tmp_path, settings_of({"type": "FPN"}, schedule="adamw_3x_multi_scale"), "coco")
    assert config.optim_wrapper.optimizer == {"type": "AdamW", "lr": 0.0001, "betas": [0.9, 0.999], "weight_decay": 0.05}
    assert config.train_dataloader.batch_size * load_scale("coco").resources.gpus == 16
    resize = config.train_dataloader.dataset.pipeline[2]
    assert resize == {"type": "RandomResize", "scale": [(1333, 640), (1333, 800)], "keep_ratio": True}
    sgd = load(tmp_path, settings_of({"type": "FPN"}, schedule="3x_multi_scale"), "coco").optim_wrapper.optimizer
    assert sgd == {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0001}


def test_htc_loads_stuff_maps_and_has_a_class_for_each_of_their_labels(tmp_path):
    coco = load(tmp_path, SETTINGS["htc_fpn"], "coco")
    assert coco.train_dataloader.dataset.data_prefix == {"img": "train2017/", "seg": "stuffthingmaps/train2017/"}
    assert coco.train_dataloader.dataset.pipeline[1].with_seg
    # Labels from 0 to 181, and 255 for none: mmdetection's own number.
    assert coco.model.roi_head.semantic_head.num_classes == 183
    assert (coco.train_cfg.max_epochs, coco.param_scheduler[1].milestones) == (20, [16, 19])
    assert coco.optim_wrapper.optimizer.lr == 0.01

    config = load(tmp_path, SETTINGS["htc_fpn"], "demo")
    drawn = load_scale("demo").dataset.replace(train_count=4, val_count=1)
    prepare_dataset(drawn, tmp_path / "demo", None)
    config.train_dataloader.dataset.data_root = str(tmp_path / "demo")
    sample = DATASETS.build(config.train_dataloader.dataset)[0]["data_samples"]
    labels = sample.gt_sem_seg.sem_seg
    assert labels.shape[-2:] == sample.img_shape == (96, 96)
    assert config.model.roi_head.semantic_head.num_classes == len(drawn.classes) + 2
    assert {6} < set(labels.unique().tolist()) <= {*range(8), 255}


@pytest.mark.parametrize("name", ["a2fpn_2x_multi_scale", "htc_a2fpn_resnext101_2x_multi_scale"])
def test_several_image_sizes_are_mmdetections_and_no_larger_than_the_papers(name, tmp_path):
    config = load(tmp_path, SETTINGS[name], "coco")
    sizes = [(1333, 640), (1333, 800)]
    assert config.train_dataloader.dataset.pipeline[2] == {"type": "RandomResize", "scale": sizes, "keep_ratio": True}
    assert config.test_dataloader.dataset.pipeline[1].scale == (1333, 800)
    assert (config.train_cfg.max_epochs, config.param_scheduler[1].milestones) == (24, [16, 22])
    assert config.train_dataloader.batch_size * load_scale("coco").resources.gpus == 8


def test_a_schedule_may_limit_the_long_side(tmp_path):
    coco = load_scale("coco")
    wide = coco.schedules["2x_multi_scale"].replace(short_sides=(400, 1400), long_side=1600)
    config = load(tmp_path, SETTINGS["a2fpn_2x_multi_scale"], coco.replace(schedules={"2x_multi_scale": wide}))
    assert config.train_dataloader.dataset.pipeline[2].scale == [(1600, 400), (1600, 1400)]


@pytest.mark.parametrize(
    ("study", "name", "are_polygons"),
    [("a2fpn", "fpn", False), ("a3fpn", "fpn_mmdet", True), ("fapn", "fapn_r101", True), ("fapn", "faster_fapn_r50", None)],
)
def test_masks_are_polygons_where_the_recipe_keeps_them(study, name, are_polygons, tmp_path):
    config = load(tmp_path, load_study(study).settings[name], "coco")
    loading = config.train_dataloader.dataset.pipeline[1]
    assert loading.with_mask == (are_polygons is not None)
    assert loading.get("poly2mask", True) is not bool(are_polygons)


def test_polygons_are_cut_out_for_the_mask_head_as_rasterised_masks_are_but_at_edges(tmp_path):
    demo = load_scale("demo")
    prepare_dataset(demo.dataset.replace(train_count=4, val_count=1), tmp_path / "demo", None)
    path = tmp_path / "demo/annotations/train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height]]
    path.write_text(json.dumps(content))
    cut = []
    for polygons in (False, True):
        scale = demo.replace(schedules={"1x": demo.schedules["1x"].replace(polygons=polygons)})
        dataset = load(tmp_path, SETTINGS["fpn"], scale).train_dataloader.dataset
        dataset.update(data_root=str(tmp_path / "demo"))
        dataset.pipeline[3].prob = 0.0
        sample = DATASETS.build(dataset)[0]["data_samples"]
        masks, boxes = sample.gt_instances.masks, sample.gt_instances.bboxes.tensor.numpy()
        assert ("Polygon" in type(masks).__name__) == polygons
        cut.append(masks.crop_and_resize(boxes, (28, 28), np.arange(len(boxes)), "cpu").to_ndarray())
    rasterised, polygons = cut
    assert 0 < (rasterised != polygons).mean() < 0.1


def test_weights_of_another_origin_get_the_images_that_they_expect(tmp_path):
    config = load(tmp_path, settings_of({"type": "FPN"}, backbone="resnet101_caffe"), "coco")
    assert config.model.data_preprocessor.std == [1.0, 1.0, 1.0]
    assert config.model.data_preprocessor.bgr_to_rgb is False
    assert config.model.data_preprocessor.pad_size_divisor == 32
    assert (config.model.backbone.depth, config.model.backbone.style) == (101, "caffe")


def test_masks_are_loaded_where_the_detector_has_them(tmp_path):
    for detector, masks in (("mask_rcnn", True), ("faster_rcnn", False)):
        pipeline = load(tmp_path, settings_of({"type": "FPN"}, detector=detector), "demo").train_dataloader.dataset.pipeline
        assert pipeline[1]["with_mask"] is masks


def heads(model):
    """Every head of a detector's config that tells classes apart."""
    roi_head = model.get("roi_head")
    found = [roi_head.bbox_head, roi_head.get("mask_head", [])] if roi_head else [model.bbox_head]
    return [head for stages in found for head in (stages if isinstance(stages, list) else [stages])]


def test_heads_are_sized_where_the_scale_inherits_from_one_with_other_classes(tmp_path):
    demo, photos = load_scale("demo"), load_scale("tiny_coco").dataset
    for classes, count in ((["can", "box"], 2), (None, 80)):
        scale = demo.replace(dataset=photos.replace(classes=classes))
        for detector in ("mask_rcnn", "cascade_mask_rcnn"):
            config = load(tmp_path, SETTINGS["fpn"].replace(detector=detector), scale)
            assert {head.num_classes for head in heads(config.model)} == {count}


@pytest.mark.parametrize("detector", list(load_scale("tiny_coco").detectors))
def test_every_head_of_every_detector_is_sized_by_the_classes_of_the_dataset(tmp_path, detector):
    base = load_scale("tiny_coco")
    own = base.replace(dataset=base.dataset.replace(classes=["can", "box", "jar"]))
    setting = SETTINGS["fpn"].replace(detector=detector)
    before, after = (load(tmp_path, setting, scale) for scale in (base, own))
    assert {head.num_classes for head in heads(before.model)} == {80}
    assert {head.num_classes for head in heads(after.model)} == {3}
    assert len(heads(after.model)) == len(heads(before.model))
    for head in heads(after.model):
        head.num_classes = 80
    assert after.model == before.model, "nothing else has changed"
    for dataloader in (after.train_dataloader, after.test_dataloader):
        assert dataloader.dataset.metainfo.classes == ["can", "box", "jar"]
    assert "metainfo" not in before.train_dataloader.dataset
