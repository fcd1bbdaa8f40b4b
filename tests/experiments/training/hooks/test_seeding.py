"""Seeds of epochs."""

import numpy as np
import torch

from experiments.training.hooks.seeding import EpochSeedHook
from tests.experiments.training.hooks.runners import runner


def draw(seed, epoch):
    EpochSeedHook(seed).before_train_epoch(runner(epoch))
    return torch.rand(1).item(), np.random.rand()


def test_an_epoch_starts_with_the_same_numbers_however_it_is_reached():
    assert draw(0, 3) == draw(0, 3)
    assert draw(0, 3) != draw(0, 4)
    assert draw(0, 3) != draw(1, 3)
