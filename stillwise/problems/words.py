r"""Texts as tokens, by the million: words, numbers and signs as 64-bit hashes, with where each stands.

A token is a run of letters, a run of digits, a sign of arithmetic or a round bracket; case, punctuation and the delimiters of
formulas (``$``, ``\(``, ``\left``) are none, so two settings of one formula are the same tokens. Everything is done on whole
buffers of bytes: no Python object per text or per word.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Bytes = NDArray[np.uint8]

LETTER, DIGIT, SIGN, BRACKET = 1, 2, 3, 4
BLOCK = 1 << 18
"""Bytes tokenised at once, where one text is no longer: what is computed for each byte stays in the cache."""
SIGNS = b"+-*/=^<>%"
_MASK = (1 << 64) - 1
_BASE, _NEXT = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
"""Odd, hence invertible modulo 2**64: of characters inside a token, of tokens inside a text."""
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
SAME = {"dfrac": "frac", "tfrac": "frac", "leq": "le", "geq": "ge", "neq": "ne", "cdot": "*", "times": "*", "div": "/"}
"""Commands that say the same."""
_LOOKALIKES = {"−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "÷": "/", "⋅": "*", "∗": "*"}
_IGNORED = "‘’“”…\u00a0\u2009\u202f\u200b。，、：；？！（）"


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts end to end in one buffer of UTF-8; text i is ``data[offsets[i]:offsets[i + 1]]``."""

    data: Bytes
    offsets: Array

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """The texts in their order; half characters become question marks."""
        import numpy as np

        pieces = [text.encode("utf-8", "replace") for text in texts]
        offsets = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
        return cls(np.frombuffer(b"".join(pieces), np.uint8), offsets)

    @classmethod
    def of_arrow(cls, column: Any) -> Texts:
        """The strings of a pyarrow array, without a copy; null counts as empty."""
        import numpy as np

        wide = "int64" if str(column.type).startswith("large") else "int32"
        _, offsets, data = column.buffers()
        held = np.frombuffer(offsets, wide)[column.offset : column.offset + len(column) + 1].astype(np.int64)
        raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        return cls(raw[held[0] : held[-1]], held - held[0])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, index: int, start: int = 0, end: int | None = None) -> str:
        """A text, or its bytes from ``start`` to ``end``."""
        begin = int(self.offsets[index])
        stop = int(self.offsets[index + 1]) if end is None else begin + end
        return self.data[begin + start : stop].tobytes().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of some texts in order: hash, first and last byte, kind; text i has ``bounds[i]:bounds[i + 1]``."""

    hashes: Array
    starts: Array
    """Byte of the buffer at which each token begins."""
    ends: Array
    kinds: Array
    """LETTER, DIGIT, SIGN or BRACKET."""
    bounds: Array

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def texts(self) -> Array:
        """Which text each token belongs to."""
        import numpy as np

        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.bounds))

    def only(self, mask: Array) -> Tokens:
        """The tokens for which the mask holds; the texts stay as many."""
        import numpy as np

        kept = np.concatenate([[0], np.cumsum(mask)])
        fields = (self.hashes[mask], self.starts[mask], self.ends[mask], self.kinds[mask])
        return Tokens(*fields, bounds=kept[self.bounds])


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
def _values() -> Array:
    """A fixed random number for each byte; capitals share their small letter's."""
    import numpy as np

    table = mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BASE)) | np.uint64(1)
    table[ord("A") : ord("Z") + 1] = table[ord("a") : ord("z") + 1]
    return table


@cache
def _powers(base: int, size: int) -> Array:
    import numpy as np

    table = np.full(size, base, np.uint64)
    table[0] = 1
    return np.asarray(np.multiply.accumulate(table))


def powers(base: int, count: int) -> Array:
    """The first powers of a base modulo 2**64 (tables grow by doubling and are kept)."""
    return _powers(base, 1 << max(16, (count - 1).bit_length()))[:count]


