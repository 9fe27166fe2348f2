"""Calls over several endpoints: least-outstanding routing, retries that hold no slot, endpoints that come and go.

Everything here runs in one event loop. A source hands out calls one by one and hears of each what came of it; nothing is
queued ahead of what the endpoints bear, so a million calls need no more memory than a thousand. Several sources may be open
at once, as when answers are judged by the model that gives them: limits hold for all together.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from stillwise.errors import UserError
from stillwise.models.endpoint import Endpoint, Result
from stillwise.models.http_spec import Teacher, proxy_of

if TYPE_CHECKING:
    from aiohttp import ClientSession

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 60.0
LONGEST_HOLD_S = 600.0
"""A server that asks for a longer pause is asked again all the same: a run must not sleep for a day unseen."""
THROTTLED_ATTEMPTS = 100
"""A 429 is no failure of the call; this many are a server that never lets it in."""
WATCH_S = 0.5
THINKING_SHARE = 0.25
"""A call that has been on its way for this share of the patience is taken for a long thought."""
FATAL = {401: "the key is not accepted", 403: "access is denied", 404: "no such model or route"}
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
KEEPALIVE_S = 60


@dataclass(eq=False, slots=True)
class Call:
    """One call on its way."""

    place: int
    path: str
    body: bytes
    tokens: int
    """Expected prompt and answer tokens, for limits by the minute."""
    attempts: int = 0
    throttled: int = 0
    began: float = 0.0
    """When it was sent last."""
    late: bool = False
    fault: str = ""
    """Why the last answer was none."""
    source: Source | None = None
    endpoint: Endpoint | None = None
    """Where it is on its way."""
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint said, or how it did not."""

    result: Result
    body: bytes = b""
    status: int = 0
    detail: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class Net:
    """Says so before an error leaves for where nobody would hear of it: a callback of the event loop."""

    stop: Callable[[BaseException], None]

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.stop(error)


class Source(Protocol):
    """Where calls come from and answers go to."""

    def pull(self) -> Call | None:
        """The next call, or None where there is none now."""

    @property
    def waiting(self) -> int:
        """Answers that came and are not yet durable: they count as in flight."""

    def answered(self, call: Call, body: bytes) -> int | None:
        """Take an answer; returns its generated tokens, or None where the body holds none."""

    def lost(self, call: Call, reason: str, detail: str) -> None:
        """Take note that there will be no answer."""

    def stop(self, error: BaseException) -> None:
        """Nothing more can come."""

    def count(self, name: str, by: int = 1) -> None:
        """Count exchanges for the ledger: sent, resolved, unknown, throttled, retried."""


