"""pytest can collect all tests in one process."""

from collections import Counter
from pathlib import Path


def module_name(path: Path) -> str:
    """The name under which pytest imports a file: that of its package, or where it is in none, its own."""
    parts = [path.stem]
    while (path.parent / "__init__.py").exists():
        path = path.parent
        parts.insert(0, path.name)
    return ".".join(parts)


def test_no_two_test_files_are_imported_under_one_name():
    names = Counter(module_name(path) for path in Path("tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1 and not name.endswith("__init__")] == []
