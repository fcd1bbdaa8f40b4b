"""Models whose necks use this project's operators -> their first training steps, in which a GPU's kernels are made and kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from experiments.configs.model_neck import trace_neck
from experiments.cost.complexity import countable_model
from experiments.cost.training_steps import seconds_of_steps
from experiments.spec.run import Run

# The first one compiles and tunes; the second shows what is left.
STEPS = 2
OPERATORS = "feature_pyramids"


@dataclass(frozen=True)
class FirstSteps:
    """Seconds of the first steps of a run's training."""

    run: Run
    seconds: list[float]


class OperatorNames(TorchDispatchMode):
    """While it is active, notes the libraries whose operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.libraries: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note an operator's library, and call it."""
        self.libraries.add(func.namespace)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def uses_operators(run: Run) -> bool:
    """Whether the neck of a run's model calls operators of this project.

    Parameters
    ----------
    run : Run
        The run; its model runs on tensors without data.
    """
    model = countable_model(run).eval()
    image = torch.zeros(1, 3, *run.scale.complexity_image, device=next(model.parameters()).device)
    with image.device, OperatorNames() as names:
        trace_neck(model, run, image)
    return OPERATORS in names.libraries


def warm_up(runs: Iterable[Run], device: str) -> Iterator[FirstSteps]:
    """Take the first steps of one run for each neck that uses operators of this project, and give each when it is done.

    On a GPU Triton compiles and tunes its kernels in them, and keeps the results on disk for all later processes on GPUs of
    that kind: kernels are made for all sizes of images, so that no training on real ones needs others.

    Parameters
    ----------
    runs : iterable of Run
        Runs of one scale.
    device : {'cpu', 'cuda'}
        Where.
    """
    by_neck: dict[str, Run] = {}
    for run in runs:
        by_neck.setdefault(str(run.setting.neck), run)
    for run in tqdm(by_neck.values(), desc="looking for necks with kernels", unit="neck", leave=False):
        if uses_operators(run):
            yield FirstSteps(run, seconds_of_steps(run, device, STEPS))
