"""Whether two commits train alike: the losses of the first steps of every setting, compared to the last bit."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments.benchmarks.equal_sources import worktree
from experiments.errors import UserError, report_user_errors

Losses = dict[str, list[dict[str, str]]]
PROGRAM = Path(__file__).with_name("step_losses.py")
# Draws the demo dataset and writes a config for every distinct setting, with the modules of the commit under test.
WRITE_CONFIGS = """
import json, sys
from pathlib import Path
from typing import Any
if Path("experiments/run.py").exists():
    from experiments.dataset import prepare_dataset
    from experiments.run import Run
    from experiments.scale import load_scale
    from experiments.study import load_study
    from experiments.write_config import config_text
else:
    from experiments.configs.write import config_text
    from experiments.data.prepare import prepare_dataset
    from experiments.spec.run import Run
    from experiments.spec.scale import load_scale
    from experiments.spec.study import load_study
folder, only = Path(sys.argv[1]), json.load(sys.stdin)
scale, written = load_scale("demo"), {}
prepare_dataset(scale.dataset, folder / scale.data_folder, None)
for study in sorted(path.stem for path in Path("experiments/studies").glob("*.yaml")):
    for table in load_study(study).tables.values():
        for setting in table.settings:
            name = json.dumps(setting.model_dump(), ensure_ascii=False)
            if name not in written and (name in only if isinstance(only, list) else only in name):
                written[name] = str(folder / f"config_{len(written)}.py")
                Path(written[name]).write_text(config_text(Run(setting, scale, 0)), encoding="utf-8")
(folder / "configs.json").write_text(json.dumps(written))
"""


def losses_of(
    project: Path,
    only: str | list[str] = "",
    python: Sequence[str] = (sys.executable,),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Losses:
    """The losses of the first steps of every distinct setting of a project's studies at scale demo.

    Parameters
    ----------
    project : Path
        The project's folder.
    only : str or list of str
        Text that must occur in the JSON of a setting, or the settings as JSON.
    python : sequence of str
        The interpreter that trains, such as one on an emulated processor.
    variables : mapping
        Environment variables of the trainings.

    Raises
    ------
    UserError
        If the project cannot train, or no setting holds the text.
    """
    with tempfile.TemporaryDirectory(prefix="losses_") as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        _run([sys.executable, "-c", WRITE_CONFIGS, str(folder)], project, environment, subprocess.DEVNULL, json.dumps(only))
        if not json.loads((folder / "configs.json").read_text()):
            raise UserError(f"--only {only}: no setting of {project} holds this text")
        _run([*python, "-P", str(PROGRAM), "configs.json", "losses.json"], folder, {**environment, **variables}, None)
        return json.loads((folder / "losses.json").read_text())


def _run(command: list[str], folder: Path, environment: dict[str, str], errors: int | None, text: str = "") -> None:
    where: dict[str, Any] = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": errors}
    try:
        subprocess.run(command, **where, input=text, text=True, check=True, timeout=3600)
    except subprocess.CalledProcessError as error:
        raise UserError(f"{folder}: a program that trains five steps ended with exit code {error.returncode}") from None


def difference(one: list[dict[str, str]], other: list[dict[str, str]]) -> float:
    """Largest relative difference between two series of losses: 0.0 if equal to the last bit, infinite if their shapes differ.

    Parameters
    ----------
    one, other : list of dict
        Losses of each step by name, as hexadecimal floats.
    """
    if one == other:
        return 0.0
    if [sorted(step) for step in one] != [sorted(step) for step in other]:
        return float("inf")
    pairs = [(float.fromhex(a[name]), float.fromhex(b[name])) for a, b in zip(one, other, strict=True) for name in a]
    return max(abs(a - b) / max(abs(a), abs(b), 1e-30) for a, b in pairs)


def table(one: Losses, other: Losses) -> list[tuple[str, str, bool]]:
    """One line per setting: its name, the difference, and whether it is equal.

    Parameters
    ----------
    one, other : dict
        Losses by name of the setting.
    """
    lines = []
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            lines.append((name, f"only in {'the second' if name in other else 'the first'}", False))
            continue
        distance = difference(one[name], other[name])
        lines.append((name, "equal" if distance == 0 else f"differs by {distance:.1e}", distance == 0))
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Compare the losses of two commits; exit code 1 if any differs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("first", help="a commit")
    parser.add_argument("second", help="a commit")
    parser.add_argument("--only", default="", help="only settings whose JSON holds this text, such as A2FPN")
    chosen = parser.parse_args(arguments)
    measured = []
    for commit in (chosen.first, chosen.second):
        with worktree(commit) as folder:
            print(f"{commit}: compiling its operators, half a minute", file=sys.stderr)
            _run([sys.executable, "-m", "kernels.cpu.build"], folder, {**os.environ, "PYTHONPATH": str(folder)}, None)
            measured.append(losses_of(folder, chosen.only))
    lines = table(*measured)
    for name, word, _ in lines:
        print(f"{word:16} {name}")
    unequal = sum(not is_equal for _, _, is_equal in lines)
    print(f"{len(lines)} settings, {unequal} of them differ")
    if unequal:
        sys.exit(1)


if __name__ == "__main__":
    report_user_errors(main)
