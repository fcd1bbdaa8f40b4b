"""Pre-flight check of the GPUs: torch sees them, and mmcv's operators compute on them."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.errors import UserError, first_line, report_user_errors
from experiments.files import write_atomically

TOLERANCE = 1e-3
SET_UP = "FORCE_CUDA=1 make setup"


def check_gpus(wanted: int) -> dict[str, Any]:
    """Check that torch sees the requested GPUs and that mmcv's operators compute correctly on each of them.

    Parameters
    ----------
    wanted : int
        Number of GPUs; with 0, nothing is checked.

    Returns
    -------
    dict
        Names of the GPUs, and versions of torch and of the CUDA that it is built for.

    Raises
    ------
    UserError
        If something is missing.
    """
    if not wanted:
        return {"gpus": "not checked: the scale's resources say check_gpus: false"}
    _check_torch(wanted)
    for index in range(wanted):
        check_operators(torch.device("cuda", index))
    names = [torch.cuda.get_device_name(index) for index in range(wanted)]
    return {"gpus": names, "torch": torch.__version__, "cuda": torch.version.cuda}


def _check_torch(wanted: int) -> None:
    if torch.version.cuda is None:
        raise UserError(
            f"torch {torch.__version__} is built for CPUs only, but trainings of this scale ask for {wanted} GPUs: remove the"
            f" environment and set it up with a package index that has torch for CUDA, as PyPI is ({SET_UP})"
        )
    seen = torch.cuda.device_count()
    if seen < wanted:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise UserError(
            f"torch sees {seen} of the {wanted} GPUs that trainings of this scale ask for (CUDA_VISIBLE_DEVICES: {visible};"
            f" driver: {_driver_error() or 'works'}): correct the scale's resources.gpus, the cluster's profile or the driver"
        )


def _driver_error() -> str | None:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    return first_line(error, type(error).__name__).rstrip(".")


def check_operators(device: torch.device) -> None:
    """Compare each mmcv operator that detectors and necks use with the CPU, forward and backward.

    Parameters
    ----------
    device : torch.device
        Where.

    Raises
    ------
    UserError
        If one is missing, fails or computes something else.
    """
    for name, operator in OPERATORS.items():
        try:
            actual, expected = operator(device), operator(torch.device("cpu"))
        except (RuntimeError, ImportError, NotImplementedError) as error:
            raise UserError(_operator_fails(name, device, _reason(error))) from error
        if not all(torch.allclose(a.cpu(), e, TOLERANCE, TOLERANCE) for a, e in zip(actual, expected, strict=True)):
            raise UserError(_operator_fails(name, device, "its result is not that of the CPU"))


def _operator_fails(name: str, device: torch.device, reason: str) -> str:
    architecture, gpu = "", ""
    if device.type == "cuda":
        architecture = "TORCH_CUDA_ARCH_LIST={}.{} ".format(*torch.cuda.get_device_capability(device))
        gpu = f" ({torch.cuda.get_device_name(device)})"
    return f"mmcv's operator {name} fails on {device}{gpu}: {reason}; compile mmcv for it: {architecture}{SET_UP}"


def _random(*shape: int, device: torch.device) -> Tensor:
    """The same on every device."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()


def _with_gradient(output: Tensor, weights: Tensor) -> list[Tensor]:
    return [output.detach(), *torch.autograd.grad(output.square().sum(), weights)]


def _nms(device: torch.device) -> list[Tensor]:
    from mmcv.ops import nms

    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [40.0, 40.0]], device=device)
    scores = torch.tensor([0.5, 0.9, 0.7], device=device)
    return list(nms(torch.cat([corners, corners + 20], 1), scores, iou_threshold=0.5))


def _roi_align(device: torch.device) -> list[Tensor]:
    from mmcv.ops import roi_align

    features = _random(1, 2, 8, 8, device=device)
    regions = torch.tensor([[0.0, 1.2, 0.7, 6.1, 5.9]], device=device)
    return _with_gradient(roi_align(features, regions, 3, 1.0, 2, "avg", True), features)


def _modulated_deform_conv2d(device: torch.device) -> list[Tensor]:
    from mmcv.ops import modulated_deform_conv2d

    features, offsets, masks = (_random(1, channels, 6, 6, device=device) for channels in (4, 18, 9))
    weight = _random(3, 4, 3, 3, device=device)
    return _with_gradient(modulated_deform_conv2d(features, offsets, masks, weight, None, 1, 1, 1, 1, 1), weight)


OPERATORS: dict[str, Callable[[torch.device], list[Tensor]]] = {
    "nms": _nms,
    "roi_align": _roi_align,
    "modulated_deform_conv2d": _modulated_deform_conv2d,
}


def main() -> None:
    """Check GPUs and write what was found."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--gpus", required=True, type=int, help="how many a training asks for; 0 checks nothing")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    write_atomically(arguments.output, check_gpus(arguments.gpus))


if __name__ == "__main__":
    report_user_errors(main)
