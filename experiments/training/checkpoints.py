"""Checkpoints of a run: the newest readable one, and the hash of what it depends on."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import get_torch_safe_globals

from experiments.errors import UserError
from experiments.training.hooks.interruption import CHECKPOINT

# Config keys that may change between the processes of one training.
VALIDATION = ("val_cfg", "val_dataloader", "val_evaluator")
LOADING = ("num_workers", "persistent_workers", "worker_init_fn")
# torch's switch, which outweighs what a call of torch.load says.
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextmanager
def without_code() -> Iterator[None]:
    """Let torch read nothing but tensors, numbers, text and mmengine's history from files of weights, whoever asks it to.

    A file of weights is a pickle, which may run any program when it is read. mmengine falls back to that where a file holds
    more; with torch's own switch it cannot.

    Raises
    ------
    UserError
        If the body reads a file that holds anything else.
    """
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    except UnpicklingError as error:
        # mmengine tries twice, the first time with the types that it allows.
        first: BaseException = error
        while first.__context__:
            first = first.__context__
        found = re.search(r"(?:GLOBAL|function) (\S+)", str(first))
        what = f"such as {found[1].strip('`')}, " if found else ""
        raise UserError(
            f"weights that the configuration names hold more than tensors and numbers, {what}which may be a program; they were"
            " not read. Allowed: a file that torch.load reads with weights_only=True"
        ) from error
    finally:
        os.environ.pop(WEIGHTS_ONLY)
        if before is not None:
            os.environ[WEIGHTS_ONLY] = before


def newest_checkpoint(folder: Path) -> Path | None:
    """The readable checkpoint with the most iterations; files cut short by a kill or a full disk are skipped.

    A file that holds more than tensors, numbers, text and mmengine's history is skipped too, and nothing of it is run.

    Parameters
    ----------
    folder : Path
        Folder in which mmengine writes ``epoch_<n>.pth``, and an interruption its own checkpoint.
    """
    found = {path: _iterations(path) for path in [*folder.glob("epoch_*.pth"), *folder.glob(CHECKPOINT)]}
    whole = {path: iterations for path, iterations in found.items() if iterations is not None}
    return max(whole, key=whole.__getitem__, default=None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, of which nothing is run; tensors stay in the file until they are used.

    Parameters
    ----------
    path : Path
        A file that holds nothing but tensors, numbers, text and mmengine's history.
    """
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _iterations(checkpoint: Path) -> int | None:
    try:
        return read_checkpoint(checkpoint)["meta"]["iter"]
    except Exception as error:
        print(f"passing over {checkpoint}, which cannot be read: {error}")
        return None


def origin_of(config: Config, sources: dict[str, str], dataset: dict[str, Any]) -> str:
    """Hash of what checkpoints depend on: the dataset, the sources, and the parts of the config that decide the result.

    Parameters
    ----------
    config : Config
        The run's config.
    sources : dict
        Path and fingerprint of the run's sources; where they lie does not matter.
    dataset : dict
        The dataset's identity.
    """
    content = {key: value for key, value in config.to_dict().items() if key not in (*VALIDATION, "custom_imports")}
    content["train_dataloader"] = {key: value for key, value in content["train_dataloader"].items() if key not in LOADING}
    content["test_dataloader"] = {key: value for key, value in content["test_dataloader"].items() if key not in LOADING}
    content["train_cfg"] = {key: value for key, value in content["train_cfg"].items() if key != "val_interval"}
    text = json.dumps([dataset, sorted(set(sources.values())), content], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def set_aside_foreign_checkpoints(folder: Path, origin: str) -> None:
    """Rename checkpoints of another config, dataset or source, so that no training resumes from them."""
    mark = folder / "origin.txt"
    if folder.exists() and (not mark.exists() or mark.read_text() != origin):
        number = len(list(folder.parent.glob(f"{folder.name}_superseded_*"))) + 1
        folder.rename(folder.with_name(f"{folder.name}_superseded_{number}"))
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(origin)


def remove_cut_short(checkpoints: Path) -> None:
    """Remove the incomplete checkpoint that a full disk has left."""
    for draft in checkpoints.glob("*.draft"):
        draft.unlink()
    newest = max(checkpoints.glob("*.pth"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is not None and _iterations(newest) is None:
        newest.unlink()
