"""How a neck behaves beyond its contract: gradients, precisions, memory formats, odd sizes, single images, compilation."""

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.configs.build import build_model
from experiments.configs.model_neck import neck_of, trace_neck
from experiments.errors import first_line
from experiments.preflight.neck_contract import BrokenContractError, Pyramid, device, run_checked
from experiments.spec.run import Run
from experiments.tasks.task import load_task

# Sides that no stride divides.
ODD_SIDES = (251, 317)
# Of a training step: as small as detectors accept, so that it takes seconds at the paper's widths too.
TRAINING_IMAGE = (256, 384)
NAMED = 3
# Relative deviations that other necks of this project keep.
CLOSE = {"bfloat16": 0.05, "channels_last": 1e-4}


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes
    ----------
    subject : str
        What was tried.
    is_right : bool
        Whether a neck should behave so.
    words : str
        What was found.
    """

    subject: str
    is_right: bool
    words: str


def examine(run: Run, pyramid: Pyramid) -> Iterator[Finding]:
    """Try a neck that keeps its contract, one check after the other.

    Parameters
    ----------
    run : Run
        The run whose neck is tried, with random weights.
    pyramid : Pyramid
        What the contract's check has found.
    """
    model = build_model(run).to(device())
    neck, features = neck_of(model, run), pyramid.features
    for subject, check in {
        "each level depends on the image": lambda: _depends_on_the_image(run, model, pyramid),
        "bfloat16 against float32": lambda: _in_bfloat16(neck, features),
        "channels_last against contiguous": lambda: _in_channels_last(neck, features),
        f"an image of {ODD_SIDES[0]} × {ODD_SIDES[1]}": lambda: _on_odd_sides(run, model),
        "one image in training": lambda: _on_one_image(neck, features),
        "a training step in the detector": lambda: _train_one_step(run, model),
        "gradients of all parameters": lambda: _gradients(neck),
        "torch.compile": lambda: _compile(neck, features),
    }.items():
        yield _tried(subject, check)


def _tried(subject: str, check: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        return Finding(subject, *check())
    except BrokenContractError as error:
        return Finding(subject, False, error.fault)
    except Exception as error:
        reason = first_line(error, "no reason given")
        return Finding(subject, False, f"{type(error).__name__}: {reason}")


@torch.no_grad()
def _depends_on_the_image(run: Run, model: nn.Module, pyramid: Pyramid) -> tuple[bool, str]:
    model.eval()
    _, other = trace_neck(model, run, 1 - pyramid.image)
    _, levels = trace_neck(model, run, pyramid.image)
    constant = [number for number, pair in enumerate(zip(levels, other, strict=True), start=1) if torch.equal(*pair)]
    if constant:
        return False, f"level {', '.join(map(str, constant))}: the same for another image"
    return True, "yes"


@torch.no_grad()
def _in_bfloat16(neck: nn.Module, features: tuple[Tensor, ...]) -> tuple[bool, str]:
    neck.eval()
    exact = neck(features)
    with torch.autocast(features[0].device.type, dtype=torch.bfloat16):
        mixed = neck(features)
    return _agreement(mixed, exact, CLOSE["bfloat16"])


@torch.no_grad()
def _in_channels_last(neck: nn.Module, features: tuple[Tensor, ...]) -> tuple[bool, str]:
    neck.eval()
    exact = neck(features)
    neck.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    levels = neck(tuple(level.to(memory_format=torch.channels_last) for level in features))
    neck.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    is_close, words = _agreement(levels, exact, CLOSE["channels_last"])
    changed = [
        number
        for number, level in enumerate(levels, start=1)
        if level.shape[2:].numel() > 1 and not level.is_contiguous(memory_format=torch.channels_last)
    ]
    kept = f"; level {', '.join(map(str, changed))} comes back in another format" if changed else ", the format is kept"
    return is_close and not changed, words + kept


def _agreement(levels: tuple[Tensor, ...], exact: tuple[Tensor, ...], close: float) -> tuple[bool, str]:
    deviation = max(
        float((ours.float() - reference).norm() / reference.norm().clamp_min(1e-12))
        for ours, reference in zip(levels, exact, strict=True)
    )
    return deviation <= close, f"deviates by {deviation:.2g} of the norm"


def _on_odd_sides(run: Run, model: nn.Module) -> tuple[bool, str]:
    model.eval()
    sizes = [
        tuple(level.shape[2:]) for level in run_checked(run, model, load_task(run.task).level_readers(model), ODD_SIDES).levels
    ]
    return True, "levels of " + ", ".join(f"{height} × {width}" for height, width in sizes)


@torch.no_grad()
def _on_one_image(neck: nn.Module, features: tuple[Tensor, ...]) -> tuple[bool, str]:
    neck.train()
    neck(features)
    return True, "works"


def _train_one_step(run: Run, model: nn.Module) -> tuple[bool, str]:
    """Also leaves the gradients that `_gradients` looks at."""
    small = Run(run.setting, run.scale.model_copy(update={"complexity_image": TRAINING_IMAGE}), run.seed)
    batch = load_task(run.task).random_batch(small, model, device())
    model.train()
    inputs: dict[str, Any] = model.data_preprocessor(batch, True)  # type: ignore[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = model(**inputs, mode="loss")
    loss, _ = model.parse_losses(losses)  # type: ignore[operator]
    loss.backward()
    return bool(torch.isfinite(loss)), f"loss {loss.item():.3g}"


def _gradients(neck: nn.Module) -> tuple[bool, str]:
    trained = {name: parameter for name, parameter in neck.named_parameters() if parameter.requires_grad}
    without = [name for name, parameter in trained.items() if parameter.grad is None]
    broken = [name for name, p in trained.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    if broken:
        return False, f"{len(broken)} of {len(trained)} are not finite, such as {', '.join(broken[:NAMED])}"
    if without:
        return False, (
            f"{len(without)} of {len(trained)} get none, such as {', '.join(without[:NAMED])}: never trained, and"
            " DistributedDataParallel needs find_unused_parameters"
        )
    return True, f"all {len(trained)} get one"


def _compile(neck: nn.Module, features: tuple[Tensor, ...]) -> tuple[bool, str]:
    neck.eval()
    # It tells at length what is said in a line below.
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    torch._dynamo.reset()
    found = torch._dynamo.explain(neck)(features)
    if not found.graph_break_count:
        return True, "one graph"
    reason = found.break_reasons[0].reason.splitlines()[0] if found.break_reasons else "unknown"
    return False, f"{found.graph_count} graphs; the first breaks at: {reason}"
