"""A finished run -> the weights of its backbone, with which other models begin, here or anywhere in mmdetection's world."""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.errors import UserError, report_user_errors
from experiments.files import replacing
from experiments.paths import backbone_file, metrics_file, run_folder
from experiments.records.backbone_hash import record_weights
from experiments.records.provenance import file_hash
from experiments.training.checkpoints import newest_checkpoint, read_checkpoint

# As checkpoints of mmdetection's and mmsegmentation's models name the backbone's weights.
PREFIX = "backbone."


def take_backbone(run: str) -> None:
    """Write the backbone of a finished run as a file of weights, and the hash of it beside.

    A config begins with it by ``init_cfg: {type: Pretrained, checkpoint: <file>, prefix: backbone.}``.

    Parameters
    ----------
    run : str
        The run's id.

    Raises
    ------
    UserError
        If the run is not finished, or has left no checkpoint.
    """
    if not metrics_file(run).exists():
        raise UserError(f"runs/{run}: the run is not finished, so that no model can begin with its backbone; train it first")
    checkpoint = newest_checkpoint(run_folder(run) / "checkpoints")
    if checkpoint is None:
        raise UserError(f"runs/{run}/checkpoints: no checkpoint is left whose backbone a model could begin with")
    weights = {name: values.clone() for name, values in _weights(checkpoint).items() if name.startswith(PREFIX)}
    if not weights:
        raise UserError(f"{checkpoint}: holds no weights of a backbone")
    file = backbone_file(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Into an open file, as torch writes a file's name into it: equal weights make equal files.
    with replacing(file) as draft, draft.open("wb") as content:
        torch.save({"state_dict": weights}, content)
    record_weights(run, checkpoint.name, file_hash(file))


def _weights(checkpoint: Path) -> dict[str, Tensor]:
    content = read_checkpoint(checkpoint)
    return dict(content.get("state_dict", content))


def refuse_other_backbones(backbone: nn.Module, run: str) -> None:
    """Refuse to begin with a backbone of another shape, whose fitting part alone would be loaded without an error.

    Parameters
    ----------
    backbone : nn.Module
        The backbone that shall begin with the weights.
    run : str
        Id of the run that they come from.

    Raises
    ------
    UserError
        If the weights lack some of the backbone's, or have others of the same name.
    """
    file = backbone_file(run)
    found = {name.removeprefix(PREFIX): values.shape for name, values in _weights(file).items()}
    wanted = {name: values.shape for name, values in backbone.state_dict().items()}
    lacking = [name for name, shape in wanted.items() if found.get(name) != shape]
    if lacking:
        name = lacking[0]
        there = f"has {tuple(found[name])}" if name in found else "is missing"
        raise UserError(
            f"{file}: the backbone of run {run} does not fit {type(backbone).__name__}: {len(lacking)} of its {len(wanted)}"
            f" tensors, such as {name}, wanted {tuple(wanted[name])}, which {there}; allowed: a run with the same backbone"
        )


def main() -> None:
    """Take the backbone of a finished run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", help="the run's id")
    take_backbone(parser.parse_args().run)


if __name__ == "__main__":
    report_user_errors(main)
