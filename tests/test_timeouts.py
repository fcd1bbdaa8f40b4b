"""No test waits for ever for a program."""

import ast
from pathlib import Path

import pytest

STARTS = ("run", "check_output", "check_call", "call")
WAITS = ("wait", "communicate")


def waits_for_ever(node: ast.AST) -> bool:
    """Whether a call runs or awaits a program without a time limit."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    function, has_limit = node.func, any(keyword.arg == "timeout" for keyword in node.keywords)
    if isinstance(function.value, ast.Name) and function.value.id == "subprocess" and function.attr in STARTS:
        return not has_limit
    return function.attr in WAITS and not node.args and not has_limit


@pytest.mark.parametrize("path", sorted(map(str, Path("tests").rglob("*.py"))))
def test_every_program_that_a_test_runs_has_a_time_limit(path):
    calls = [node.lineno for node in ast.walk(ast.parse(Path(path).read_text())) if waits_for_ever(node)]
    assert not calls, f"{path}: lines {calls}"


@pytest.mark.parametrize("code", ["subprocess.run(['x'])", "process.wait()", "process.communicate()"])
def test_a_call_without_a_limit_is_seen(code):
    assert waits_for_ever(ast.parse(code).body[0].value)
