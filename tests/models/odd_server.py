"""A server whose every answer is written by the test, in threads beside it: for what no well-made server says."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from stillwise.models.http_probe import QUESTION

Said = tuple[int, bytes, dict[str, str]]
"""Status, body, headers."""
Script = Callable[[str, int], Said]
"""What is said to a question when it is asked for the so-many-th time."""


def choice(content: Any, finish: Any = "stop", **more: Any) -> bytes:
    """A body with one message."""
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish, **more}], "usage": usage}).encode()


def well(body: bytes) -> Said:
    """A body with status 200."""
    return 200, body, {}


class Odd:
    """One running server."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: Counter[str] = Counter()
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def said(self, path: str, body: bytes) -> Said:
        """Probes get an answer; everything else is the script's."""
        if not path.endswith("/chat/completions"):
            return 404, b"{}", {}
        question = str(json.loads(body)["messages"][0]["content"])
        if question == QUESTION:
            return well(choice("one two three"))
        self.asked[question] += 1
        return self.script(question, self.asked[question])


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own: a script may sleep."""

    protocol_version = "HTTP/1.1"
    odd: ClassVar[Odd]

    def do_GET(self) -> None:
        """Nothing is listed."""
        self._say(404, b"{}", {})

    def do_POST(self) -> None:
        """One call."""
        self._say(*self.odd.said(self.path, self.rfile.read(int(self.headers["Content-Length"]))))

    def _say(self, status: int, answer: bytes, headers: dict[str, str]) -> None:
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said about it."""


class Threads(ThreadingHTTPServer):
    """Many at once, and nobody waits for a call that hangs."""

    daemon_threads, block_on_close, request_queue_size = True, False, 512


@contextmanager
def odd(script: Script) -> Iterator[Odd]:
    """Such a server for a while."""
    server = Odd(script)
    handler = type("Bound", (Handler,), {"odd": server})
    with Threads(("127.0.0.1", 0), handler) as listening:
        server.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
