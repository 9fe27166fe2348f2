"""Whether a server has become slow: seconds for a token, compared among answers of about one length."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from statistics import median

SLOW_FACTOR = 4.0
"""So many times the seconds for a token of the best window are slow: the server queues instead of refusing."""
LESS = 0.5
"""Slow and less than this share of the best window's tokens a second: more calls at once have made it worse for all."""
HELPED, FRUITLESS = 0.9, 3
"""A cut after which tokens take no less than this share of the time was for nothing; so many of them in a row are the last."""


class Verdict(Enum):
    """What a window of answers says."""

    WELL = "well"
    SLOW = "slow"
    """No more calls than now."""
    TOO_MANY = "too many"
    """Fewer calls than now."""


@dataclass
class Pace:
    """Answers of about one length, window by window. The median counts, so that a tail of slow answers changes nothing."""

    peak: int = 0
    """The most calls at once in the last whole window."""
    _paces: list[float] = field(default_factory=list)
    _loads: list[int] = field(default_factory=list)
    _best: float = 0.0
    _best_rate: float = 0.0
    _cut_at: float = 0.0
    """The pace at the last cut."""
    _fruitless: int = 0

    def note(self, pace: float, load: int, window: int) -> Verdict | None:
        """Take one answer, with the calls that were at work; a verdict at the end of each window."""
        self._paces.append(pace)
        self._loads.append(load)
        if len(self._paces) < window:
            return None
        found, self.peak = median(self._paces), max(self._loads)
        rate = median(self._loads) / found if found else 0.0
        self._paces.clear()
        self._loads.clear()
        return self._verdict(found, rate)

    def _verdict(self, found: float, rate: float) -> Verdict:
        self._best, self._best_rate = min(found, self._best or found), max(rate, self._best_rate)
        if found <= SLOW_FACTOR * self._best:
            self._cut_at, self._fruitless = 0.0, 0
            return Verdict.WELL
        if rate >= LESS * self._best_rate:
            return Verdict.SLOW
        self._fruitless = self._fruitless + 1 if self._cut_at and found > HELPED * self._cut_at else 0
        if self._fruitless >= FRUITLESS:
            return Verdict.SLOW
        self._cut_at = found
        return Verdict.TOO_MANY
