"""An image classifier's config, from which those of runs inherit: mmdetection's runtime and loop, data without boxes."""

_base_ = ["mmdet::_base_/default_runtime.py", "mmdet::_base_/schedules/schedule_1x.py"]
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(type="ResNet", depth=50),
    neck=dict(type="HighestLevel"),
    num_classes=1000,
    in_channels=2048,
)
train_dataloader = dict(sampler=dict(type="DefaultSampler", shuffle=True))
val_dataloader = dict(sampler=dict(type="DefaultSampler", shuffle=False))
test_dataloader = dict(sampler=dict(type="DefaultSampler", shuffle=False))
val_evaluator = dict(type="TopErrors")
test_evaluator = dict(type="TopErrors")
