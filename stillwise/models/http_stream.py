"""One job's calls and answers between two threads: the caller's, which offers requests and reads, and the loop's."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from stillwise.arrows import Completion, Request
from stillwise.errors import StillwiseError, UserError
from stillwise.models.http_pool import Call, Net
from stillwise.models.http_wire import BadAnswer, Wire
from stillwise.models.model import Arrived, Keep, Meter
from stillwise.records import Finish

FLUSH_S = 0.1
"""Answers become durable together, one commit for all: as soon as there are enough, or after so many seconds."""
MOST_UNREAD = 4096
"""No further call is sent while the caller has so many answers to read."""
CHARS_PER_TOKEN = 3

Group = tuple[tuple[int, Request], ...]
"""Requests that one call asks for, each with its place: several are samples of one question."""


def _prompt_tokens(request: Request) -> int:
    """A guess; the server counts."""
    return len(request.ask.user) // CHARS_PER_TOKEN + 1


@dataclass(eq=False)
class Stream:
    """One job's calls and what came of them: handed between the loop (``Source``) and the caller's thread."""

    wire: Wire
    meter: Meter
    keep: Keep
    offered: deque[Group] = field(default_factory=deque)
    """What is to be asked next."""
    closed: bool = False
    """Nothing more will be offered."""
    asked: dict[int, Group] = field(default_factory=dict)
    """Calls that are on their way or wait to be repeated, by the place of their first request."""
    fresh: list[Arrived] = field(default_factory=list)
    """Answers that are not yet durable."""
    came: deque[Arrived] = field(default_factory=deque)
    """Durable answers for the caller's thread."""
    flush_at: int = 1
    """So many answers are a commit of their own."""
    flushed: Callable[[], None] = lambda: None
    """Called when answers have become durable: there is room for other calls."""
    error: BaseException | None = None
    ended: bool = False
    """Nothing more is pulled: the requests are over, or the budget is."""
    ready: threading.Event = field(default_factory=threading.Event)
    _next: Group = ()
    _timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Answers that came and are not yet durable."""
        return len(self.fresh)

    def pull(self) -> Call | None:
        """The next call, or None where the requests are over or the budget has no room for it now."""
        if self.ended or self.error is not None or len(self.came) > MOST_UNREAD:
            return None
        # Read first: whoever closes has offered everything before.
        closed = self.closed
        group = self._next or (self.offered.popleft() if self.offered else ())
        if not group:
            if closed:
                self._end()
            return None
        let = self._let_in(group)
        self._next = group[let:]
        if not let:
            # Calls on the way may cost less than was set aside for them; with none of them, the budget is over.
            if not self.asked:
                self._end()
            return None
        return self._call(group[:let])

    def _let_in(self, group: Group) -> int:
        """How many of these samples the budget has room for; the prompt is paid for with the first."""
        for number, (_, request) in enumerate(group):
            if not self.meter.may(0 if number else _prompt_tokens(request), request.sampling.max_tokens):
                return number
        return len(group)

    def _call(self, group: Group) -> Call | None:
        place, request = group[0]
        expected = _prompt_tokens(request) + len(group) * min(request.sampling.max_tokens, 1024)
        try:
            call = Call(place, self.wire.path(request), self.wire.body(request, len(group)), expected)
        except UserError as err:
            self.stop(err)
            return None
        self.asked[place] = group
        return call

    def _end(self) -> None:
        self.ended = True
        self.ready.set()

    def answered(self, call: Call, body: bytes) -> int | None:
        """Take an answer; None where the body holds none."""
        group = self.asked[call.place]
        try:
            bodies = [body] if len(group) == 1 else self.wire.apart(body, len(group))
            found = [self.wire.take(request, raw) for (_, request), raw in zip(group, bodies, strict=True)]
        except BadAnswer as err:
            call.fault = str(err)
            return None
        del self.asked[call.place]
        tokens = 0
        for number, ((place, request), raw, completion) in enumerate(zip(group, bodies, found, strict=True)):
            # The prompt was read once, and is paid for once.
            paid = replace(completion, num_prompt_tokens=0) if number else completion
            self._arrive(request, Arrived(place, completion, raw), number, paid)
            tokens += completion.num_tokens
        return tokens

    def lost(self, call: Call, reason: str, detail: str) -> None:
        """There will be no answer: the caller gets the reason."""
        group = self.asked.pop(call.place)
        self.meter.count("lost", len(group))
        for number, (place, request) in enumerate(group):
            nothing = Completion(
                prompt=request.ask.user,
                text="",
                num_prompt_tokens=0,
                num_tokens=0,
                finish=Finish.STOP,
                failure=reason,
                detail=detail,
            )
            self._arrive(request, Arrived(place, nothing), number, None)

    def _arrive(self, request: Request, arrived: Arrived, number: int, paid: Completion | None) -> None:
        self.meter.spent(0 if number else _prompt_tokens(request), request.sampling.max_tokens, paid)
        self.fresh.append(arrived)
        # Behind the last call nothing more can come that would share the commit.
        if len(self.fresh) >= self.flush_at or not (self.asked or self.offered):
            self.flush()
        elif len(self.fresh) == 1:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Make the answers durable and hand them over."""
        fresh = self.fresh
        if self._timer is not None:
            self._timer.cancel()
        if not fresh:
            return
        try:
            with suppress(StillwiseError), Net(self.stop):
                self.keep(fresh)
                # In this order: the other thread must never see an answer that is neither fresh nor come.
                self.came.extend(fresh)
        finally:
            self.fresh = []
        self.ready.set()
        self.flushed()

    def stop(self, error: BaseException) -> None:
        """Nothing more can come."""
        self.error = self.error or error
        self._end()

    def count(self, name: str, by: int = 1) -> None:
        """Count exchanges."""
        self.meter.count(name, by)

    @property
    def over(self) -> bool:
        """Whether every call has come to its end."""
        return self.ended and not self.asked and not self.fresh and not self.came


class Feed:
    """Requests taken from an iterator a few at a time, as groups for one call each."""

    def __init__(self, requests: Iterable[tuple[int, Request] | None], at_once: int) -> None:
        self._requests, self._at_once = iter(requests), at_once
        self._tail: Group = ()
        self.over = False
        """Everything was taken."""

    def take(self, most: int) -> list[Group]:
        """Up to so many groups more, fewer where the iterator pauses (None) or ends.

        A group holds what stands side by side and differs in its seed only; it is held back until its end is known.
        """
        found: list[Group] = []
        while len(found) < most:
            try:
                item = next(self._requests)
            except StopIteration:
                self.over = True
                found += [self._tail] if self._tail else []
                self._tail = ()
                return found
            if item is None:
                return found
            if self._tail and (len(self._tail) == self._at_once or not _alike(self._tail[0][1], item[1])):
                found.append(self._tail)
                self._tail = ()
            self._tail = (*self._tail, item)
        return found


def _alike(first: Request, other: Request) -> bool:
    """Whether both are samples of one question: greedy answers are one sample."""
    return first.ask == other.ask and first.sampling == other.sampling and first.sampling.temperature > 0
