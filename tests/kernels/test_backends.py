"""The backend follows the device or the environment variable; what cannot compute says why."""

import warnings

import pytest
import torch

from kernels import backends, cpu, reassemble, reference
from kernels.backends import VARIABLE, backend_for

TENSOR = torch.zeros(1)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    backends._default.cache_clear()
    yield
    backends._default.cache_clear()


def test_the_device_decides():
    assert backend_for(TENSOR) is cpu
    assert backend_for(TENSOR.to("meta")) is reference


def test_the_variable_decides_before_the_device(monkeypatch):
    monkeypatch.setenv(VARIABLE, "reference")
    assert backend_for(TENSOR) is reference


def test_unknown_backend_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(RuntimeError, match=f"{VARIABLE} is 'cuda'; allowed: reference, cpu, triton"):
        reassemble(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))


def test_a_named_backend_that_cannot_compute_is_not_replaced(monkeypatch):
    monkeypatch.setenv(VARIABLE, "cpu")
    with pytest.raises(RuntimeError, match="the C\\+\\+ operators compute on the CPU only, got meta"):
        backend_for(TENSOR.to("meta"))


def test_without_compiled_operators_the_reference_is_used_with_one_notice(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "library_path", lambda _: tmp_path / "missing.so")
    with pytest.warns(UserWarning, match=r"not built .*python -m kernels.cpu.build.*reference operators are used"):
        assert backend_for(TENSOR) is reference
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backend_for(TENSOR) is reference
