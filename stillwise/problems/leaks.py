"""Benchmark questions inside other texts: candidates by shared n-grams, checked token by token, with the place as evidence.

An n-gram that several questions share says nothing of any one of them and is left out, unless a question has no other; a
question of fewer tokens than an n-gram is looked for whole. A candidate is a leak when enough of the question's tokens stand in
the text in their order, close together, and (unless siblings count) with the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from stillwise.problems.buffers import DIGIT, SIGN, Held, Texts, Tokens
from stillwise.problems.words import ngrams, runs, tokenise
from stillwise.records import Problem

if TYPE_CHECKING:
    from stillwise.problems.buffers import Array

SHARED = 2
"""An n-gram of more questions than this belongs to none of them."""
TRIED = 3
"""Alignments of one question in one text that are checked: those with the most n-grams."""
SLACK = 0.3
"""How many tokens more than the question the place in the text may span, as a share of the question."""
LONG = 30
EXCERPT = 160
SPAN = 1 << 20
"""More than any question has tokens: a question may begin before the text does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How a candidate is judged."""

    ngram: int = 6
    coverage: float = 0.75
    siblings: bool = False
    shortest: int = 3
    """Fewest tokens of a question that is looked for at all."""
    around: int | None = None
    """A question shorter than an n-gram counts only where so many other tokens stand in the text at most; None: anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A benchmark question in a text."""

    text: int
    benchmark: str
    question: str
    """The question's id."""
    start: int
    end: int
    """Characters of the text."""
    coverage: float
    """Share of the question's tokens, weighed by their rarity, that stand there in their order."""
    excerpt: str


