"""Panoptic segmentation from its files to its config, with mmdetection's model."""

import pytest

from experiments.configs.build import load_config
from experiments.spec.datasets import CocoDataset, Segments
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting

SETTING = Setting(neck={"type": "FPN"}, detector="panoptic_fpn", backbone="resnet50", schedule="1x")
FILES = {f"{split}_{kind}": f"{split}.json" for split in ("train", "val") for kind in ("annotations", "images")}
SEGMENTS = {f"{split}_{kind}": f"p_{split}" for split in ("train", "val") for kind in ("annotations", "maps")}


def test_things_come_before_stuff():
    config = load_config(Run(SETTING, load_scale("demo"), seed=0))
    names = config.test_dataloader.dataset.metainfo
    assert names.classes == [*names.thing_classes, *names.stuff_classes]
    assert names.stuff_classes == ["background", "clutter"]
    assert [evaluator.type for evaluator in config.test_evaluator] == ["PanopticQualityMetric", "FasterCocoMetric"]
    assert config.test_evaluator[0].things == len(names.thing_classes)


def test_heads_are_sized_by_the_things_and_the_stuff_of_ones_own_dataset():
    own = CocoDataset(kind="coco", classes=["car", "dog"], segments=Segments(stuff=["sky", "road", "sea"], **SEGMENTS), **FILES)
    model = load_config(Run(SETTING, load_scale("demo").replace(dataset=own), seed=0)).model
    for head in (model.semantic_head, model.panoptic_fusion_head):
        assert (head.num_things_classes, head.num_stuff_classes) == (2, 3)
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 2


def test_coco_has_80_things_and_53_stuff():
    scale = load_scale("coco_panoptic")
    assert (len(scale.panoptic.things), len(scale.panoptic.stuff)) == (80, 53)
    run = Run(SETTING.replace(schedule="1x_multi_scale", backbone="resnet50_caffe"), scale, seed=0)
    model = load_config(run).model
    assert (model.semantic_head.num_stuff_classes, model.roi_head.bbox_head.num_classes) == (53, 80)
    assert model.test_cfg.rcnn.score_thr == 0.05
    assert not model.test_cfg.rcnn.nms.class_agnostic


def test_segments_need_named_classes():
    with pytest.raises(
        ValueError, match="classes: found 'annotations' beside segments; allowed there: the names of the things"
    ):
        CocoDataset(kind="coco", classes="annotations", segments=Segments(**SEGMENTS), **FILES)
