"""Locks of this machine's GPUs: who holds one uses it alone, and the kernel takes it back when its last process ends."""

import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Of all users and projects of this machine.
FOLDER = "feature_pyramid_devices"
# Environment variable with the files of the devices that a training's processes hold together.
HELD = "FEATURE_PYRAMIDS_DEVICES"
SECONDS_BETWEEN_LOOKS = 0.5


def take_devices(devices: Sequence[str], number: int) -> list[str]:
    """Wait until so many of some devices are free, and hold them until this process, and what it has become, ends.

    Who asks first is served first, so that a training on several GPUs gets them together and does not starve behind others on
    one. Devices are taken as they become free.

    Parameters
    ----------
    devices : sequence of str
        Names of the devices to choose from.
    number : int
        How many, at most that of `devices`.

    Returns
    -------
    list of str
        The chosen devices in the order of `devices`.
    """
    folder = _folder()
    queue = _open(folder / "queue")
    try:
        fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _tell(folder, devices, number)
        fcntl.flock(queue, fcntl.LOCK_EX)
    held = _take_as_they_become_free(folder, devices, number)
    os.close(queue)
    chosen = [device for device in devices if device in held]
    for device in chosen:
        os.set_inheritable(held[device], True)
        with suppress(OSError):  # another user's file
            _file(folder, device, "lock").write_text(json.dumps({"process": os.getpid()}))
    os.environ[HELD] = os.pathsep.join(str(_file(folder, device, "users")) for device in chosen)
    return chosen


def _take_as_they_become_free(folder: Path, devices: Sequence[str], number: int) -> dict[str, int]:
    """Device to the descriptor of its lock."""
    held: dict[str, int] = {}
    is_told = False
    while True:
        for device in devices:
            if device not in held and len(held) < number and (descriptor := _try(folder, device)) is not None:
                held[device] = descriptor
        if len(held) == number:
            return held
        if not is_told:
            is_told = True
            _tell(folder, devices, number)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def keep_devices() -> None:
    """Hold the devices of this process's training too, so that they are not free while a process of a dead launcher lives."""
    for path in filter(None, os.environ.get(HELD, "").split(os.pathsep)):
        fcntl.flock(_open(Path(path)), fcntl.LOCK_SH)  # never closed: until the process ends


def _try(folder: Path, device: str) -> int | None:
    """The descriptor of a device's lock; None while a process holds it, or one of a former holder uses the device."""
    lock, users = (_open(_file(folder, device, kind)) for kind in ("lock", "users"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    finally:
        os.close(users)
    return lock


def _tell(folder: Path, devices: Sequence[str], number: int) -> None:
    holders = []
    for device in devices:
        with suppress(OSError, ValueError):
            holders.append(str(json.loads(_file(folder, device, "lock").read_text())["process"]))
    named = f"; processes {', '.join(dict.fromkeys(holders))} use them" if holders else ""
    print(
        f"waiting for {number} of {len(devices)} {'GPU' if len(devices) == 1 else 'GPUs'}{named}", file=sys.stderr, flush=True
    )


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / FOLDER
    folder.mkdir(exist_ok=True)
    with suppress(OSError):  # another user's folder
        folder.chmod(0o1777)
    return folder


def _file(folder: Path, device: str, kind: str) -> Path:
    return folder / f"{device.replace('/', '_')}.{kind}"


def _open(path: Path) -> int:
    """A descriptor for locks, which needs no permission to write another user's file."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        with suppress(OSError):
            os.fchmod(descriptor, 0o666)
        return descriptor
