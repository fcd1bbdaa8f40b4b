"""Hooks, on a runner reduced to what they look at."""

from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from experiments.errors import UserError
from experiments.training.hooks import EpochSeedHook, HistoryHook, InvalidLossHook


def runner(epoch=0, iteration=0, max_iters=8, per_epoch=4):
    return SimpleNamespace(
        epoch=epoch,
        iter=iteration,
        max_iters=max_iters,
        train_dataloader=[None] * per_epoch,
        message_hub=MessageHub.get_instance(f"test_{uuid4()}"),
        cfg=SimpleNamespace(run_id="abc"),
    )


def draw(seed, epoch):
    EpochSeedHook(seed).before_train_epoch(runner(epoch))
    return torch.rand(1).item(), np.random.rand()


def test_an_epoch_starts_with_the_same_numbers_however_it_is_reached():
    assert draw(0, 3) == draw(0, 3)
    assert draw(0, 3) != draw(0, 4)
    assert draw(0, 3) != draw(1, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(value):
    outputs = {"loss": torch.tensor(value), "loss_cls": torch.tensor(1.0), "loss_mask": torch.tensor(value), "acc": value}
    with pytest.raises(UserError, match="run abc: loss_mask is not finite in epoch 3, iteration 6"):
        InvalidLossHook().after_train_iter(runner(epoch=2), 5, outputs=outputs)


def test_a_finite_loss_passes():
    InvalidLossHook().after_train_iter(runner(), 0, outputs={"loss": torch.tensor(1.0), "acc": float("nan")})


def losses(values, window=4, growth=10.0):
    hook, state = InvalidLossHook(window, growth), runner(per_epoch=100)
    for index, value in enumerate(values):
        hook.after_train_iter(state, index, outputs={"loss": torch.tensor(value)})
        state.iter += 1


def test_a_loss_that_grows_beyond_hope_stops_the_run():
    with pytest.raises(
        UserError, match=r"run abc: the loss diverges, 2 at the beginning and 20.8 in epoch 1, iteration 9; lower"
    ):
        losses([2.0] * 6 + [27.0] * 4)


def test_a_single_high_loss_or_a_high_beginning_stops_nothing():
    losses([2.0] * 6 + [50.0] + [2.0] * 6)
    losses([500.0, 100.0, 50.0, 2.0] + [2.0] * 6)


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
