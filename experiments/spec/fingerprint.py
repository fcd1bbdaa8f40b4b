"""Which source files decide a run's result, and a hash of what each of them means.

A source has changed when its meaning has. Comments, docstrings, white space, annotations of functions, the order of imports
and the place of a file do not count; see `normal_form`. So tidying never trains a run again.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from experiments.spec.neck_catalog import BACKBONES, HEADS, NECKS, own_models, parse, registers

# Folders whose modules decide results. Other modules (spec, files, errors) act only through the run's id and config.
DECIDING = ("necks", "kernels", "experiments/training", "experiments/configs", "experiments/tasks")
# How models are counted and timed, and what is computed of predictions beside the metrics, decides no result of a training.
NOT_DECIDING = (Path("experiments/tasks/costs"), Path("experiments/tasks/breakdowns"))
TASK_FILES = Path("experiments/tasks")
PROGRAMS = (
    Path("experiments/configs/write.py"),
    Path("experiments/training/train.py"),
    Path("experiments/training/hooks/__init__.py"),
)
CONFIG_TEMPLATES = Path("experiments/configs/templates")
# Configs of this project's own, named by their tasks.
CONFIG_BASES = Path("experiments/configs/bases")
KERNELS = Path("kernels")
KERNEL_SUFFIXES = (".py", ".cpp", ".h")
# Recorded hash -> hashes of today's sources that compute the same, as shown by `compare_commits`.
EQUAL_SOURCES = Path(__file__).parent / "equal_sources.json"
INITS = tuple(folder / "__init__.py" for folder in (NECKS, BACKBONES, HEADS))
DIGITS = 16
# Older records hold the first digits of the SHA-256 of a file's bytes.
BYTE_HASH_DIGITS = 12

ANNOTATION_MODULES = ("__future__", "typing", "collections.abc")
CPP_TOKEN = re.compile(
    r'(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<space>[^\S\n]+|\\\n)|(?P<text>"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[\w.]+|\n|.)',
    re.S,
)


def fingerprints(models: Sequence[str], task: str) -> dict[str, str]:
    """Path and fingerprint of every source file that decides the result of a run.

    Parameters
    ----------
    models : sequence of str
        Registered names of the run's neck, or necks, backbone and heads.
    task : str
        Name of the run's task.
    """
    return {str(path): fingerprint(path) for path in deciding_sources(models, task)}


def are_current(recorded: dict[str, str], models: Sequence[str], task: str) -> bool:
    """Whether a run that recorded its sources would be trained by the same sources today.

    Every source of today must be among the recorded ones. Recorded sources may have gone: whatever used to import them has
    changed too.

    Parameters
    ----------
    recorded : dict
        Path to hash, as in ``metrics.json``.
    models : sequence of str
        Registered names of the run's neck, or necks, backbone and heads.
    task : str
        Name of the run's task.
    """
    return set(_fingerprints(frozenset(models), task)) <= set(_todays_hashes(recorded))


@cache
def _fingerprints(models: frozenset[str], task: str) -> frozenset[str]:
    return frozenset(fingerprint(path) for path in _deciding_sources(models, task))


def _todays_hashes(recorded: dict[str, str]) -> Iterator[str]:
    equal = _equal_sources()
    for path, digest in recorded.items():
        yield digest
        yield from equal.get(digest, ())
        if len(digest) == BYTE_HASH_DIGITS and digest not in equal and _byte_hash(path) == digest:
            yield fingerprint(Path(path))


@cache
def _equal_sources() -> dict[str, list[str]]:
    equal: dict[str, list[str]] = json.loads(EQUAL_SOURCES.read_text(encoding="utf-8"))
    return equal


@cache
def _byte_hash(path: str) -> str | None:
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:BYTE_HASH_DIGITS] if file.is_file() else None


def deciding_sources(models: Sequence[str], task: str) -> list[Path]:
    """Files of this project that decide the result of a run, relative to the project, found by following imports.

    Parameters
    ----------
    models : sequence of str
        Registered names of the run's neck, or necks, backbone and heads; none of mmdet's has files here.
    task : str
        Name of the run's task.
    """
    return list(_deciding_sources(frozenset(models), task))


@cache
def _deciding_sources(models: frozenset[str], task: str) -> tuple[Path, ...]:
    roots = [*PROGRAMS, *_registered_hooks(), task_file(task)]
    configs = [*CONFIG_TEMPLATES.glob("*.j2"), *CONFIG_BASES.glob(f"{task}.py")]
    return tuple(sorted({*_reached(roots), *model_sources(sorted(models)), *configs}))


def task_file(task: str) -> Path:
    """File of a task, relative to the project.

    Parameters
    ----------
    task : str
        Its name.
    """
    return TASK_FILES / f"{task}.py"


def model_sources(models: Sequence[str]) -> list[Path]:
    """Source files of necks, backbones and heads, relative to the project.

    Parameters
    ----------
    models : sequence of str
        Registered names; none of mmdet's has files here.
    """
    own = own_models(NECKS) | own_models(BACKBONES) | own_models(HEADS)
    return sorted(_reached([own[model] for model in models if model in own]))


def program_fingerprint(programs: Iterable[str], models: Sequence[str] = ()) -> str:
    """One fingerprint of programs, all that they import from this project, and models.

    Parameters
    ----------
    programs : iterable of str
        Files, relative to the project.
    models : sequence of str
        Registered names.
    """
    found = {*_reached([Path(program) for program in programs], ("experiments", *DECIDING)), *model_sources(models)}
    return _digest("".join(sorted(fingerprint(path) for path in found)))


def _registered_hooks() -> list[Path]:
    """Modules in `necks` that register hooks, which any config may name."""
    return [
        path
        for path in sorted(NECKS.glob("*.py"))
        if any(isinstance(node, ast.ClassDef) and registers(node, "HOOKS") for node in parse(path).body)
    ]


def _reached(roots: Sequence[Path], folders: Sequence[str] = DECIDING) -> set[Path]:
    found: set[Path] = set()
    pending = list(roots)
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending.extend(_imported_files(path, tuple(folders)))
    if any(path.is_relative_to(KERNELS) for path in found):
        found |= _compiled_or_lazy(found)
    return {path for path in found if path in roots or not _says_nothing(path)}


def _compiled_or_lazy(found: set[Path]) -> set[Path]:
    """Files of operators that following imports does not find: what is compiled, and backends, which are imported by name."""
    files = {path for path in KERNELS.glob("*/*") if path.suffix in KERNEL_SUFFIXES}
    if KERNELS / "backends.py" in found:
        return files
    # An operator for the CPU alone: its C++ has its name.
    operators = {path.stem for path in found if path.parent == KERNELS}
    return {path for path in files if path.suffix == ".h" or (path.suffix == ".cpp" and path.stem in operators)}


def _says_nothing(path: Path) -> bool:
    """Whether a package's ``__init__`` holds a docstring alone."""
    return path.name == "__init__.py" and normal_form(parse(path)) == normal_form(ast.Module([], []))


