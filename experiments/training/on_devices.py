"""Number and command -> the command on so many free GPUs of this machine, which no other training has."""

import os
import sys

from experiments.devices import VISIBLE, visible_devices
from experiments.errors import UserError, report_user_errors
from experiments.records.device_locks import take_devices


def main() -> None:
    """Become the program that the arguments after the first name, with as many devices as the first says.

    Without GPUs it starts as it is. A job of Slurm that sees as many devices as it asks for has them for itself.

    Raises
    ------
    UserError
        If fewer devices are visible.
    """
    number, command = int(sys.argv[1]), sys.argv[2:]
    devices = visible_devices() or _devices_of_torch()
    is_given = "SLURM_JOB_ID" in os.environ and len(devices) == number
    if devices and not is_given:
        if len(devices) < number:
            raise UserError(
                f"a training asks for {number} GPUs, and this machine offers {len(devices)} ({', '.join(devices)};"
                f" {VISIBLE}: {os.environ.get(VISIBLE, 'not set')}); correct the scale's resources.gpus"
            )
        os.environ[VISIBLE] = ",".join(take_devices(devices, number))
    os.execvp(command[0], command)


def _devices_of_torch() -> list[str]:
    """Where nothing else tells: torch takes seconds to be imported."""
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


if __name__ == "__main__":
    report_user_errors(main)
