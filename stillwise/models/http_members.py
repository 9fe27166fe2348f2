"""Which endpoints answer for a teacher: those that are listed and honour what the first one honours, for as long as they do.

Whoever is refused or cannot be reached is asked again after a while, longer each time; nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stillwise.errors import UserError
from stillwise.models.endpoint import Endpoint
from stillwise.models.http_pool import Pool
from stillwise.models.http_spec import read_endpoints

T = TypeVar("T")

LOOK_S, LOAD_S = 0.5, 2.0
ADMIT_S = 300.0
"""For all the short questions to an endpoint that wants to join."""
GRACE_S = 2.0
"""When one endpoint has said what it honours, the others have so long to say it too before the job begins without them."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


async def asked_together(work: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T | BaseException]:
    """What came of each, of all at once: a result or the error; CancelledError for what was long after the first result."""
    tasks = {name: asyncio.ensure_future(one) for name, one in work.items()}
    pending = set(tasks.values())
    while pending and all(task in pending or task.exception() for task in tasks.values()):
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        _, pending = await asyncio.wait(pending, timeout=GRACE_S)
    for task in pending:
        task.cancel()
    found = await asyncio.gather(*tasks.values(), return_exceptions=True)
    return dict(zip(tasks, found, strict=True))


@dataclass(eq=False)
class Members:
    """Lets endpoints into one pool and takes them out of it."""

    pool: Pool
    look: Callable[[str], Coroutine[Any, Any, str]]
    """Asks an endpoint: an empty string, or why it cannot answer for the others."""
    tell: Callable[[str], None]
    """Says something to the user."""
    refused: dict[str, str] = field(default_factory=dict)
    """Listed endpoints that get no calls, with the reason."""
    _wanted: tuple[str, ...] = ()
    _seen: tuple[str, ...] | str = ()
    """What the file held at the last look, or why it could not be read."""
    _said: set[str] = field(default_factory=set)
    _asking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _pauses: dict[str, float] = field(default_factory=dict)
    _again_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def settle(self, reasons: Mapping[str, str | None]) -> None:
        """Begin with these endpoints, or go on with them: a reason against each, empty for none; None asks it once more."""
        self._wanted = tuple(reasons)
        for url, reason in reasons.items():
            if reason is None:
                self.pool.leave(url)
            else:
                self._decide(url, reason)

    def _decide(self, url: str, reason: str) -> None:
        if not reason:
            self._forget(url)
            self.pool.join(url)
            return
        self.pool.leave(url)
        self.refused[url] = reason
        pause = self._pauses.get(url, FIRST_PAUSE_S)
        self._again_at[url], self._pauses[url] = self._loop.time() + pause, min(LONGEST_PAUSE_S, 2 * pause)
        self._say(f"{url} gets no calls: {reason}; it is asked again from time to time")

    def _forget(self, url: str) -> None:
        for known in (self.refused, self._pauses, self._again_at):
            known.pop(url, None)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.tell(text)

    async def follow(self) -> None:
        """Follow the list of endpoints for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self._wanted = await self._listed()
            for url in [url for url, e in self.pool.endpoints.items() if url not in self._wanted and not e.draining]:
                self.pool.leave(url)
            for url in [url for url in self.refused if url not in self._wanted]:
                self._forget(url)
            for url in self._wanted:
                self._ask(url)

    async def _listed(self) -> tuple[str, ...]:
        """The endpoints as listed now. Two looks must see the same: whoever writes the file may be in the midst of it."""
        path, before = self.pool.teacher.endpoints_file, self._seen
        if path is None:
            return self._wanted
        try:
            self._seen = await asyncio.to_thread(read_endpoints, path)
        except (OSError, UserError, ValueError) as err:
            self._seen = str(err)
            if self._seen == before:
                self._say(f"{path} cannot be read, the endpoints stay as they are: {err}")
            return self._wanted
        return (*self.pool.teacher.endpoints, *self._seen) if self._seen == before else self._wanted

    def _ask(self, url: str) -> None:
        """Ask an endpoint whether it may join, where it has not and it is time."""
        known = self.pool.endpoints.get(url)
        if (
            (known is not None and not known.draining)
            or url in self._asking
            or self._loop.time() < self._again_at.get(url, 0.0)
        ):
            return
        task = self._asking[url] = self._loop.create_task(self._asked(url))
        task.add_done_callback(lambda task: self._ended(url, task))

    async def _asked(self, url: str) -> None:
        try:
            async with asyncio.timeout(ADMIT_S):
                reason = await self.look(url)
        except TimeoutError:
            reason = f"no answer in {ADMIT_S:g} s"
        if url in self._wanted:
            self._decide(url, reason)

    def _ended(self, url: str, task: asyncio.Task[None]) -> None:
        del self._asking[url]
        self.pool.fail_as(task)

    async def follow_loads(self) -> None:
        """Follow the servers' own reports of their load for ever."""
        while True:
            await asyncio.sleep(LOAD_S)
            await asyncio.gather(*map(self._read_load, self.pool.endpoints.values()))

    async def _read_load(self, endpoint: Endpoint) -> None:
        import aiohttp

        if not endpoint.reports_load:
            return
        where, patience = endpoint.url.removesuffix("/v1") + "/load", aiohttp.ClientTimeout(total=LOAD_S)
        try:
            async with self.pool.session.get(where, timeout=patience, proxy=endpoint.proxy) as response:
                endpoint.reports_load = response.status == 200
                found = json.loads(await response.read()) if response.status == 200 else None
        except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError, RecursionError):
            return
        load = found.get("server_load") if isinstance(found, dict) else None
        endpoint.foreign = max(0, load - endpoint.in_flight) if isinstance(load, int) else 0
