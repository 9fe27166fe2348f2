"""Answers to reasoning-gym problems, scored by the generator that made them."""

from __future__ import annotations

import ast
import json
import re
from functools import lru_cache
from typing import Any, ClassVar

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import Found, comparable, decided, undecided

CHEAP = frozenset({"basic_arithmetic", "chain_sum", "products"})
"""Generators whose scorer only compares strings or decimals: scored without a worker."""
EVALUATES_LISTS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
EVALUATES_SUMS = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
"""Generators whose scorer evaluates the answer as code: only harmless text may reach it."""
_DATA = re.compile(r"[\w\s.,\[\]'\"+-]*")
_FUNCTIONS = frozenset({"exp", "log", "ln", "sin", "cos", "tan", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh"})
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Constant, ast.Name, ast.Call, ast.Load)


class Gym(Verifier):
    """Whether reasoning-gym's own scorer gives the marked answer full marks."""

    kind: ClassVar[str] = "gym_scorer"
    anchored_only: bool = True
    """Accept only an answer that the model marked."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT at a score of 1, INCORRECT below (the score in ``detail``), or UNDECIDED with the reason."""
        found = self._found(problem, trace)
        return found if isinstance(found, Verdict) else _scored(problem, found)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict of generators that only compare decimals, and where there is nothing to score."""
        found = self._found(problem, trace)
        if isinstance(found, Verdict):
            return found
        return _scored(problem, found) if _spec(problem)["dataset"] in CHEAP else None

    def _found(self, problem: Problem, trace: Trace) -> Verdict | Found:
        found = comparable(problem, trace, self.anchored_only, _grader())
        if isinstance(found, Verdict) or problem.scorer:
            return found
        return undecided(found, _grader(), "the problem does not name its scorer")


def _spec(problem: Problem) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(problem.scorer or "{}")
    return spec


def _scored(problem: Problem, found: Found) -> Verdict:
    spec = _spec(problem)
    if not harmless(spec["dataset"], found.text):
        return decided(False, found, _grader(), "the answer is not plain data, so it was not given to the scorer")
    entry = {"question": problem.question, "answer": problem.answer, "metadata": spec.get("metadata", {})}
    generator = _generator(spec["dataset"], json.dumps(spec.get("config", {}), sort_keys=True))
    score = float(generator.score_answer(found.text, entry))
    return decided(score >= 1.0, found, _grader(), None if score >= 1.0 else f"score {score:.3g}")


def harmless(dataset: str, answer: str) -> bool:
    """Whether an answer may reach this generator's scorer: those that evaluate it see only lists of words, or sums."""
    if dataset in EVALUATES_LISTS:
        return _DATA.fullmatch(answer) is not None and "__" not in answer
    if dataset in EVALUATES_SUMS:
        return _is_sum(answer)
    return True


def _is_sum(answer: str) -> bool:
    """Numbers, one-letter names and functions of school mathematics under operators; nothing else parses here."""
    try:
        tree = ast.parse(answer.replace("^", "**").strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_sum_node(node) for node in ast.walk(tree))


def _is_sum_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float))
    if isinstance(node, ast.Name):
        return len(node.id) == 1 or node.id in _FUNCTIONS or node.id == "pi"
    return isinstance(node, _NODES)


@lru_cache(maxsize=256)
def _generator(dataset: str, config: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(dataset, size=1, seed=0, **json.loads(config))


@lru_cache(maxsize=1)
def _grader() -> str:
    import importlib.metadata

    return f"reasoning-gym@{importlib.metadata.version('reasoning-gym')}"
