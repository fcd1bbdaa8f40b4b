"""Configs -> losses of the first training steps of each, to the last bit.

Run by path with the project under test on PYTHONPATH, so that one program measures any commit. It imports nothing of this
project: a config names what it needs by `custom_imports`. Held fixed: one thread, two images per step, the run's own seed, the
first images of the training split.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

STEPS = 5
IMAGES_PER_STEP = 2


class RecordLosses(Hook):
    """Keep every loss of every step, as hexadecimal floats."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.steps: list[dict[str, str]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Keep the losses of the step."""
        self.steps.append({name: _hex(value) for name, value in (outputs or {}).items() if "loss" in name})


def _hex(value: torch.Tensor | float) -> str:
    return float(torch.as_tensor(value).detach()).hex()


def step_losses(path: Path) -> list[dict[str, str]]:
    """The losses of the first steps of a training, by name.

    Parameters
    ----------
    path : Path
        A run's config; its dataset lies where it says, relative to the working folder.
    """
    # Its text, which is made five times, is not laid out.
    config = Config(Config.fromfile(path).to_dict(), filename=str(path), format_python_code=False)
    config.train_dataloader.update(batch_size=IMAGES_PER_STEP, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset.indices = STEPS * IMAGES_PER_STEP
    config.train_cfg = {"type": config.train_cfg.type, "max_epochs": 1}
    config.update(log_level="ERROR", visualizer=None)
    config.default_hooks = {"checkpoint": None, "logger": None}
    for part in ("val", "test"):
        config.update({f"{part}_{key}": None for key in ("cfg", "dataloader", "evaluator")})
    record = RecordLosses()
    with tempfile.TemporaryDirectory() as folder:
        config.work_dir = folder
        runner = Runner.from_cfg(config)
        runner.register_hook(record)
        runner.train()
    return record.steps


def main() -> None:
    """Measure the losses of configs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("configs", type=Path, help="JSON: name of each config to its file")
    parser.add_argument("output", type=Path, help="JSON: name to losses by step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    configs = json.loads(arguments.configs.read_text())
    progress = tqdm(configs.items(), desc="training five steps", unit="run", mininterval=2, file=sys.stderr)
    arguments.output.write_text(json.dumps({name: step_losses(Path(path)) for name, path in progress}))


if __name__ == "__main__":
    main()
