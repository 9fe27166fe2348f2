"""What numbers a question or says its worth, and is no part of it: ``Problem 7:``, ``Question 3 of 50``, ``(10 points)``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from stillwise.problems.buffers import BRACKET, DIGIT, Held, among, word_hash

if TYPE_CHECKING:
    from stillwise.problems.buffers import Array, Bytes, Tokens

_LABELS = ("problem", "question", "exercise", "example", "task", "prompt", "item", "q", "p", "ex", "no")
_WORTH = ("points", "point", "pts", "pt", "marks", "mark")
_OUT_OF = ("of", "/")
_EARLY = 4
"""Tokens among which a number stands where one numbers the text: ``** Problem 7``."""
_LONGEST = 4
"""Digits of a bare number before a full stop."""


def numbering(tokens: Tokens, data: Bytes) -> Array:
    """Which tokens number their text at its beginning or say its worth at either end.

    A text of nothing else stays whole.
    """
    import numpy as np

    edges = np.zeros(len(tokens.hashes) + 1, np.int32)
    begins, ends = tokens.bounds[:-1], tokens.bounds[1:]
    texts = np.flatnonzero(ends > begins)
    early = [_at(tokens.kinds, begins[texts] + i) == DIGIT for i in range(_EARLY)]
    texts = texts[np.logical_or.reduce(early) | _worth_last(tokens, ends[texts])]
    begins, ends = begins[texts], ends[texts]
    first = begins + _prefix(tokens, data, begins, ends)
    again = np.flatnonzero(first > begins)
    first[again] += _prefix(tokens, data, first[again], ends[again])
    last = ends - _suffix(tokens, data, first, ends)
    for low, high in ((begins, first), (last, ends)):
        np.add.at(edges, low[first < last], 1)
        np.add.at(edges, high[first < last], -1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def _prefix(tokens: Tokens, data: Bytes, first: Array, ends: Array) -> Array:
    """How many tokens at the place of each text number it or say its worth, stars around them included."""
    import numpy as np

    bold = _stars(tokens, first)
    at, room = first + bold, ends - first - bold
    size = np.maximum(_labelled(tokens, data, at, room), np.maximum(_bare(tokens, data, at), _worth(tokens, data, at, room)))
    return np.asarray(np.where(size > 0, bold + size + np.where(bold > 0, _stars(tokens, at + size), 0), 0))


def _stars(tokens: Tokens, at: Array) -> Array:
    """2 where two stars stand, which set a heading, else 0."""
    import numpy as np

    star = word_hash("*")
    return np.where((_at(tokens.hashes, at) == star) & (_at(tokens.hashes, at + 1) == star), 2, 0)


def _labelled(tokens: Tokens, data: Bytes, at: Array, room: Array) -> Array:
    """``Problem 7:`` is two tokens, ``Question 3 of 50`` four; something has to end them."""
    import numpy as np

    named = _hashes(_LABELS).has(_at(tokens.hashes, at)) & (_at(tokens.kinds, at + 1) == DIGIT)
    counted = (room > 3) & _hashes(_OUT_OF).has(_at(tokens.hashes, at + 2)) & (_at(tokens.kinds, at + 3) == DIGIT)
    size = np.where(counted, 4, 2)
    stop = _at(tokens.ends, at + size - 1)
    ended = among(b":.)]*\n")[_at(data, stop)] | ((_at(data, stop) == ord(" ")) & among(b"([")[_at(data, stop + 1)])
    size = size + (_at(data, stop) == ord(")"))
    return np.asarray(np.where(named & ended & (room > size), size, 0))


def _bare(tokens: Tokens, data: Bytes, at: Array) -> Array:
    """``17.`` is a token, ``17)`` two; white space has to follow."""
    import numpy as np

    stop = _at(tokens.ends, at)
    mark = _at(data, stop)
    short = (_at(tokens.kinds, at) == DIGIT) & (stop - _at(tokens.starts, at) <= _LONGEST)
    ended = among(b".)")[mark] & among(b" \n\t")[_at(data, stop + 1)]
    return np.asarray(np.where(short & ended, 1 + (mark == ord(")")), 0))


def _worth(tokens: Tokens, data: Bytes, at: Array, room: Array) -> Array:
    """``(10 points)``, four tokens, and ``[10 points]``, two."""
    import numpy as np

    round_ = _at(tokens.kinds, at) == BRACKET
    number, size = at + round_, np.where(round_, 4, 2)
    return np.asarray(np.where((room > size) & _is_worth(tokens, data, number), size, 0))


def _suffix(tokens: Tokens, data: Bytes, first: Array, ends: Array) -> Array:
    """How many tokens at the end of each text say its worth."""
    import numpy as np

    round_ = tokens.kinds[ends - 1] == BRACKET
    size = np.where(round_, 4, 2)
    return np.asarray(np.where((ends - first > size) & _is_worth(tokens, data, ends - 2 - round_), size, 0))


def _worth_last(tokens: Tokens, ends: Array) -> Array:
    """Whether a word like points is the last of a text, or the last but a bracket."""
    worth = _hashes(_WORTH)
    return worth.has(_at(tokens.hashes, ends - 1)) | worth.has(_at(tokens.hashes, ends - 2))


def _is_worth(tokens: Tokens, data: Bytes, number: Array) -> Array:
    """Whether a number and a word like points stand in brackets."""
    import numpy as np

    said = (number >= 0) & (_at(tokens.kinds, number) == DIGIT) & _hashes(_WORTH).has(_at(tokens.hashes, number + 1))
    before, behind = _at(data, _at(tokens.starts, number) - 1), _at(data, _at(tokens.ends, number + 1))
    return np.asarray(said & among(b"([")[before] & among(b")].")[behind])


def _at(values: Array, places: Array) -> Array:
    """The values at the places; the last one where a place lies behind it."""
    import numpy as np

    return np.asarray(values[np.minimum(places, len(values) - 1)])


@cache
def _hashes(words: tuple[str, ...]) -> Held:
    import numpy as np

    return Held.of(np.array(sorted(word_hash(word) for word in words), np.uint64))
