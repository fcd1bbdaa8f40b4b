"""Launch a training with several processes through torchrun; it ends like one process, with one sentence and one exit code."""

import logging
import os
import signal
import sys
from types import FrameType

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
# Time to write a checkpoint after a signal.
SECONDS_TO_STOP = 240
# torchrun kills ranks that ignore its SIGTERM, 30 seconds after the first failure.
SECONDS_OF_FIRST_FAILURES = 15
# Exit statuses that count as interrupted: killed by the signal before it could exit with 75.
TOLD_TO_STOP = {os.EX_TEMPFAIL, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGINT, -signal.SIGHUP}


def main() -> None:
    """Start as many processes as the first argument says; the other arguments are those of Python.

    Exit codes: 75 after a signal, when the same command resumes the training; 1 after a failure.
    """
    os.environ.update(ENVIRONMENT)
    # Silence torchrun's failure log: the failed rank has already printed its error.
    logging.disable(logging.ERROR)
    # These imports read the environment that is set above.
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    # torchrun raises on every signal, also on one that comes again while it waits for the ranks, and would leave them alone.
    raise_for = api._terminate_process_handler

    def answer_once(number: int, frame: FrameType | None) -> None:
        _ignore_signals()
        raise_for(number, frame)

    api._terminate_process_handler = answer_once
    number, *program = sys.argv[1:]
    stopping = ["--signals-to-handle", SIGNALS, "--shutdown-timeout", str(SECONDS_TO_STOP)]
    try:
        torchrun(["--standalone", *stopping, "--nproc-per-node", number, *program])
    except api.SignalException:
        sys.exit(os.EX_TEMPFAIL)
    except ChildFailedError as error:
        _ignore_signals()
        failures = error.failures.values()
        latest = min(failure.timestamp for failure in failures) + SECONDS_OF_FIRST_FAILURES
        codes = {failure.exitcode for failure in failures if failure.timestamp <= latest} - TOLD_TO_STOP
        killed = next((signal.Signals(-code).name for code in codes if code < 0), None)
        if killed:
            sys.exit(f"error: a process of {number} was killed by {killed}")
        sys.exit(1 if codes else os.EX_TEMPFAIL)


def _ignore_signals() -> None:
    for name in SIGNALS.split(","):
        signal.signal(signal.Signals[name], signal.SIG_IGN)


if __name__ == "__main__":
    main()
