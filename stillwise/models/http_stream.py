"""One job's calls and answers between two threads: the caller's, which offers requests and reads, and the loop's."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson

from stillwise.arrows import Completion, Request
from stillwise.errors import StillwiseError, UserError
from stillwise.models.http_pool import Call, Net
from stillwise.models.http_wire import BadAnswer, Wire
from stillwise.models.model import Arrived, Keep, Meter
from stillwise.models.opening import answer_start
from stillwise.records import Finish

FLUSH_S = 0.1
"""Answers become durable together, one commit for all: as soon as there are enough, or after so many seconds."""
MOST_UNREAD, MOST_UNREAD_BYTES = 4096, 4_000_000
"""No further call is sent while the caller has more answers to read, or longer ones."""
BYTES_PER_TOKEN = 3
"""What a limit by the minute expects; the server's own count corrects it."""
TEMPLATE_TOKENS = 512
"""Room for what a server's template puts round a call: its own system prompt, marks of turns."""

Group = tuple[tuple[int, Request], ...]
"""Requests that one call asks for, each with its place: several are samples of one question."""


class Sent(NamedTuple):
    """One call's requests, and the most prompt tokens that they may be billed for."""

    group: Group
    prompt: int


def _most_tokens(body: bytes) -> int:
    """The most tokens that a call's prompt can have: all that is sent counts, for no vocabulary spends two on one byte."""
    return len(body) + TEMPLATE_TOKENS


def _billed(body: bytes) -> tuple[int, int]:
    """Prompt and generated tokens that a body says it cost, whatever else is wrong with it; 0 where it does not say."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0, 0
    usage = found.get("usage") if isinstance(found, dict) else None
    stated = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    prompt, generated = (max(0, amount) if isinstance(amount, int) else 0 for amount in stated)
    return prompt, generated


def _weight(answers: Iterable[Arrived]) -> int:
    return sum(len(one.raw) + len(one.completion.text) for one in answers)


def _crowded(answers: int, size: int) -> bool:
    return answers > MOST_UNREAD or size > MOST_UNREAD_BYTES


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
    asked: dict[int, Sent] = field(default_factory=dict)
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
    _put: int = 0
    """Bytes of all answers that came; the loop counts, and the caller's thread those that it took: a number has one writer."""
    _taken: int = 0
    _next: Group = ()
    _timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Answers that came and are not yet durable."""
        return len(self.fresh)

    def pull(self) -> Call | None:
        """The next call, or None where the requests are over or the budget has no room for it now."""
        if self.ended or self.error is not None or _crowded(len(self.came), self._put - self._taken):
            return None
        # Read first: whoever closes has offered everything before.
        closed = self.closed
        group = self._next or (self.offered.popleft() if self.offered else ())
        if not group:
            if closed:
                self._end()
            return None
        try:
            body = self.wire.body(group[0][1], len(group))
        except UserError as err:
            self.stop(err)
            return None
        prompt = _most_tokens(body)
        let = self._let_in(group, prompt)
        if not let and self.wire.rendering:
            prompt = self._counted(group[0][1])
            let = self._let_in(group, prompt)
        self._next = group[let:]
        if not let:
            # Calls on the way may cost less than was set aside for them; with none of them, the budget is over.
            if not self.asked:
                self._end()
            return None
        return self._call(Sent(group[:let], prompt), body if let == len(group) else self.wire.body(group[0][1], let))

    def _let_in(self, group: Group, prompt: int) -> int:
        """How many of these samples the budget has room for; the prompt is paid for with the first."""
        for number, (_, request) in enumerate(group):
            if not self.meter.may(0 if number else prompt, request.sampling.max_tokens):
                return number
        return len(group)

    def _counted(self, request: Request) -> int:
        """The same by the tokenizer: nearer, but it takes longer than counting bytes: for what these leave no room for."""
        assert self.wire.rendering is not None
        prompt, opened = self.wire.rendering.render(request.ask)
        return self.wire.rendering.count(prompt + answer_start(opened, request.ask.prefill)) + TEMPLATE_TOKENS

    def _call(self, sent: Sent, body: bytes) -> Call:
        place, request = sent.group[0]
        self.asked[place] = sent
        expected = len(body) // BYTES_PER_TOKEN + len(sent.group) * min(request.sampling.max_tokens, 1024)
        return Call(place, self.wire.path(request), body, expected)

    def _end(self) -> None:
        self.ended = True
        self.ready.set()

    def answered(self, call: Call, body: bytes) -> int | None:
        """Take an answer; None where the body holds none."""
        group, prompt = self.asked[call.place]
        try:
            bodies = [body] if len(group) == 1 else self.wire.apart(body, len(group))
            found = [self.wire.take(request, raw) for (_, request), raw in zip(group, bodies, strict=True)]
        except BadAnswer as err:
            call.fault = str(err)
            return self._wasted(call, body)
        del self.asked[call.place]
        # The prompt is known now: what is left of the expectation is what the answer is compared with.
        call.tokens -= found[0].num_prompt_tokens
        tokens = 0
        for number, ((place, request), raw, completion) in enumerate(zip(group, bodies, found, strict=True)):
            # The prompt was read once, and is paid for once.
            paid = replace(completion, num_prompt_tokens=0) if number else completion
            self._arrive(request, Arrived(place, completion, raw), 0 if number else prompt, paid)
            tokens += completion.num_tokens
        return tokens

    def _wasted(self, call: Call, body: bytes) -> int | None:
        """A reply without an answer is paid for all the same; None where the call may be repeated."""
        sent = self.asked[call.place]
        self.meter.billed(*_billed(body))
        for number, (_, request) in enumerate(sent.group):
            self.meter.spent(0 if number else sent.prompt, request.sampling.max_tokens, None)
        let = self._let_in(sent.group, sent.prompt)
        if let == len(sent.group):
            return None
        for number, (_, request) in enumerate(sent.group[:let]):
            self.meter.spent(0 if number else sent.prompt, request.sampling.max_tokens, None)
        # It is a new call once there is room again. In this order: the other thread must not see all as over.
        self.ended = False
        self.offered.appendleft(sent.group)
        del self.asked[call.place]
        return 0

    def lost(self, call: Call, reason: str, detail: str) -> None:
        """There will be no answer: the caller gets the reason."""
        group, prompt = self.asked.pop(call.place)
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
            self._arrive(request, Arrived(place, nothing), 0 if number else prompt, None)

    def _arrive(self, request: Request, arrived: Arrived, prompt: int, paid: Completion | None) -> None:
        self.meter.spent(prompt, request.sampling.max_tokens, paid)
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
                self._put += _weight(fresh)
        finally:
            self.fresh = []
        self.ready.set()
        self.flushed()

    def take(self) -> tuple[list[Arrived], bool]:
        """All answers that came, for the caller's thread, and whether calls may have been held back because of them."""
        bunch = [self.came.popleft() for _ in range(len(self.came))]
        weight = _weight(bunch)
        self._taken += weight
        # Of two bunches that were too much together one is more than half.
        return bunch, _crowded(2 * len(bunch), 2 * weight)

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
