"""Check a neck by hand: its levels against what the detector expects, its behaviour, its cost beside FPN's."""

from argparse import ArgumentParser, Namespace
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.cli.console import make_console
from experiments.errors import UserError
from experiments.spec.offered_rows import COCO
from experiments.spec.run import Run
from experiments.spec.scale import Scale, load_scale
from experiments.spec.setting import Setting, neck_links
from experiments.spec.yaml_models import validate
from experiments.workflow.grid import Grid

if TYPE_CHECKING:
    from experiments.cost.neck import NeckCost
    from experiments.preflight.neck_contract import Pyramid

BASELINE = "FPN"
NOT_COUNTED = (
    "multiply-adds and memory: not counted, for the neck does not run on tensors without data; asking for a tensor's value, as"
    " float(…), item() and if do, hinders it. Tables about cost cannot show it"
)
# Options that choose which levels there are; with them FPN is compared on the same ones.
OPTIONS_OF_LEVELS = ("start_level", "end_level", "add_extra_convs")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``check-neck``."""
    parser.add_argument(
        "neck", nargs="+", help="registered name; several are a chain, each reading the levels of the one before"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the (last) neck, as in a study"
    )
    parser.add_argument("--detector", help="of the scale; its first by default")
    parser.add_argument("--backbone", help="of the scale; its first by default")


def main(grid: Grid, arguments: Namespace) -> None:
    """Check a neck: levels, gradients, precisions, cost beside FPN's.

    Parameters
    ----------
    grid : Grid
        The configuration, whose scale gives widths and detectors.
    arguments : Namespace
        From `add_arguments`.

    Raises
    ------
    UserError
        If the neck does not exist, refuses its options or breaks its contract.
    """
    run = Run(_setting(grid.scale, arguments), grid.scale, seed=0)
    # torch takes seconds, which wrong names and options need not wait; the libraries print what they leave out.
    with redirect_stdout(StringIO()):
        from mmdet.utils import register_all_modules

        from experiments.preflight.neck_behaviour import examine
        from experiments.preflight.neck_contract import check_contract, neck_in_words

        register_all_modules()
    console = make_console()
    pyramid = check_contract(run)
    console.print(escape(neck_in_words(run)), style="bold", highlight=False)
    console.print(_levels(run, pyramid))
    for finding in examine(run, pyramid):
        mark = "[green]right[/]" if finding.is_right else "[yellow]look [/]"
        console.print(f"{mark}  {escape(finding.subject)}: {escape(finding.words)}", highlight=False)
    console.print()
    _print_costs(console, run)


def _setting(scale: Scale, arguments: Namespace) -> Setting:
    links: list[dict[str, Any]] = [{"type": name} for name in arguments.neck]
    links[-1] |= _options(arguments.option)
    return validate(
        {
            "neck": links,
            "detector": arguments.detector or next(iter(scale.offered_detectors)),
            "backbone": arguments.backbone or next(iter(scale.backbones)),
            "schedule": next(iter(scale.schedules)),
        },
        Setting,
        "check-neck",
    )


def _options(given: list[str]) -> dict[str, Any]:
    options = {}
    for option in given:
        key, equals, value = option.partition("=")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (key and equals and value):
            raise UserError(f"--option {option}: expected key=value, such as top_down=nearest")
    return options


def _levels(run: Run, pyramid: "Pyramid") -> Table:
    height, width = pyramid.image.shape[2:]
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for heading in ("level", f"on an image of {height} × {width}", "stride"):
        table.add_column(heading, justify="right")
    for number, level in enumerate(pyramid.levels, start=1):
        table.add_row(str(number), str(tuple(level.shape)), str(round(height / level.shape[2])))
    return table


def _print_costs(console: Console, run: Run) -> None:
    from experiments.cost.neck import neck_costs

    baseline = Run(_of_fpn(run.setting), run.scale, seed=0)
    own, beside = neck_costs([run, baseline])
    height, width = run.scale.complexity_image
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for heading in (f"cost on {height} × {width}", " + ".join(run.setting.neck_types), BASELINE, "ratio"):
        table.add_column(heading, justify="left" if heading.startswith("cost") else "right")
    for name, one, other, unit in _lines(own, beside):
        ratio = f"{one / other:.2f}" if one and other else "–"
        table.add_row(name, _amount(one, unit), _amount(other, unit), ratio)
    console.print(table)
    if own.multiply_adds is None or own.memory is None:
        console.print(f"[yellow]look [/]  {NOT_COUNTED}", highlight=False)
    elif sentence := _coco_training(run, baseline):
        console.print(sentence, highlight=False)


def _of_fpn(setting: Setting) -> Setting:
    first = neck_links(setting.neck)[0]
    levels = {option: first[option] for option in OPTIONS_OF_LEVELS if option in first}
    return setting.model_copy(update={"neck": {"type": BASELINE, **levels}})


def _lines(own: "NeckCost", beside: "NeckCost") -> list[tuple[str, float | None, float | None, str]]:
    return [
        ("parameters of the neck", own.parameters / 1e6, beside.parameters / 1e6, "M"),
        ("multiply-adds of the neck", _per(own.multiply_adds, 1e9), _per(beside.multiply_adds, 1e9), "G"),
        ("training memory with the backbone, two images", _per(own.memory, 2**20), _per(beside.memory, 2**20), "MiB"),
        ("forward pass, two images, this CPU", 1e3 * own.forward, 1e3 * beside.forward, "ms"),
        ("backward pass, two images, this CPU", 1e3 * own.backward, 1e3 * beside.backward, "ms"),
    ]


def _per(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def _coco_training(run: Run, baseline: Run) -> str | None:
    """What a training at the paper's scale would take by its multiply-adds, as ``plan`` assumes where nothing was measured."""
    from experiments.cost.complexity import model_multiply_adds
    from experiments.cost.gpu_types import DEFAULT_GPU, GPU_TYPES
    from experiments.cost.training_time import assumed_training_hours

    scale, setting = load_scale(COCO), run.setting
    try:
        runs = [Run(each.setting, scale, seed=0) for each in (run, baseline)]
    except UserError:
        return None  # the paper's scale has no such detector or backbone
    rate = GPU_TYPES[DEFAULT_GPU].rate
    own, beside = (assumed_training_hours(each, model_multiply_adds(each)) for each in runs)
    return (
        f"A training at scale {COCO} ({setting.detector}, {setting.backbone}, {setting.schedule}) takes about"
        f" {own:,.0f} GPU-hours, with {BASELINE} {beside:,.0f}: assumed from its multiply-adds at {rate / 1e12:g} TFLOP/s,"
        " as plan does before anything was measured."
    )
