"""What the operators gain over other ways to compute the same: ratios of times measured side by side, and peak memory."""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kernels import deformable_aggregate, reassemble
from kernels.backends import VARIABLE, backend_for
from kernels.call_cost import bytes_of, extra_memory, freed_memory_kept, seconds_alone, seconds_back_to_back
from kernels.modulated_deform_conv import modulated_deform_conv
from kernels.ratio_figure import plot_ratios
from kernels.roi_align import roi_align

KERNEL_SIZE = 5
GROUPS = 16
DEFORM_GROUPS = 8
OFFSET_SCALE = 2.0


def unfold_einsum(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    """Reassembly as everybody writes it: the unfolded map, k * k times the features, then a sum of products."""
    batch, channels, height, width = features.shape
    patches = F.unfold(features, KERNEL_SIZE, padding=KERNEL_SIZE // 2, stride=down)
    patches = patches.view(batch, channels, KERNEL_SIZE**2, -(-height // down), -(-width // down))
    by_source = kernels.unflatten(3, (-1, up)).unflatten(2, (-1, up))
    return torch.einsum("nckhw,nkhawb->nchawb", patches, by_source).flatten(4, 5).flatten(2, 3)


def shifted_loop(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    """Reassembly as a sum of shifted maps, one for each tap, with the channels last."""
    border = KERNEL_SIZE // 2
    padded = F.pad(features.permute(0, 2, 3, 1), (0, 0, border, border, border, border))[:, :, None, :, None]
    by_source = kernels.permute(1, 0, 2, 3).unflatten(3, (-1, up)).unflatten(2, (-1, up))[..., None]
    height, width = by_source.shape[2], by_source.shape[4]
    result = features.new_zeros(())
    for tap in range(KERNEL_SIZE**2):
        top, left = divmod(tap, KERNEL_SIZE)
        rows = slice(top, top + down * (height - 1) + 1, down)
        columns = slice(left, left + down * (width - 1) + 1, down)
        result = result + padded[:, rows, :, columns] * by_source[tap]
    return result.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def grid_sample_loop(values: Tensor, offsets: Tensor, modulation: Tensor) -> Tensor:
    """Deformable aggregation by torch's grid_sample, tap by tap."""
    batch, channels, height, width = values.shape
    columns = torch.arange(width, dtype=values.dtype, device=values.device)
    rows = torch.arange(height, dtype=values.dtype, device=values.device)[:, None]
    maps = values.reshape(batch * GROUPS, channels // GROUPS, height, width)
    result = values.new_zeros(())
    for tap in range(9):
        x = columns + OFFSET_SCALE * (tap // 3 - 1 + offsets[:, :, tap, 0])
        y = rows + OFFSET_SCALE * (tap % 3 - 1 + offsets[:, :, tap, 1])
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).flatten(0, 1)
        weight = modulation[:, :, tap].reshape(-1, 1, height, width)
        result = result + weight * F.grid_sample(maps, grid, align_corners=False)
    return result.view(batch, channels, height, width)


def mmcv_carafe(features: Tensor, kernels: Tensor, up: int, down: int) -> Tensor:
    """Reassembly by mmcv's operator, which enlarges only and computes on CUDA only."""
    from mmcv.ops import carafe

    return carafe(features, kernels, KERNEL_SIZE, 1, up)


def mmcv_modulated_deform_conv(values: Tensor, offsets: Tensor, modulation: Tensor) -> Tensor:
    """Deformable aggregation by mmcv's DCNv2 with depthwise weights of one; its taps go row by row, and y comes first."""
    from mmcv.ops import modulated_deform_conv2d

    channels, dilation = values.shape[1], int(OFFSET_SCALE)
    row_major = [3 * i + j for j in range(3) for i in range(3)]
    shifted = (OFFSET_SCALE * offsets[:, :, row_major]).flip(3).flatten(1, 3)
    mask = modulation[:, :, row_major].flatten(1, 2)
    weight = values.new_ones(channels, 1, 3, 3)
    return modulated_deform_conv2d(values, shifted, mask, weight, None, 1, dilation, dilation, channels, GROUPS)


@dataclass
class Case:
    """One operator on one shape: our form, other forms, and their inputs in the layout that suits each."""

    operator: str
    shape: str
    batch: int
    ours: Callable[..., Tensor]
    inputs: list[Tensor]
    others: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Operator, shape and batch."""
        return f"{self.operator} {self.shape}, batch {self.batch}"


def reassembly_cases(device: str, dtype: torch.dtype) -> Iterator[Case]:
    """DySample's published timing shape, level 2 of A²-FPN's image, and its pooling counterpart; batch 1 and 2."""
    for (height, width, up, down), batch in product([(120, 120, 2, 1), (104, 160, 2, 1), (208, 320, 1, 2)], (1, 2)):
        out_height, out_width = height * up // down, width * up // down
        features = torch.randn(batch, 256, height, width, device=device, dtype=dtype)
        kernels = torch.randn(batch, KERNEL_SIZE**2, out_height, out_width, device=device, dtype=dtype).softmax(1)
        case = Case(
            "reassembly",
            f"256x{height}x{width} -> {out_height}x{out_width}",
            batch,
            partial(reassemble, up=up, down=down),
            [tensor.contiguous(memory_format=torch.channels_last) for tensor in (features, kernels)],
        )
        factors = {"up": up, "down": down}
        case.others = {
            "unfold + einsum": (partial(unfold_einsum, **factors), [features, kernels]),
            "shifted loop": (partial(shifted_loop, **factors), case.inputs),
            "compiled unfold + einsum": (partial(_compiled(unfold_einsum), **factors), [features, kernels]),
            "compiled shifted loop": (partial(_compiled(shifted_loop), **factors), case.inputs),
        }
        if device == "cuda" and down == 1 and dtype != torch.bfloat16:
            case.others["mmcv CARAFE"] = (partial(mmcv_carafe, **factors), [features, kernels])
        yield case


def deformable_cases(device: str, dtype: torch.dtype) -> Iterator[Case]:
    """Level 3 of A3-FPN on A²-FPN's image, batch 1 and 2."""
    for batch in (1, 2):
        values = torch.randn(batch, 256, 104, 160, device=device, dtype=dtype)
        joined = torch.randn(batch, GROUPS * 27, 104, 160, device=device, dtype=dtype)
        offsets, modulation = _split_offsets(joined)
        case = Case(
            "deformable aggregation",
            f"256x104x160, {GROUPS} groups",
            batch,
            partial(deformable_aggregate, offset_scale=OFFSET_SCALE),
            [
                values.contiguous(memory_format=torch.channels_last),
                *_split_offsets(joined.contiguous(memory_format=torch.channels_last)),
            ],
        )
        theirs = [values, offsets.contiguous(), modulation.contiguous()]
        case.others = {"grid_sample": (grid_sample_loop, theirs), "mmcv DCNv2": (mmcv_modulated_deform_conv, theirs)}
        yield case


def mmcv_dcnv2(features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Modulated deformable convolution by mmcv's operator."""
    from mmcv.ops import modulated_deform_conv2d

    return modulated_deform_conv2d(features, offsets, modulation, weight, bias, 1, 1, 1, 1, DEFORM_GROUPS)


def deform_conv_cases(device: str, dtype: torch.dtype) -> Iterator[Case]:
    """FaPN's alignment at level 3 of A²-FPN's image and at that of the demo scale, on the CPU."""
    if device != "cpu" or dtype != torch.float32:
        return
    for channels, height, width, batch in ((256, 104, 160, 1), (48, 24, 24, 8)):
        of_maps = (channels, 18 * DEFORM_GROUPS, 9 * DEFORM_GROUPS)
        maps = [torch.randn(batch, count, height, width) for count in of_maps]
        inputs = [*maps, torch.randn(channels, channels, 3, 3), torch.randn(channels)]
        yield Case(
            "modulated deformable convolution",
            f"{channels}x{height}x{width}",
            batch,
            partial(modulated_deform_conv, deform_groups=DEFORM_GROUPS),
            inputs,
            {"mmcv DCNv2": (mmcv_dcnv2, inputs)},
        )


def mmcv_roi_align(features: Tensor, regions: Tensor, output_size: tuple[int, int], spatial_scale: float) -> Tensor:
    """RoIAlign by mmcv's operator."""
    from mmcv.ops import roi_align as pooled

    return pooled(features, regions, output_size, spatial_scale, 0, "avg", True)


def roi_align_cases(device: str, dtype: torch.dtype) -> Iterator[Case]:
    """Level 2 of Mask R-CNN on A²-FPN's image with its box head's regions, and the demo's; batch 1 and 2. On the CPU only."""
    if device != "cpu" or dtype != torch.float32:
        return
    for (channels, height, width, count, sides), batch in product(
        [(256, 208, 320, 512, (8.0, 112.0)), (48, 24, 24, 32, (4.0, 40.0))], (1, 2)
    ):
        features = torch.randn(batch, channels, height, width)
        regions = _regions(batch, count, (4.0 * height, 4.0 * width), sides)
        options = {"regions": regions, "output_size": (7, 7), "spatial_scale": 0.25}
        case = Case(
            "RoIAlign",
            f"{channels}x{height}x{width}, {count} regions -> 7x7",
            batch,
            partial(roi_align, **options),
            [features.contiguous(memory_format=torch.channels_last)],
        )
        case.others = {
            "ours, contiguous": (partial(roi_align, **options), [features]),
            "mmcv RoIAlign": (partial(mmcv_roi_align, **options), [features]),
        }
        yield case


def _regions(batch: int, count: int, image: tuple[float, float], sides: tuple[float, float]) -> Tensor:
    """Random regions of each image, (batch * count, 5), with sides in this range of pixels."""
    height, width = image
    corners = torch.rand(batch * count, 2) * torch.tensor([width, height])
    lengths = sides[0] + torch.rand(batch * count, 2) * (sides[1] - sides[0])
    images = torch.arange(batch).repeat_interleave(count)[:, None]
    return torch.cat([images, corners, corners + lengths], dim=1)


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=False)


def _split_offsets(joined: Tensor) -> tuple[Tensor, Tensor]:
    by_group = joined.unflatten(1, (GROUPS, 27))
    return by_group[:, :, :18].unflatten(2, (9, 2)), by_group[:, :, 18:]


def forward(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Compute without gradients."""
    with torch.no_grad():
        return [function(*inputs)]


def forward_and_backward(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Compute, and the gradients of all inputs too, for the output as its own gradient."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*inputs)
    return [output, *torch.autograd.grad(output, inputs, output.detach())]


PASSES = {"forward": forward, "forward + backward": forward_and_backward}
# What a column's name adds for each way to time a call.
CLOCKS: dict[str, dict[str, Callable[[Callable[[], list[Tensor]]], float]]] = {
    "cpu": {"": partial(seconds_alone, device="cpu")},
    "cuda": {"": partial(seconds_alone, device="cuda"), ", back to back": seconds_back_to_back},
}


def measure(case: Case, name: str, repetitions: int) -> list[dict[str, object]]:
    """Time all forms of a case in turn, round after round, and compare each with ours.

    Parameters
    ----------
    case : Case
        The computation to time.
    name : str
        Key of `PASSES`.
    repetitions : int
        Number of rounds, after one that warms up.

    Returns
    -------
    list of dict
        A row of the table for each other form, and one for the copy.
    """
    run = PASSES[name]
    forms = {"ours": (case.ours, case.inputs), **case.others}
    calls: dict[str, Callable[[], list[Tensor]]] = {
        form: partial(run, function, inputs) for form, (function, inputs) in forms.items()
    }
    calls["copy"] = _copy_of_as_many_bytes(case, name)
    # What is compiled at a first call is compiled here.
    memory = {form: extra_memory(call, case.inputs) for form, call in calls.items()}
    clocks = CLOCKS[case.inputs[0].device.type]
    seconds: dict[str, dict[str, list[float]]] = {clock: {form: [] for form in calls} for clock in clocks}
    with freed_memory_kept():
        for call in calls.values():
            call()
        for _ in tqdm(range(repetitions), desc=f"{case.name}, {name}", unit="round"):
            for clock, (form, call) in product(clocks, calls.items()):
                seconds[clock][form].append(clocks[clock](call))
    medians = {clock: {form: statistics.median(times[form]) for form in calls} for clock, times in seconds.items()}
    return [
        {
            "operator": case.operator,
            "shape": case.shape,
            "batch": case.batch,
            "pass": name,
            "against": form,
            **_times(medians, form),
            "extra memory, ours [%]": 100 * memory["ours"],
            "extra memory, other [%]": 100 * memory[form],
        }
        for form in calls
        if form != "ours"
    ]


def _times(medians: dict[str, dict[str, float]], form: str) -> dict[str, float]:
    """Columns of a row: our time, that of the other form and their ratio, by each clock."""
    columns = {}
    for clock, median in medians.items():
        columns[f"ours{clock} [ms]"] = 1e3 * median["ours"]
        columns[f"other{clock} [ms]"] = 1e3 * median[form]
        columns[f"other / ours{clock}"] = median[form] / median["ours"]
    return columns


def _copy_of_as_many_bytes(case: Case, name: str) -> Callable[[], list[Tensor]]:
    """A copy that moves what must be moved: every input read and every result written once in each pass."""
    with torch.no_grad():
        output = case.ours(*case.inputs)
    bytes_moved = bytes_of([*case.inputs, output])
    if name == "forward + backward":
        bytes_moved += bytes_of([*case.inputs, output]) + bytes_of(case.inputs)
    source = torch.randn(bytes_moved // 8, device=output.device)
    target = torch.empty_like(source)
    return lambda: [target.copy_(source)]


def main() -> None:
    """Measure the operators against other forms and print one table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--repetitions", type=int, default=20, help="rounds of each case")
    parser.add_argument("--only", default="", help="measure only cases whose operator, shape and batch contain this text")
    parser.add_argument("--plot", type=Path, help="image file for the ratios")
    parser.add_argument("--csv", type=Path, help="file for the table's data")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda, but torch sees no CUDA device")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    rows = []
    for cases in (reassembly_cases, deformable_cases, deform_conv_cases, roi_align_cases):
        for case in cases(arguments.device, dtype):
            if arguments.only in case.name:
                for name in PASSES:
                    rows += measure(case, name, arguments.repetitions)
                    torch.compiler.reset()
    if not rows:
        sys.exit(f"error: --only {arguments.only!r} fits no case")
    table = pd.DataFrame(rows)
    print(_heading(arguments))
    print(table.to_markdown(index=False, floatfmt=".3g"))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    if arguments.plot:
        plot_ratios(table, arguments.plot)


def _backend_name(device: str) -> str:
    package: Any = backend_for(torch.empty(0, device=device))
    return package.__name__


def _heading(arguments: argparse.Namespace) -> str:
    backend = _backend_name(arguments.device)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    by_events = ", by the GPU's events, a call alone and many back to back" if arguments.device == "cuda" else ""
    return (
        f"\n{device}; {arguments.dtype}; backend {backend} ({VARIABLE} changes it); torch {torch.__version__};"
        f" medians of {arguments.repetitions} rounds, all forms in turn{by_events}.\n"
        "Extra memory: peak beyond inputs and results, as a share of both. Freed memory is kept and used again.\n"
    )


if __name__ == "__main__":
    main()
