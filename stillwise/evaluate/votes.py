"""What many samples of one problem are worth together: pass@k, majority, best of n, and how often k of k are right.

Ties are declared: of equally frequent answers (and of equal scores) the one whose earliest sample comes first wins.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache

from stillwise.evaluate.rows import Measured

Key = Callable[[Measured], Hashable | None]
"""A sample's answer as something that equal answers share; None does not vote."""

SUBSETS = 256
"""Up to this many subsets of k samples are counted one by one; of more, this many are drawn (fixed seed)."""


def pass_at_k(correct: int, samples: int, k: int) -> float:
    """1 - C(samples - correct, k) / C(samples, k), the unbiased estimate for one problem; k above samples is an error."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, not {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def g_pass_at_k(correct: int, samples: int, k: int, share: float) -> float:
    """The chance that at least ``share`` of k samples drawn without replacement are correct (G-Pass@k, arXiv 2412.13147)."""
    if not 1 <= k <= samples:
        raise ValueError(f"G-Pass@{k} needs at least {k} samples, not {samples}")
    needed = max(1, math.ceil(share * k - 1e-9))
    ways = sum(math.comb(correct, i) * math.comb(samples - correct, k - i) for i in range(needed, min(correct, k) + 1))
    return ways / math.comb(samples, k)


def by_class(row: Measured) -> Hashable | None:
    """Correct answers are one class (the grader called them equal to the reference), wrong ones those of the grader.

    A wrong answer that nobody compared with the others is the class of its text. No answer: None.
    """
    if row.correct:
        return "correct"
    return row.extracted if row.answer_class is None else row.answer_class


def by_text(row: Measured) -> Hashable | None:
    """The extracted text itself: how most published majority votes are counted."""
    return row.extracted


def majority(rows: Sequence[Measured], key: Key = by_class) -> Measured | None:
    """The earliest sample of the most frequent answer; None where no sample has an answer."""
    votes = [(key(row), row) for row in rows]
    counts = Counter(vote for vote, _ in votes if vote is not None)
    # Equal counts come in the order in which their first samples came.
    winner = counts.most_common(1)[0][0] if counts else None
    return next((row for vote, row in votes if vote == winner), None) if counts else None


def majority_share(rows: Sequence[Measured], key: Key = by_class) -> float:
    """1 if the most frequent answer of one problem's samples is right, else 0; a sample without an answer does not vote."""
    chosen = majority(rows, key)
    return float(chosen is not None and chosen.correct)


def is_tied(rows: Sequence[Measured], key: Key = by_class) -> bool:
    """Whether the vote's winner has no more votes than another answer."""
    counts = Counter(vote for row in rows if (vote := key(row)) is not None)
    top = counts.most_common(2)
    return len(top) == 2 and top[0][1] == top[1][1]


def majority_at_k(rows: Sequence[Measured], k: int) -> float:
    """The mean over subsets of k samples of whether their majority is right: all subsets, or 256 drawn ones."""
    if not 1 <= k <= len(rows):
        raise ValueError(f"maj@{k} needs at least {k} samples, not {len(rows)}")
    numbers: dict[Hashable, int] = {}
    votes = [by_class(row) for row in rows]
    named = tuple(-1 if vote is None else 0 if row.correct else numbers.setdefault(vote, len(numbers) + 1)
                  for vote, row in zip(votes, rows, strict=True))  # fmt: skip
    return _majority_over_subsets(named, k)


@lru_cache(maxsize=1 << 14)
def _majority_over_subsets(votes: tuple[int, ...], k: int) -> float:
    """Votes as numbers: 0 is the right answer, -1 none."""
    subsets = list(_subsets(len(votes), k))
    return sum(_wins(tuple(votes[i] for i in chosen)) for chosen in subsets) / len(subsets)


def _subsets(samples: int, k: int) -> Iterator[Sequence[int]]:
    if math.comb(samples, k) <= SUBSETS:
        return itertools.combinations(range(samples), k)
    rng = random.Random(samples * 1_000 + k)
    return (sorted(rng.sample(range(samples), k)) for _ in range(SUBSETS))


@lru_cache(maxsize=1 << 16)
def _wins(votes: tuple[int, ...]) -> bool:
    counts = Counter(vote for vote in votes if vote >= 0)
    return bool(counts) and counts.most_common(1)[0][0] == 0


def best_share(rows: Sequence[Measured], score: str, *, lowest: bool = False) -> float:
    """1 if the sample with the highest (or lowest) score is right, else 0; a sample without the score cannot win."""
    scored = [row for row in rows if score in row.scores]
    best = max(scored, key=lambda row: -row.scores[score] if lowest else row.scores[score], default=None)
    return float(best is not None and best.correct)
