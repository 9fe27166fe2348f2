"""Size budgets: what does not fit on a few screens is hard to hold in a head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

REPO = Path(__file__).parents[1]
FOLDERS = ("stillwise", "tests", "benchmarks")
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
MAX_MEDIAN_FUNCTION_LINES = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (REPO / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, Function):
            yield node


def num_lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def num_parameters(node: Function) -> int:
    """Parameters that a caller passes: ``self`` and ``cls`` are not counted."""
    args = node.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return len([arg for arg in named if arg.arg not in {"self", "cls"}]) + bool(args.vararg) + bool(args.kwarg)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(REPO)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    lines = len(path.read_text("utf8").splitlines())
    assert lines <= MAX_MODULE_LINES, f"{lines} lines: split it along a seam"
    for node in functions(path):
        assert num_lines(node) <= MAX_FUNCTION_LINES, f"{node.name}: {num_lines(node)} lines"
        assert num_parameters(node) <= MAX_PARAMETERS, f"{node.name}: {num_parameters(node)} parameters"


def test_the_median_function_is_short() -> None:
    lengths = [num_lines(node) for path in (REPO / "stillwise").rglob("*.py") for node in functions(path)]
    assert median(lengths) <= MAX_MEDIAN_FUNCTION_LINES
