"""Run -> config file: a readable mmengine config that inherits mmdet's or mmseg's own."""

import argparse
import json
from pathlib import Path
from typing import Any

import jinja2

from experiments.configs.base_configs import OWN, base_expression
from experiments.configs.class_heads import merged, sized_by_classes
from experiments.configs.python_source import to_python
from experiments.errors import report_user_errors
from experiments.files import write_text_atomically
from experiments.paths import backbone_file
from experiments.spec.metrics import LEARNS_FROM, PROTOCOLS, TASKS
from experiments.spec.neck_catalog import HEADS, NECKS, neck_options, own_heads, own_models
from experiments.spec.run import Run
from experiments.spec.scale import Scale, Schedule, load_scale
from experiments.spec.setting import Setting
from experiments.spec.yaml_models import validate
from experiments.tasks.task import Task, load_task

TEMPLATES = Path(__file__).parent / "templates"
CUSTOM_IMPORTS = ["necks", "experiments.training.hooks"]
# Configs whose loops, logs and checkpoints count iterations.
ITERATION_BASED = ("mmseg::", "mmdet::mask2former/")
FUSED_OPTIMIZERS = ("Adam", "AdamW", "SGD")


def config_text(run: Run) -> str:
    """The text of the mmengine config of a run.

    Parameters
    ----------
    run : Run
        The run.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["python"] = to_python
    return environment.get_template("config.py.j2").render(
        run=run,
        title=f"{' + '.join(run.setting.neck_types)} in {run.setting.detector}, {run.setting.backbone}, {run.setting.schedule}",
        base=base_expression(run.scale.detectors[run.setting.detector].base),
        framework=framework(run),
        sections=_sections(run),
    )


def _sections(run: Run) -> list[tuple[str, dict[str, Any]]]:
    scale, task = run.scale, load_task(run.task)
    schedule = scale.schedules[run.setting.schedule]
    return [
        (
            "The run.",
            {
                "custom_imports": {
                    "imports": [*CUSTOM_IMPORTS, *_head_modules(run), *task.imports, *_transform_modules(run)],
                    "allow_failed_imports": False,
                },
                "run_id": run.id,
                "task": run.task,
                "run_spec": run.spec,
                "work_dir": str(run.folder / "checkpoints"),
                "randomness": {"seed": run.seed, **({"deterministic": True} if scale.training.deterministic else {})},
            },
        ),
        ("The model: the neck under study, and what the scale changes.", {"model": _model(run, task)}),
        ("The training data.", {"train_dataloader": _train_dataloader(run, task)}),
        ("The measurement.", {**_measurement(run, task), **_protocols(run)}),
        (
            "The schedule.",
            {
                "train_cfg": {
                    **({"_delete_": True} if schedule.iterations or _counts_iterations(run) else {}),
                    "type": "InterruptibleTrainLoop",
                    **({"max_iters": schedule.iterations} if schedule.iterations else {"max_epochs": schedule.epochs}),
                    "val_interval": scale.validation_interval or schedule.epochs or schedule.iterations,
                },
                "param_scheduler": schedule.param_scheduler,
            },
        ),
        (
            f"Linear rule: the learning rate is meant for {run.base_batch_size} images per step and follows their number;"
            f" {_processes(run)} make {run.effective_batch}.",
            {"auto_scale_lr": {"enable": True, "base_batch_size": run.base_batch_size}},
        ),
        (
            "What is saved and checked on the way.",
            {"default_hooks": _default_hooks(run), "custom_hooks": _hooks(run)},
        ),
        *_processes_section(scale),
        *([("The log counts epochs.", {"log_processor": {"by_epoch": True}})] if _counts_iterations(run) else []),
        ("What else the scale and the schedule set.", _others(scale, schedule)),
    ]


def _head_modules(run: Run) -> list[str]:
    """Modules of this project's heads that the scale's detector names."""
    heads = own_heads(run.scale.detectors[run.setting.detector].config)
    return list(dict.fromkeys(".".join(own_models(HEADS)[head].with_suffix("").parts) for head in heads))


def _transform_modules(run: Run) -> list[str]:
    """Modules of transforms that the schedule needs."""
    return ["experiments.tasks.seeded_albu"] if run.scale.schedules[run.setting.schedule].albumentations else []


def _processes(run: Run) -> str:
    count = max(1, run.scale.resources.gpus)
    return f"{count} {'process' if count == 1 else 'processes'} x {run.batch_size} images"


def _counts_iterations(run: Run) -> bool:
    """Whether the detector's own config counts iterations, as all of mmsegmentation's do; here loops go by epochs."""
    return run.scale.detectors[run.setting.detector].base.startswith(ITERATION_BASED)


def _default_hooks(run: Run) -> dict[str, Any]:
    if not _counts_iterations(run):
        return {"checkpoint": {"max_keep_ckpts": 2}}
    return {"checkpoint": {"by_epoch": True, "interval": 1, "max_keep_ckpts": 2}, "logger": {"log_metric_by_epoch": True}}


def _hooks(run: Run) -> list[dict[str, Any]]:
    scale, parts = run.scale, run.scale.training.gradient_checkpointing
    labels_pixels = LEARNS_FROM.get(run.task) == "label_maps"
    return [
        {"type": "AuxiliaryLossHook"},
        {"type": "EpochSeedHook", "seed": run.seed},
        {"type": "InvalidLossHook"},
        {"type": "HistoryHook"},
        {"type": "HeadPrecisionHook"},
        {"type": "CPUOperatorsHook"},
        {"type": "InterruptionHook"},
        *([{"type": "GpuArithmeticHook", **_gpu_arithmetic(scale)}] if scale.training.of_gpus else []),
        *([{"type": "RepeatableGpuHook"}] if scale.training.deterministic else []),
        *([{"type": "ChannelsLastHook"}] if scale.training.channels_last else []),
        *([{"type": "GradientCheckpointingHook", "parts": parts}] if parts else []),
        *([{"type": "SyncBuffersHook"}] if scale.resources.gpus > 1 else []),
        *([{"type": "MultiScaleTestHook", "sizes": _test_sizes(scale)}] if scale.test_ratios and labels_pixels else []),
    ]


def _gpu_arithmetic(scale: Scale) -> dict[str, Any]:
    return {"tf32": scale.training.tf32, "cudnn_benchmark": scale.training.cudnn_benchmark}


def _test_sizes(scale: Scale) -> list[tuple[int, int]]:
    width, height = scale.image_scale
    return [(round(width * ratio), round(height * ratio)) for ratio in scale.test_ratios]


def _processes_section(scale: Scale) -> list[tuple[str, dict[str, Any]]]:
    """The section on several processes; empty for one process."""
    if scale.resources.gpus <= 1:
        return []
    return [("Some necks have parts that not every image reaches.", {"find_unused_parameters": True})]


def _others(scale: Scale, schedule: Schedule) -> dict[str, Any]:
    others = {**scale.config, **schedule.config}
    wrapper = dict(others.get("optim_wrapper", {}))
    optimizer = wrapper.get("optimizer", {})
    if optimizer.get("type") in FUSED_OPTIMIZERS and not scale.resources.gpus:
        # One loop over all of a tensor's elements takes a fifth of the time; on GPUs torch's own choice stays.
        wrapper["optimizer"] = {"fused": True, **optimizer}
    if scale.training.precision == "bfloat16":
        wrapper["type"] = "BFloat16OptimWrapper"
    return {**others, "optim_wrapper": wrapper} if wrapper else others


def _model(run: Run, task: Task) -> dict[str, Any]:
    scale = run.scale
    backbone = scale.backbones[run.setting.backbone]
    detector = scale.detectors[run.setting.detector]
    model = merged({"backbone": backbone.config, **_placed(run.neck_at, neck_config(run))}, detector.config)
    if run.load_from:
        weights = {"type": "Pretrained", "checkpoint": str(backbone_file(run.load_from)), "prefix": "backbone."}
        model["backbone"] = {**model["backbone"], "init_cfg": weights}
    if backbone.data_preprocessor:
        model["data_preprocessor"] = {**model.get("data_preprocessor", {}), **backbone.data_preprocessor}
    return model if scale.dataset.is_drawn else sized_by_classes(model, run, task.class_heads)


def _placed(place: str, config: Any) -> dict[str, Any]:
    """A config under keys that are joined by points."""
    for key in reversed(place.split(".")):
        config = {key: config}
    return dict(config)


def framework(run: Run) -> str:
    """The library that a run's model comes from, and in whose registry its parts are looked up: mmdet or mmseg.

    Parameters
    ----------
    run : Run
        The run.
    """
    library = run.scale.detectors[run.setting.detector].base.partition("::")[0]
    # This project's own models are built of mmdetection's parts.
    return "mmdet" if library == OWN else library


def neck_config(run: Run) -> dict[str, Any] | list[dict[str, Any]]:
    """The config of a run's neck, at the widths of its scale; a list for a chain.

    Parameters
    ----------
    run : Run
        The run.
    """
    scale, neck = run.scale, run.setting.neck
    widths: dict[str, Any] = {"out_channels": run.out_channels, "num_outs": run.num_outs}
    of_detector = scale.detectors[run.setting.detector].neck_in_channels
    first = {"in_channels": of_detector or scale.backbones[run.setting.backbone].in_channels, **widths}
    if isinstance(neck, dict):
        # A place within a head has no neck in the detector's own config.
        return {
            **({"_delete_": True} if run.neck_at == "neck" else {}),
            **neck,
            "type": _found_everywhere(neck["type"], run),
            **first,
        }
    given = [first, *({"in_channels": run.out_channels, **widths} for _ in neck[1:])]
    return [
        {**link, "type": _found_everywhere(link["type"], run), **_accepted(link["type"], widths)}
        for link, widths in zip(neck, given, strict=True)
    ]


def _found_everywhere(neck: str, run: Run) -> str:
    """The name of a neck as the run's library finds it: mmsegmentation has others of the same names."""
    is_own = neck in own_models(NECKS)
    return neck if is_own or framework(run) == "mmdet" else f"mmdet.{neck}"


