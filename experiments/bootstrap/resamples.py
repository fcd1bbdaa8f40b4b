"""Resamples of a dataset's images, and the metrics of a run on each of them."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.errors import UserError
from experiments.files import replacing

REPLICATES = 1000
BOOTSTRAP_FILE = "bootstrap.npz"


def draw_weights(images: Iterable[object], replicates: int = REPLICATES) -> NDArray[np.int16]:
    """How often each resample has each image; the same for all runs that are tested on these images.

    Equal resamples are what pairs two runs: their difference on a resample is theirs on the same images.

    Parameters
    ----------
    images : iterable
        Ids of the images, in the order of the columns.
    replicates : int
        Number of resamples.

    Returns
    -------
    array
        (replicates + 1, images). The first line is the dataset itself, each image once.
    """
    named = [str(image) for image in images]
    seed = int.from_bytes(hashlib.sha256("\n".join(named).encode()).digest()[:8])
    random = np.random.default_rng(seed)
    weights = np.ones((replicates + 1, len(named)), np.int16)
    for line in weights[1:]:
        line[:] = np.bincount(random.integers(0, len(named), len(named)), minlength=len(named))
    return weights


def write_replicates(path: Path, replicates: Mapping[str, NDArray[np.float64]]) -> None:
    """Write the metrics of a run on all resamples.

    Parameters
    ----------
    path : Path
        ``runs/<id>/bootstrap.npz``.
    replicates : dict
        Metric to its values (replicates + 1,), the first on the dataset itself; NaN where a resample has nothing to measure.
    """
    with replacing(path) as draft:
        np.savez_compressed(draft, allow_pickle=False, **replicates)


def read_replicates(path: Path, metrics: Collection[str] | None = None) -> dict[str, NDArray[np.float64]] | None:
    """Read the metrics of a run on all resamples; None if it has left none.

    Parameters
    ----------
    path : Path
        ``runs/<id>/bootstrap.npz``.
    metrics : collection of str, optional
        Those to read, as far as the run has them; all by default.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if metrics is None or name in metrics}
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own for damaged files
        raise UserError(f"{path} is damaged: {error}; delete it, and tables do without intervals over images") from None
