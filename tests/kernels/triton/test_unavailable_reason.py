"""What the Triton backend says where it cannot compute."""

import subprocess
import sys

import pytest

from kernels import triton as backend


@pytest.mark.parametrize(("device", "interpreted"), [("cuda", False), ("cuda", True), ("cpu", True)])
def test_none_where_it_computes(monkeypatch, device, interpreted):
    monkeypatch.setattr(backend.tiles, "INTERPRETED", interpreted)
    assert backend.unavailable_reason(device) is None


def test_names_a_device_that_is_not_a_cuda_device(monkeypatch):
    monkeypatch.setattr(backend.tiles, "INTERPRETED", False)
    assert backend.unavailable_reason("cpu") == "the Triton backend computes on CUDA devices only, got cpu"
    monkeypatch.setattr(backend.tiles, "INTERPRETED", True)
    assert backend.unavailable_reason("mps") == "the Triton backend computes on CUDA devices only, got mps"


def test_loads_and_says_so_without_triton():
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "triton" else find(name, *rest)
from kernels import triton
print(triton.unavailable_reason("cuda"))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert run.stdout.strip() == "Triton is not installed"
