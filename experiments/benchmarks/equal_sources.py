"""Accept the sources of an older commit: its finished runs stay finished after a change that changes no number.

Show first, with ``python -m experiments.benchmarks.compare_commits``, that the two commits compute the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.errors import UserError, report_user_errors
from experiments.spec.fingerprint import EQUAL_SOURCES

# Prints {model: {path: recorded hash}} for every model of a commit, and under "" for none. The layout is recognised by
# its files, because importing might find an editable installation of another commit.
LIST_SOURCES = """
import json
from pathlib import Path
if Path("experiments/sources.py").exists():
    from experiments.sources import _own_models as own_models, source_hashes as fingerprints
else:
    from experiments.spec.fingerprint import fingerprints
    from experiments.spec.neck_catalog import own_models
tasks = [()]
if Path("experiments/tasks").exists():
    from experiments.spec.metrics import TASKS
    tasks = [(task,) for task in TASKS]
models = ["", *own_models(Path("necks")), *own_models(Path("necks/backbones")), *own_models(Path("necks/heads"))]
found = {model: {} for model in models}
for model in models:
    for task in tasks:
        found[model].update(fingerprints([model] if model else [], *task))
print(json.dumps(found))
"""


def equal_sources(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Map each recorded hash to the hashes of today's sources that it stands for.

    A file stands for today's file of the same name. Files without a namesake are assigned to the model's first file, so that
    the recorded sources of a model together stand for all of today's.

    Parameters
    ----------
    before, after : dict
        Model to path and hash of its sources, at the older commit and today; the empty name holds what every run shares.

    Raises
    ------
    UserError
        If a model has gone.
    """
    stands_for: dict[str, set[str]] = defaultdict(set)
    for model in sorted(before, key=len):  # the shared sources first
        if model not in after:
            raise UserError(f"{model} has gone; runs of it cannot stay finished")
        successors = {Path(path).name: digest for path, digest in after[model].items() if Path(path).name != "__init__.py"}
        for path, digest in before[model].items():
            if Path(path).name in successors:
                stands_for[digest].add(successors[Path(path).name])
        known = {digest for recorded in before[model].values() for digest in stands_for[recorded]}
        first = min(set(before[model]) - set(before[""] if model else ()), default=None)
        if first:
            stands_for[before[model][first]] |= set(after[model].values()) - known
    return {digest: sorted(hashes - {digest}) for digest, hashes in sorted(stands_for.items()) if hashes - {digest}}


def merge(known: dict[str, list[str]], added: dict[str, list[str]]) -> dict[str, list[str]]:
    """Add equal sources to the known ones, following hashes that have changed again since.

    Parameters
    ----------
    known, added : dict
        Recorded hash to the hashes that it stands for.
    """
    followed = {
        digest: sorted({new for old in hashes for new in (old, *added.get(old, ()))}) for digest, hashes in known.items()
    }
    return {digest: sorted({*followed.get(digest, ()), *added.get(digest, ())}) for digest in sorted(followed | added)}


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of a commit in a temporary folder.

    Parameters
    ----------
    commit : str
        Any name that git knows.

    Raises
    ------
    UserError
        If git does not know the commit.
    """
    with tempfile.TemporaryDirectory(prefix="commit_") as name:
        folder = Path(name) / "project"
        added = subprocess.run(
            ["git", "worktree", "add", "--detach", str(folder), commit],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if added.returncode:
            raise UserError(f"commit {commit}: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(folder)], check=False, timeout=120)


def sources_of(folder: Path) -> dict[str, dict[str, str]]:
    """The recorded sources of every model of a project.

    Parameters
    ----------
    folder : Path
        The project's folder.
    """
    result = subprocess.run(
        [sys.executable, "-c", LIST_SOURCES], cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    if result.returncode:
        raise UserError(f"{folder}: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Accept the sources of a commit."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("commit", help="the older commit, whose runs stay finished")
    commit = parser.parse_args(arguments).commit
    with worktree(commit) as folder:
        added = equal_sources(sources_of(folder), sources_of(Path.cwd()))
    known = json.loads(EQUAL_SOURCES.read_text(encoding="utf-8"))
    EQUAL_SOURCES.write_text(json.dumps(merge(known, added), indent=1) + "\n", encoding="utf-8")
    print(f"{EQUAL_SOURCES}: {len(added)} hashes of {commit} stand for today's")


if __name__ == "__main__":
    report_user_errors(main)
