r"""One form for each number, however it is set: ``20,000`` and ``20{,}000``, ``\frac12`` and ``1/2``, ``x²``, two and 2."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from stillwise.problems.buffers import BASE, DIGIT, SIGN, SPELT, Held, among, powers, word_hash

if TYPE_CHECKING:
    from stillwise.problems.buffers import Array, Bytes, Tokens

_SEPARATORS = (b",", b"{,}", b",\\!", b"\\,")
"""What stands between thousands."""
_FRACTIONS = (b"frac", b"dfrac", b"tfrac", b"binom", b"dbinom", b"tbinom")
"""Commands of two arguments, each a single digit where it has no braces."""
_WITHIN = b"{} \\"
"""What may stand between a command and its arguments."""
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_WORDS = (*_SMALL.split(), "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
RAISED = {mark: str(digit) for digit, mark in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_RAISED = re.compile(f"(?:{'|'.join(RAISED)})+".encode())


def lowered(data: Bytes) -> None:
    """Raised digits as ``^`` and plain ones, in place and in as many bytes."""
    import numpy as np

    places = np.flatnonzero((data[:-1] == 0xC2) | (data[:-1] == 0xE2))
    after = data[places + 1]
    places = places[(after == 0xB2) | (after == 0xB3) | (after == 0xB9) | (after == 0x81)].tolist()
    raw = data.tobytes() if places else b""
    done = 0
    for place in places:
        if place >= done and (match := _RAISED.match(raw, place)):
            done = match.end()
            plain = "^" + "".join(RAISED[mark] for mark in match[0].decode())
            data[place:done] = list(plain.encode().ljust(done - place))


def standing(data: Bytes, places: Array, word: bytes) -> Array:
    """Those of the places at which these bytes begin."""
    places = places[places <= len(data) - len(word)]
    for i, byte in enumerate(word):
        places = places[data[places + i] == byte]
    return places


def shorthand(data: Bytes, commands: Array, offsets: Array) -> Array:
    r"""Where a digit begins an argument of its own: ``\frac12`` is one over two. ``commands``: where their names begin."""
    import numpy as np

    ends = np.concatenate([standing(data, commands, name) + len(name) for name in _FRACTIONS])
    limits = np.append(offsets, len(data))[np.searchsorted(offsets, ends - 1, "right")]
    ends = ends + ((ends < limits) & (_byte(data, ends) == ord(" ")))
    first = ends[(ends + 1 < limits) & _digit(data, ends) & _digit(data, ends + 1)] + 1
    limits = np.append(offsets, len(data))[np.searchsorted(offsets, first, "right")]
    return np.concatenate([first, first[(first + 1 < limits) & _digit(data, first + 1)] + 1])


def _byte(data: Bytes, places: Array) -> Bytes:
    import numpy as np

    return data[np.minimum(places, len(data) - 1)]


def _digit(data: Bytes, places: Array) -> Array:
    return (_byte(data, places) - ord("0")) < 10


def pointed(data: Bytes, classes: Bytes, offsets: Array) -> Array:
    """Where a decimal point stands: between two digits of one text."""
    import numpy as np

    points = np.flatnonzero(data[1:-1] == ord(".")) + 1
    return inner(points[(classes[points - 1] == DIGIT) & (classes[points + 1] == DIGIT)], offsets)


def inner(places: Array, offsets: Array) -> Array:
    """Those of the places that are neither the first byte of a text nor the last."""
    import numpy as np

    edges = offsets[np.searchsorted(offsets, places)] - places
    return np.asarray(places[(edges != 0) & (edges != 1)])


def joined(tokens: Tokens, data: Bytes) -> Tokens:
    """Numbers with separators of thousands as one token; the hashes are those of bytes, not yet mixed."""
    import numpy as np

    tails = _thousands(tokens, data, _separated(tokens, data))
    if not len(tails):
        return tokens
    head, mask = np.zeros(len(tokens.hashes), bool), np.ones(len(tokens.hashes), bool)
    head[tails - 1], mask[tails] = True, False
    head &= mask
    at = np.flatnonzero(head | ~mask)
    new = head[at]
    ends = np.cumsum(tokens.ends[at] - tokens.starts[at])
    begins = np.concatenate([[0], ends[:-1]])
    place = begins - begins[new][np.cumsum(new) - 1]
    parts = tokens.hashes[at] * powers(BASE, int(place.max()) + 1)[place]
    tokens.hashes[at[new]] = np.add.reduceat(parts, np.flatnonzero(new))
    tokens.ends[at[new]] = tokens.ends[at[np.append(new[1:], True)]]
    return tokens.only(mask)


def _separated(tokens: Tokens, data: Bytes) -> Array:
    """The numbers with nothing but a separator between them and the number before, in one text."""
    import numpy as np

    gaps = tokens.starts[1:] - tokens.ends[:-1]
    pairs = np.flatnonzero((tokens.kinds[1:] == DIGIT) & (gaps > 0) & (gaps <= 3)) + 1
    pairs = pairs[tokens.kinds[pairs - 1] == DIGIT]
    pairs = pairs[tokens.bounds[np.searchsorted(tokens.bounds, pairs)] != pairs]
    between, gaps = tokens.ends[pairs - 1], gaps[pairs - 1]
    found = np.zeros(len(pairs), bool)
    for mark in _SEPARATORS:
        alike = gaps == len(mark)
        for i, byte in enumerate(mark):
            alike &= _byte(data, between + i) == byte
        found |= alike
    return np.asarray(pairs[found])


def _thousands(tokens: Tokens, data: Bytes, numbers: Array) -> Array:
    """Those separated numbers that are thousands: all of a run have three digits, its head one to three and no 0 first."""
    import numpy as np

    if not len(numbers):
        return numbers
    sizes = tokens.ends - tokens.starts
    new = np.diff(numbers, prepend=-2) != 1
    heads, digits = numbers[new] - 1, tokens.starts[numbers]
    good = (sizes[heads] <= 3) & (data[tokens.starts[heads]] != ord("0"))
    good &= (sizes[heads] < 3) | (data[tokens.starts[heads] + 1] != ord("."))
    three = (sizes[numbers] == 3) | ((sizes[numbers] > 3) & (_byte(data, digits + 3) == ord(".")))
    three &= data[digits + 1] != ord(".")
    good &= np.logical_and.reduceat(three, np.flatnonzero(new))
    return np.asarray(numbers[good[np.cumsum(new) - 1]])


def divided(tokens: Tokens, data: Bytes) -> None:
    r"""``\frac`` of two arguments of one token each as a quotient in a line, in place: ``\frac{a}{b}`` is ``a/b``."""
    import numpy as np

    frac = np.uint64(word_hash("frac"))
    at = np.flatnonzero(tokens.hashes == frac)
    at = at[at + 2 < tokens.bounds[np.searchsorted(tokens.bounds, at, "right")]]
    at = at[(tokens.hashes[at + 1] != frac) & (tokens.hashes[at + 2] != frac)]
    plain, opened, _ = _gap(data, tokens.ends[at], tokens.starts[at + 1])
    between, again, closed = _gap(data, tokens.ends[at + 1], tokens.starts[at + 2])
    behind = tokens.ends[at + 2]
    ended = (_byte(data, behind) == ord("}")) | ((_byte(data, behind) == ord(" ")) & (_byte(data, behind + 1) == ord("}")))
    at = at[plain & between & (opened == closed) & (~again | ended)]
    tokens.hashes[at], tokens.hashes[at + 1] = tokens.hashes[at + 1], np.uint64(word_hash("/"))
    tokens.kinds[at], tokens.kinds[at + 1] = tokens.kinds[at + 1], SIGN
    tokens.ends[at], tokens.starts[at + 1], tokens.ends[at + 1] = (
        tokens.ends[at + 1],
        tokens.ends[at + 1],
        tokens.starts[at + 2],
    )


def _gap(data: Bytes, begins: Array, ends: Array) -> tuple[Array, Array, Array]:
    """For each gap whether nothing but braces and space stands there; whether one opens, and whether one closes."""
    import numpy as np

    plain = ends - begins <= 5
    opens, closes = np.zeros(len(begins), bool), np.zeros(len(begins), bool)
    for i in range(5):
        here = _byte(data, begins + i)
        inside = begins + i < ends
        plain &= ~inside | among(_WITHIN)[here]
        opens |= inside & (here == ord("{"))
        closes |= inside & (here == ord("}"))
    return plain, opens, closes


@cache
def _spelt() -> tuple[Held, Array, Array]:
    """Hashes of the words for numbers, their values, and the hash of each value's digits."""
    import numpy as np

    values = {word: value for value, word in enumerate(_WORDS)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
    found = sorted((word_hash(word), value) for word, value in values.items())
    digits = [word_hash(str(value)) for value in range(100)]
    return (
        Held.of(np.array([word for word, _ in found], np.uint64)),
        np.array([value for _, value in found]),
        np.array(digits, np.uint64),
    )


def spelt(tokens: Tokens) -> Array:
    """Gives numbers in words, up to ninety-nine, the hashes of their digits, in place; which tokens are left (20-2 is one)."""
    import numpy as np

    held, values, digits = _spelt()
    at = np.flatnonzero(held.has(tokens.hashes))
    said = values[np.searchsorted(held.values, tokens.hashes[at])]
    tens = (said[:-1] >= 20) & (said[1:] > 0) & (said[1:] < 10) & (np.diff(at) == 1)
    tens &= tokens.starts[at[1:]] - tokens.ends[at[:-1]] == 1
    tens &= tokens.bounds[np.searchsorted(tokens.bounds, at[1:])] != at[1:]
    first = np.flatnonzero(tens)
    said[first] += said[first + 1]
    tokens.hashes[at], tokens.kinds[at] = digits[said], SPELT
    tokens.ends[at[first]] = tokens.ends[at[first + 1]]
    mask = np.ones(len(tokens.hashes), bool)
    mask[at[first + 1]] = False
    return mask
