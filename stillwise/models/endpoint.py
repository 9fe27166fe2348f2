"""One endpoint as the pool sees it: how many calls it bears, whether it is well, when it may be asked again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum

from stillwise.models.pace import Pace, Verdict

CUT, FLOOR = 0.75, 1.0
CROWDED_SHARE = 0.15
"""A window in which more answers than this were 429 is too many calls; a single 429 is noise and only repeated."""
SICK_SHARE, WINDOW = 0.8, 20
REFUSALS_TO_OPEN = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TRIAL_EVERY_S = 30.0
"""A trial may be an hour-long thought: another one follows where it has not failed by then."""
FOREIGN_FACTOR, FOREIGN_SHARE = 4.0, 8
"""Where others have this many times our limit on the server, we make room, down to an eighth of what we may ask at most."""


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
    ill_since: float | None = None
    """The first failure after which nothing came but failures; None where it is well."""
    _cut_at: float = -1.0
    _cut_limit: float = 0.0
    _refusals: int = 0
    _pause_s: float = FIRST_PAUSE_S
    _seen: int = 0
    _throttled: int = 0
    _outcomes: list[bool] = field(default_factory=list)
    _tried_at: float = 0.0
    _next_trial: float = 0.0
    _paces: dict[int, Pace] = field(default_factory=dict)
    """By the power of two of an answer's tokens: a judge's word and a thought have nothing in common."""
    _slow: bool = False

    def __post_init__(self) -> None:
        self.limit = self.limit or float(self.ceiling)

    def free(self, now: float) -> bool:
        """Whether it may get a call now."""
        if self.draining or now < self.asked_at:
            return False
        # After the pause one call is the trial, whatever calls of before are still out; the others wait for what comes of it.
        return self.state is not State.CLOSED or self.in_flight < int(self.limit)

    @property
    def asked_at(self) -> float:
        """No call before this time."""
        return self.until if self.state is State.CLOSED else max(self.until, self._next_trial)

    @property
    def capacity(self) -> int:
        """Calls that it bears at once as far as is known, and those that it has already."""
        return max(int(self.limit), self.in_flight) if self.state is State.CLOSED else self.in_flight + 1

    @property
    def outstanding(self) -> float:
        """What least-outstanding routing compares: load by the calls that it bears."""
        return (self.in_flight + self.foreign) / max(1.0, self.limit)

    def begin(self, now: float) -> None:
        """A call goes out."""
        self.in_flight += 1
        if self.state is not State.CLOSED:
            self.state, self._tried_at, self._next_trial = State.HALF_OPEN, now, now + TRIAL_EVERY_S

    def learn(self, result: Result, began: float, now: float, tokens: int = 0, retry_after: float | None = None) -> None:
        """A call came back."""
        self.in_flight -= 1
        if result is not Result.UNREACHABLE:
            self._refusals = 0
        if result is Result.THROTTLED:
            self._throttle(began, now, retry_after)
        elif result in (Result.ANSWERED, Result.REFUSED):
            self._well(result, began, now, tokens)
        else:
            self._hold(now, retry_after)
            self._ill(result, began, now)

    def _hold(self, now: float, retry_after: float | None) -> None:
        self.until = max(self.until, now + (retry_after or 0.0))

    def _close(self) -> None:
        """It has said something: the breaker is closed."""
        self.ill_since = None
        self.state = State.CLOSED

    def _well(self, result: Result, began: float, now: float, tokens: int) -> None:
        if self.state is not State.CLOSED:
            self._pause_s = FIRST_PAUSE_S
            self.limit = max(FLOOR, self.limit / 2)
            self._outcomes.clear()
        self._close()
        self._note(True)
        if result is Result.ANSWERED:
            self.answered += 1
            self._pace(began, now, tokens)
            self._grow(now)

    def _grow(self, now: float) -> None:
        over = self._count_window(False)
        crowded = self.foreign > FOREIGN_FACTOR * self.limit
        least = max(FLOOR, self.ceiling / FOREIGN_SHARE)
        if over and crowded and self.limit > least:
            self._make_room(now, max(least, self.limit * CUT))
        if self._slow or crowded or self.limit >= self.ceiling:
            return
        near = self._cut_limit * 0.9
        # Below the last known ceiling quickly, around it one more for each round of answers.
        self.limit = min(self.ceiling, self.limit + (1.0 if self.limit < near else 1.0 / max(1.0, self.limit)))

    def _pace(self, began: float, now: float, tokens: int) -> None:
        if began <= self._cut_at:
            # It left before the cut could help.
            return
        pace = self._paces.setdefault(tokens.bit_length(), Pace())
        verdict = pace.note((now - began) / max(1, tokens), self.in_flight + 1, self._window)
        self._slow = self._slow if verdict is None else verdict is not Verdict.WELL
        if verdict is Verdict.TOO_MANY:
            self._make_room(now, min(self.limit, pace.peak + 1.0) * CUT)

    def _make_room(self, now: float, limit: float) -> None:
        # A bad time passes: afterwards there is room for nearly as many as before it.
        self._cut_limit = max(self._cut_limit, self.limit)
        self._cut(now, limit)

    def _cut(self, now: float, limit: float) -> None:
        self._cut_at = now
        self.limit = max(FLOOR, limit)
        self._seen = self._throttled = 0

    @property
    def _window(self) -> int:
        return max(WINDOW, int(self.limit))

    def _count_window(self, throttled: bool) -> bool:
        """Count an exchange; whether that was the last of a window."""
        self._seen += 1
        self._throttled += throttled
        over = self._seen >= self._window and not throttled
        if over:
            self._seen = self._throttled = 0
        return over

    def _throttle(self, began: float, now: float, retry_after: float | None) -> None:
        self._close()
        self._count_window(True)
        self._hold(now, retry_after)
        crowded = self._throttled > CROWDED_SHARE * max(WINDOW, self._seen)
        # Only the first of a burst cuts: the others left before the cut could help.
        if crowded and began > self._cut_at:
            self._cut_limit = self.limit
            self._cut(now, min(self.limit, self.in_flight + 1.0) * CUT)

    def _note(self, well: bool) -> None:
        self._outcomes.append(well)
        del self._outcomes[:-WINDOW]

    def _ill(self, result: Result, began: float, now: float) -> None:
        self.failures += 1
        self.ill_since = now if self.ill_since is None else self.ill_since
        self._note(False)
        self._refusals += result is Result.UNREACHABLE
        sick = len(self._outcomes) == WINDOW and self._outcomes.count(False) >= SICK_SHARE * WINDOW
        if self.state is State.OPEN or (self.state is State.HALF_OPEN and began < self._tried_at):
            # A call of before: the pause is running already, and a burst must not make it the longest.
            return
        if self.state is State.HALF_OPEN or sick or self._refusals >= REFUSALS_TO_OPEN:
            self.state, self._next_trial = State.OPEN, now
            self._hold(now, self._pause_s * random.uniform(0.75, 1.25))
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            self._outcomes.clear()
