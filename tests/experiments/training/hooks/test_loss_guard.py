"""Losses that end a training, and those that do not."""

import pytest
import torch

from experiments.errors import UserError
from experiments.training.hooks.loss_guard import InvalidLossHook
from tests.experiments.training.hooks.runners import runner


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
