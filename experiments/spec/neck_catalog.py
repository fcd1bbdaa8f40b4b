"""Which necks, backbones and heads exist and which options they take, read from their source text without importing torch."""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from experiments.environments import package_folder
from experiments.errors import UserError

NECKS = Path("necks")
BACKBONES = Path("necks/backbones")
HEADS = Path("necks/heads")


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
    constructor = _constructor(neck)
    if constructor is None or constructor.args.kwarg:
        return None
    return [argument.arg for argument in constructor.args.args[1:] + constructor.args.kwonlyargs]


@cache
def neck_choices(neck: str) -> dict[str, tuple[object, ...]]:
    """The values that a neck allows for its options, as far as its constructor checks them against a constant.

    Parameters
    ----------
    neck : str
        One of `known_necks`.
    """
    constructor = _constructor(neck)
    calls = [node for node in ast.walk(constructor) if isinstance(node, ast.Call)] if constructor else []
    checks = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "check_choice"]
    found = {
        option.value: _constant(_file(neck), allowed) for _, option, _, allowed in checks if isinstance(option, ast.Constant)
    }
    return {str(option): allowed for option, allowed in found.items() if allowed}


@cache
def neck_types_of_options(neck: str) -> dict[str, str]:
    """Annotations of a neck's constructor arguments, as they are written.

    Parameters
    ----------
    neck : str
        One of `known_necks`.
    """
    constructor = _constructor(neck)
    arguments = constructor.args.args + constructor.args.kwonlyargs if constructor else []
    return {argument.arg: ast.unparse(argument.annotation) for argument in arguments if argument.annotation}


def _file(neck: str) -> Path:
    return own_models(NECKS).get(neck) or _mmdet_necks()[neck]


def _constructor(neck: str) -> ast.FunctionDef | None:
    definition = next(node for node in ast.walk(parse(_file(neck))) if isinstance(node, ast.ClassDef) and node.name == neck)
    constructors = (node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return next(constructors, None)


def _constant(path: Path, value: ast.expr) -> tuple[object, ...]:
    """The values of a constant, which a module of this project may import from another; empty if it is no constant."""
    if not isinstance(value, ast.Name):
        return ()
    for node in parse(path).body:
        is_named = isinstance(node, ast.Assign) and any(ast.unparse(target) == value.id for target in node.targets)
        if isinstance(node, ast.Assign) and is_named:
            return _literal(node.value)
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == value.id for alias in node.names):
            module = Path(*node.module.split(".")).with_suffix(".py")
            return _constant(module, value) if module.is_file() else ()
    return ()


def _literal(node: ast.expr) -> tuple[object, ...]:
    try:
        return tuple(ast.literal_eval(node))
    except (ValueError, TypeError):
        return ()


@cache
def own_models(folder: Path) -> dict[str, Path]:
    """Names and files of the models that this project's modules in a folder register.

    Parameters
    ----------
    folder : Path
        `NECKS`, `BACKBONES` or `HEADS`; folders inside it are not searched.
    """
    return {
        node.name: path
        for path in sorted(folder.glob("*.py"))
        for node in parse(path).body
        if isinstance(node, ast.ClassDef) and registers(node, "MODELS")
    }


def own_heads(config: object) -> list[str]:
    """Registered names of this project's heads that a model's config names, in their order.

    Parameters
    ----------
    config : object
        The config, or a part of it.
    """
    if isinstance(config, Mapping):
        named = [config["type"].rpartition(".")[2]] if isinstance(config.get("type"), str) else []
        found = [*named, *(name for part in config.values() for name in own_heads(part))]
    elif isinstance(config, list | tuple):
        found = [name for part in config for name in own_heads(part)]
    else:
        return []
    return [name for name in dict.fromkeys(found) if name in own_models(HEADS)]


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
    mmdet = package_folder("mmdet")
    if mmdet is None:
        raise UserError("mmdetection is not installed: run make setup")
    package = mmdet / "models" / "necks"
    imports = [node for node in parse(package / "__init__.py").body if isinstance(node, ast.ImportFrom)]
    return {alias.name: package / f"{node.module}.py" for node in imports for alias in node.names}
