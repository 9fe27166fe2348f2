"""One server in two roles: answers are judged by the model that gives them, while it gives more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Sampled, Tools
from stillwise.models.http import HttpModel
from stillwise.models.model import FreeMeter
from stillwise.records import Problem
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal
from stillwise.sample.paradigms import Think
from stillwise.sample.rejection import All
from stillwise.verify.judge import Judge
from tests.asking import Here, counting
from tests.models.serving import model_of, serving
from tests.runtime.http_job import Open, asked

STUCK_S = 120.0


def ended(job: Callable[[], Any]) -> list[Any]:
    """What a job returns; a job that never ends fails the test and not the whole session."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(job()), daemon=True)
    thread.start()
    thread.join(STUCK_S)
    return found


def test_a_judge_and_a_sampler_share_one_server(tmp_path: Path) -> None:
    def job() -> list[Any]:
        executor, journal = Local(), Journal(tmp_path / "j.sqlite")
        opener = Open(f"{server.url}#scripted?in_flight=8&timeout_s=5")
        both = {
            name: JournalledCaller(step="s", opener=opener, executor=executor, journal=journal) for name in ("think", "judge")
        }
        tools = Tools(step="s", seed=0, callers=both, graders=Here(), progress=counting)
        problems = [Problem.of(f"What is {i} + 2?", str(i + 2)) for i in range(60)]
        sampler = All(by="think", paradigm=Think(), tries=1, max_tokens=200, verify=Judge(by="judge", max_tokens=300))
        try:
            return list(sampler.sample(problems, tools))
        finally:
            journal.close()
            executor.release()

    with serving("--latency", "0.01") as server:
        (found,) = ended(job) or ["the job hangs"]
        assert [type(one) for one in found] == [Sampled] * 60
        seen = server.seen()
    assert seen["most_at_once"] <= 8 + 1, "the limit holds for both together; a probe goes beside it"
    assert len(seen["answered"]) > 60, "the judge was asked"


class Held(FreeMeter):
    """A meter that remembers for how long endpoints were held."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def held(self, endpoint_seconds: float) -> None:
        """So long."""
        self.seconds += endpoint_seconds


def nested(model: HttpModel, outer: Held, inner: Held) -> tuple[int, int]:
    """Answers of a stream, and of another that is read to its end in the midst of the first."""
    counts = [0, 0]
    for bunch in model.stream(enumerate(asked(40)), outer, lambda _: None):
        counts[0] += len(bunch)
        if bunch and not counts[1]:
            counts[1] = sum(len(b) for b in model.stream(enumerate(asked(30, temperature=0.1)), inner, lambda _: None))
    return counts[0], counts[1]


def test_time_is_paid_for_once_where_one_stream_is_read_within_another() -> None:
    with serving("--latency", "0.05") as server, model_of(server, in_flight=4) as model:
        outer, inner = Held(), Held()
        model.generate(asked(1))
        before = time.monotonic()
        assert ended(lambda: nested(model, outer, inner)) == [(40, 30)]
        lasted = time.monotonic() - before
    assert inner.seconds > 0
    assert outer.seconds + inner.seconds <= lasted


def test_a_stream_that_is_left_early_leaves_the_other_its_calls() -> None:
    def job() -> Sequence[int]:
        outer = model.stream(enumerate(asked(40)), Held(), lambda _: None)
        count = len(next(outer))
        inner = model.stream(enumerate(asked(400, temperature=0.1)), Held(), lambda _: None)
        next(inner)
        inner.close()  # type: ignore[attr-defined]
        return [count + sum(len(bunch) for bunch in outer), len(model._pool.sources) if model._pool else -1]

    with serving("--latency", "0.05") as server, model_of(server, in_flight=4) as model:
        assert ended(job) == [[40, 0]]
        assert [endpoint.in_flight for endpoint in model.endpoints()] == [0]


@pytest.mark.parametrize("where", ["call", "keep"])
def test_what_nobody_foresaw_ends_the_run_with_its_error(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    def job() -> Any:
        keep = broken if where == "keep" else lambda _: None
        try:
            return [len(bunch) for bunch in model.stream(enumerate(asked(40)), Held(), keep)]
        except ZeroDivisionError as err:
            return str(err)

    if where == "call":
        monkeypatch.setattr("stillwise.models.http_pool._reply", broken)
    with serving() as server, model_of(server, in_flight=4) as model:
        assert ended(job) == ["a bug"]
