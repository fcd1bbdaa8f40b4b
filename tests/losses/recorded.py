"""Where the losses of a type of processor are recorded, and how: ``python -m tests.losses.recorded``.

The losses come from the demo scale's own configs and drawn images; `experiments.benchmarks.step_losses` names what is fixed.
Record them anew only for a change that is meant to change numbers, and say so in the commit.
"""

import json
import re
from pathlib import Path

import torch

from experiments.benchmarks.compare_commits import Losses, losses_of
from experiments.machine import processor

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def processor_type() -> str:
    """What decides the order of sums: the processor, by name, family and model, and the instructions that torch uses on it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    fields = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
    parts = [processor(), fields.get("cpu family", ""), fields.get("model", ""), torch.backends.cpu.get_cpu_capability()]
    return re.sub(r"[^A-Za-z0-9.]+", "_", " ".join(parts)).strip("_")


def recorded_losses() -> dict[str, Losses]:
    """Type of processor to the losses that were recorded on it."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def sample(names: list[str]) -> list[str]:
    """Settings that hold every kind of neck and every detector at least once.

    Parameters
    ----------
    names : list of str
        Settings as JSON.
    """
    seen: set[object] = set()
    chosen = []
    for name in names:
        setting = json.loads(name)
        links = setting["neck"] if isinstance(setting["neck"], list) else [setting["neck"]]
        parts = {tuple(link["type"] for link in links), setting["detector"]}
        chosen += [name] if not parts <= seen else []
        seen |= parts
    return chosen


def main() -> None:
    """Record the losses of all settings on this machine."""
    path = FOLDER / f"{processor_type()}.json"
    path.write_text(json.dumps(losses_of(ROOT), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
