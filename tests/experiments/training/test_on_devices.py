"""Trainings on pretended GPUs: never two on one, none lost, several together, whatever is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEVICES = ["GPU-a", "GPU-b", "GPU-c"]
# Marks its devices as its own while it lives; another living process's mark is a collision. One that was killed and that nobody
# has waited for is still in /proc, without a command line, which the kernel takes away before the locks.
USE_DEVICES = """
import os, sys, time
from pathlib import Path
from experiments.records.device_locks import keep_devices
def lives(process):
    try:
        return bool(Path("/proc", process or "0", "cmdline").read_bytes())
    except OSError:
        return False
keep_devices()
marks, seconds = Path(sys.argv[1]), float(sys.argv[2])
mine = [marks / device for device in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
for mark in mine:
    if mark.exists() and lives(mark.read_text()):
        (marks / f"collision_{os.getpid()}").write_text(f"{mark.name} {mark.read_text()}")
    mark.write_text(str(os.getpid()))
time.sleep(seconds)
with open(marks / "finished", "a") as file:
    file.write(os.environ["CUDA_VISIBLE_DEVICES"] + chr(10))
for mark in mine:
    mark.unlink()
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts a program on some pretended devices; locks and marks lie in the test's folder."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "marks").mkdir()
    started = []

    def start(number, seconds=0.1, devices=DEVICES, command=("-c", USE_DEVICES), **variables):
        environment = {
            **os.environ,
            "PATH": "/bin",  # without nvidia-smi
            "TMPDIR": str(tmp_path / "locks"),
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": ",".join(devices),
            **variables,
        }
        program = [sys.executable, *command, str(tmp_path / "marks"), str(seconds)]
        on_devices = [sys.executable, "-m", "experiments.training.on_devices", str(number)]
        pipes = {"stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*on_devices, *program], env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def finished(tmp_path):
    path = tmp_path / "marks/finished"
    return path.read_text().split() if path.exists() else []


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def users(tmp_path):
    """Processes that use a device."""
    return {path.read_text() for path in (tmp_path / "marks").glob("GPU-*")}


def collisions(tmp_path):
    return [path.read_text() for path in (tmp_path / "marks").glob("collision_*")]


def test_never_two_on_one_device_and_none_lost_whatever_is_killed(start, tmp_path):
    chance = random.Random(0)
    processes = [start(chance.choice((1, 1, 2, 3)), chance.uniform(0.05, 0.5)) for _ in range(16)]
    killed = chance.sample(processes, 5)
    for process in killed:
        time.sleep(chance.uniform(0, 0.6))
        process.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
    for process in processes:
        process.wait(timeout=60)
    assert collisions(tmp_path) == []
    left = [process.returncode for process in processes if process not in killed]
    assert left == [0] * len(left)
    assert start(3).wait(timeout=20) == 0, "all devices can be had again"
    assert finished(tmp_path)[-1] == "GPU-a,GPU-b,GPU-c"


def test_as_many_run_at_once_as_there_are_devices(start, tmp_path):
    processes = [start(1, 30) for _ in range(4)]
    wait_for(lambda: len(users(tmp_path)) == 3)
    waiting = next(process for process in processes if str(process.pid) not in users(tmp_path))
    line = waiting.stderr.readline()
    assert line.startswith("waiting for 1 of 3 GPUs; processes ")
    assert all(user in line for user in users(tmp_path))


def test_who_wants_several_does_not_starve_behind_others_on_one(start, tmp_path):
    first = [start(1, 1.0) for _ in range(3)]
    wait_for(lambda: len(users(tmp_path)) == 3)
    everything = start(3, 0.1)
    time.sleep(0.7)  # it asks before the others
    others = [start(1, 0.1) for _ in range(4)]
    for process in (*first, everything, *others):
        assert process.wait(timeout=30) == 0
    order = finished(tmp_path)
    assert order[3] == "GPU-a,GPU-b,GPU-c"
    assert collisions(tmp_path) == []


def test_a_device_is_not_free_while_a_process_of_a_dead_launcher_lives(start, tmp_path):
    launch = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {USE_DEVICES!r}, *sys.argv[1:]])\n"
        "time.sleep(60)"
    )
    launcher = start(1, 2.0, DEVICES[:1], ("-c", launch))
    wait_for((tmp_path / "marks/GPU-a").exists)
    launcher.kill()
    launcher.wait(timeout=30)
    assert start(1, 0.1, DEVICES[:1]).wait(timeout=30) == 0
    assert collisions(tmp_path) == []
    assert len(finished(tmp_path)) == 2


def test_a_job_of_slurm_has_its_devices_for_itself(start):
    holder = start(1, 30, DEVICES[:1])
    time.sleep(1)
    assert start(1, 0.1, DEVICES[:1], SLURM_JOB_ID="7").wait(timeout=20) == 0
    assert holder.poll() is None


def test_too_few_devices_are_one_sentence(start):
    process = start(2, devices=DEVICES[:1])
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors == (
        "error: a training asks for 2 GPUs, and this machine offers 1 (GPU-a; CUDA_VISIBLE_DEVICES: GPU-a); correct the"
        " scale's resources.gpus\n"
    )