def _accepted(neck: str, widths: dict[str, Any]) -> dict[str, Any]:
    """The widths that a neck accepts; a neck that only refines levels has no width of its own."""
    options = neck_options(neck)
    return {option: value for option, value in widths.items() if options is None or option in options}


def _train_dataloader(run: Run, task: Task) -> dict[str, Any]:
    # Persistent workers would keep the previous epoch's seed, so they are started anew for every epoch.
    seeded = {"persistent_workers": False, "worker_init_fn": {"type": "seed_worker"}} if run.scale.resources.workers else {}
    by_epoch = {"sampler": {"type": "DefaultSampler", "shuffle": True}} if _counts_iterations(run) else {}
    whole = _whole_batches(run) if run.scale.schedules[run.setting.schedule].iterations else {}
    return {
        "batch_size": run.batch_size,
        **_workers(run.scale),
        **seeded,
        **by_epoch,
        **whole,
        "dataset": task.train_dataset(run),
    }


def _whole_batches(run: Run) -> dict[str, Any]:
    """mmdetection makes batches of images of like shapes itself."""
    return {"batch_sampler": {"drop_last": True}} if framework(run) == "mmdet" else {"drop_last": True}


def _measurement(run: Run, task: Task) -> dict[str, Any]:
    """Validation during training, and the final test, whose metrics count; both use the validation images."""
    dataloader = {"batch_size": 1, **_workers(run.scale), "dataset": task.test_dataset(run)}
    evaluator = task.evaluator(run)
    test = {"test_dataloader": dataloader, "test_evaluator": evaluator}
    if run.scale.validation_interval is None:
        return {**test, "val_cfg": None, "val_dataloader": None, "val_evaluator": None}
    return {**test, "val_dataloader": dataloader, "val_evaluator": evaluator}


def _protocols(run: Run) -> dict[str, Any]:
    """Other rules by which the task's results are measured too."""
    measured = [name for name in run.scale.protocols if set(PROTOCOLS[name]) <= set(TASKS[run.task])]
    return {"protocols": measured} if measured else {}


def _workers(scale: Scale) -> dict[str, Any]:
    return {"num_workers": scale.resources.workers, "persistent_workers": scale.resources.workers > 0}


def main() -> None:
    """Write the config of one run from its setting, scale and seed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--setting", required=True, help="the resolved setting, JSON")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    setting = validate(json.loads(arguments.setting), Setting, "--setting")
    text = config_text(Run(setting, load_scale(arguments.scale), arguments.seed))
    if arguments.output.exists() and arguments.output.read_text(encoding="utf-8") == text:
        return  # do not touch an identical file: a running training may be reading it
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(arguments.output, text)


if __name__ == "__main__":
    report_user_errors(main)
