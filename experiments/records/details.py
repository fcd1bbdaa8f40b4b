"""What a finished run leaves beside its metrics: its predictions, and its metrics on resamples of the test images."""

import gzip
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.bootstrap.resamples import BOOTSTRAP_FILE, write_replicates
from experiments.files import replacing
from experiments.records.provenance import file_hash
from experiments.tasks.task import Breakdown

PREDICTIONS_FILE = "predictions.json.gz"
# Of percent. What is computed twice, once here and once by the metric's own library, may differ by rounding alone.
CLOSE = 1e-9


def leave_details(folder: Path, breakdown: Breakdown, metrics: Mapping[str, float | None], keep: bool) -> dict[str, str]:
    """Write what stands behind the metrics of a run, and remove what an earlier attempt has left.

    Parameters
    ----------
    folder : Path
        The run's folder.
    breakdown : Breakdown
        From the run's task.
    metrics : dict
        The metrics, with which the first replicate must agree; else none is written, and a line says so.
    keep : bool
        Whether predictions are kept.

    Returns
    -------
    dict
        Name of each file to its SHA-256.
    """
    for name in (PREDICTIONS_FILE, BOOTSTRAP_FILE):
        (folder / name).unlink(missing_ok=True)
    written = []
    if keep and breakdown.predictions:
        _compress(breakdown.predictions, folder / PREDICTIONS_FILE)
        written.append(PREDICTIONS_FILE)
    if breakdown.replicates and _agree(breakdown.replicates, metrics):
        write_replicates(folder / BOOTSTRAP_FILE, breakdown.replicates)
        written.append(BOOTSTRAP_FILE)
    return {name: file_hash(folder / name) for name in written}


def _compress(source: Path, target: Path) -> None:
    """Equal content gives equal bytes: gzip would write the time."""
    with (
        replacing(target) as draft,
        source.open("rb") as plain,
        draft.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed)


def _agree(replicates: Mapping[str, NDArray[np.float64]], metrics: Mapping[str, float | None]) -> bool:
    for name, values in replicates.items():
        measured = metrics.get(name)
        if measured is None if np.isnan(values[0]) else measured is not None and abs(values[0] - measured) < CLOSE:
            continue
        print(f"{name} is {measured}, and {values[0]} in the resamples, which are therefore not kept", file=sys.stderr)
        return False
    return True
