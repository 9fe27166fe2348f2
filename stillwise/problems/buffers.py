"""Buffers of texts and of their tokens, and the 64-bit hashes that stand for tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Bytes = NDArray[np.uint8]

LETTER, SPELT, DIGIT, SIGN, BRACKET = 1, 2, 3, 4, 5
"""Kinds of tokens. SPELT is a number in words: its hash is that of its digits, but a text may say it otherwise."""
BASE = 0x9E3779B97F4A7C15
"""Of characters inside a token; odd, hence invertible modulo 2**64."""


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
def byte_values() -> Array:
    """A fixed random number for each byte; capitals share their small letter's."""
    import numpy as np

    table = mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(BASE)) | np.uint64(1)
    table[ord("A") : ord("Z") + 1] = table[ord("a") : ord("z") + 1]
    return table


@cache
def among(marks: bytes) -> Array:
    """For each value of a byte whether it is one of these."""
    import numpy as np

    table = np.zeros(256, bool)
    table[list(marks)] = True
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


@cache
def word_hash(word: str) -> int:
    """The hash of a word that is one token."""
    held = byte_values()[list(word.encode())] * powers(BASE, len(word.encode()))
    return int(mixed(held.sum(keepdims=True))[0])


@dataclass(frozen=True, slots=True)
class Held:
    """A set of hashes to ask about many others at once: a table of one bit's width answers most."""

    values: Array
    """Sorted."""
    table: Array
    shift: int

    @classmethod
    def of(cls, values: Array) -> Held:
        """The set of these hashes, which are sorted."""
        import numpy as np

        width = max(16, min(26, 4 + len(values).bit_length()))
        table = np.zeros(1 << width, bool)
        table[values >> np.uint64(64 - width)] = True
        return cls(values, table, 64 - width)

    def has(self, values: Array) -> Array:
        """For each value whether it is in the set."""
        import numpy as np

        out = self.table[values >> np.uint64(self.shift)]
        maybe = np.flatnonzero(out)
        place = np.searchsorted(self.values, values[maybe])
        out[maybe] = self.values[np.minimum(place, len(self.values) - 1)] == values[maybe] if len(self.values) else False
        return np.asarray(out)
