"""Seeds that make a resumed training equal to an uninterrupted one."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed all random number generators at the start of each epoch, so that a resumed training equals an uninterrupted one.

    Parameters
    ----------
    seed : int
        The run's seed.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Derive the epoch's seed from the run's, the epoch and the process."""
        state = np.random.SeedSequence([self.seed, runner.epoch, get_rank()]).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a dataloader worker with the seed that torch draws for it at the start of the epoch, after `EpochSeedHook`.

    mmengine's own function gives it the same seed in every epoch.

    Parameters
    ----------
    worker_id : int
        Index of the worker; torch's seed already differs by it.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
