"""Triton's interpreter on the CPU, or with TRITON_INTERPRET=0 a CUDA device; the backend chosen by environment variable."""

import os

import pytest
import torch


@pytest.fixture
def device() -> str:
    """Type of the device that the Triton backend computes on here."""
    if os.environ["TRITON_INTERPRET"] == "1":
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("needs TRITON_INTERPRET=1 or a CUDA device")
    return "cuda"


@pytest.fixture
def on_both_backends(monkeypatch):
    """Call a function with the Triton backend, then with the reference, and return both results."""

    def call(function):
        results = []
        for name in ("triton", "reference"):
            monkeypatch.setenv("FEATURE_PYRAMIDS_BACKEND", name)
            results.append(function())
        return results

    return call
