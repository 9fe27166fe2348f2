"""A teacher's top k of one token in a fixed number of bytes: 196 for k = 64 at a vocabulary of 151,936.

The ids are a sorted set in Elias-Fano code: the low bits of each as they are, the high bits in unary. Everything else stands
in the order of the ids: a bit for each id says whether its log-probability is one of the likeliest, kept exactly in
float16; the others are 7-bit steps between the least of those and their own least, even in p^(1/4), so that the likelier the
token, the finer its step. Then the least, the log of the mass of all other ids, the sampled token and its log-probability.

Dimensions: N tokens, K kept ids, X exact ones among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Bits = NDArray[np.uint8]

NUM_EXACT = 16
REST_BITS = 7
POWER = 0.25
HALF = 16
"""Bits of a float16."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Arrays of N tokens; ids in any order, without repetition, log-probabilities at temperature 1."""

    ids_NK: Ints
    logprobs_NK: Floats
    log_tail_N: Floats
    sampled_N: Ints
    sampled_logprobs_N: Floats


@dataclass(frozen=True)
class Codec:
    """Kept tokens to records of ``num_bytes`` bytes and back."""

    k: int
    vocab: int

    @property
    def exact(self) -> int:
        """How many log-probabilities of a token are exact."""
        return min(NUM_EXACT, self.k)

    @property
    def low_bits(self) -> int:
        """Bits of an id that are stored as they are."""
        return max(0, (self.vocab // self.k).bit_length() - 1)

    @property
    def id_bits(self) -> int:
        """Bits of one id on its own."""
        return max(1, (self.vocab - 1).bit_length())

    @cached_property
    def widths(self) -> dict[str, int]:
        """Bits of each field, in their order."""
        return {
            "low": self.k * self.low_bits,
            "high": self.k + ((self.vocab - 1) >> self.low_bits) + 1,
            "is_exact": self.k,
            "exact": self.exact * HALF,
            "rest": (self.k - self.exact) * REST_BITS,
            "least": HALF,
            "tail": HALF,
            "sampled": self.id_bits,
            "sampled_logprob": HALF,
        }

    @property
    def num_bytes(self) -> int:
        """Bytes of one token's record."""
        return -(-sum(self.widths.values()) // 8)

    def encode(self, kept: Kept) -> Bits:
        """Records (N, num_bytes)."""
        import numpy as np

        order = np.argsort(kept.ids_NK, axis=1)
        ids = np.take_along_axis(kept.ids_NK, order, 1)
        logprobs = np.take_along_axis(kept.logprobs_NK, order, 1)
        half = logprobs.astype(np.float16)
        is_exact = _likeliest(logprobs, self.exact)
        exact = half[is_exact].reshape(len(ids), self.exact)
        rest = logprobs[~is_exact].reshape(len(ids), self.k - self.exact)
        least = (rest.min(1) if rest.shape[1] else exact.min(1)).astype(np.float16)
        fields = {
            "low": _bits(ids & ((1 << self.low_bits) - 1), self.low_bits),
            "high": self._unary(ids >> self.low_bits),
            "is_exact": is_exact.astype(np.uint8),
            "exact": _half_bits(exact),
            "rest": _bits(_steps(rest, exact.min(1), least), REST_BITS),
            "least": _half_bits(least[:, None]),
            "tail": _half_bits(kept.log_tail_N[:, None].astype(np.float16)),
            "sampled": _bits(kept.sampled_N[:, None], self.id_bits),
            "sampled_logprob": _half_bits(kept.sampled_logprobs_N[:, None].astype(np.float16)),
        }
        packed: Bits = np.packbits(np.concatenate([fields[name] for name in self.widths], axis=1), axis=1)
        return packed

    def decode(self, records: Bits) -> Kept:
        """What was encoded: ids in ascending order, log-probabilities exact for the likeliest and near for the others."""
        import numpy as np

        bits = np.unpackbits(np.asarray(records), axis=1)
        ends = np.cumsum(list(self.widths.values()))
        fields = dict(zip(self.widths, np.split(bits, ends, axis=1), strict=False))
        high = np.nonzero(fields["high"])[1].reshape(len(bits), self.k) - np.arange(self.k)
        ids = (high << self.low_bits) | _ints(fields["low"], self.k, self.low_bits)
        exact, least = _halves(fields["exact"]), _halves(fields["least"])[:, 0]
        is_exact = fields["is_exact"].astype(bool)
        logprobs = np.empty((len(bits), self.k), dtype=np.float32)
        logprobs[is_exact] = exact.ravel()
        steps = _ints(fields["rest"], self.k - self.exact, REST_BITS)
        logprobs[~is_exact] = _unsteps(steps, exact.min(1), least).ravel()
        return Kept(
            ids_NK=ids,
            logprobs_NK=logprobs,
            log_tail_N=_halves(fields["tail"])[:, 0],
            sampled_N=_ints(fields["sampled"], 1, self.id_bits)[:, 0],
            sampled_logprobs_N=_halves(fields["sampled_logprob"])[:, 0],
        )

    def _unary(self, high_NK: Ints) -> Bits:
        """One bit set for each id, at its high part plus its rank: ascending parts never collide."""
        import numpy as np

        bits = np.zeros((len(high_NK), self.widths["high"]), dtype=np.uint8)
        np.put_along_axis(bits, high_NK + np.arange(self.k), 1, axis=1)
        return bits


def _likeliest(logprobs_NK: Floats, count: int) -> Any:
    """A mask (N, K) of each token's ``count`` likeliest ids, ties by position."""
    import numpy as np

    order = np.argsort(-logprobs_NK, axis=1, kind="stable")[:, :count]
    mask = np.zeros(logprobs_NK.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask


def _bits(values_NM: Ints, width: int) -> Bits:
    import numpy as np

    shifted = values_NM[:, :, None] >> np.arange(width)
    return (shifted & 1).astype(np.uint8).reshape(len(values_NM), -1)


def _ints(bits: Bits, count: int, width: int) -> Ints:
    import numpy as np

    found: Ints = (bits.reshape(len(bits), count, width).astype(np.int64) << np.arange(width)).sum(2)
    return found


def _half_bits(values_NM: Any) -> Bits:
    import numpy as np

    return _bits(np.ascontiguousarray(values_NM).view(np.uint16).astype(np.int64), HALF)


def _halves(bits: Bits) -> Floats:
    import numpy as np

    values = _ints(bits, bits.shape[1] // HALF, HALF).astype(np.uint16)
    return values.view(np.float16).astype(np.float32)


def _scale(top_N: Any, least_N: Any) -> tuple[Any, Any]:
    """The ends of the steps in p^(1/4) relative to the top: the least, and how far above it the top is."""
    import numpy as np

    bottom = np.exp(POWER * np.minimum(least_N.astype(np.float32) - top_N.astype(np.float32), 0.0))[:, None]
    return bottom, np.maximum(1 - bottom, 1e-7)


def _steps(rest_NM: Floats, top_N: Any, least_N: Any) -> Ints:
    import numpy as np

    bottom, height = _scale(top_N, least_N)
    curve = np.exp(POWER * (rest_NM - top_N.astype(np.float32)[:, None]))
    steps = np.rint((curve - bottom) / height * (2**REST_BITS - 1))
    found: Ints = np.clip(steps, 0, 2**REST_BITS - 1).astype(np.int64)
    return found


def _unsteps(steps_NM: Ints, top_N: Any, least_N: Any) -> Floats:
    import numpy as np

    bottom, height = _scale(top_N, least_N)
    curve = bottom + height * steps_NM / (2**REST_BITS - 1)
    found: Floats = (np.log(curve) / POWER + top_N.astype(np.float32)[:, None]).astype(np.float32)
    return found
