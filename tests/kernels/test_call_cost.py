"""What a call takes: its seconds, with pretended events of a GPU, and its memory."""

import gc
from pathlib import Path

import pytest
import torch

from kernels import call_cost


class PretendedGpu:
    """A GPU on which every call takes 3 ms, which its events say."""

    def __init__(self, monkeypatch) -> None:
        self.now_ms, self.calls = 0.0, 0
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: PretendedEvent(self))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def call(self) -> list:
        self.calls += 1
        self.now_ms += 3
        return []


class PretendedEvent:
    """A mark in the pretended GPU's time."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self.gpu = gpu

    def record(self) -> None:
        self.ms = self.gpu.now_ms

    def elapsed_time(self, other: "PretendedEvent") -> float:
        return other.ms - self.ms


def test_a_gpu_is_timed_by_its_events(monkeypatch):
    gpu = PretendedGpu(monkeypatch)
    assert call_cost.seconds_alone(gpu.call, "cuda") == pytest.approx(3e-3)
    assert gpu.calls == 1
    assert call_cost.seconds_back_to_back(gpu.call) == pytest.approx(3e-3)
    assert gpu.calls == 1 + call_cost.CALLS_BACK_TO_BACK


def eightfold(tensor: torch.Tensor) -> list[torch.Tensor]:
    return [tensor + torch.cat([tensor] * 8)[: len(tensor)]]


def test_memory_beyond_inputs_and_results_is_a_share_of_both():
    inputs = [torch.zeros(2**20)]
    share = call_cost.extra_memory(lambda: eightfold(*inputs), inputs)
    if share != share:
        pytest.skip("this system does not tell a process's peak memory")
    assert 3 < share < 6, "32 MiB beside 4 MiB of input and 4 MiB of results"


def test_what_is_freed_during_a_call_hides_none_of_its_memory():
    inputs, garbage = [torch.zeros(2**20)], []
    garbage.extend([garbage, torch.ones(2**24)])
    del garbage

    def call():
        if call.warm:
            gc.collect()
        call.warm = True
        return eightfold(*inputs)

    call.warm = False
    share = call_cost.extra_memory(call, inputs)
    if share != share:
        pytest.skip("this system does not tell a process's peak memory")
    assert 3 < share < 6


def test_memory_that_the_allocator_has_kept_counts_when_it_is_used_again():
    inputs = [torch.zeros(2**20)]
    with call_cost.freed_memory_kept():
        kept = [torch.zeros(2**23) for _ in range(4)]
        del kept
        share = call_cost.extra_memory(lambda: eightfold(*inputs), inputs)
    if share != share:
        pytest.skip("this system does not tell a process's peak memory")
    assert 3 < share < 6


def test_a_system_that_does_not_tell_has_no_number(monkeypatch):
    def refused(*_):
        raise OSError("read-only")

    monkeypatch.setattr(Path, "write_text", refused)
    inputs = [torch.zeros(4)]
    assert call_cost.extra_memory(lambda: eightfold(*inputs), inputs) == pytest.approx(float("nan"), nan_ok=True)
