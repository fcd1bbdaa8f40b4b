"""The hash of a finished run's backbone, which stands beside its weights, so that it is not computed at every start."""

import json
from pathlib import Path

from experiments.errors import UserError
from experiments.files import write_atomically
from experiments.paths import backbone_file


def hash_file(run: str) -> Path:
    """The file with the hash of a run's backbone.

    Parameters
    ----------
    run : str
        The run's id.
    """
    return backbone_file(run).with_suffix(".json")


def recorded_weights(run: str) -> str | None:
    """SHA-256 of the file of a run's backbone; None if there is none yet.

    Parameters
    ----------
    run : str
        The run's id.

    Raises
    ------
    UserError
        If the file with the hash is damaged.
    """
    path = hash_file(run)
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, and the file is made again") from None


def record_weights(run: str, checkpoint: str, sha256: str) -> None:
    """Write the hash of a run's backbone.

    Parameters
    ----------
    run : str
        The run's id.
    checkpoint : str
        Name of the checkpoint that it was taken from.
    sha256 : str
        Of the file of its weights.
    """
    write_atomically(hash_file(run), {"run": run, "checkpoint": checkpoint, "sha256": sha256})
