"""Sources -> docs/architecture.md: the packages, what each is for, and who imports whom.

python docs/make_architecture.py > docs/architecture.md
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# From the top; imports point down, and the packages of one line know nothing of each other.
LAYERS = [
    ["reports"],
    ["experiments.__main__"],
    ["experiments.cli", "experiments.benchmarks"],
    ["experiments.cost", "experiments.preflight"],
    ["experiments.training", "experiments.workflow"],
    ["experiments.configs", "experiments.records", "experiments.data"],
    ["experiments.tasks"],
    ["experiments.bootstrap"],
    ["experiments.spec"],
    [
        "experiments.devices",
        "experiments.environments",
        "experiments.errors",
        "experiments.files",
        "experiments.machine",
        "experiments.paths",
    ],
    ["necks"],
    ["kernels"],
]
PACKAGES = [name for layer in LAYERS for name in layer]
INTRODUCTION = """\
# Architecture

<!-- Written by docs/make_architecture.py from the packages' docstrings and imports; a test keeps it true. -->

Data flows forward once: `study.yaml` → study → runs → config → training → `metrics.json` → one tidy table → tables and figures.
Imports point down this list, and the packages of one line know nothing of each other:
"""


def package_of(module: str) -> str | None:
    """The package of `LAYERS` that a module belongs to; None for third parties and for the empty root.

    Parameters
    ----------
    module : str
        Dotted name.
    """
    return next((name for name in PACKAGES if module == name or module.startswith(f"{name}.")), None)


def imported_modules(path: Path) -> set[str]:
    """Dotted names of what a file imports, and of what it may import from there.

    Parameters
    ----------
    path : Path
        A Python file.
    """
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def files_of(package: str) -> list[Path]:
    """Python files of a package, relative to the project.

    Parameters
    ----------
    package : str
        One of `PACKAGES`.
    """
    path = ROOT.joinpath(*package.split("."))
    return [path.with_suffix(".py")] if not path.is_dir() else sorted(path.rglob("*.py"))


def arrows() -> set[tuple[str, str]]:
    """Pairs of packages, of which the first imports from the second."""
    pairs = set()
    for package in PACKAGES:
        for path in files_of(package):
            pairs |= {(package, other) for module in imported_modules(path) if (other := package_of(module))}
    return {(one, other) for one, other in pairs if one != other}


def architecture() -> str:
    """The page."""
    pairs = arrows()
    lines = [INTRODUCTION]
    for layer in LAYERS:
        lines += [f"1. {' · '.join(f'`{name}`' for name in layer)}"]
    lines += ["", "| package | what it is for | files | imports from |", "|---|---|--:|---|"]
    for package in PACKAGES:
        files = files_of(package)
        start = next((file for file in files if file.name == "__init__.py"), files[0])
        sentence = (ast.get_docstring(ast.parse(start.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
        others = ", ".join(f"`{other}`" for other in PACKAGES if (package, other) in pairs) or "–"
        lines.append(f"| `{package}` | {sentence} | {len(files)} | {others} |")
    lines += ["", f"{len(PACKAGES)} packages and modules, {len(LAYERS)} layers, {len(pairs)} arrows between them."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(architecture())
