"""Which necks exist, which options they take, and which source files models depend on, read without importing torch."""

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from experiments.errors import UserError

OWN_PACKAGES = ("necks", "kernels")
BACKEND_SUFFIXES = (".py", ".cpp", ".h")
SHARED_SOURCES = (
    *("experiments/training/hooks.py", "experiments/training/hooks/interruption.py", "experiments/training/precision.py"),
    "necks/auxiliary_loss_hook.py",
)
# What writes configs and measures: a run is trained again when it changes, but only as far as its config has changed.
CONFIG_AND_MEASURE = (
    "experiments/configs/templates/config.py.j2",
    "experiments/configs/write.py",
    "experiments/training/evaluate.py",
)
FINGERPRINTS = Path("runs/sources")


def known_necks() -> list[str]:
    """Names of all necks that a study may use: this project's and mmdet's."""
    return sorted({*_own_models("necks"), *_mmdet_necks()})


@cache
def neck_options(neck: str) -> list[str] | None:
    """Constructor arguments of a neck, or None where it takes any keyword.

    Parameters
    ----------
    neck : str
        One of `known_necks`.
    """
    path = _own_models("necks").get(neck) or _mmdet_necks()[neck]
    definition = next(node for node in ast.walk(_parse(path)) if isinstance(node, ast.ClassDef) and node.name == neck)
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = node.args
            return None if arguments.kwarg else [a.arg for a in arguments.args[1:] + arguments.kwonlyargs]
    return None


def source_files(models: Sequence[str]) -> list[str]:
    """Files of this project that necks and backbones consist of, relative to its root; none for mmdet's.

    Parameters
    ----------
    models : sequence of str
        Registered names.
    """
    return list(_source_files(frozenset(models)))


@cache
def _source_files(models: frozenset[str]) -> tuple[str, ...]:
    own = _own_models("necks") | _own_models("necks/backbones")
    found: set[Path] = set()
    pending = [own[model] for model in models if model in own]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending.extend(_imported_files(path))
    if Path("kernels/backends.py") in found:
        # The backends are imported only where they compute, so that the imports do not lead to them.
        found.update(path for path in Path("kernels").glob("*/*") if path.suffix in BACKEND_SUFFIXES)
    return tuple(sorted(str(path) for path in found))


def training_sources(models: Sequence[str]) -> list[str]:
    """Files of this project that decide how a run is trained: those of its neck and backbone and those that all share.

    Parameters
    ----------
    models : sequence of str
        Registered names of neck and backbone.
    """
    return sorted({*source_files(models), *SHARED_SOURCES})


def source_hashes(models: Sequence[str]) -> dict[str, str]:
    """SHA-256, 12 digits of it, of each of the `training_sources`.

    Parameters
    ----------
    models : sequence of str
        Registered names of neck and backbone.
    """
    return {path: _hash(path) for path in training_sources(models)}


@cache
def _hash(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def sources_fingerprint(models: Sequence[str]) -> str:
    """A file with the hashes of all sources of a run, which stands for them; written anew only where one has other content.

    Snakemake looks at every input of every job: at 10,000 runs one input instead of thirty saves a third of its planning.

    Parameters
    ----------
    models : sequence of str
        Registered names of neck and backbone.
    """
    return _sources_fingerprint(frozenset(models))


@cache
def _sources_fingerprint(models: frozenset[str]) -> str:
    hashes = source_hashes(sorted(models)) | {path: _hash(path) for path in CONFIG_AND_MEASURE}
    path, text = FINGERPRINTS / f"{'+'.join(sorted(models))}.json", json.dumps(hashes, indent=1) + "\n"
    is_new = not path.exists()
    if is_new or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        if is_new:
            # Not younger than the sources, so that what was trained with them before is not trained again.
            newest = max(Path(file).stat().st_mtime_ns for file in hashes)
            os.utime(draft, ns=(newest, newest))
        draft.replace(path)
    return str(path)


@cache
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}") from None


@cache
def _own_models(folder: str) -> dict[str, Path]:
    return {
        node.name: path
        for path in sorted(Path(folder).glob("*.py"))
        for node in _parse(path).body
        if isinstance(node, ast.ClassDef) and _is_registered_model(node)
    }


def _is_registered_model(definition: ast.ClassDef) -> bool:
    return any("MODELS.register_module" in ast.unparse(decorator) for decorator in definition.decorator_list)


@cache
def _mmdet_necks() -> dict[str, Path]:
    package = Path(importlib.util.find_spec("mmdet").origin).parent / "models" / "necks"
    imports = [node for node in _parse(package / "__init__.py").body if isinstance(node, ast.ImportFrom)]
    return {alias.name: package / f"{node.module}.py" for node in imports for alias in node.names}


@cache
def _imported_files(path: Path) -> list[Path]:
    modules = []
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    own = [Path(*module.split(".")) for module in modules if module.split(".")[0] in OWN_PACKAGES]
    candidates = [file for module in own for file in (module.with_suffix(".py"), module / "__init__.py")]
    # Every module of the neck package would be reached through its __init__, which imports them all.
    return [file for file in candidates if file.is_file() and file != Path("necks/__init__.py")]
