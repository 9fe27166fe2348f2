"""One endpoint as the pool sees it: how many calls it bears, whether it is well, when it may be asked again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

CUT, FLOOR = 0.75, 1.0
CROWDED_SHARE = 0.15
"""A window in which more answers than this were 429 is too many calls; a single 429 is noise and only repeated."""
SICK_SHARE, WINDOW = 0.8, 20
REFUSALS_TO_OPEN = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
SLOW_FACTOR = 4.0
"""Growth stops where the seconds for a token are this many times the best window's: the server queues instead of refusing."""


class State(Enum):
    """Where the circuit breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Result(Enum):
    """What came of one exchange."""

    ANSWERED = "answered"
    THROTTLED = "throttled"
    FAILED = "failed"
    """The server said so (5xx)."""
    UNREACHABLE = "unreachable"
    """No connection: the call was not sent."""
    UNKNOWN = "unknown"
    """Reset, cut or timed out after it was sent: it may have been computed, and paid for."""
    REFUSED = "refused"
    """The call itself was wrong (4xx): no word about the endpoint."""


@dataclass(eq=False)
class Endpoint:
    """Additive increase, multiplicative decrease of the calls at once; a breaker with half-open trials."""

    url: str
    ceiling: int
    """Calls at once at most."""
    limit: float = 0.0
    proxy: str | None = None
    """Through which it is reached."""
    in_flight: int = 0
    foreign: int = 0
    """Calls of others that the server reports."""
    reports_load: bool = True
    state: State = State.CLOSED
    until: float = 0.0
    """No call before this time: Retry-After, or the breaker's pause."""
    draining: bool = False
    answered: int = 0
    failures: int = 0
    reached_at: float = 0.0
    """When it last answered anything."""
    _cut_at: float = -1.0
    _cut_limit: float = 0.0
    _refusals: int = 0
    _pause_s: float = FIRST_PAUSE_S
    _seen: int = 0
    _throttled: int = 0
    _outcomes: list[bool] = field(default_factory=list)
    _paces: list[float] = field(default_factory=list)
    _best_pace: float = 0.0
    _slow: bool = False

    def __post_init__(self) -> None:
        self.limit = self.limit or float(self.ceiling)

    def free(self, now: float) -> bool:
        """Whether it may get a call now."""
        if self.draining or now < self.until:
            return False
        if self.state is State.CLOSED:
            return self.in_flight < int(self.limit)
        # After the pause one call is the trial; the others wait for what comes of it.
        return self.in_flight == 0

    @property
    def capacity(self) -> int:
        """Calls that it bears at once as far as is known."""
        return int(self.limit) if self.state is State.CLOSED else 1

    @property
    def outstanding(self) -> float:
        """What least-outstanding routing compares: load by the calls that it bears."""
        return (self.in_flight + self.foreign) / max(1.0, self.limit)

    def begin(self) -> None:
        """A call goes out."""
        self.in_flight += 1
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def learn(self, result: Result, began: float, now: float, tokens: int = 0, retry_after: float | None = None) -> None:
        """A call came back."""
        self.in_flight -= 1
        if result is not Result.UNREACHABLE:
            self.reached_at = now
            self._refusals = 0
        if result is Result.THROTTLED:
            self._throttle(began, now, retry_after)
        elif result in (Result.ANSWERED, Result.REFUSED):
            self._well(result, now - began, tokens)
        else:
            self._hold(now, retry_after)
            self._ill(result, now)

    def _hold(self, now: float, retry_after: float | None) -> None:
        self.until = max(self.until, now + (retry_after or 0.0))

    def _well(self, result: Result, seconds: float, tokens: int) -> None:
        if self.state is not State.CLOSED:
            self.state, self._pause_s = State.CLOSED, FIRST_PAUSE_S
            self.limit = max(FLOOR, self.limit / 2)
            self._outcomes.clear()
        self._note(True)
        if result is Result.ANSWERED:
            self.answered += 1
            self._pace(seconds / max(1, tokens))
            self._grow()

    def _grow(self) -> None:
        self._count_window(False)
        if self._slow or self.limit >= self.ceiling:
            return
        near = self._cut_limit * 0.9
        # Below the last known ceiling quickly, around it one more for each round of answers.
        self.limit = min(self.ceiling, self.limit + (1.0 if self.limit < near else 1.0 / max(1.0, self.limit)))

    def _pace(self, pace: float) -> None:
        self._paces.append(pace)
        if len(self._paces) < max(WINDOW, int(self.limit)):
            return
        found = median(self._paces)
        self._paces.clear()
        self._best_pace = min(found, self._best_pace or found)
        self._slow = found > SLOW_FACTOR * self._best_pace

    def _count_window(self, throttled: bool) -> None:
        self._seen += 1
        self._throttled += throttled
        if self._seen >= max(WINDOW, int(self.limit)) and not throttled:
            self._seen = self._throttled = 0

    def _throttle(self, began: float, now: float, retry_after: float | None) -> None:
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
        self._count_window(True)
        self._hold(now, retry_after)
        crowded = self._throttled > CROWDED_SHARE * max(WINDOW, self._seen)
        # Only the first of a burst cuts: the others left before the cut could help.
        if crowded and began > self._cut_at:
            self._cut_limit, self._cut_at = self.limit, now
            self.limit = max(FLOOR, min(self.limit, self.in_flight + 1.0) * CUT)
            self._seen = self._throttled = 0

    def _note(self, well: bool) -> None:
        self._outcomes.append(well)
        del self._outcomes[:-WINDOW]

    def _ill(self, result: Result, now: float) -> None:
        self.failures += 1
        self._note(False)
        self._refusals += result is Result.UNREACHABLE
        sick = len(self._outcomes) == WINDOW and self._outcomes.count(False) >= SICK_SHARE * WINDOW
        if self.state is State.OPEN:
            # A call of before: the pause is running already, and a burst must not make it the longest.
            return
        if self.state is State.HALF_OPEN or sick or self._refusals >= REFUSALS_TO_OPEN:
            self.state = State.OPEN
            self._hold(now, self._pause_s * random.uniform(0.75, 1.25))
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._outcomes.clear()
