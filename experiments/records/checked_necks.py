"""Which necks have passed the check of their contract, in which detector and at which scale, with the sources of today."""

import hashlib
import json
from functools import cache
from pathlib import Path

from experiments.files import write_atomically
from experiments.paths import CHECKS
from experiments.spec.fingerprint import program_fingerprint, task_file
from experiments.spec.run import Run

CHECK = "experiments/preflight/neck_contract.py"
# Of a run, what decides the levels and who reads them.
PARTS = ("neck", "detector", "backbone", "out_channels", "num_outs")


def passed_file(run: Run) -> Path:
    """The file that says that a run's neck has passed; runs that differ in seed or schedule alone share it.

    Parameters
    ----------
    run : Run
        The run.
    """
    spec = json.dumps({part: run.spec[part] for part in PARTS}, sort_keys=True)
    key = hashlib.sha256(f"{spec} {_sources(run.task, *run.models)}".encode()).hexdigest()[:12]
    return CHECKS / "necks" / f"{key}.json"


@cache
def _sources(task: str, *models: str) -> str:
    return program_fingerprint((CHECK, str(task_file(task))), models)


def record_passed(run: Run, levels: list[str]) -> None:
    """Record that a run's neck has passed.

    Parameters
    ----------
    run : Run
        The run.
    levels : list of str
        What was found, for people.
    """
    path = passed_file(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, {"neck": run.setting.neck, "scale": run.scale.name, "levels": levels})
