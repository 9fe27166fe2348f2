"""Problems of the micro world: two reasoning-gym families, each at five levels.

Training and held-out problems are kept apart twice: their reasoning-gym seeds lie in different ranges, and a
question belongs to the held-out split exactly when a hash of its text says so. The second rule is what makes the
small spaces (level 1 has about 16,600 different questions) disjoint too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "held_out"]

FAMILIES = ("chain_sum", "basic_arithmetic")
LEVELS = (1, 2, 3, 4, 5)
HELD_OUT_SHARE = 0.2

_TERMS_DIGITS: dict[str, dict[int, tuple[int, int, int]]] = {
    "chain_sum": {1: (2, 1, 2), 2: (3, 1, 2), 3: (4, 2, 2), 4: (4, 3, 3), 5: (6, 3, 3)},
    "basic_arithmetic": {1: (2, 1, 2), 2: (3, 1, 2), 3: (4, 1, 2), 4: (5, 2, 2), 5: (6, 2, 2)},
}
"""Number of terms, fewest digits, most digits, by family and level."""

_SEEDS_PER_CALL = 10_000_000
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Sum:
    """One problem, with all that reasoning-gym's scorer needs to judge an answer to it."""

    question: str
    answer: str
    level: int
    family: str
    expression: str


def settings(family: str, level: int) -> dict[str, Any]:
    """Options of `reasoning_gym.create_dataset` for one family and level."""
    terms, fewest, most = _TERMS_DIGITS[family][level]
    sizes: dict[str, Any] = {"min_terms": terms, "max_terms": terms, "min_digits": fewest, "max_digits": most}
    if family == "basic_arithmetic":
        sizes |= {"operators": ["+", "-"], "allow_parentheses": True, "allow_negation": False}
    return sizes


def split_of(question: str) -> Split:
    """The split that a question belongs to, from a hash of its text."""
    digest = hashlib.sha256(question.encode()).digest()
    return "held_out" if digest[0] < 256 * HELD_OUT_SHARE else "train"


def stream(family: str, level: int, seed: int, split: Split = "train") -> Iterator[Sum]:
    """Endless problems of one split; the same arguments give the same problems in the same order."""
    import reasoning_gym

    start = (2 * seed + (split == "held_out")) * _SEEDS_PER_CALL + level * (_SEEDS_PER_CALL // 10)
    data = reasoning_gym.create_dataset(family, size=_SEEDS_PER_CALL // 10, seed=start, **settings(family, level))
    for index in range(_SEEDS_PER_CALL // 10):
        entry = data[index]
        if split_of(entry["question"]) == split:
            expression = entry["metadata"]["expression"]
            yield Sum(entry["question"], entry["answer"], level, family, expression)


def generate(family: str, level: int, count: int, seed: int, split: Split = "train") -> list[Sum]:
    """`count` problems with distinct questions. Raises ValueError when the level has fewer."""
    found: dict[str, Sum] = {}
    repeats = 0
    for problem in stream(family, level, seed, split):
        repeats = repeats + 1 if problem.question in found else 0
        found.setdefault(problem.question, problem)
        if len(found) == count:
            return list(found.values())
        if repeats > 2_000:
            break
    raise ValueError(f"{family} level {level} has fewer than {count} {split} questions")


def boxed(text: str) -> str | None:
    r"""Content of the last \boxed{...} after the thought, or None; an unclosed thought has no answer."""
    if "<think>" in text and "</think>" not in text:
        return None
    found = _BOXED.findall(text.rpartition("</think>")[2])
    return found[-1].strip() if found else None


def score(problem: Sum, answer: str | None) -> float:
    """Score from 0 to 1 that reasoning-gym's own scorer gives to the final answer."""
    if answer is None:
        return 0.0
    scorer = _scorer(problem.family)
    return float(scorer.score_answer(answer, {"answer": problem.answer, "metadata": {}}))


def is_correct(problem: Sum, text: str) -> bool:
    """Whether a whole generated text ends in the right boxed answer."""
    return score(problem, boxed(text)) >= 1.0


_scorers: dict[str, Any] = {}


def _scorer(family: str) -> Any:
    import reasoning_gym

    if family not in _scorers:
        _scorers[family] = reasoning_gym.create_dataset(family, size=1, seed=0, **settings(family, 1))
    return _scorers[family]
