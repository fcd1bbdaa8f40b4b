"""Let a GPU compile and tune, once, what every training of a configuration needs in its first steps."""

from argparse import ArgumentParser, Namespace
from contextlib import redirect_stdout
from io import StringIO

from experiments.cli.console import make_console
from experiments.errors import UserError
from experiments.workflow.grid import Grid


def add_arguments(parser: ArgumentParser) -> None:
    """``warm-up`` has no options of its own."""


def main(grid: Grid, arguments: Namespace) -> None:
    """Compile and tune the GPU kernels of a configuration's necks, for all its trainings.

    Parameters
    ----------
    grid : Grid
        The configuration.
    arguments : Namespace
        From `add_arguments`.

    Raises
    ------
    UserError
        If the scale trains on the CPU, or torch sees no GPU.
    """
    scale = grid.scale
    if not scale.resources.gpus:
        raise UserError(f"warm-up: scale {scale.name} trains on the CPU, where trainings compile nothing")
    # torch takes seconds, which wrong names need not wait; the libraries print what they leave out.
    with redirect_stdout(StringIO()):
        from mmdet.utils import register_all_modules

        from experiments.cost.training_steps import require_gpu
        from experiments.cost.warm_up import warm_up

        register_all_modules()
    require_gpu(scale, "warm-up")
    console = make_console()
    for steps in warm_up(grid.runs.values(), "cuda"):
        first, second = steps.seconds
        name = f"{' + '.join(steps.run.setting.neck_types)} in {steps.run.setting.detector}"
        console.print(f"{name}: first step {first:.1f} s, second {second:.2f} s", highlight=False)
    console.print("The other necks of this configuration have no kernels to compile.", highlight=False)
