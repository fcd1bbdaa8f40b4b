"""Imports point down the list of layers, and the page that shows it is true."""

from pathlib import Path

import pytest

from docs.make_architecture import LAYERS, PACKAGES, architecture, files_of, imported_modules, package_of

LEVELS = {name: index for index, layer in enumerate(LAYERS) for name in layer}
FILES = [(package, path) for package in PACKAGES for path in files_of(package)]


@pytest.mark.parametrize(("package", "path"), FILES, ids=lambda value: str(value))
def test_imports_point_down(package, path):
    for module in imported_modules(path):
        other = package_of(module)
        assert other is None or other == package or LEVELS[other] > LEVELS[package], f"{path} imports {module}"
    if package in ("necks", "kernels"):
        assert "experiments" not in path.read_text(), "necks know nothing of experiments"


def test_every_file_of_the_project_has_a_layer():
    found = {
        path for package in ("reports", "experiments", "necks", "kernels") for path in Path(package).resolve().rglob("*.py")
    }
    assert found - {path for _, path in FILES} == {Path("experiments/__init__.py").resolve()}


def test_the_page_of_the_architecture_is_the_one_that_is_generated():
    page = Path("docs/architecture.md").read_text(encoding="utf-8")
    assert page == architecture(), "python docs/make_architecture.py > docs/architecture.md"
