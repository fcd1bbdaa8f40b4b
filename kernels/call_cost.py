"""What a call takes: time, on the CPU by the clock and on a GPU by its own events, and memory beyond inputs and results."""

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

Call = Callable[[], list[Tensor]]

# Calls of which a GPU finds the next one waiting.
CALLS_BACK_TO_BACK = 20
MIB = 2**20
# Constants of the C library's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def bytes_of(tensors: list[Tensor]) -> int:
    """Bytes of the values of tensors.

    Parameters
    ----------
    tensors : list of Tensor
        Any.
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def seconds_alone(call: Call, device: str) -> float:
    """Seconds of a call on an idle device; on a GPU those that pass there, the start of its kernels by the CPU included.

    Parameters
    ----------
    call : callable
        What to time; its results are freed outside the time.
    device : {'cpu', 'cuda'}
        Where it computes.
    """
    if device == "cuda":
        return _seconds_on_gpu(call, 1)
    started = time.perf_counter()
    results = call()
    elapsed = time.perf_counter() - started
    del results
    return elapsed


def seconds_back_to_back(call: Call) -> float:
    """Seconds of each of many calls that a GPU finds waiting one after another, as it does in a training that keeps it busy.

    Where the CPU needs longer to start a call than the GPU to compute it, this is the CPU's time.

    Parameters
    ----------
    call : callable
        What to time.
    """
    return _seconds_on_gpu(call, CALLS_BACK_TO_BACK)


def _seconds_on_gpu(call: Call, calls: int) -> float:
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    started.record()
    for _ in range(calls):
        call()
    ended.record()
    torch.cuda.synchronize()
    return started.elapsed_time(ended) / 1e3 / calls


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the C library keep freed memory, so that the system's page faults are not timed with every result."""
    library = _allocator()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, 2**31 - 1)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_THRESHOLD, MIB)
        library.mallopt(M_TRIM_THRESHOLD, MIB)
        library.malloc_trim(0)


def _allocator() -> ctypes.CDLL | None:
    """The C library, if its allocator can be told what to keep."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None


def extra_memory(call: Call, inputs: list[Tensor]) -> float:
    """Peak memory of a call beyond its inputs and results, as a share of both; the call is warmed up before.

    Parameters
    ----------
    call : callable
        What to watch.
    inputs : list of Tensor
        What it reads.

    Returns
    -------
    float
        Not a number where the system does not tell.
    """
    of_results = bytes_of(call())
    extra = _extra_allocated if inputs[0].device.type == "cuda" else _extra_resident
    return extra(call) / (bytes_of(inputs) + of_results)


def _extra_allocated(call: Call) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = call()
    torch.cuda.synchronize()
    return max(0, torch.cuda.max_memory_allocated() - before - bytes_of(results))


def _extra_resident(call: Call) -> float:
    # What the call takes would be hidden by unreachable objects of earlier work, if they were freed during it, and by freed
    # memory that the allocator has kept.
    gc.collect()
    if library := _allocator():
        library.malloc_trim(0)
    try:
        # Writing 5 resets the kernel's record of the peak resident size.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    before = _resident("VmRSS")
    results = call()
    return max(0, _resident("VmHWM") - before - bytes_of(results))


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
