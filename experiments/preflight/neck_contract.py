"""The contract between a neck and what reads its levels: how many maps, how wide, of which strides, finite."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.configs.build import build_model
from experiments.configs.model_neck import trace_neck
from experiments.errors import UserError, first_line
from experiments.spec.run import Run
from experiments.spec.setting import neck_links
from experiments.tasks.task import LevelReader, load_task

# An image as small as the largest stride allows, not square, so that exchanged sides are seen.
SIDES_IN_STRIDES = (2, 3)
LARGEST_STRIDE = 128
# What mmcv says of its operators that exist for GPUs alone.
NO_OPERATOR = "implementation for device cpu not found"


class BrokenContractError(UserError):
    """A neck breaks its contract.

    Parameters
    ----------
    run : Run
        The run of the neck.
    fault : str
        Level, found, wanted; the neck stands before it in the sentence.
    """

    def __init__(self, run: Run, fault: str) -> None:
        super().__init__(f"{neck_in_words(run)}: {fault}")
        self.fault = fault


class NoOperatorError(UserError):
    """The neck uses an operator that this machine's device does not have, so nothing can be said of it here."""


@dataclass(frozen=True)
class Pyramid:
    """The levels of a neck on one image.

    Attributes
    ----------
    image : Tensor
        (1, 3, H, W).
    features : tuple of Tensor
        The backbone's levels (1, C_i, H_i, W_i).
    levels : tuple of Tensor
        The neck's levels (1, C, H_j, W_j), finest first.
    """

    image: Tensor
    features: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]

    @property
    def words(self) -> list[str]:
        """Each level for people: its shape and its stride."""
        return [f"{tuple(level.shape)}, {_size_in_words(level, self.image)}" for level in self.levels]


def check_contract(run: Run) -> Pyramid:
    """Build a run's model with random weights, run backbone and neck on a random image, and check every level.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    Pyramid
        What was found.

    Raises
    ------
    UserError
        If the model cannot be built, the neck fails, or a level is not what its readers expect: neck, level, found, wanted.
    NoOperatorError
        If the neck uses an operator that only GPUs have, and there is none here.
    """
    model = build_model(run).eval().to(device())
    readers = load_task(run.task).level_readers(model)
    stride = max([LARGEST_STRIDE, *(max(reader.strides) for reader in readers if reader.strides)])
    return run_checked(run, model, readers, (SIDES_IN_STRIDES[0] * stride, SIDES_IN_STRIDES[1] * stride))


def device() -> str:
    """Where necks are tried: on a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.no_grad()
def run_checked(run: Run, model: nn.Module, readers: Sequence[LevelReader], size: tuple[int, int]) -> Pyramid:
    """Run a model's backbone and neck on a random image, and check every level.

    Parameters
    ----------
    run : Run
        The run that the model belongs to.
    model : nn.Module
        The model, in eval mode.
    readers : sequence of LevelReader
        What reads the levels.
    size : (int, int)
        Height and width of the image in pixels.

    Raises
    ------
    UserError
        If the neck fails, or a level is not what its readers expect.
    """
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)
    try:
        features, levels = trace_neck(model, run, image)
    except Exception as error:
        reason = first_line(error, "no reason given")
        if NO_OPERATOR in str(error):
            raise NoOperatorError(f"{neck_in_words(run)}: {reason}") from error
        failure = f"fails on an image of {size[0]} × {size[1]}: {type(error).__name__}: {reason}"
        raise BrokenContractError(run, failure) from error
    if fault := _fault_of_form(levels, run) or _fault_of_levels(levels, image, readers, run):
        raise BrokenContractError(run, fault)
    return Pyramid(image, features, tuple(levels))


def neck_in_words(run: Run) -> str:
    """A run's neck with its options, and where it stands, such as ``neck A2FPN, lateral: mgc, in mask_rcnn, resnet50, demo``.

    Parameters
    ----------
    run : Run
        The run.
    """
    named = " + ".join(
        ", ".join([link["type"], *(f"{key}: {value}" for key, value in link.items() if key != "type")])
        for link in neck_links(run.setting.neck)
    )
    return f"neck {named}, in {run.setting.detector}, {run.setting.backbone}, scale {run.scale.name}"


def _fault_of_form(levels: object, run: Run) -> str | None:
    wanted = f"wanted a tuple of {run.num_outs} maps"
    if not isinstance(levels, tuple | list):
        return f"found {'nothing' if levels is None else type(levels).__name__} in the place of its levels; {wanted}"
    if len(levels) != run.num_outs:
        return f"found {len(levels)} levels; {wanted}"
    for number, level in enumerate(levels, start=1):
        if not isinstance(level, Tensor) or level.ndim != 4:
            found = f"a tensor {tuple(level.shape)}" if isinstance(level, Tensor) else type(level).__name__
            return f"level {number}: found {found}; wanted a tensor (N, {run.out_channels}, H, W)"
    return None


def _fault_of_levels(levels: Sequence[Tensor], image: Tensor, readers: Sequence[LevelReader], run: Run) -> str | None:
    channels = run.out_channels
    for number, level in enumerate(levels, start=1):
        if level.shape[:2] != (1, channels):
            return f"level {number}: found {tuple(level.shape)}; wanted (1, {channels}, H, W), {channels} channels"
        if level.dtype != image.dtype:
            return f"level {number}: found {level.dtype}; wanted {image.dtype}, that of the image"
        if not torch.isfinite(level).all():
            return f"level {number}: found values that are not finite; wanted finite ones"
    if fault := _fault_of_order(levels, image):
        return fault
    return next((fault for reader in readers if (fault := _fault_for(reader, levels, image))), None)


def _fault_of_order(levels: Sequence[Tensor], image: Tensor) -> str | None:
    for number in range(1, len(levels)):
        above, below = levels[number], levels[number - 1]
        if above.shape[2:].numel() > below.shape[2:].numel():
            return (
                f"level {number + 1}: found {_size_in_words(above, image)} above {_size_in_words(below, image)};"
                " wanted the finest level first"
            )
    return None


def _fault_for(reader: LevelReader, levels: Sequence[Tensor], image: Tensor) -> str | None:
    count = len(reader.strides)
    if count > len(levels) or (reader.reads_all and count != len(levels)):
        return f"found {len(levels)} levels; {reader.name} wants {count}, of strides {', '.join(map(str, reader.strides))}"
    for number, (stride, level) in enumerate(zip(reader.strides, levels, strict=False), start=1):
        wanted = tuple(-(-side // stride) for side in image.shape[2:])
        if tuple(level.shape[2:]) != wanted:
            return (
                f"level {number}: found {_size_in_words(level, image)}; {reader.name} wants stride {stride},"
                f" {wanted[0]} × {wanted[1]} for an image of {image.shape[2]} × {image.shape[3]}"
            )
    return None


def _size_in_words(level: Tensor, image: Tensor) -> str:
    (height, width), (full_height, full_width) = level.shape[2:], image.shape[2:]
    stride = round(full_height / height) if height else 0
    is_whole = stride and (-(-full_height // stride), -(-full_width // stride)) == (height, width)
    return f"stride {stride}, {height} × {width}" if is_whole else f"{height} × {width}"
