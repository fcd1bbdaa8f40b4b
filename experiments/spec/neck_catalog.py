"""Which necks and backbones exist and which options they take, read from their source text without importing torch."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

from experiments.errors import UserError

NECKS = Path("necks")
BACKBONES = Path("necks/backbones")


def known_necks() -> list[str]:
    """Names of all necks that a study may use: this project's and mmdet's."""
    return sorted({*own_models(NECKS), *_mmdet_necks()})


@cache
def neck_options(neck: str) -> list[str] | None:
    """Constructor arguments of a neck, or None if it takes any keyword.

    Parameters
    ----------
    neck : str
        One of `known_necks`.
    """
    path = own_models(NECKS).get(neck) or _mmdet_necks()[neck]
    definition = next(node for node in ast.walk(parse(path)) if isinstance(node, ast.ClassDef) and node.name == neck)
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = node.args
            return None if arguments.kwarg else [a.arg for a in arguments.args[1:] + arguments.kwonlyargs]
    return None


@cache
def own_models(folder: Path) -> dict[str, Path]:
    """Names and files of the models that this project's modules in a folder register.

    Parameters
    ----------
    folder : Path
        `NECKS` or `BACKBONES`; folders inside it are not searched.
    """
    return {
        node.name: path
        for path in sorted(folder.glob("*.py"))
        for node in parse(path).body
        if isinstance(node, ast.ClassDef) and registers(node, "MODELS")
    }


def registers(definition: ast.ClassDef | ast.FunctionDef, registry: str) -> bool:
    """Whether a class or function is decorated with ``@<registry>.register_module``.

    Parameters
    ----------
    definition : ast.ClassDef or ast.FunctionDef
        The definition.
    registry : str
        Name of an mmengine registry, such as ``MODELS``.
    """
    return any(f"{registry}.register_module" in ast.unparse(decorator) for decorator in definition.decorator_list)


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UserError
        If the file is not Python.
    """
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}") from None


@cache
def _mmdet_necks() -> dict[str, Path]:
    found = importlib.util.find_spec("mmdet")
    if found is None or found.origin is None:
        raise UserError("mmdetection is not installed: run make setup")
    package = Path(found.origin).parent / "models" / "necks"
    imports = [node for node in parse(package / "__init__.py").body if isinstance(node, ast.ImportFrom)]
    return {alias.name: package / f"{node.module}.py" for node in imports for alias in node.names}
