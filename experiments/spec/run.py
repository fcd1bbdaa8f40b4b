"""A run: setting x scale x seed, identified by the hash of exactly that."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.paths import metrics_file, run_folder
from experiments.spec.neck_catalog import own_heads
from experiments.spec.scale import Scale
from experiments.spec.setting import Setting, neck_links

# Keys of a schedule, and the tasks that do what they say.
CHANGES_OF_IMAGES = {
    "photometric": ("semantic_segmentation",),
    "albumentations": ("detection", "classification"),
    "padding": ("classification",),
}


@dataclass(frozen=True)
class Run:
    """One training, shared by all rows that ask for it.

    Parameters
    ----------
    setting : Setting
        The neck, detector, backbone and schedule.
    scale : Scale
        On what data, how wide and how long.
    seed : int
        Seed of all random number generators.

    Raises
    ------
    UserError
        If the scale does not offer the setting's detector, backbone or schedule, or the schedule changes images in a way that
        is not the task's.
    """

    setting: Setting
    scale: Scale
    seed: int

    def __post_init__(self) -> None:
        scale = self.scale
        for kind, offered in (
            ("detector", scale.offered_detectors),
            ("backbone", scale.backbones),
            ("schedule", scale.schedules),
        ):
            name = getattr(self.setting, kind)
            if name not in offered:
                raise UserError(f"{kind} {name!r} is not offered by scale {self.scale.name}; allowed: {', '.join(offered)}")
        self._refuse_what_the_task_leaves_out()
        if self.source and self.source.setting.backbone != self.setting.backbone:
            raise UserError(
                f"load_from: a training with backbone {self.source.setting.backbone!r} has no weights for"
                f" {self.setting.backbone!r}; allowed: a setting with the same backbone"
            )

    def _refuse_what_the_task_leaves_out(self) -> None:
        """Some changes of training images are those of one task, and others would train without them and without a word."""
        schedule = self.scale.schedules[self.setting.schedule]
        for key, tasks in CHANGES_OF_IMAGES.items():
            if getattr(schedule, key) and self.task not in tasks:
                raise UserError(
                    f"experiments/scales/{self.scale.name}.yaml: schedules.{self.setting.schedule}.{key}: detector"
                    f" {self.setting.detector!r} is for {self.task}; allowed: detectors for {' or '.join(tasks)}"
                )

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that decides the result, as plain data."""
        scale, setting = self.scale, self.setting
        return {
            "neck": setting.neck,
            "detector": {"name": setting.detector, **scale.detectors[setting.detector].model_dump()},
            "backbone": {"name": setting.backbone, **scale.backbones[setting.backbone].model_dump()},
            "schedule": {"name": setting.schedule, **scale.schedules[setting.schedule].model_dump()},
            "dataset": scale.dataset.model_dump(),
            "image_scale": list(scale.image_scale),
            "out_channels": scale.out_channels,
            "num_outs": scale.num_outs,
            "object_sizes": list(scale.object_sizes),
            "batch_size": self.batch_size,
            "gpus": scale.resources.gpus,
            "config": scale.config,
            **scale.training.model_dump(exclude_defaults=True, exclude={"base_batch_size"}),
            # Omitted if the linear scaling rule changes nothing, so that existing ids stay valid.
            **({} if self.base_batch_size == self.effective_batch else {"base_batch_size": self.base_batch_size}),
            "seed": self.seed,
            **({"load_from": self.load_from} if self.load_from else {}),
        }

    @cached_property
    def id(self) -> str:
        """Hash of the spec, 12 hexadecimal digits."""
        text = json.dumps(self.spec, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def source(self) -> "Run | None":
        """The run of the same scale and seed whose trained backbone this one begins with."""
        load_from = self.setting.load_from
        return Run(load_from, self.scale, self.seed) if isinstance(load_from, Setting) else None

    @property
    def with_sources(self) -> "list[Run]":
        """This run, the one whose backbone it begins with, the one whose backbone that begins with, and so on."""
        return [self, *(self.source.with_sources if self.source else [])]

    @property
    def load_from(self) -> str | None:
        """Id of the run whose trained backbone this one begins with."""
        return self.source.id if self.source else self.setting.load_from  # type: ignore[return-value]

    @property
    def batch_size(self) -> int:
        """Images per process and step: the schedule's, or else the scale's."""
        return self.scale.schedules[self.setting.schedule].batch_size or self.scale.batch_size

    @property
    def effective_batch(self) -> int:
        """Global batch size: images per step of all processes together."""
        return max(1, self.scale.resources.gpus) * self.batch_size

    @property
    def learning_rate(self) -> float | None:
        """Learning rate by the linear scaling rule; None if the detector's own is used."""
        rate = None
        for part in (self.scale.config, self.scale.schedules[self.setting.schedule].config):
            rate = part.get("optim_wrapper", {}).get("optimizer", {}).get("lr", rate)
        return None if rate is None else scaled_learning_rate(rate, self.effective_batch, self.base_batch_size)

    @property
    def base_batch_size(self) -> int:
        """Global batch size that the config's learning rate is meant for."""
        schedule = self.scale.schedules[self.setting.schedule]
        return schedule.base_batch_size or self.scale.training.base_batch_size or self.effective_batch

    @property
    def task(self) -> str:
        """Name of the task, a key of `TASKS`."""
        return self.scale.detectors[self.setting.detector].task_name

    @property
    def num_outs(self) -> int:
        """Number of the neck's levels: the detector's, or else the scale's."""
        return self.scale.detectors[self.setting.detector].num_outs or self.scale.num_outs

    @property
    def out_channels(self) -> int:
        """Channels of the neck's levels: the detector's, or else the scale's."""
        return self.scale.detectors[self.setting.detector].out_channels or self.scale.out_channels

    @property
    def neck_at(self) -> str:
        """Where the neck stands in the model, names joined by points."""
        return self.scale.detectors[self.setting.detector].neck_at

    @property
    def models(self) -> list[str]:
        """Registered names of the neck, of the backbone, if the scale names one, and of this project's heads."""
        backbone = self.scale.backbones[self.setting.backbone].config.get("type")
        heads = own_heads(self.scale.detectors[self.setting.detector].config)
        return [*self.setting.neck_types, *([backbone] if backbone else []), *heads]

    @property
    def may_name_weights(self) -> bool:
        """Whether the training may start from pretrained weights: unless its backbone says that it has none."""
        scale, setting = self.scale, self.setting
        configs = [scale.config, scale.detectors[setting.detector].config, scale.schedules[setting.schedule].config]
        has_none = scale.backbones[setting.backbone].config.get("init_cfg", "of the base config") is None
        return (
            not has_none
            or any(config.get("load_from") for config in configs)
            or any("init_cfg" in link for link in neck_links(setting.neck))
        )

    @cached_property
    def folder(self) -> Path:
        """The run's folder."""
        return run_folder(self.id)

    @cached_property
    def metrics_file(self) -> Path:
        """The one file that the run leaves for the reports."""
        return metrics_file(self.id)


def scaled_learning_rate(rate: float, batch: int, base_batch: int) -> float:
    """The learning rate by the linear scaling rule (arXiv 1706.02677).

    Parameters
    ----------
    rate : float
        Learning rate for `base_batch` images per step.
    batch, base_batch : int
        Images per step of all processes together.
    """
    return rate * (batch / base_batch)  # as mmengine multiplies it
