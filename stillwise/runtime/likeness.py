"""How alike two texts are by their words, and which of several are unlike all that were kept before them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """ROUGE-L's F-measure of two lists of words (Lin, 2004): twice their longest common subsequence over both lengths.

    1 for equal lists (two empty ones too), 0 where no word is shared.
    """
    from rapidfuzz.distance import LCSseq

    if not first and not second:
        return 1.0
    return 2 * LCSseq.similarity(first, second) / (len(first) + len(second))


def unlike(texts: Iterable[str], max_rouge_l: float) -> list[bool]:
    """For each text whether its ROUGE-L with every text kept before it is at most this; the first always is kept."""
    kept: list[list[str]] = []
    found: list[bool] = []
    for text in texts:
        words = text.split()
        found.append(all(rouge_l(words, other) <= max_rouge_l for other in kept))
        kept += [words] if found[-1] else []
    return found
