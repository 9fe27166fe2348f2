"""A model behind an OpenAI-compatible server, or behind many that answer alike.

An event loop in a thread of its own sends, reads and makes answers durable; the caller's thread grades them meanwhile. A
call counts as in flight until its answer is durable, so a kill never costs more than one window of calls.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import StillwiseError, UserError
from stillwise.models.endpoint import Endpoint
from stillwise.models.http_pool import Call, Pool
from stillwise.models.http_probe import Asked, Needs, Probe
from stillwise.models.http_render import Rendering
from stillwise.models.http_spec import Teacher
from stillwise.models.http_wire import BadAnswer, Dialect, Wire
from stillwise.models.model import Arrived, Bunch, FreeMeter, Keep, Meter, keep_nothing
from stillwise.records import Finish

if TYPE_CHECKING:
    from aiohttp import ClientSession

T = TypeVar("T")

FLUSH_S, FLUSH_SHARE = 0.02, 3
"""Answers become durable together, one commit for all: a third of a window of them, or those of so many seconds."""
YOUNG_OBJECTS = 50_000
"""So many new objects between two looks for reference cycles while answers stream: they have none, and looking costs."""
LINGER_S = 0.05
"""Answers of so many seconds are handed to the caller's thread together."""
MOST_UNREAD = 4096
"""No further call is sent while the caller has so many answers to read."""
IDLE_POLL_S = 1.0
CONNECT_S = 30.0
CHARS_PER_TOKEN = 3
BUSY = frozenset({429, 500, 502, 503, 504, 529})
PROBE_TIMEOUT_S = 15.0
"""For one short question; four times as long with each try."""


