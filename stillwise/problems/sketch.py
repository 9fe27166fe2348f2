"""MinHash sketches of texts (Broder 1997): shingles of tokens, what is boilerplate among them, keys of LSH bands.

Similarity is the Jaccard index of two texts' sets of shingles. A phrase that very many texts share (an instruction around the
question, a generator's template) says nothing about any of them, so its tokens are left out first: a wrapped question and the
bare one have the same sketch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from stillwise.problems.buffers import BRACKET, DIGIT, SIGN, Held, Texts, Tokens, mixed
from stillwise.problems.words import ngrams, number_prints, runs, tokenise

if TYPE_CHECKING:
    from stillwise.problems.buffers import Array

PHRASE = 5
"""Tokens of a phrase that may count as boilerplate."""
SAMPLE = 20_000
"""Texts that boilerplate is looked for in; more change the shares little."""
FEWEST = 20
"""A phrase of fewer texts than this is none, however few texts there are."""
INSTRUCTIONS = (
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Return your final response within \\boxed{}.",
    "Solve the following math problem efficiently and clearly.",
    "Solve the following math problem step by step. The last line of your response should be of the form",
    "Let's think step by step and output the final answer within \\boxed{}.",
    "Please think step by step and then provide the final answer.",
    "Generate an executable Python function generated from the given prompt.",
    "Return the function body without invoking it at the final solution.",
)
"""What public sets of traces put around their questions."""
_CHUNK = 1 << 15
"""Hashes permuted at once: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """How a sketch is cut: two texts of similarity s share a key with probability 1 - (1 - s**rows)**bands."""

    bands: int = 24
    rows: int = 2
    shingle: int = 3
    """Tokens of a shingle."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is kept of some texts: keys by which to find pairs, shingles by which to check them."""

    whole: Array
    """A hash of all tokens in order; only equal texts have equal ones."""
    keys: Array
    """One column for each band; a key holds the numbers of the text too, so other numbers mean no pair."""
    shingles: Array
    """32-bit hashes, each once and sorted inside a text."""
    bounds: Array


def boilerplate(tokens: Tokens, share: float) -> Array:
    """Sorted hashes of the phrases that this share of the texts hold (at least ``FEWEST``), and of ``INSTRUCTIONS``."""
    import numpy as np

    known = _phrases(tokenise(Texts.of(INSTRUCTIONS)))[0]
    grams, first = _phrases(tokens)
    order = np.lexsort((tokens.texts[first], grams))
    grams, owners = grams[order], tokens.texts[first][order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    found, counts = np.unique(grams[new], return_counts=True)
    return np.union1d(found[counts >= max(FEWEST, share * len(tokens))], known)


def _phrases(tokens: Tokens) -> tuple[Array, Array]:
    """The phrases of the texts, any number standing for any other (a template with a number in it is one phrase)."""
    import numpy as np

    return ngrams(replace(tokens, hashes=np.where(tokens.kinds == DIGIT, np.uint64(1), tokens.hashes)), PHRASE)


def informative(tokens: Tokens, phrases: Array) -> Tokens:
    """The tokens that stand in no boilerplate phrase, numbers and signs; a text that would be left empty stays whole."""
    import numpy as np

    if not len(phrases):
        return tokens
    grams, first = _phrases(tokens)
    hits = first[Held.of(phrases).has(grams)]
    covered = np.zeros(len(tokens.hashes) + 1, np.int32)
    np.add.at(covered, hits, 1)
    np.add.at(covered, hits + PHRASE, -1)
    mask = (np.cumsum(covered[:-1]) == 0) | _formula(tokens)
    left = np.add.reduceat(np.append(mask, False), tokens.bounds[:-1]) if len(tokens) else np.zeros(0)
    empty = (left == 0) | (np.diff(tokens.bounds) == 0)
    return tokens.only(mask | empty[tokens.texts])


def _formula(tokens: Tokens) -> Array:
    """Numbers, signs, and brackets beside one of them or beside another bracket."""
    import numpy as np

    kinds = np.concatenate([[0], tokens.kinds, [0]])
    beside = (kinds[:-2] >= DIGIT) | (kinds[2:] >= DIGIT)
    return np.asarray((tokens.kinds == DIGIT) | (tokens.kinds == SIGN) | ((tokens.kinds == BRACKET) & beside))


def sketch(tokens: Tokens, bands: Bands, phrases: Array) -> Sketch:
    """The sketch of each text, of its tokens without the boilerplate."""
    import numpy as np

    whole = runs(tokens, tokens.bounds[:-1], tokens.bounds[1:])
    tokens = informative(tokens, phrases)
    shingles, bounds = _shingles(tokens, bands.shingle)
    signature = minhash(shingles, bounds, bands.bands * bands.rows)
    keys = np.zeros((len(tokens), bands.bands), np.uint64)
    for row in range(bands.rows):
        keys = mixed(keys + signature[:, row :: bands.rows]) + np.uint64(row + 1)
    return Sketch(whole, mixed(keys ^ number_prints(tokens)[:, None]), shingles, bounds)


def _shingles(tokens: Tokens, size: int) -> tuple[Array, Array]:
    """Distinct shingles of each text; a text too short for one has itself."""
    import numpy as np

    grams, first = ngrams(tokens, size)
    whole = runs(tokens, tokens.bounds[:-1], tokens.bounds[1:])
    short = np.flatnonzero(np.diff(tokens.bounds) < size)
    owners = np.concatenate([tokens.texts[first], short.astype(np.int32)]).astype(np.uint64)
    packed = np.sort((owners << np.uint64(32)) | (np.concatenate([grams, whole[short]]) >> np.uint64(32)))
    packed = packed[np.concatenate([[True], packed[1:] != packed[:-1]])] if len(packed) else packed
    bounds = np.searchsorted(packed, np.arange(len(tokens) + 1, dtype=np.uint64) << np.uint64(32))
    return packed.astype(np.uint32), bounds


def minhash(hashes: Array, bounds: Array, count: int) -> Array:
    """The least value of each text's hashes under ``count`` fixed permutations (odd multipliers), 32 bits each."""
    import numpy as np

    out = np.empty((len(bounds) - 1, count), np.uint32)
    cuts = np.searchsorted(bounds, np.arange(_CHUNK, int(bounds[-1]) + _CHUNK, _CHUNK))
    begin = 0
    for end in (int(cut) for cut in np.unique(np.append(cuts, len(bounds) - 1))):
        end = min(end, len(bounds) - 1)
        if end > begin:
            held = hashes[bounds[begin] : bounds[end]]
            starts = bounds[begin:end] - bounds[begin]
            for i, factor in enumerate(_factors(count)):
                out[begin:end, i] = np.minimum.reduceat(held * factor, starts)
        begin = end
    return out


@cache
def _factors(count: int) -> Array:
    import numpy as np

    return (mixed(np.arange(1, count + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def jaccard(a: Array, b: Array) -> float:
    """Similarity of two sorted sets of shingles."""
    both = shared(a, b)
    return both / (len(a) + len(b) - both)


def shared(a: Array, b: Array) -> int:
    """How many shingles two sorted sets have both."""
    import numpy as np

    return len(np.intersect1d(a, b, assume_unique=True))
