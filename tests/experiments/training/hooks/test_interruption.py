"""What a signal does in each part of a training, on a hook without a runner."""

import os
import signal
from collections.abc import Iterator

import pytest
from torch.utils.data import DataLoader

from experiments.training.hooks.interruption import InterruptibleTrainLoop, InterruptionHook
from experiments.training.signals import SIGNALS, InterruptionError


@pytest.fixture
def hook() -> Iterator[InterruptionHook]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook = InterruptionHook()
    hook.before_train(None)
    yield hook
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_in_a_step_a_signal_waits_for_its_end(hook, number):
    send(number)
    assert hook.received == number


@pytest.mark.parametrize("number", SIGNALS)
def test_while_batches_are_loaded_again_a_signal_ends_the_training_at_once(hook, number):
    hook.before_replay(None)
    with pytest.raises(InterruptionError, match=f"stopped by {number.name}"):
        send(number)


def test_a_signal_before_batches_are_loaded_again_ends_the_training(hook):
    send(signal.SIGTERM)
    with pytest.raises(InterruptionError, match="stopped by SIGTERM before the first step"):
        hook.before_replay(None)


def test_after_batches_were_loaded_again_a_signal_waits_for_a_step(hook):
    hook.before_replay(None)
    hook.restore_process(None)
    send(signal.SIGUSR1)
    assert hook.received == signal.SIGUSR1


@pytest.mark.parametrize(
    ("length", "expected"),
    [({"max_epochs": 0}, (0, 0)), ({"max_epochs": 2}, (2, 8)), ({"max_iters": 0}, (0, 0)), ({"max_iters": 6}, (2, 6))],
)
def test_a_loop_is_as_long_as_it_is_told(length, expected):
    loop = InterruptibleTrainLoop(None, DataLoader(range(8), batch_size=2), **length)
    assert (loop.max_epochs, loop.max_iters) == expected
