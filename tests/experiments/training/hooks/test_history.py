"""The course of the losses."""

import torch

from experiments.training.hooks.history import HistoryHook
from tests.experiments.training.hooks.runners import runner


def test_history_holds_means_between_points():
    hook, state = HistoryHook(points=4), runner()
    for _ in range(2):
        hook.before_train_epoch(state)
        for index in range(4):
            hook.after_train_iter(state, index, outputs={"loss": torch.tensor(float(state.iter)), "acc": 3.0})
            state.iter += 1
    assert state.message_hub.get_info("history") == [
        {"iteration": 2, "loss": 0.5},
        {"iteration": 4, "loss": 2.5},
        {"iteration": 6, "loss": 4.5},
        {"iteration": 8, "loss": 6.5},
    ]


def test_history_goes_on_in_the_middle_of_an_epoch():
    whole, parted = runner(), runner()
    for state, hooks in ((whole, [HistoryHook(points=2)]), (parted, [HistoryHook(points=2), HistoryHook(points=2)])):
        for index in range(4):
            hook = hooks[0] if index < 2 else hooks[-1]
            if index in (0, 2):
                hook.before_train_epoch(state)
            hook.after_train_iter(state, index, outputs={"loss": torch.tensor(float(index))})
            state.iter += 1
    assert parted.message_hub.get_info("history") == whole.message_hub.get_info("history") == [{"iteration": 4, "loss": 1.5}]


def test_validations_are_kept_by_epoch_under_the_names_of_metrics():
    state, hook = runner(), HistoryHook()
    state.cfg.task = "instance_segmentation"
    for state.epoch, logged in ((1, {"coco/bbox_mAP": 0.25, "coco/segm_mAP": 0.125}), (2, {"coco/bbox_mAP": 0.5})):
        hook.after_val_epoch(state, logged)
    assert state.message_hub.get_info("validations") == [
        {"epoch": 1, "box_AP": 25.0, "mask_AP": 12.5},
        {"epoch": 2, "box_AP": 50.0},
    ]