class Index:
    """The questions of some benchmarks, ready to be looked for."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Problem]], match: Match, allow: Iterable[str] = ()) -> None:
        """``allow``: ids of questions, or phrases, that are no leak."""
        import numpy as np

        allowed = tuple(allow)
        pairs = [(name, problem) for name, held in benchmarks.items() for problem in held]
        self.questions = [(name, problem.id) for name, problem in pairs if problem.id not in allowed]
        self._match = match
        self._tokens = tokenise(Texts.of(problem.question for _, problem in pairs if problem.id not in allowed))
        self._phrases = tokenise(Texts.of(allowed))
        found = [self._grams(), self._whole()]
        hashes, owners, places = (np.concatenate([part[i] for part in found]) for i in range(3))
        self._numbers = self._number_sets()
        self._weights = [0.0, *np.cumsum(self._rarity()).tolist()]
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners, self._places = hashes[order], owners[order], places[order]
        self._held = Held.of(self._hashes)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Token counts of the questions that are looked for whole."""
        import numpy as np

        sizes = np.diff(self._tokens.bounds)
        return tuple(int(size) for size in np.unique(sizes) if self._match.shortest <= size < self._match.ngram)

    def _number_sets(self) -> list[frozenset[int]]:
        bounds, numbers = self._tokens.bounds, self._tokens.kinds == DIGIT
        spans = itertools.pairwise(bounds)
        return [frozenset(self._tokens.hashes[low:high][numbers[low:high]].tolist()) for low, high in spans]

    def _rarity(self) -> Array:
        """For each token of the questions the logarithm of how few questions hold it: a missing name weighs more than "of"."""
        import numpy as np

        pairs = np.unique(np.stack([self._tokens.hashes, self._tokens.texts.astype(np.uint64)]), axis=1)
        held, counts = np.unique(pairs[0], return_counts=True)
        seen = counts[np.searchsorted(held, self._tokens.hashes)]
        return np.asarray(np.log1p(len(self._tokens) / seen))

    def _grams(self) -> tuple[Array, Array, Array]:
        """n-grams that tell a question; for a question that has none of its own, all of its n-grams."""
        import numpy as np

        grams, first = ngrams(self._tokens, self._match.ngram)
        owners = self._tokens.texts[first]
        pairs = np.unique(np.stack([grams, owners.astype(np.uint64)]), axis=1)
        held, counts = np.unique(pairs[0], return_counts=True)
        telling = counts[np.searchsorted(held, grams)] <= SHARED
        allowed = Held.of(np.unique(ngrams(self._phrases, self._match.ngram)[0])).has(grams)
        bare = np.bincount(owners[telling], minlength=len(self.questions)) == 0
        kept = (telling | bare[owners]) & ~allowed
        return grams[kept], owners[kept], (first - self._tokens.bounds[owners])[kept]

    def _whole(self) -> tuple[Array, Array, Array]:
        import numpy as np

        bounds, sizes = self._tokens.bounds, np.diff(self._tokens.bounds)
        short = np.flatnonzero((sizes >= self._match.shortest) & (sizes < self._match.ngram))
        return runs(self._tokens, bounds[short], bounds[short + 1]), short.astype(np.int32), np.zeros(len(short), np.int64)

    def leaks(self, texts: Texts, tokens: Tokens) -> Iterator[Leak]:
        """The leaks of some texts in their order; of each question at most one a text, the best covered."""
        for text, question, diagonals in self._candidates(tokens):
            found = [leak for diagonal in diagonals if (leak := self._checked(texts, tokens, text, question, diagonal))]
            if found:
                yield max(found, key=lambda leak: leak.coverage)

    def _candidates(self, tokens: Tokens) -> Iterator[tuple[int, int, list[int]]]:
        """Text, question, and where the question's first token would stand, by falling number of n-grams that say so."""
        import numpy as np

        parts = [ngrams(tokens, size) for size in (self._match.ngram, *self.lengths)]
        parts = [(grams[hit], first[hit]) for grams, first in parts for hit in (self._held.has(grams),)]
        grams, first = (np.concatenate([part[i] for part in parts]) for i in range(2))
        low, high = np.searchsorted(self._hashes, grams), np.searchsorted(self._hashes, grams, "right")
        times = high - low
        entry = np.repeat(low - np.concatenate([[0], np.cumsum(times)[:-1]]), times) + np.arange(times.sum())
        owners = self._owners[entry]
        texts = np.repeat(tokens.texts[first], times)
        diagonals = np.repeat(first, times) - self._places[entry]
        # One integer for text, question and diagonal: sorting triples takes several times as long.
        span = len(tokens.hashes) + SPAN
        packed = (texts.astype(np.int64) * len(self.questions) + owners) * span + diagonals + SPAN
        found, counts = np.unique(packed, return_counts=True)
        pairs, diagonals = np.divmod(found, span)
        pieces = (*np.divmod(pairs, max(1, len(self.questions))), diagonals - SPAN)
        yield from _by_pair(np.stack(pieces, axis=1).tolist(), counts.tolist())

    def _checked(self, texts: Texts, tokens: Tokens, text: int, question: int, diagonal: int) -> Leak | None:
        size = int(self._tokens.bounds[question + 1] - self._tokens.bounds[question])
        low, high = int(tokens.bounds[text]), int(tokens.bounds[text + 1])
        if size < self._match.ngram and self._match.around is not None and high - low > size + self._match.around:
            return None
        slack = max(3, int(SLACK * size))
        wide = (max(low, diagonal - slack), min(high, diagonal + size + slack))
        # Most candidates are of one template with other numbers: they go before anything is aligned.
        if not self._match.siblings and not self._numbers[question].issubset(tokens.hashes[slice(*wide)].tolist()):
            return None
        # The exact place first: in a wider one a number that stands there twice may be matched at the wrong end.
        for window in ((max(low, diagonal), min(high, diagonal + size)), wide):
            if place := self._place(tokens, text, question, window):
                return self._leak(texts, tokens, text, question, place)
        return None

    def _place(self, tokens: Tokens, text: int, question: int, window: tuple[int, int]) -> tuple[int, int, float] | None:
        """First and last token of the question inside a window of the text, and how much of it is there; None for no leak."""
        from rapidfuzz.distance import LCSseq

        asked = slice(int(self._tokens.bounds[question]), int(self._tokens.bounds[question + 1]))
        there = tokens.hashes[slice(*window)].tolist()
        blocks = _dense(
            [
                (block.src_start, block.dest_start + window[0], block.src_end - block.src_start)
                for block in LCSseq.opcodes(self._tokens.hashes[asked].tolist(), there)
                if block.tag == "equal"
            ]
        )
        covered = self._covered(asked, blocks)
        size = asked.stop - asked.start
        if covered < self._needed(size) or (size < self._match.ngram and covered < 0.999):
            return None
        if not self._match.siblings and not self._same_numbers(tokens, text, asked, blocks):
            return None
        return blocks[0][1], blocks[-1][1] + blocks[-1][2] - 1, covered

    def _covered(self, asked: slice, blocks: Sequence[tuple[int, int, int]]) -> float:
        """The share of a question's weight that the blocks hold."""
        sums, begun = self._weights, asked.start
        held = sum(sums[begun + i + length] - sums[begun + i] for i, _, length in blocks)
        return float(held / (sums[asked.stop] - sums[begun]))

    def _needed(self, size: int) -> float:
        """The least coverage; a question of fewer than ``LONG`` tokens needs more, for one word may be all that it asks."""
        least = self._match.coverage
        return least + (1 - least) * max(0.0, 1 - size / LONG)

    def _same_numbers(self, tokens: Tokens, text: int, asked: slice, blocks: Sequence[tuple[int, int, int]]) -> bool:
        """No number of the question is missing, none and no sign stands between, and no formula goes on at the ends."""
        mine, theirs = self._tokens.kinds[asked], tokens.kinds
        low, high = int(tokens.bounds[text]), int(tokens.bounds[text + 1])
        before, after = blocks[0][1] - 1, blocks[-1][1] + blocks[-1][2]
        covered = [range(start, start + length) for start, _, length in blocks]
        missing = set(range(len(mine))).difference(*covered)
        if any(mine[i] == DIGIT for i in missing):
            return False
        inside = set(range(blocks[0][1], after)).difference(*(range(at, at + length) for _, at, length in blocks))
        if any(theirs[i] == DIGIT for i in inside):
            return False
        goes_on = after < high and theirs[after] == SIGN and after + 1 < high and theirs[after + 1] == DIGIT
        came_before = before > low and theirs[before] == SIGN and theirs[before - 1] == DIGIT
        ends = theirs[after - 1] == DIGIT and goes_on, theirs[before + 1] == DIGIT and came_before
        signs = sum(mine[i] >= SIGN for i in missing) + sum(theirs[i] >= SIGN for i in inside)
        return not any(ends) and signs <= len(mine) // 10

    def _leak(self, texts: Texts, tokens: Tokens, text: int, question: int, place: tuple[int, int, float]) -> Leak:
        first, last, covered = place
        begin = int(texts.offsets[text])
        start = len(texts.text(text, 0, int(tokens.starts[first]) - begin))
        found = texts.text(text, int(tokens.starts[first]) - begin, int(tokens.ends[last]) - begin)
        name, held = self.questions[question]
        return Leak(
            text=text, benchmark=name, question=held, start=start, end=start + len(found), coverage=covered,
            excerpt=found if len(found) <= EXCERPT else f"{found[:EXCERPT]}…",
        )  # fmt: skip


def _by_pair(found: Sequence[Sequence[int]], counts: Sequence[int]) -> Iterator[tuple[int, int, list[int]]]:
    pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (text, question, diagonal), count in zip(found, counts, strict=True):
        pairs.setdefault((text, question), []).append((-count, diagonal))
    for (text, question), held in pairs.items():
        yield text, question, [diagonal for _, diagonal in sorted(held)[:TRIED]]


def _dense(blocks: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Without chance matches at the ends: single tokens that stand further from the rest than in the question."""
    while len(blocks) > 1 and blocks[0][2] <= 2 and blocks[1][1] - blocks[0][1] > 3 + blocks[1][0] - blocks[0][0]:
        blocks = blocks[1:]
    while len(blocks) > 1 and blocks[-1][2] <= 2 and blocks[-1][1] - blocks[-2][1] > 3 + blocks[-1][0] - blocks[-2][0]:
        blocks = blocks[:-1]
    return blocks
