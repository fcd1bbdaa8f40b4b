"""The width of the CPU's vectors, fixed from a process's start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.machine import fixed_vector_width, vector_variables

CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability())"


def test_a_process_knows_the_width_that_it_was_started_with(monkeypatch):
    for name in vector_variables(256):
        monkeypatch.delenv(name, raising=False)
    assert fixed_vector_width() is None
    for name, value in vector_variables(256).items():
        assert fixed_vector_width() is None  # not all libraries agree yet
        monkeypatch.setenv(name, value)
    assert fixed_vector_width() == 256


def test_no_width_sets_nothing():
    assert vector_variables(None) == {}


@pytest.mark.torch
@pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(), reason="this machine's processor has no AVX2")
def test_torch_takes_vectors_as_wide_as_it_is_told():
    environment = {**os.environ, **vector_variables(256)}
    result = subprocess.run(
        [sys.executable, "-c", CAPABILITY], env=environment, text=True, capture_output=True, check=True, timeout=600
    )
    assert result.stdout.strip() == "AVX2"
