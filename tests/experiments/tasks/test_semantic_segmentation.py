"""Semantic segmentation from its label maps to its metrics, with mmsegmentation's models."""

import pytest

from experiments.configs.build import build_model, load_config
from experiments.errors import UserError
from experiments.spec.datasets import LabelMapDataset
from experiments.spec.run import Run
from experiments.spec.scale import Schedule, load_scale
from experiments.spec.setting import Setting
from experiments.tasks.task import load_task

PLAIN = {"detector": "semantic_fpn", "backbone": "resnet50", "schedule": "1x"}


def run_with(neck, scale="demo"):
    return Run(Setting(neck=neck, **PLAIN), load_scale(scale), seed=0)


def test_necks_of_mmdetection_are_taken_from_there_and_own_ones_by_their_names():
    assert load_config(run_with({"type": "PAFPN"})).model.neck.type == "mmdet.PAFPN"
    assert load_config(run_with({"type": "FaPN"})).model.neck.type == "FaPN"
    model = build_model(run_with({"type": "PAFPN"}))
    assert type(model.neck).__module__.startswith("mmdet.")
    assert type(model).__module__.startswith("mmseg.")


def test_a_neck_has_as_many_levels_as_the_head_reads():
    run = run_with({"type": "FPN"})
    assert run.num_outs == load_config(run).model.neck.num_outs == 4
    (reader,) = load_task(run.task).level_readers(build_model(run))
    assert (reader.name, reader.strides) == ("decode_head", [4, 8, 16, 32])


def test_the_head_has_an_output_for_each_shape_for_background_and_for_clutter():
    run = run_with({"type": "FPN"})
    config = load_config(run)
    classes = config.train_dataloader.dataset.metainfo.classes
    assert classes == [*run.scale.classes, "background", "clutter"]
    assert config.model.decode_head.num_classes == len(classes)


def test_a_scale_offers_the_models_that_can_learn_from_its_dataset(tmp_path):
    demo = load_scale("demo")
    folders = {f"{split}_{kind}": f"{kind}/{split}/" for split in ("train", "val") for kind in ("images", "maps")}
    labelled = demo.replace(dataset=LabelMapDataset(kind="label_maps", classes=["a", "b"], **folders))
    annotated = demo.replace(dataset=load_scale("coco").dataset)
    segmentors = {
        "semantic_fpn",
        "shallow_semantic_fpn",
        "semantic_point_rend",
        "upernet",
        "maskformer",
        "semantic_mask2former",
    }
    others = {"panoptic_fpn", "classifier", "small_classifier", "small_resnext_classifier"}
    assert set(labelled.offered_detectors) == segmentors
    assert set(annotated.offered_detectors) == set(demo.detectors) - segmentors - others
    with pytest.raises(UserError, match="detector 'semantic_fpn' is not offered by scale demo; allowed: mask_rcnn, "):
        Run(Setting(neck={"type": "FPN"}, **PLAIN), annotated, seed=0)


CROPPED = {
    "iterations": 100,
    "param_scheduler": [],
    "resize_ratios": (0.5, 2.0),
    "crop": (64, 32),
    "photometric": True,
}


def test_a_schedule_crops_and_distorts_and_counts_iterations():
    demo = load_scale("demo")
    scale = demo.replace(schedules={"1x": Schedule(**CROPPED)})
    config = load_config(Run(Setting(neck={"type": "FPN"}, **PLAIN), scale, seed=0))
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    order = ["LoadImageFromFile", "LoadAnnotations", "RandomResize", "RandomCrop", "RandomFlip", "PhotoMetricDistortion"]
    assert list(steps) == [*order, "PackSegInputs"]
    assert (steps["RandomResize"].scale, steps["RandomResize"].ratio_range) == (demo.image_scale, (0.5, 2.0))
    assert (steps["RandomCrop"].crop_size, steps["RandomCrop"].cat_max_ratio) == ((64, 32), 0.75)
    assert config.train_cfg == {"type": "InterruptibleTrainLoop", "max_iters": 100, "val_interval": 100}
    assert config.train_dataloader.drop_last
    of_objects = Setting(neck={"type": "FPN"}, detector="mask_rcnn", backbone="resnet50", schedule="1x")
    plain = demo.replace(schedules={"1x": Schedule(**{**CROPPED, "photometric": False})})
    loader = load_config(Run(of_objects, plain, seed=0)).train_dataloader
    assert (loader.batch_sampler.type, loader.batch_sampler.drop_last) == ("AspectRatioBatchSampler", True)
    assert "drop_last" not in loader


def test_a_schedule_has_one_length():
    for lengths, found in (({}, "neither"), ({"epochs": 1, "iterations": 2}, "both")):
        with pytest.raises(ValueError, match=f"epochs, iterations: found {found}; allowed: one of them"):
            Schedule(param_scheduler=[], **lengths)
    assert (Schedule(**CROPPED).length(30), Schedule(**CROPPED).passes(30)) == (100, 4)
    assert (Schedule(epochs=3, param_scheduler=[]).length(30), Schedule(epochs=3, param_scheduler=[]).passes(30)) == (90, 3)


def test_weights_of_classes_follow_the_dataset():
    folders = {f"{split}_{kind}": f"{kind}/{split}/" for split in ("train", "val") for kind in ("images", "maps")}
    own = LabelMapDataset(kind="label_maps", classes=["a", "b", "c"], **folders)
    setting = Setting(neck={"type": "SequentialFPN", "encoded": 3, "mode": "bilinear"}, **PLAIN)
    setting = setting.replace(detector="semantic_mask2former")
    config = load_config(Run(setting, load_scale("demo").replace(dataset=own), seed=0))
    assert config.model.decode_head.num_classes == 3
    assert config.model.decode_head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]


def test_the_head_has_as_many_outputs_as_ones_own_dataset_has_classes():
    folders = {f"{split}_{kind}": f"{kind}/{split}/" for split in ("train", "val") for kind in ("images", "maps")}
    own = LabelMapDataset(kind="label_maps", classes=["a", "b", "c"], image_ending=".jpeg", **folders)
    run = Run(Setting(neck={"type": "FPN"}, **PLAIN), load_scale("demo").replace(dataset=own), seed=0)
    config = load_config(run)
    assert config.model.decode_head.num_classes == 3
    assert config.train_dataloader.dataset.data_prefix == {"img_path": "images/train/", "seg_map_path": "maps/train/"}
    assert config.test_dataloader.dataset.img_suffix == ".jpeg"
