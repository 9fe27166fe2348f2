r"""Texts as tokens, by the million: words, numbers and signs as 64-bit hashes, with where each stands.

A token is a run of letters, a number, a sign of arithmetic (a factorial's too) or a round bracket; case, punctuation and the
delimiters of formulas (``$``, ``\(``, ``\left``) are none, so two settings of one formula are the same tokens; numbers have
one form however they are set (``numerals``), and what numbers a text is left out (``numbering``). Everything is done on whole
buffers of bytes: no Python object per text or per word.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from stillwise.problems.buffers import (
    BASE,
    BRACKET,
    DIGIT,
    LETTER,
    SIGN,
    SPELT,
    Held,
    Texts,
    Tokens,
    among,
    byte_values,
    mixed,
    powers,
    word_hash,
)
from stillwise.problems.numbering import numbering
from stillwise.problems.numerals import divided, inner, joined, lowered, pointed, shorthand, spelt, standing

if TYPE_CHECKING:
    from stillwise.problems.buffers import Array, Bytes

BLOCK = 1 << 18
"""Bytes tokenised at once, where one text is no longer: what is computed for each byte stays in the cache."""
SIGNS = b"+-*/=^<>%|"
_FACTORIAL_BEFORE = b"$\\+-*/=^)]},?<>:;|%"
"""What goes on behind a factorial; behind an exclamation a sentence begins, or nothing."""
_NEXT = 0xC2B2AE3D27D4EB4F
"""Of tokens inside a text; odd, hence invertible modulo 2**64."""
UNSEEN = (
    "left",
    "right",
    "displaystyle",
    "textstyle",
    "text",
    "textbf",
    "textit",
    "mathrm",
    "mathbf",
    "mathit",
    "operatorname",
)
"""Commands of LaTeX that set and do not say."""
UNSEEN_TOO = ("mbox", "quad", "qquad", "big", "bigl", "bigr", "bigg", "limits", "boxed", "rm", "bf", "ensuremath")
SAME = {
    "dfrac": "frac",
    "tfrac": "frac",
    "dbinom": "binom",
    "tbinom": "binom",
    "leq": "le",
    "geq": "ge",
    "neq": "ne",
    "cdot": "*",
    "times": "*",
    "div": "/",
    "mid": "|",
    "vert": "|",
    "lvert": "|",
    "rvert": "|",
}
"""Commands that say the same."""
_LOOKALIKES = {"−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "÷": "/", "⋅": "*", "∗": "*"}
_IGNORED = "‘’“”…\u00a0\u2009\u202f\u200b。，、：；？！（）"


@cache
def _classes() -> Bytes:
    import numpy as np

    table = np.zeros(256, np.uint8)
    table[list(range(ord("a"), ord("z") + 1)) + list(range(ord("A"), ord("Z") + 1))] = LETTER
    table[0x80:] = LETTER
    table[list(b"0123456789")] = DIGIT
    table[list(SIGNS)] = SIGN
    table[list(b"()")] = BRACKET
    return table


@cache
def _commands() -> tuple[Held, Held, Array, Array]:
    """Hashes of commands that are left out; of those that become another, what they become, whether it is a sign."""
    import numpy as np

    unseen = np.array(sorted(word_hash(word) for word in (*UNSEEN, *UNSEEN_TOO)), np.uint64)
    same = sorted((word_hash(word), word_hash(other), not other.isalpha()) for word, other in SAME.items())
    old, new, signs = zip(*same, strict=True)
    return Held.of(unseen), Held.of(np.array(old, np.uint64)), np.array(new, np.uint64), np.array(signs)


def tokenise(texts: Texts) -> Tokens:
    """The tokens of all texts, in order."""
    import numpy as np

    size = int(texts.offsets[-1]) if len(texts) else 0
    cuts = np.unique([0, *np.searchsorted(texts.offsets, np.arange(BLOCK, size, BLOCK)), len(texts)])
    if len(cuts) <= 2:
        return _block(texts)
    blocks = [
        (begin, _block(Texts(texts.data[begin : texts.offsets[high]], texts.offsets[low : high + 1] - begin)))
        for low, high in itertools.pairwise(cuts)
        for begin in (texts.offsets[low],)
    ]
    before = np.cumsum([0, *(len(block.hashes) for _, block in blocks)])
    return Tokens(
        np.concatenate([block.hashes for _, block in blocks]),
        np.concatenate([block.starts + begin for begin, block in blocks]),
        np.concatenate([block.ends + begin for begin, block in blocks]),
        np.concatenate([block.kinds for _, block in blocks]),
        np.concatenate([[0], *(block.bounds[1:] + n for n, (_, block) in zip(before, blocks, strict=False))]),
    )


def _block(texts: Texts) -> Tokens:
    import numpy as np

    data = _plain(texts.data)
    starts, ends, kinds = _runs(data, texts.offsets)
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(byte_values()[data] * powers(BASE, len(data) + 1)[:-1], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * powers(pow(BASE, -1, 1 << 64), len(data) + 1)[starts]
    tokens = joined(Tokens(hashes, starts, ends, kinds, np.searchsorted(starts, texts.offsets)), data)
    tokens = replace(tokens, hashes=mixed(tokens.hashes))
    said = _named(tokens, data)
    divided(tokens, data)
    return tokens.only(said & spelt(tokens) & ~numbering(tokens, data))


def _runs(data: Bytes, offsets: Array) -> tuple[Array, Array, Array]:
    """Where tokens begin and end, and their kinds; no token crosses from one text into the next."""
    import numpy as np

    classes = _classes()[data]
    dashes = np.flatnonzero(data[1:-1] == ord("-")) + 1
    # A hyphen before a word joins what others write apart, or the number as a word: 3-digit. A variable has fewer letters.
    dashes = inner(dashes[classes[dashes + 1] == LETTER], offsets)
    third = dashes + 3
    word = (classes[dashes - 1] == DIGIT) & (third < offsets[np.searchsorted(offsets, dashes, "right")])
    third = np.minimum(third, len(data) - 1)
    word &= (classes[third - 1] == LETTER) & (classes[third] == LETTER)
    classes[dashes[word | (classes[dashes - 1] == LETTER)]] = 0
    slashes = np.flatnonzero(data[:-1] == ord("\\")) + 1
    classes[slashes[classes[slashes] == BRACKET]] = 0
    classes[pointed(data, classes, offsets)] = DIGIT
    classes[_factorials(data, classes, offsets)] = SIGN
    breaks = np.ones(len(data) + 1, bool)
    np.not_equal(classes[1:], classes[:-1], out=breaks[1:-1])
    signs = classes >= SIGN
    breaks[:-1] |= signs
    breaks[offsets] = True
    breaks[shorthand(data, slashes, offsets)] = True
    inside = classes != 0
    starts = np.flatnonzero(breaks[:-1] & inside)
    ends = np.flatnonzero(breaks[1:] & inside) + 1
    return starts, ends, classes[starts]


def _factorials(data: Bytes, classes: Bytes, offsets: Array) -> Array:
    """Exclamation marks that say something: in !=, or behind a number, lone letter or bracket where a formula goes on."""
    import numpy as np

    marks = np.flatnonzero(data[1:] == ord("!")) + 1
    before = marks - 1
    for _ in range(2):
        before = np.maximum(before - (data[before] == ord("!")), 0)
    one = (classes[before] != LETTER) | (classes[np.maximum(before - 1, 0)] != LETTER)
    one &= among(b")]}")[data[before]] | (classes[before] == LETTER) | (classes[before] == DIGIT)
    marks, one = marks[kept := one | (data[np.minimum(marks + 1, len(data) - 1)] == ord("="))], one[kept]
    if not len(marks):
        return np.asarray(marks)
    ends = np.append(offsets, len(data))
    limits, behind = ends[np.searchsorted(offsets, marks, "right")], marks + 1
    for _ in range(3):
        behind = behind + among(b" !")[data[np.minimum(behind, len(data) - 1)]]
    after = data[np.minimum(behind, len(data) - 1)]
    near = (behind == marks + 1) & ((_classes()[after] != 0) | (after == ord("=")))
    goes_on = (near | among(_FACTORIAL_BEFORE)[after]) & (one | near) & (behind < limits)
    return np.asarray(marks[goes_on & (ends[np.searchsorted(offsets, marks)] != marks)])


def _plain(data: Bytes) -> Bytes:
    """Typographic signs as their plain ones; of the same length, so that offsets stay."""
    import numpy as np

    if not len(data) or int(data.max()) < 0x80:
        return data
    data = data.copy()
    lowered(data)
    high = np.flatnonzero(data >= 0xC2)
    for mark, plain in {**_LOOKALIKES, **dict.fromkeys(_IGNORED, " ")}.items():
        places = standing(data, high, mark.encode())
        for i in range(len(mark.encode())):
            data[places + i] = ord(" ") if i else ord(plain)
    return data


def _named(tokens: Tokens, data: Bytes) -> Array:
    """Synonyms among commands made one, in place; which tokens are no layout. A command is a word after a backslash."""
    import numpy as np

    commands = np.flatnonzero((tokens.starts > 0) & (data[tokens.starts - 1] == ord("\\")))
    unseen, old, new, signs = _commands()
    mask = np.ones(len(tokens.hashes), bool)
    mask[commands[unseen.has(tokens.hashes[commands])]] = False
    changed = commands[old.has(tokens.hashes[commands])]
    place = np.searchsorted(old.values, tokens.hashes[changed])
    tokens.hashes[changed] = new[place]
    tokens.kinds[changed[signs[place]]] = SIGN
    return mask


def ngrams(tokens: Tokens, size: int) -> tuple[Array, Array]:
    """Hashes of all runs of ``size`` tokens that lie inside one text, and the token at which each begins."""
    import numpy as np

    lengths = np.diff(tokens.bounds)
    inside = np.maximum(lengths - size + 1, 0)
    first = np.repeat(tokens.bounds[:-1] - np.concatenate([[0], np.cumsum(inside)[:-1]]), inside) + np.arange(inside.sum())
    return runs(tokens, first, first + size), first


def runs(tokens: Tokens, first: Array, last: Array) -> Array:
    """Hashes of the runs of tokens from each ``first`` to before each ``last``; equal tokens in equal order, equal hash."""
    import numpy as np

    count = len(tokens.hashes) + 1
    sums = np.zeros(count, np.uint64)
    np.cumsum(tokens.hashes * powers(_NEXT, count)[:-1], out=sums[1:])
    return mixed((sums[last] - sums[first]) * powers(pow(_NEXT, -1, 1 << 64), count)[first])


def number_prints(tokens: Tokens) -> Array:
    """For each text a fingerprint of its numbers, each counted as often as it stands, in any order."""
    import numpy as np

    sums = np.zeros(len(tokens.hashes) + 1, np.uint64)
    np.cumsum(np.where((tokens.kinds == DIGIT) | (tokens.kinds == SPELT), mixed(tokens.hashes), np.uint64(0)), out=sums[1:])
    return sums[tokens.bounds[1:]] - sums[tokens.bounds[:-1]]
