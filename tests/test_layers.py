"""Imports point down the list of layers."""

import ast
from pathlib import Path

import pytest

# From the top; the packages of one line know nothing of each other.
LAYERS = [
    ["reports"],
    ["experiments.__main__"],
    ["experiments.cli", "experiments.benchmarks"],
    ["experiments.cost", "experiments.preflight"],
    ["experiments.training", "experiments.workflow"],
    ["experiments.configs", "experiments.records", "experiments.data"],
    ["experiments.spec"],
    ["experiments.errors", "experiments.files", "experiments.machine", "experiments.paths"],
    ["necks"],
    ["kernels"],
]
PLACES = {name: index for index, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(str(path) for package in ("reports", "experiments", "necks", "kernels") for path in Path(package).rglob("*.py"))


def layer_of(module: str) -> str | None:
    """The layer that a module belongs to; None for third parties and the empty root."""
    return next((name for name in PLACES if module == name or module.startswith(f"{name}.")), None)


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


@pytest.mark.parametrize("path", FILES)
def test_imports_point_down(path):
    own = layer_of(path.removesuffix(".py").replace("/", "."))
    if own is None:
        assert path == "experiments/__init__.py"
        return
    for module in imported(Path(path)):
        other = layer_of(module)
        assert other is None or other == own or PLACES[other] > PLACES[own], f"{path} imports {module}"
    if own in ("necks", "kernels"):
        assert "experiments" not in Path(path).read_text(), "necks know nothing of experiments"
