"""Nothing of a benchmark in what a student learns: problems and traces (rewritten ones too) that hold its questions go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from stillwise.arrows import Curated, Curator, Filter
from stillwise.parts import Fields
from stillwise.problems.buffers import Texts
from stillwise.problems.leaks import Index, Leak, Match
from stillwise.problems.words import tokenise
from stillwise.records import Failure, Problem, Trace

_BATCH_CHARS = 1 << 20


class Leaks(Fields):
    """What counts as a benchmark's question."""

    ngram: int = Field(default=6, ge=2)
    """Tokens of the n-grams that make a candidate."""
    coverage: float = Field(default=0.75, gt=0, le=1)
    """Least share of the question's tokens, weighed by rarity, that must stand in the text, in order and close together.

    For questions of 30 tokens and more; shorter ones need more, in proportion.
    """
    siblings: bool = False
    """Whether the same question with other numbers counts too."""
    shortest: int = Field(default=3, ge=1)
    """Questions of fewer tokens are not looked for."""

    def match(self, around: int | None) -> Match:
        """How candidates are judged."""
        return Match(
            ngram=self.ngram, coverage=self.coverage, siblings=self.siblings, shortest=self.shortest, around=around
        )  # fmt: skip


class Decontaminate(Curator):
    """Drops problems that hold a question of a benchmark which the recipe evaluates on."""

    kind: ClassVar[str] = "decontaminate"
    revision: ClassVar[int] = 2
    leaks: Leaks = Leaks()
    """What counts as a leak."""
    around: int = Field(default=40, ge=0)
    """A question shorter than an n-gram counts only where at most so many other tokens stand in the problem."""
    allow: tuple[str, ...] = ()
    """Ids of benchmark questions, and phrases, that are no leak."""

    def curate(self, problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]], seed: int) -> Curated:
        """A failure ``leak:BENCHMARK`` for each problem that goes, with the place and the excerpt in its detail."""
        index = Index(benchmarks, self.leaks.match(self.around), self.allow)
        return _curated(self.kind, [(p.id, p.question) for p in problems], index, benchmarks)


class DecontaminateTraces(Filter):
    """Drops traces, rewritten ones too, that hold a question of a benchmark which the recipe evaluates on."""

    kind: ClassVar[str] = "decontaminate_traces"
    revision: ClassVar[int] = 2
    leaks: Leaks = Leaks()
    """What counts as a leak; a question shorter than an n-gram is not looked for in traces, where anything is said."""
    allow: tuple[str, ...] = ()
    """Ids of benchmark questions, and phrases, that are no leak."""

    def filter(
        self, problems: Mapping[str, Problem], traces: Sequence[Trace], benchmarks: Mapping[str, Sequence[Problem]]
    ) -> Curated:
        """A failure ``leak:BENCHMARK`` for each trace that goes, with the place and the excerpt in its detail."""
        index = Index(benchmarks, self.leaks.match(0), self.allow)
        return _curated(self.kind, [(trace.id, trace.text) for trace in traces], index, benchmarks)


def _curated(step: str, items: Sequence[tuple[str, str]], index: Index, benchmarks: Mapping[str, Sequence[Problem]]) -> Curated:
    found: dict[str, list[Leak]] = {}
    for item, leak in _found(items, index):
        found.setdefault(item, []).append(leak)
    dropped = [_failure(step, item, leaks) for item, leaks in found.items()]
    return Curated(dropped=dropped, figures={"looked_at": len(items), "by_benchmark": counts(found.values(), benchmarks)})


def counts(found: Any, benchmarks: Mapping[str, Sequence[Problem]]) -> dict[str, dict[str, int]]:
    """For each benchmark: its questions, how many of them were found, and in how many items."""
    pairs = {(leak.benchmark, leak.question) for leaks in found for leak in leaks}
    questions = Counter(name for name, _ in pairs)
    items = Counter(name for leaks in found for name in {leak.benchmark for leak in leaks})
    return {
        name: {"questions": len(held), "questions_found": questions[name], "items": items[name]}
        for name, held in benchmarks.items()
    }


def _failure(step: str, item: str, leaks: Sequence[Leak]) -> Failure:
    best = max(leaks, key=lambda leak: leak.coverage)
    detail = f"{best.question} at {best.start}-{best.end}, {best.coverage:.0%} of it: {best.excerpt}"
    return Failure(step=step, item=item, reason=f"leak:{best.benchmark}", detail=detail)


def _found(items: Sequence[tuple[str, str]], index: Index) -> Iterator[tuple[str, Leak]]:
    for begin, end in batches([len(text) for _, text in items]):
        texts = Texts.of(text for _, text in items[begin:end])
        for leak in index.leaks(texts, tokenise(texts)):
            yield items[begin + leak.text][0], leak


def batches(sizes: Sequence[int], limit: int = _BATCH_CHARS) -> Iterator[tuple[int, int]]:
    """Half-open ranges of items whose sizes add up to about the limit."""
    begin, held = 0, 0
    for number, size in enumerate(sizes, start=1):
        held += size
        if held >= limit or number == len(sizes):
            yield begin, number
            begin, held = number, 0
