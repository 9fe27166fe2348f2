"""The narrow columns of graded samples, and how they group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from stillwise.records import Finish, Outcome

UNKNOWN_LEVEL = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The narrow columns of one graded sample."""

    benchmark: str
    problem_id: str
    level: int | None
    sample_index: int
    outcome: Outcome
    rule: str | None = None
    num_tokens: int | None = None
    num_thinking_tokens: int | None = None
    """Of ``num_tokens``, those up to the close of the thought."""
    finish: Finish = Finish.STOP
    extracted: str | None = None
    answer_class: int | None = None
    """Equal numbers within a problem: answers that the grader calls equal. None: compare the extracted texts."""
    grader: str = ""
    """Name and version of what compared."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Numbers to choose the best of n by."""

    @property
    def correct(self) -> bool:
        """True only for the outcome ``correct``."""
        return self.outcome is Outcome.CORRECT


def level_key(level: int | None) -> str:
    """The level as a key of ``metrics.json``."""
    return UNKNOWN_LEVEL if level is None else str(level)


def level_order(key: str) -> tuple[bool, float, str]:
    """Sorting key of level keys: by number, unknown last."""
    return (not key.isdigit(), float(key) if key.isdigit() else 0.0, key)


def by_problem(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Rows by problem id, ids and sample indices ascending: no number depends on the order of arrival."""
    groups: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        groups[row.problem_id].append(row)
    for group in groups.values():
        group.sort(key=lambda row: row.sample_index)
    return {key: groups[key] for key in sorted(groups)}


def by_level(rows: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Rows by level key, easiest first."""
    groups: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        groups[level_key(row.level)].append(row)
    return {key: groups[key] for key in sorted(groups, key=level_order)}


def shares(rows: Iterable[Measured], hit: Callable[[Measured], bool]) -> list[float]:
    """Each problem's share of samples that hit, by problem id ascending."""
    return [sum(map(hit, group)) / len(group) for group in by_problem(rows).values()]