@cache
def _imported_files(path: Path, folders: tuple[str, ...]) -> list[Path]:
    modules = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    own = [Path(*module.split(".")) for module in modules]
    candidates = [file for module in own for file in (module.with_suffix(".py"), module / "__init__.py")]
    inside = [file for file in candidates if any(file.is_relative_to(folder) for folder in folders)]
    if folders == DECIDING:
        inside = [file for file in inside if not any(file.is_relative_to(folder) for folder in NOT_DECIDING)]
    # The packages' own __init__ import every neck; a run depends on its neck alone.
    return [file for file in inside if file.is_file() and file not in INITS]


@cache
def fingerprint(path: Path) -> str:
    """Hash of the meaning of a source file, 16 hexadecimal digits; equal under every supported version of Python.

    Parameters
    ----------
    path : Path
        A Python, C++ or template file.

    Raises
    ------
    UserError
        If a Python file cannot be parsed.
    """
    if path.suffix == ".py":
        return _digest(repr(normal_form(parse(path))))
    text = path.read_text(encoding="utf-8")
    return _digest("\0".join(_template_lines(text) if path.suffix == ".j2" else _cpp_tokens(text)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _cpp_tokens(text: str) -> list[str]:
    """Tokens without comments and white space; the end of a line counts after a directive alone."""
    tokens, in_directive = [], False
    for match in CPP_TOKEN.finditer(text):
        token = match["text"]
        if token == "\n":
            tokens += [token] if in_directive else []
            in_directive = False
        elif token is not None:
            in_directive = in_directive or token == "#"
            tokens.append(token)
    return tokens


def _template_lines(text: str) -> list[str]:
    """Lines of a config's template without comments, of Jinja or of the config, and without white space around them."""
    lines = (line.strip() for line in re.sub(r"\{#.*?#\}", "", text, flags=re.S).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def normal_form(tree: ast.Module) -> tuple[object, ...]:
    """A syntax tree as nested tuples without what changes no result.

    Left out: comments, docstrings and other strings that nothing reads; positions; annotations of functions and of variables
    outside of classes; imports that only annotations use; the order of imports, and the modules that this project's names come
    from.

    Parameters
    ----------
    tree : ast.Module
        A module from `ast.parse`.
    """
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    body = _plain(tree.body, in_class=False)
    used = set(_names(body))
    return ("Module", *sorted({form for node in imports for form in _import_forms(node, used)}), body)


def _import_forms(node: ast.Import | ast.ImportFrom, used: set[str]) -> Iterator[tuple[object, ...]]:
    module = node.module if isinstance(node, ast.ImportFrom) else None
    if module in ANNOTATION_MODULES:
        return
    is_own = (module or "").partition(".")[0] in ("experiments", "kernels", "necks", "reports")
    for alias in node.names:
        bound = alias.asname or alias.name.partition(".")[0]
        if module is None:
            yield ("Import", alias.name, bound)
        elif repr(bound) in used:
            yield ("ImportFrom", "" if is_own else module, alias.name, bound)


def _names(form: object) -> Iterator[str]:
    """The identifiers that a normal form reads, in quotes."""
    if isinstance(form, tuple):
        if len(form) == 2 and form[0] == "Name":
            yield form[1][1]
        for part in form:
            yield from _names(part)


def _plain(value: object, in_class: bool) -> object:
    if isinstance(value, list):
        return tuple(form for form in (_plain(item, in_class) for item in value) if form != ())
    if not isinstance(value, ast.AST):
        return repr(value)
    if isinstance(value, ast.Import | ast.ImportFrom) or _is_idle_string(value):
        return ()
    if isinstance(value, ast.Constant):
        return ("Constant", repr(value.value))
    if isinstance(value, ast.AnnAssign) and not in_class:
        return _plain_assignment(value)
    inside = isinstance(value, ast.ClassDef)
    fields = [(name, field) for name, field in ast.iter_fields(value) if _counts(value, name, field)]
    return (type(value).__name__, *((name, _plain(field, inside)) for name, field in fields))


def _plain_assignment(node: ast.AnnAssign) -> tuple[object, ...]:
    if node.value is None:
        return ()
    return ("Assign", ("targets", (_plain(node.target, False),)), ("value", _plain(node.value, False)))


def _is_idle_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _counts(node: ast.AST, name: str, field: object) -> bool:
    if name in ("ctx", "kind", "type_comment", "type_ignores", "type_params", "returns") or field is None or field == []:
        return False
    return not (name == "annotation" and isinstance(node, ast.arg))
