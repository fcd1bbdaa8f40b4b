"""Locks of a run's folder: one training at a time, one writer of its progress at a time."""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from experiments.files import read_json


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Serialise the processes of one machine; has no effect on a file system without locks.

    Parameters
    ----------
    folder : Path
        The folder that they write to.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def wait_for_lock(file: TextIO, path: Path) -> None:
    """Take the exclusive POSIX lock of an open file; while waiting, print who holds it.

    On a file system without locks, print a warning and continue.

    Parameters
    ----------
    file : TextIO
        The open file.
    path : Path
        Its path, in the run's folder; its content names the process that holds the lock.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = read_json(path)
        print(
            f"waiting: process {holder.get('process')} on {holder.get('host')}"
            f"{' (Slurm job ' + holder['slurm_job'] + ')' if holder.get('slurm_job') else ''} trains {path.parent} already;"
            " this one goes on when that one ends",
            file=sys.__stderr__,
            flush=True,
        )
        fcntl.lockf(file, fcntl.LOCK_EX)
    except OSError as error:
        print(f"{path}: {error.strerror}; nothing keeps a second process from training this run", file=sys.__stderr__)


def is_locked(path: Path) -> bool | None:
    """Whether another process holds an exclusive POSIX lock on a file; None where the file system cannot tell.

    Parameters
    ----------
    path : Path
        The file; missing files are not locked.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    except OSError:
        return None
    with file:
        try:
            # The shared lock is released at once, so a training that starts in between does not wait.
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_UN)
        except OSError as error:
            return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return False
