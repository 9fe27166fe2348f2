"""Each problem once: equal questions, and questions that differ in wrapping and setting only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Curated, Curator, Verifier
from stillwise.parts import Fields
from stillwise.problems.buffers import Texts
from stillwise.problems.clusters import Clusters
from stillwise.problems.sketch import SAMPLE, Bands, boilerplate, sketch
from stillwise.problems.words import tokenise
from stillwise.records import Failure, Outcome, Problem, Span, Trace

Keep = Literal["answered", "levelled", "shorter"]
_BATCH = 2000


class Near(Fields):
    """When two questions that are not equal count as one."""

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Least Jaccard similarity of their shingles, checked exactly for every pair that shares a band."""
    longer: float = Field(default=3.0, ge=1)
    """A question counts also as one with a question of up to so many times its shingles that holds 95 % of them."""
    shingle: int = Field(default=3, ge=1)
    """Tokens of a shingle."""
    bands: int = Field(default=24, ge=1)
    """Bands of the sketch; more find more of the pairs near the threshold."""
    rows: int = Field(default=2, ge=1)
    """MinHash values in a band; more make fewer pairs to check."""


class Dedupe(Curator):
    """Drops all but one problem of each group of duplicates (MinHash-LSH, connected components).

    The samples of one problem are never compared: a problem is one record, whatever was sampled for it. Problems with other
    numbers are no near duplicates, and problems with other answers no duplicates at all, equal as their questions may be.
    """

    kind: ClassVar[str] = "dedupe"
    revision: ClassVar[int] = 2
    near: Near | None = Near()
    """None: only questions whose tokens are equal."""
    common: float = Field(default=0.002, gt=0, le=1)
    """A phrase of five tokens that this share of the problems hold (an instruction, a template) is not compared."""
    keep: tuple[Keep, ...] = ("answered", "levelled")
    """Which of a group stays: by these rules in their order, then the earliest."""
    verify: Verifier = Field(default={"kind": "maths", "mode": "recall"}, validate_default=True)
    """Tells whether two answers are one, by its quick verdict; where it has none they are one only if they are equal text."""

    def curate(self, problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]], seed: int) -> Curated:
        """A failure ``duplicate`` for each problem that goes; its detail names the one that stays."""
        first = self._components([problem.question for problem in problems], problems)
        groups: dict[int, list[int]] = {}
        for number, leader in enumerate(first):
            groups.setdefault(leader, []).append(number)
        dropped = [failure for group in groups.values() if len(group) > 1 for failure in self._dropped(problems, group)]
        sizes = Counter(len(group) for group in groups.values() if len(group) > 1)
        figures = {"problems": len(problems), "dropped": len(dropped), "groups_by_size": _by_size(sizes)}
        return Curated(dropped=dropped, figures=figures)

    def _components(self, questions: Sequence[str], problems: Sequence[Problem]) -> list[int]:
        import numpy as np

        near = self.near or Near(threshold=1.0, bands=1, rows=1)
        bands = Bands(bands=near.bands, rows=near.rows, shingle=near.shingle)
        step = max(1, len(questions) // SAMPLE)
        phrases = boilerplate(tokenise(Texts.of(questions[::step])), self.common)
        with Clusters(near.threshold, near.bands if self.near else 0, near.longer) as clusters:
            for begin in range(0, len(questions), _BATCH):
                tokens = tokenise(Texts.of(questions[begin : begin + _BATCH]))
                clusters.add(sketch(tokens, bands, phrases))
            known = np.array([bool((problem.answer or "").strip()) for problem in problems], bool)
            found: list[int] = clusters.components(known, lambda a, b: self._agree(problems[a], problems[b])).tolist()
        return found

    def _agree(self, a: Problem, b: Problem) -> bool:
        """Whether two stated answers are the same one."""
        said, other = a.answer or "", b.answer or ""
        if said.split() == other.split():
            return True
        if None not in (values := [_number(answer) for answer in (said, other)]):
            return values[0] == values[1]
        verdict = self.verify.quick(a, _boxed(other))
        return verdict is not None and verdict.outcome is Outcome.CORRECT

    def _dropped(self, problems: Sequence[Problem], group: Sequence[int]) -> Iterator[Failure]:
        keeper = min(group, key=lambda number: (*self._rank(problems[number]), number))
        for number in group:
            if number != keeper:
                detail = f"of {problems[keeper].id}: {problems[keeper].question[:80]}"
                yield Failure(step=self.kind, item=problems[number].id, reason="duplicate", detail=detail)

    def _rank(self, problem: Problem) -> tuple[float, ...]:
        ranks = {
            "answered": float(problem.answer is None),
            "levelled": float(problem.level is None),
            "shorter": float(len(problem.question)),
        }
        return tuple(ranks[rule] for rule in self.keep)


def _number(answer: str) -> float | None:
    try:
        return float(answer)
    except ValueError:
        return None


def _boxed(answer: str) -> Trace:
    """A trace that gives this answer and says nothing else."""
    text = f"\\boxed{{{answer}}}"
    whole = (Span(kind="solution", start=0, end=len(text)),)
    return Trace(id="", problem_id="", role="", model="", paradigm="", prompt="", text=text, spans=whole)


def _by_size(sizes: Mapping[int, int]) -> dict[str, Any]:
    return {str(size): sizes[size] for size in sorted(sizes)}