@dataclass(eq=False)
class Stream:
    """One job's calls and what came of them: handed between the loop (``Source``) and the caller's thread."""

    wire: Wire
    requests: Iterator[tuple[int, Request]]
    meter: Meter
    keep: Keep
    asked: dict[int, Request] = field(default_factory=dict)
    fresh: list[Arrived] = field(default_factory=list)
    """Answers that are not yet durable."""
    came: deque[Arrived] = field(default_factory=deque)
    """Durable answers for the caller's thread."""
    flush_at: int = 1
    """So many answers are a commit of their own."""
    flushed: Callable[[], None] = lambda: None
    """Called when answers have become durable: there is room for other calls."""
    error: Exception | None = None
    ended: bool = False
    """Nothing more is pulled: the requests are over, or the budget is."""
    ready: threading.Event = field(default_factory=threading.Event)
    _next: tuple[int, Request] | None = None
    _timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Answers that came and are not yet durable."""
        return len(self.fresh)

    def pull(self) -> Call | None:
        """The next call, or None where the requests are over or the budget has no room for it now."""
        if self.ended or self.error is not None or len(self.came) > MOST_UNREAD:
            return None
        self._next = self._next or next(self.requests, None)
        if self._next is None:
            self._end()
            return None
        place, request = self._next
        expected = len(request.ask.user) // CHARS_PER_TOKEN + 1
        if not self.meter.may(expected, request.sampling.max_tokens):
            # Calls on the way may cost less than was set aside for them; with none of them, the budget is over.
            if not self.asked:
                self._end()
            return None
        self._next = None
        return self._call(place, request, expected)

    def _call(self, place: int, request: Request, expected: int) -> Call | None:
        try:
            call = Call(
                place, self.wire.path(request), self.wire.body(request), expected + min(request.sampling.max_tokens, 1024)
            )
        except UserError as err:
            self.stop(err)
            return None
        self.asked[place] = request
        return call

    def _end(self) -> None:
        self.ended = True
        self.ready.set()

    def answered(self, call: Call, body: bytes) -> int | None:
        """Take an answer; None where the body holds none."""
        request = self.asked[call.place]
        try:
            completion = self.wire.read(request, body)
        except BadAnswer:
            return None
        self._arrive(request, Arrived(call.place, completion, body))
        return completion.num_tokens

    def lost(self, call: Call, reason: str, detail: str) -> None:
        """There will be no answer: the caller gets the reason."""
        request = self.asked[call.place]
        nothing = Completion(
            prompt=request.ask.user,
            text="",
            num_prompt_tokens=0,
            num_tokens=0,
            finish=Finish.STOP,
            failure=reason,
            detail=detail,
        )
        self.meter.count("lost")
        self._arrive(request, Arrived(call.place, nothing))

    def _arrive(self, request: Request, arrived: Arrived) -> None:
        known = arrived.completion if arrived.raw else None
        self.meter.spent(len(request.ask.user) // CHARS_PER_TOKEN + 1, request.sampling.max_tokens, known)
        del self.asked[arrived.place]
        self.fresh.append(arrived)
        if len(self.fresh) >= self.flush_at:
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
            self.keep(fresh)
        except StillwiseError as err:
            self.error = self.error or err
            self._end()
        else:
            # In this order: the other thread must never see an answer that is neither fresh nor come.
            self.came.extend(fresh)
        self.fresh = []
        self.ready.set()
        self.flushed()

    def stop(self, error: UserError) -> None:
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


class HttpModel:
    """Implements ``StreamModel`` over a teacher's endpoints."""

    def __init__(self, teacher: Teacher, name: str) -> None:
        self.teacher, self._name = teacher, name
        self._key = teacher.key()
        self._rendering = Rendering(Path(teacher.tokenizer).expanduser()) if teacher.tokenizer else None
        self._thread: threading.Thread | None = None
        self._needs: Needs | None = None
        self._lock = threading.Lock()
        self.dialect: Dialect | None = None
        """What the server was found to honour; None before the first call."""

    @property
    def name(self) -> str:
        """The binding as the user wrote it."""
        return self._name

    @cached_property
    def revision(self) -> str:
        """A digest of model, declared revision, tokenizer and template; endpoints and limits are no part of it."""
        return self.teacher.identity

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Every request for itself: a server's batches are its own affair."""
        return [(place,) for place in range(len(requests))]

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""
        found: dict[int, Completion] = {}
        for bunch in self.stream(enumerate(batch), FreeMeter(), keep_nothing):
            found.update((arrived.place, arrived.completion) for arrived in bunch)
        return [found[place] for place in range(len(batch))]

    def render(self, ask: Ask) -> tuple[str, str]:
        """Prompt and opened part by our own rendering; without a tokenizer folder the user's message, and nothing opened."""
        return self._rendering.render(ask) if self._rendering else (ask.user, "")

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the tokenizer folder."""
        if self._rendering is None:
            raise UserError(f"tokens of {self._name} cannot be counted here; give tokenizer=FOLDER")
        return self._rendering.count(text)

    def read(self, request: Request, raw: bytes) -> Completion:
        """The answer in a raw body that was kept."""
        return self._wire(self.dialect or Dialect("chat")).read(request, raw)

    def _wire(self, dialect: Dialect) -> Wire:
        teacher = self.teacher
        return Wire(teacher.model, dialect, self._rendering, teacher.extra, teacher.logprobs)

    def learn(self, needs: Needs) -> Dialect:
        """Ask the server what it honours, as far as these needs go and it is not known yet."""
        if self.dialect is None or self._needs is None or needs.beyond(self._needs):
            self._needs = needs.with_(self._needs) if self._needs else needs
            self.dialect = self._await(self._probe_any(self._needs))
        return self.dialect

    def stream(self, requests: Iterable[tuple[int, Request]], meter: Meter, keep: Keep) -> Iterator[Bunch]:
        """Answers in bunches as they come, each kept before it comes out."""
        asked = list(requests)
        if not asked:
            return
        wire = self._wire(self.learn(Needs.of(request for _, request in asked)))
        stream = Stream(wire, iter(asked), meter, keep)
        with self._lock:
            pool = self._await(self._open_pool())
            loop, stream.flushed = self._loop, pool.pump
            stream.flush_at = max(1, self.teacher.in_flight // FLUSH_SHARE)
            loop.call_soon_threadsafe(pool.attach, stream)
            try:
                with _collecting_seldom():
                    yield from self._bunches(stream, pool, loop)
            finally:
                self._await(self._detach(pool, stream))

    def _bunches(self, stream: Stream, pool: Pool, loop: asyncio.AbstractEventLoop) -> Iterator[Bunch]:
        began = loop.time()
        while not stream.over:
            if not stream.ready.wait(IDLE_POLL_S):
                yield []
            stream.ready.clear()
            now = loop.time()
            stream.meter.held((now - began) * len(pool.endpoints))
            began = now
            if stream.came and stream.asked:
                time.sleep(LINGER_S)
            bunch = [stream.came.popleft() for _ in range(len(stream.came))]
            crowded = len(bunch) > MOST_UNREAD
            if bunch:
                yield bunch
            if crowded:
                loop.call_soon_threadsafe(pool.pump)
            if stream.error is not None and not stream.came:
                raise stream.error

    @staticmethod
    async def _detach(pool: Pool, stream: Stream) -> None:
        stream.flush()
        pool.detach()

    # -- the loop ---------------------------------------------------------------------------------------------------------

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop's thread, which is started at first use."""
        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="stillwise-http", daemon=True)
            self._thread.start()
            self._pool: Pool | None = None
            self._session: ClientSession | None = None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open_session(self) -> ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=60, socket_factory=_socket)
            # The pool ends calls that take too long.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), headers=self._headers
            )
        return self._session

    @property
    def _headers(self) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"Content-Type": "application/json", **authorization}

    async def _open_pool(self) -> Pool:
        if self._pool is None:
            session = await self._open_session()
            self._pool = Pool(self.teacher, session, self._key or "", self._admit)
            for url in self.teacher.first_endpoints():
                self._pool.join(url)
            self._watch = asyncio.get_running_loop().create_task(self._pool.watch())
        return self._pool

    async def _probe_any(self, needs: Needs) -> Dialect:
        """The dialect of the first endpoint that is reachable."""
        import aiohttp

        reasons = []
        urls = self.teacher.first_endpoints()
        for url in urls:
            try:
                return await self._probe(url, needs)
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as err:
                reasons.append(f"{url}: {type(err).__name__}")
        raise UserError(f"no endpoint of {self.teacher.model} can be reached ({'; '.join(reasons) or 'none is listed'})")

    async def _probe(self, url: str, needs: Needs) -> Dialect:
        session = await self._open_session()

        async def ask(path: str, body: Mapping[str, Any] | None) -> Asked:
            return await self._asked(session, url, path, body)

        return await Probe(self.teacher, ask, self._rendering).find(needs)

    async def _asked(self, session: ClientSession, url: str, path: str, body: Mapping[str, Any] | None) -> Asked:
        """Status and decoded body of one question; a server that is busy for a moment is asked again."""
        import aiohttp

        where = url.removesuffix("/v1") + path[3:] if path.startswith("/..") else url + path
        status, found = 503, None
        for tries, wait in enumerate((0.1, 0.3, 1.0, 3.0, None)):
            timeout = aiohttp.ClientTimeout(total=min(self.teacher.timeout_s, PROBE_TIMEOUT_S * 4**tries))
            with suppress(aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError, TimeoutError):
                method = "GET" if body is None else "POST"
                async with session.request(method, where, json=body, timeout=timeout) as response:
                    status, found = response.status, self._decoded(await response.read())
            if wait is None or (status not in BUSY and (found is not None or status != 200)):
                break
            await asyncio.sleep(wait)
        return status, found

    def _decoded(self, raw: bytes) -> Any:
        """The JSON of a body, without the key: some servers repeat it in their errors."""
        text = raw.decode("utf-8", "replace")
        with suppress(ValueError):
            return json.loads(text.replace(self._key, "***") if self._key else text)
        return None

    async def _admit(self, url: str) -> str:
        """Why an endpoint that wants to join cannot answer for the others; empty where it can."""
        import aiohttp

        try:
            found = await self._probe(url, self._needs or Needs())
        except (UserError, aiohttp.ClientError, ConnectionError, TimeoutError) as err:
            return str(err) or type(err).__name__
        mine = replace(found, server="", notes={})
        first = replace(self.dialect, server="", notes={}) if self.dialect else mine
        return "" if mine == first else "it honours other fields than the endpoints that work already"

    def endpoints(self) -> list[Endpoint]:
        """The endpoints as they stand now."""
        return list(self._pool.endpoints.values()) if self._thread is not None and self._pool is not None else []

    def close(self) -> None:
        """End all calls and the loop's thread."""
        if self._thread is None:
            return
        with suppress(asyncio.CancelledError):
            self._await(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = None

    async def _shut(self) -> None:
        if self._pool is not None:
            self._pool.detach()
            self._watch.cancel()
        if self._session is not None:
            await self._session.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    before = gc.get_threshold()
    # A threshold of 0 is a collector that somebody switched off.
    gc.set_threshold(before[0] and max(before[0], YOUNG_OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _socket(address: Any) -> socket.socket:
    """A socket that notices within minutes that the other end is gone: a long thought sends nothing for an hour."""
    found = socket.socket(address[0], address[1], address[2])
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return found
