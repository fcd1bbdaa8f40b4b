"""A runner reduced to what hooks look at."""

from types import SimpleNamespace
from uuid import uuid4

from mmengine.logging import MessageHub


def runner(epoch=0, iteration=0, max_iters=8, per_epoch=4):
    return SimpleNamespace(
        epoch=epoch,
        iter=iteration,
        max_iters=max_iters,
        train_dataloader=[None] * per_epoch,
        message_hub=MessageHub.get_instance(f"test_{uuid4()}"),
        cfg=SimpleNamespace(run_id="abc"),
    )
