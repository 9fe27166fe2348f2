"""One journalled job against a server, in a forked process that a test may kill."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillwise.arrows import Ask, Completion, Request
from stillwise.models.http import HttpModel
from stillwise.models.model import Model
from stillwise.models.open import open_model
from stillwise.records import Sampling
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal
from stillwise.runtime.spending import Purse
from tests.models.serving import Scripted


@dataclass(frozen=True)
class Open:
    """Opens the model of a binding."""

    binding: str

    def __call__(self) -> Model:
        return open_model(self.binding, threads=1)


def asked(count: int, shuffle: int = 0, temperature: float = 0.6) -> list[Request]:
    """The job's requests, in some order."""
    sampling = Sampling(temperature=temperature, max_tokens=100)
    found = [Request(ask=Ask(user=f"q{i}"), seed=i, sampling=sampling) for i in range(count)]
    if shuffle:
        random.Random(shuffle).shuffle(found)
    return found


def complete(binding: str, journal: Path, requests: list[Request]) -> tuple[list[Completion], dict[str, int]]:
    """The answers, and the ledger."""
    executor, opened = Local(), Journal(journal)
    try:
        caller = JournalledCaller(step="s", opener=Open(binding), executor=executor, journal=opened)
        return caller.complete(requests, lambda *_: None), opened.ledger().get("s", {})
    finally:
        opened.close()
        executor.release()


@dataclass
class Job:
    """A job in a child of this process: no second interpreter has to start."""

    pid: int
    out: Path

    @classmethod
    def start(cls, binding: str, journal: Path, requests: list[Request]) -> Job:
        """Fork and begin."""
        out = journal.with_name("result.json")
        out.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            answers, ledger = complete(binding, journal, requests)
            texts = {request.ask.user: answer.text for request, answer in zip(requests, answers, strict=True)}
            failures = [answer.failure for answer in answers if answer.failure]
            out.write_text(json.dumps({"texts": texts, "failures": failures, "ledger": ledger}))
            os._exit(0)
        return cls(pid, out)

    def kill(self) -> bool:
        """End it at once; whether it was still working."""
        os.kill(self.pid, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(self.pid, 0)[1])

    def result(self) -> dict[str, Any]:
        """Wait for the end, and what came of it."""
        assert os.waitpid(self.pid, 0)[1] == 0
        return dict(json.loads(self.out.read_text()))


class Opened:
    """An opener of a model that is open already."""

    def __init__(self, model: HttpModel) -> None:
        self.model = model

    def __call__(self) -> HttpModel:
        return self.model


def caller(model: HttpModel, journal: Journal, purse: Purse | None = None) -> JournalledCaller:
    return JournalledCaller(step="s", opener=Opened(model), executor=Local(), journal=journal, purse=purse or Purse())


def ignore(places: Sequence[int], answers: Sequence[Any]) -> None:
    """Nobody listens."""


def calls(server: Scripted) -> int:
    """Exchanges so far that were no probes."""
    seen = server.seen()
    return int(seen["exchanges"]) - int(seen["probes"])
