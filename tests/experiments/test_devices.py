"""The GPUs that a process may use: all, those that the environment names, instances of divided ones."""

import os
import sys

import pytest

from experiments.devices import visible_devices

GPUS = """\
GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)
GPU 2: NVIDIA H100 (UUID: GPU-bcbc-3)
"""
DIVIDED = """\
GPU 0: NVIDIA H100 (UUID: GPU-aaaa-1)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb-2)
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A function that puts an `nvidia-smi` with some output first in the path; None takes the path away."""

    def pretend(output):
        monkeypatch.setenv("PATH", str(tmp_path))
        if output is not None:
            (tmp_path / "listed").write_text(output)
            program = tmp_path / "nvidia-smi"
            program.write_text(f"#!{sys.executable}\nprint(open({str(tmp_path / 'listed')!r}).read(), end='')\n")
            program.chmod(0o755)

    return pretend


@pytest.mark.parametrize(
    ("listed", "visible", "expected"),
    [
        (GPUS, None, ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-bcbc-3"]),
        (GPUS, "2,0", ["GPU-bcbc-3", "GPU-aaaa-1"]),
        (GPUS, "GPU-bc", ["GPU-bcbc-3"]),
        (GPUS, "", []),
        (GPUS, "-1", []),
        (GPUS, "1,-1,0", ["GPU-bbbb-2"]),
        (GPUS, "0, 7, 1", ["GPU-aaaa-1"]),
        (GPUS, "0,0", ["GPU-aaaa-1"]),
        (DIVIDED, None, ["MIG-1111", "MIG-2222", "GPU-bbbb-2"]),
        (DIVIDED, "MIG-2222", ["MIG-2222"]),
        (DIVIDED, "0", ["MIG-1111", "MIG-2222"]),
        ("No devices were found\n", None, []),
        (None, None, []),
        (None, "0,3", ["0", "3"]),
        (None, "-1", []),
    ],
)
def test_devices_have_one_name_whatever_the_environment_calls_them(nvidia_smi, monkeypatch, listed, visible, expected):
    nvidia_smi(listed)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == expected


def test_a_failing_list_is_no_device(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_devices() == []
