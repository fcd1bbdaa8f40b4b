"""The clock of a training, in a process that is stopped and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest

# The main thread computes in C, as in a training: it cannot answer signals meanwhile.
PROGRAM = """
import hashlib, sys, time
from experiments.training.running_clock import RunningClock
clock = RunningClock()
began, began_running = time.monotonic(), clock.now()
computed = bytes(2 ** 28)
print("begun", flush=True)
for line in sys.stdin:
    hashlib.sha256(computed)
    print(time.monotonic() - began, clock.now() - began_running, flush=True)
"""


@pytest.fixture
def process():
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def stop(process, seconds):
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGCONT)


def begin_computing(process):
    print(file=process.stdin, flush=True)


def times_after_computing(process):
    return [float(each) for each in process.stdout.readline().split()]


def test_stops_are_not_counted(process):
    stop(process, 4)
    time.sleep(1.5)
    begin_computing(process)
    stop(process, 4)
    elapsed, running = times_after_computing(process)
    assert elapsed - running == pytest.approx(8, abs=2.5)


def test_other_time_is_counted_even_where_a_process_is_told_to_go_on_that_was_not_stopped(process):
    for _ in range(3):
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
    begin_computing(process)
    elapsed, running = times_after_computing(process)
    assert elapsed == pytest.approx(running, abs=1)
