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
import warnings
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import UserError
from stillwise.models.endpoint import Endpoint
from stillwise.models.http_members import Members, asked_together
from stillwise.models.http_pool import Pool
from stillwise.models.http_probe import Asked, Needs, Probe
from stillwise.models.http_render import Rendering
from stillwise.models.http_spec import Teacher, proxy_of
from stillwise.models.http_stream import Feed, Group, Stream
from stillwise.models.http_wire import Dialect, Wire
from stillwise.models.model import Bunch, FreeMeter, Keep, Meter, keep_nothing

if TYPE_CHECKING:
    from aiohttp import ClientSession

T = TypeVar("T")

FLUSH_SHARE = 3
"""A third of a window of answers is a commit of its own."""
OFFERED = 4096
"""So many calls are made ready ahead."""
YOUNG_OBJECTS = 50_000
"""So many new objects between two looks for reference cycles while answers stream: they have none, and looking costs."""
LINGER_S = 0.1
"""Answers of so many seconds are handed to the caller's thread together."""
IDLE_POLL_S = 1.0
CONNECT_S = 30.0
BUSY = frozenset({429, 500, 502, 503, 504, 529})
PROBE_TIMEOUT_S = 15.0
"""For one short question; four times as long with each try."""


class HttpModel:
    """Implements ``StreamModel`` over a teacher's endpoints."""

    def __init__(self, teacher: Teacher, name: str) -> None:
        self.teacher, self._name = teacher, name
        self._key = teacher.key()
        self._rendering = Rendering(Path(teacher.tokenizer).expanduser()) if teacher.tokenizer else None
        self._thread: threading.Thread | None = None
        self._needs: Needs | None = None
        self._learning = threading.Lock()
        self._open, self._held_until = 0, 0.0
        self._told: deque[str] = deque()
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
        with self._learning:
            if self.dialect is None or self._needs is None or needs.beyond(self._needs):
                return self._await(self._survey(needs.with_(self._needs) if self._needs else needs))
            return self.dialect

    def stream(self, requests: Iterable[tuple[int, Request] | None], meter: Meter, keep: Keep) -> Iterator[Bunch]:
        """Answers in bunches as they come, each kept before it comes out; requests are taken as there is room for them."""
        feed = Feed(requests, self.teacher.n)
        groups = feed.take(1)
        while not groups and not feed.over:
            # The requests paused: what reads the stream may have something to do first.
            yield []
            groups = feed.take(1)
        if not groups:
            return
        stream = Stream(self._wire_for(groups), meter, keep)
        self._offer(stream, groups)
        pool = self._await(self._open_pool())
        loop, stream.flushed = self._loop, pool.pump
        stream.flush_at = max(1, self.teacher.in_flight // FLUSH_SHARE)
        if not self._open:
            self._held_until = loop.time()
        self._open += 1
        loop.call_soon_threadsafe(pool.attach, stream)
        try:
            with _collecting_seldom():
                yield from self._bunches(stream, feed, pool, loop)
        finally:
            self._open -= 1
            if self._thread is not None:
                self._await(self._detach(pool, stream))

    def _wire_for(self, groups: Sequence[Group]) -> Wire:
        return self._wire(self.learn(Needs.of(request for group in groups for _, request in group)))

    def _offer(self, stream: Stream, groups: Sequence[Group]) -> None:
        together = bool(self.dialect and self.dialect.n)
        stream.offered.extend(groups if together else ((each,) for group in groups for each in group))

    def _bunches(self, stream: Stream, feed: Feed, pool: Pool, loop: asyncio.AbstractEventLoop) -> Iterator[Bunch]:
        while not stream.over:
            self._warn()
            paused = self._fill(stream, feed, pool, loop)
            if paused or not stream.ready.wait(IDLE_POLL_S):
                yield []
            stream.ready.clear()
            stream.meter.held(self._held(loop.time()) * len(pool.endpoints))
            if stream.came and stream.asked and not paused:
                time.sleep(LINGER_S)
            bunch, crowded = stream.take()
            if bunch:
                yield bunch
            if crowded:
                loop.call_soon_threadsafe(pool.pump)
            if stream.error is not None and not stream.came:
                raise stream.error
        # The loop's thread may have stopped the stream since the last look.
        if stream.error is not None:
            raise stream.error

    def _warn(self) -> None:
        """Tell the user, from the user's own thread, what the loop's thread has found."""
        while self._told:
            warnings.warn(f"{self._name}: {self._told.popleft()}", RuntimeWarning, stacklevel=4)

    def _held(self, now: float) -> float:
        """Seconds since the last look at any stream: where one is read in the midst of another, time is paid for once."""
        before, self._held_until = self._held_until, now
        return now - before

    def _fill(self, stream: Stream, feed: Feed, pool: Pool, loop: asyncio.AbstractEventLoop) -> bool:
        """Offer more where little is left; whether the requests paused before there was enough."""
        if stream.closed or len(stream.offered) > OFFERED // 2:
            return False
        room = OFFERED - len(stream.offered)
        groups = feed.take(room)
        if groups:
            stream.wire = self._wire_for(groups)
            self._offer(stream, groups)
        stream.closed = feed.over
        loop.call_soon_threadsafe(pool.pump)
        return len(groups) < room and not feed.over

    @staticmethod
    async def _detach(pool: Pool, stream: Stream) -> None:
        try:
            stream.flush()
        finally:
            pool.detach(stream)

    # -- the loop ---------------------------------------------------------------------------------------------------------

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop's thread, which is started at first use."""
        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="stillwise-http", daemon=True)
            self._thread.start()
            self._pool: Pool | None = None
            self._session: ClientSession | None = None
            self._watch: asyncio.Future[Any] | None = None
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
            self._pool = Pool(self.teacher, await self._open_session(), self._key or "")
            self._members = Members(self._pool, self._look, self._told.append)
        return self._pool

    async def _survey(self, needs: Needs) -> Dialect:
        """Ask every endpoint what it honours; the first that says it decides, and who differs gets no calls."""
        pool = await self._open_pool()
        at_work = (url for url, endpoint in pool.endpoints.items() if not endpoint.draining)
        urls = dict.fromkeys([*at_work, *self.teacher.first_endpoints()])
        found = await asked_together({url: self._probe(url, needs) for url in urls})
        dialect = next((said for said in found.values() if isinstance(said, Dialect)), None)
        if dialect is None:
            raise self._nobody(found)
        self._needs, self.dialect = needs, dialect
        late = {url for url, said in found.items() if isinstance(said, asyncio.CancelledError)}
        self._members.settle({url: None if url in late else self._unlike(said) for url, said in found.items()})
        self._follow(pool)
        return dialect

    def _follow(self, pool: Pool) -> None:
        if self._watch is None:
            self._watch = asyncio.gather(pool.end_late(), self._members.follow(), self._members.follow_loads())
            self._watch.add_done_callback(pool.fail_as)

    def _nobody(self, found: Mapping[str, Dialect | BaseException]) -> BaseException:
        """Why no endpoint can be used: what one of them said, else that none said anything."""
        errors = {url: error for url, error in found.items() if isinstance(error, BaseException)}
        said = [error for error in errors.values() if not isinstance(error, _unreached())]
        reasons = "; ".join(f"{url}: {type(error).__name__}" for url, error in errors.items())
        nobody = UserError(f"no endpoint of {self.teacher.model} can be reached ({reasons or 'none is listed'})")
        return next(iter(said), nobody)

    def _unlike(self, found: Dialect | BaseException) -> str:
        """Why an endpoint cannot answer for the others; empty where it can."""
        if not isinstance(found, Dialect):
            return str(found) or type(found).__name__
        assert self.dialect is not None
        # Whether a seed decides is seen by two equal answers, which a busy server may fail to give; it is sent all the same.
        mine, first = (replace(one, server="", notes={}, seed=False) for one in (found, self.dialect))
        return "" if mine == first else "it honours other fields than the endpoints that work already"

    async def _look(self, url: str) -> str:
        """Why an endpoint that wants to join cannot answer for the others; empty where it can."""
        needs, found = None, Dialect("chat")
        expected: tuple[type[Exception], ...] = (UserError, *_unreached())
        # The needs may grow while it is asked.
        while needs is not self._needs:
            needs = self._needs or Needs()
            try:
                found = await self._probe(url, needs)
            except expected as err:
                return self._unlike(err)
        return self._unlike(found)

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
                async with session.request(method, where, json=body, timeout=timeout, proxy=proxy_of(url)) as response:
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

    def endpoints(self) -> list[Endpoint]:
        """The endpoints as they stand now."""
        return list(self._pool.endpoints.values()) if self._thread is not None and self._pool is not None else []

    def refused(self) -> dict[str, str]:
        """Listed endpoints that get no calls now, with the reason."""
        return dict(self._members.refused) if self.endpoints() else {}

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
            self._pool.fail(UserError(f"{self._name} was closed"))
        if self._watch is not None:
            self._watch.cancel()
        if self._session is not None:
            await self._session.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _unreached() -> tuple[type[Exception], ...]:
    """What is raised where a server is not there, or not well."""
    import aiohttp

    return aiohttp.ClientError, ConnectionError, TimeoutError


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
