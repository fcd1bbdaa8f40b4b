"""Signals that end a training: the training answers them, and its dataloader workers leave them to it.

Slurm, ``timeout`` and terminals send a signal to every process of a job. A worker that died of it would end the training before
its checkpoint is written.
"""

import os
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType

# SIGTERM: scancel, timeout, preemption; SIGUSR1: Slurm's warning before a time limit; SIGINT: Ctrl-C; SIGHUP: a closed terminal
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
SECONDS_BETWEEN_LOOKS = 1.0
Handler = Callable[[int, FrameType | None], object] | signal.Handlers


class InterruptionError(BaseException):
    """A training was ended by a signal; it resumes when it is started again.

    It can be raised wherever the training is, so no ``except Exception`` of a library may catch it.
    """


# The signal that ends this process, once there is one.
_received: list[signal.Signals] = []


def note_signal(number: int) -> signal.Signals:
    """Remember a signal that ends this process.

    Parameters
    ----------
    number : int
        The signal.
    """
    _received.append(signal.Signals(number))
    return _received[-1]


def raise_if_told_to_stop() -> None:
    """Raise an interruption in place of a failure that follows from it: another rank may have gone already.

    Raises
    ------
    InterruptionError
        If this process has received a signal.
    """
    if _received:
        raise InterruptionError(f"stopped by {_received[-1].name} outside of a training step; the same command goes on")


def answer_signals(handler: Handler) -> dict[signal.Signals, object]:
    """Let a function answer the signals. A SIGHUP that is ignored stays ignored, as ``nohup`` wants it.

    Parameters
    ----------
    handler : callable or signal.Handlers
        Receives the signal's number and the frame; or ``SIG_IGN``.

    Returns
    -------
    dict
        The previous handlers.
    """
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    return {number: signal.signal(number, handler) for number in SIGNALS if number not in ignored}


def interrupt(number: int, _frame: FrameType | None = None) -> None:
    """End the process at once: nothing has been computed since the newest checkpoint. Further signals are ignored.

    Raises
    ------
    InterruptionError
        Always.
    """
    answer_signals(signal.SIG_IGN)
    note_signal(number)
    raise_if_told_to_stop()


@cache
def leave_signals_to_this_process() -> None:
    """Let the processes that this one forks leave the signals to it; they still end when it tells them to, and with it.

    The signals are blocked while a process forks, so that none reaches a worker before it is ready.
    """
    masks: list[set[int | signal.Signals]] = []

    def block() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS))

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=_obey_the_parent_alone)


def _obey_the_parent_alone() -> None:
    threading.Thread(target=_end_with_the_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_the_parent(parent: int) -> None:
    """End this process when its parent says so, or has gone.

    torch's workers look for their parent too, but hang then on a queue that only they hold open and nobody reads.
    """
    while os.getppid() == parent:
        told = signal.sigtimedwait(SIGNALS, SECONDS_BETWEEN_LOOKS)
        if told is not None and told.si_pid == parent:
            break
    os._exit(os.EX_OK)  # as torch's own handler in a worker
