"""The scripted server as a process of its own, steered from a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stillwise.arrows import Ask, Request
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from stillwise.records import Sampling


@dataclass
class Scripted:
    """One running server."""

    process: subprocess.Popen[bytes]
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.host}:{self.port}/v1"

    def _control(self, name: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/control/{name}", data=data, timeout=10) as answer:
            return json.loads(answer.read())

    def become(self, **profile: Any) -> None:
        """Change the profile; what is not named is as at the start."""
        fresh = {"latency": 0.0, "spread": 0.0, "tail": 0.0, "words": 40, "shares": {}, "dialect": "vllm", "key": ""}
        more = {"reasoning": "reasoning", "at_once": 0, "refuse_above": 0, "stall_after": 0}
        self.change(**{**fresh, **more, **profile})
        self._control("forget")

    def change(self, **profile: Any) -> None:
        """Change these fields alone; nothing is forgotten."""
        self._control("profile", profile)

    def seen(self) -> dict[str, Any]:
        """What the server remembers."""
        return dict(self._control("seen"))

    def stop(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.communicate()


def own_host() -> str:
    """A loopback address of this process alone: a port that was free there stays free."""
    pid = os.getpid()
    return f"127.{1 + pid // 65536 % 250}.{pid // 256 % 256}.{pid % 256}"


def start(*flags: str, port: int = 0, host: str = "127.0.0.1") -> Scripted:
    """A new server."""
    command = [sys.executable, "-m", "stillwise.models.scripted_server", "--host", host, "--port", str(port), *flags]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return Scripted(process, json.loads(process.stdout.readline())["port"], host)


@contextmanager
def serving(*flags: str) -> Iterator[Scripted]:
    """A server for a while."""
    server = start(*flags)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def model_of(*servers: Scripted, **fields: Any) -> Iterator[HttpModel]:
    """A model behind these servers."""
    given = {"endpoints": tuple(server.url for server in servers), "model": "scripted", "timeout_s": 5.0, **fields}
    model = HttpModel(Teacher.model_validate(given), "test")
    try:
        yield model
    finally:
        model.close()


def requests(count: int, **sampling: Any) -> list[Request]:
    """So many different requests."""
    return [
        Request(ask=Ask(user=f"q{i}"), seed=1000 + i, sampling=Sampling(**{"max_tokens": 200, **sampling}))
        for i in range(count)
    ]


def boxed(texts: Sequence[str]) -> list[str]:
    """The last line of each text."""
    return [text.splitlines()[-1] for text in texts]