def mixed(hashes: Array) -> Array:
    """The same 64-bit numbers well stirred (splitmix64's end): every bit depends on every bit."""
    import numpy as np

    out = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    out = (out ^ (out >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(out ^ (out >> np.uint64(31)))


def word_hash(word: str) -> int:
    """The hash that ``tokenise`` gives a word that is one token."""
    return int(tokenise(Texts.of([word])).hashes[0])


@cache
def _commands() -> tuple[Array, dict[int, int]]:
    """Hashes of commands that are left out, and of those that become another."""
    import numpy as np

    unseen = np.array(sorted(word_hash(word) for word in (*UNSEEN, *UNSEEN_TOO)), np.uint64)
    return unseen, {word_hash(word): word_hash(other) for word, other in SAME.items()}


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
    np.cumsum(_values()[data] * powers(_BASE, len(data) + 1)[:-1], out=sums[1:])
    hashes = mixed((sums[ends] - sums[starts]) * powers(pow(_BASE, -1, 1 << 64), len(data) + 1)[starts])
    tokens = Tokens(hashes, starts, ends, kinds, np.searchsorted(starts, texts.offsets))
    return _without_layout(tokens, data)


def _runs(data: Bytes, offsets: Array) -> tuple[Array, Array, Array]:
    """Where tokens begin and end, and their kinds; no token crosses from one text into the next."""
    import numpy as np

    classes = _classes()[data]
    dashes = np.flatnonzero(data[1:-1] == ord("-")) + 1
    # A hyphen between letters joins words that others write apart.
    classes[dashes[(classes[dashes - 1] == LETTER) & (classes[dashes + 1] == LETTER)]] = 0
    slashes = np.flatnonzero(data[:-1] == ord("\\")) + 1
    classes[slashes[classes[slashes] == BRACKET]] = 0
    breaks = np.ones(len(data) + 1, bool)
    np.not_equal(classes[1:], classes[:-1], out=breaks[1:-1])
    signs = classes >= SIGN
    breaks[:-1] |= signs
    breaks[offsets] = True
    inside = classes != 0
    starts = np.flatnonzero(breaks[:-1] & inside)
    ends = np.flatnonzero(breaks[1:] & inside) + 1
    return starts, ends, classes[starts]


def _plain(data: Bytes) -> Bytes:
    """Typographic signs as their plain ones; of the same length, so that offsets stay."""
    if not len(data) or int(data.max()) < 0x80:
        return data
    data = data.copy()
    for mark, plain in {**_LOOKALIKES, **dict.fromkeys(_IGNORED, " ")}.items():
        _replace(data, mark.encode(), plain.encode())
    return data


def _replace(data: Bytes, mark: bytes, plain: bytes) -> None:
    import numpy as np

    found = np.flatnonzero(data[: len(data) - len(mark) + 1] == mark[0])
    for i, byte in enumerate(mark[1:], start=1):
        found = found[data[found + i] == byte]
    for i in range(len(mark)):
        data[found + i] = plain[0] if i == 0 else ord(" ")


def _without_layout(tokens: Tokens, data: Bytes) -> Tokens:
    """Commands of layout left out, synonyms made one; a command is a word after a backslash."""
    import numpy as np

    commands = np.flatnonzero((tokens.starts > 0) & (data[tokens.starts - 1] == ord("\\")))
    if not len(commands):
        return tokens
    unseen, same = _commands()
    found = tokens.hashes[commands]
    for word, other in same.items():
        tokens.hashes[commands[found == np.uint64(word)]] = other
    mask = np.ones(len(tokens.hashes), bool)
    mask[commands[np.isin(found, unseen)]] = False
    return tokens.only(mask)


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
    np.cumsum(np.where(tokens.kinds == DIGIT, mixed(tokens.hashes), np.uint64(0)), out=sums[1:])
    return sums[tokens.bounds[1:]] - sums[tokens.bounds[:-1]]