@dataclass
class Bucket:
    """A limit by the minute; a whole minute's worth may go at once."""

    per_minute: int
    level: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = float(self.per_minute)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until so much may go; 0 for now."""
        self.level = min(float(self.per_minute), self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        wanted = min(amount, self.per_minute)
        return 0.0 if self.level >= wanted else (wanted - self.level) * 60 / self.per_minute

    def take(self, amount: float) -> None:
        """So much goes; may run into debt, which a later refill pays."""
        self.level -= amount


@dataclass(eq=False)
class Pool:
    """The endpoints of one teacher."""

    teacher: Teacher
    session: ClientSession
    secret: str
    """The key: some servers repeat it in their errors, which are kept."""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    """Whom it serves, in the order in which they came."""
    _calls: set[Call] = field(default_factory=set)
    """Calls on the way."""
    _retries: list[tuple[float, int, Call]] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _serial: int = 0
    _alone_since: float | None = None
    """Since when no endpoint is left."""

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._net = Net(self.fail)
        self._requests = (
            Bucket(self.teacher.requests_per_minute, at=self._loop.time()) if self.teacher.requests_per_minute else None
        )
        self._tokens = Bucket(self.teacher.tokens_per_minute, at=self._loop.time()) if self.teacher.tokens_per_minute else None

    def join(self, url: str) -> None:
        """An endpoint that gets calls from now on."""
        known = self.endpoints.get(url)
        if known is not None:
            known.draining = False
        else:
            self.endpoints[url] = Endpoint(url, self.teacher.in_flight, proxy=proxy_of(url))
        self.pump()

    def leave(self, url: str) -> None:
        """An endpoint that gets no further call; those that it has come to their end."""
        endpoint = self.endpoints.get(url)
        if endpoint is not None:
            endpoint.draining = True
            self._forget_drained()

    def _forget_drained(self) -> None:
        for url in [url for url, e in self.endpoints.items() if e.draining and not e.in_flight]:
            del self.endpoints[url]

    def attach(self, source: Source) -> None:
        """Serve this source until it is detached."""
        if not self.sources:
            self._start_afresh()
        self.sources.append(source)
        self.pump()

    def _start_afresh(self) -> None:
        # Nobody has asked for a while: what was ill then may be well.
        self._alone_since = None
        for endpoint in self.endpoints.values():
            endpoint.ill_since = None

    def detach(self, source: Source) -> None:
        """Forget a source; its calls on the way are abandoned."""
        self.sources.remove(source)
        self._retries = [retry for retry in self._retries if retry[2].source is not source]
        heapq.heapify(self._retries)
        for call in self._calls:
            if call.source is source:
                self._cancel(call)

    def fail(self, error: BaseException) -> None:
        """End everything with what nobody foresaw: a run must never wait for what cannot come."""
        for source in self.sources:
            source.stop(error)

    def fail_as(self, work: asyncio.Future[Any]) -> None:
        """End everything where work beside the calls was broken off."""
        if not work.cancelled() and (error := work.exception()) is not None:
            self.fail(error)

    @property
    def flying(self) -> int:
        """How many calls are on the way."""
        return len(self._calls)

    @staticmethod
    def _cancel(call: Call) -> None:
        if call.task is not None:
            call.task.cancel()

    async def end_late(self) -> None:
        """End calls that take too long, and the run where no endpoint is left, for ever."""
        # One look at all calls in a while costs less than a timer for each.
        while True:
            await asyncio.sleep(WATCH_S)
            if self.sources and all(endpoint.draining for endpoint in self.endpoints.values()):
                self._silence()
            now = self._loop.time()
            for call in self._calls:
                if now > call.began + self.teacher.timeout_s and not call.late:
                    call.late = True
                    self._cancel(call)

    def pump(self) -> None:
        """Send what may be sent now; called whenever something changed."""
        with self._net:
            self._set_timer(self._send())

    def _send(self) -> float | None:
        """Begin calls; seconds until it is worth looking again, None where an answer or a source says so."""
        now = self._loop.time()
        room = self._room() if self.sources else 0
        while self.sources:
            endpoint = self._pick(now)
            if endpoint is None or room <= 0:
                return self._next_change(now)
            if (wait := self._limits_wait(now)) > 0:
                return wait
            call = self._next_call(now)
            if call is None:
                return max(0.0, self._retries[0][0] - now) if self._retries else None
            self._begin(call, endpoint)
            room -= 1
        return None

    def _next_call(self, now: float) -> Call | None:
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        if len(self._retries) > 4 * self._capacity():
            return None
        # Whoever reads an older source waits for the newest one.
        for source in reversed(self.sources):
            call = source.pull()
            if call is not None:
                call.source = source
                return call
        return None

    def _room(self) -> int:
        """How many further calls may be on their way or not yet durable."""
        return self._capacity() - self.flying - sum(source.waiting for source in self.sources)

    def _capacity(self) -> int:
        total = 0
        for endpoint in self.endpoints.values():
            total += 0 if endpoint.draining else endpoint.capacity
        return total or 1

    def _pick(self, now: float) -> Endpoint | None:
        best: Endpoint | None = None
        for endpoint in self.endpoints.values():
            if endpoint.free(now) and (best is None or endpoint.outstanding < best.outstanding):
                best = endpoint
        return best

    def _next_change(self, now: float) -> float | None:
        times = [e.asked_at - now for e in self.endpoints.values() if not e.draining and e.asked_at > now]
        return min(times) if times else None

    def _limits_wait(self, now: float) -> float:
        wait = self._requests.wait_s(1, now) if self._requests else 0.0
        return max(wait, self._tokens.wait_s(1, now) if self._tokens else 0.0)

    def _set_timer(self, wait: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if wait is None else self._loop.call_later(wait + 0.001, self.pump)

    def _begin(self, call: Call, endpoint: Endpoint) -> None:
        assert call.source is not None
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(call.tokens)
        now = self._loop.time()
        endpoint.begin(now)
        call.endpoint = endpoint
        call.source.count("sent")
        call.began, call.late = now, False
        self._calls.add(call)
        call.task = self._loop.create_task(self._run(call.source, call, endpoint))
        call.task.add_done_callback(lambda task: self._ended(call, task))

    def _ended(self, call: Call, task: asyncio.Task[None]) -> None:
        """Tidy up behind a call that was abandoned or that broke something."""
        self._calls.discard(call)
        if call.endpoint is not None:
            call.endpoint.in_flight -= 1
            call.endpoint = None
        if task.cancelled():
            self._forget_drained()
            self.pump()
        elif (error := task.exception()) is not None and call.source is not None:
            call.source.stop(error)

    async def _run(self, source: Source, call: Call, endpoint: Endpoint) -> None:
        try:
            reply = await self._exchange(call, endpoint)
        except asyncio.CancelledError:
            if not call.late:
                raise
            reply = Reply(Result.UNKNOWN, detail=f"no answer in {self.teacher.timeout_s:g} s")
        self._calls.discard(call)
        wanted = source in self.sources
        tokens = source.answered(call, reply.body) if reply.result is Result.ANSWERED and wanted else 0
        result = reply.result if tokens is not None else Result.FAILED
        call.endpoint = None
        endpoint.learn(result, call.began, self._loop.time(), tokens or 0, reply.retry_after)
        if endpoint.draining:
            self._forget_drained()
        if wanted:
            self._account(source, call, reply, tokens)
        # Where the window is full of answers that are not durable yet, the caller's next step will pump.
        if self._retries or self._room() > 0:
            self.pump()

    def _account(self, source: Source, call: Call, reply: Reply, tokens: int | None) -> None:
        source.count("unknown" if reply.result is Result.UNKNOWN else "resolved")
        if self._tokens and tokens is not None and reply.result is Result.ANSWERED:
            self._tokens.take(tokens - call.tokens)
        if reply.result is Result.UNREACHABLE:
            self._unreachable(call)
            return
        if reply.result in (Result.FAILED, Result.UNKNOWN):
            self._silence()
        if reply.result is Result.ANSWERED and tokens is not None:
            return
        if reply.status in FATAL:
            said = f"{FATAL[reply.status]} (HTTP {reply.status}): {reply.detail}"
            source.stop(UserError(f"the server of {self.teacher.model}: {said}; nothing that was answered is lost"))
        elif reply.result is Result.REFUSED:
            source.lost(call, "refused", f"HTTP {reply.status}: {reply.detail}")
        else:
            self._retry(source, call, reply)

    def _unreachable(self, call: Call) -> None:
        self._silence()
        self._again(call, self._loop.time() + random.uniform(0.0, 0.05))

    def _silence(self) -> None:
        """Stop where no endpoint has been well for longer than the patience lasts."""
        now, patience_s = self._loop.time(), self.teacher.patience_s
        since = self._ill_since(now)
        # What has been on its way for long is a long thought: no failing server keeps a call for that.
        if since is None or now - since <= patience_s or any(now - c.began > THINKING_SHARE * patience_s for c in self._calls):
            return
        asked = ", ".join(self.endpoints) or "none is left"
        self.fail(UserError(f"no endpoint of {self.teacher.model} answered for {patience_s:g} s ({asked}); repeat later"))

    def _ill_since(self, now: float) -> float | None:
        """Since when every endpoint has only failed; None where one is well."""
        times = [endpoint.ill_since for endpoint in self.endpoints.values() if not endpoint.draining]
        if times:
            self._alone_since = None
            return None if None in times else max(time for time in times if time is not None)
        self._alone_since = now if self._alone_since is None else self._alone_since
        return self._alone_since

    def _retry(self, source: Source, call: Call, reply: Reply) -> None:
        throttled = reply.result is Result.THROTTLED
        call.throttled += throttled
        call.attempts += not throttled
        source.count("throttled" if throttled else "retried")
        if call.attempts >= self.teacher.attempts or call.throttled >= THROTTLED_ATTEMPTS:
            source.lost(call, _reason(reply), reply.detail or call.fault)
            return
        tried = call.throttled if throttled else call.attempts
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(tried - 1, 10)) * random.uniform(0.5, 1.5)
        self._again(call, self._loop.time() + max(wait, reply.retry_after or 0.0))

    def _again(self, call: Call, at: float) -> None:
        self._serial += 1
        heapq.heappush(self._retries, (at, self._serial, call))

    async def _exchange(self, call: Call, endpoint: Endpoint) -> Reply:
        import aiohttp

        try:
            async with self.session.post(endpoint.url + call.path, data=call.body, proxy=endpoint.proxy) as response:
                body = await response.read()
                if response.status != 200 and self.secret:
                    body = body.replace(self.secret.encode(), b"***")
                return _reply(response.status, body, response.headers.get("Retry-After"))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as err:
            return Reply(Result.UNREACHABLE, detail=type(err).__name__)
        except (aiohttp.ClientError, ConnectionError) as err:
            return Reply(Result.UNKNOWN, detail=type(err).__name__)


def _reply(status: int, body: bytes, retry_after: str | None) -> Reply:
    if status == 200:
        return Reply(Result.ANSWERED, body, status)
    detail = body[:300].decode("utf-8", "replace") or f"HTTP {status}"
    wait = seconds(retry_after)
    if status == 429:
        return Reply(Result.THROTTLED, b"", status, detail, wait)
    if status in RETRIED or status >= 500:
        return Reply(Result.FAILED, b"", status, detail, wait)
    return Reply(Result.REFUSED, b"", status, detail)


def seconds(retry_after: str | None) -> float | None:
    """A ``Retry-After`` header, seconds or a date, as seconds from now; None where it says nothing that can be kept."""
    stated = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", stated):
        return min(LONGEST_HOLD_S, float(stated))
    try:
        until = parsedate_to_datetime(stated)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(LONGEST_HOLD_S, max(0.0, until.timestamp() - time.time()))


def _reason(reply: Reply) -> str:
    words = {Result.THROTTLED: "throttled", Result.ANSWERED: "bad_answer", Result.FAILED: "server_error"}
    if reply.result is Result.UNKNOWN:
        return "timed_out" if reply.detail.startswith("no answer") else "connection_lost"
    return words.get(reply.result, str(reply.result.value))
