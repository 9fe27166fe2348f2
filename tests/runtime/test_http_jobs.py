"""Jobs against a server that misbehaves, and jobs that are killed: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ban, Request, Sampled, Tools
from stillwise.errors import RunLocked, UserError
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Price, Teacher
from stillwise.models.model import FreeMeter, keep_nothing
from stillwise.records import Failure, Problem, Sampling
from stillwise.runtime import caller as runtime_caller
from stillwise.runtime import draw as runtime_draw
from stillwise.runtime.journal import Journal
from stillwise.sample.paradigms import Think
from stillwise.sample.rejection import All
from tests.asking import Here, counting
from tests.models.serving import Scripted, model_of, serving
from tests.runtime.http_job import Job, asked, caller, calls, ignore

WINDOW = 16
FAULTS = {
    "throttle": 0.06,
    "error": 0.04,
    "hang": 0.01,
    "reset": 0.06,
    "cut": 0.04,
    "garbage": 0.04,
    "empty": 0.02,
    "truncate": 0.02,
    "split": 0.02,
}


def binding(server: Scripted) -> str:
    return f"{server.url}#scripted?in_flight={WINDOW}&timeout_s=5"


def finished(server: Scripted, journal: Path, requests: list[Request]) -> dict[str, Any]:
    """What came of a job that nobody disturbs."""
    return Job.start(binding(server), journal, requests).result()


def killed_at(server: Scripted, journal: Path, count: int, answered: int) -> None:
    """Start the job, and kill it when the server has sent off so many answers."""
    # Where this process is slow to look, the server waits: the job never comes to its end.
    server.change(stall_after=answered + WINDOW)
    running = Job.start(binding(server), journal, asked(count))
    end = time.monotonic() + 60
    while len(server.seen()["answered"]) < answered and time.monotonic() < end:
        time.sleep(0.002)
    assert running.kill(), "it was killed in mid-job"
    server.change(stall_after=0)


def check_kill(server: Scripted, folder: Path, count: int, answered: int) -> None:
    server.become(latency=0.03)
    journal = folder / "journal.sqlite"
    killed_at(server, journal, count, answered)
    result = finished(server, journal, asked(count, shuffle=5))
    assert sorted(result["texts"]) == sorted(f"q{i}" for i in range(count))
    assert not result["failures"]
    assert calls(server) <= count + WINDOW, "one window of calls may have to be repeated"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_kill_costs_one_window_at_most(server: Scripted, tmp_path: Path, share: float) -> None:
    check_kill(server, tmp_path, 300, int(300 * share))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_kills(server: Scripted, tmp_path: Path, seed: int) -> None:
    check_kill(server, tmp_path, 1000, random.Random(seed).randrange(20, 900))


def test_a_torn_tail_costs_its_own_answers_only(server: Scripted, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    server.become(latency=0.02)
    killed_at(server, journal, 200, 150)
    log = journal.with_name(journal.name + "-wal")
    assert log.is_file(), "a killed writer leaves its log"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1000)
    before = calls(server)
    result = finished(server, journal, asked(200))
    assert len(result["texts"]) == 200
    assert calls(server) - before <= 200 - 150 + 3 * WINDOW


def test_order_and_growth_cost_only_what_is_new(server: Scripted, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    first = finished(server, journal, asked(60))
    again = finished(server, journal, asked(60, 7))
    assert again["texts"] == first["texts"]
    assert calls(server) == 60
    grown = finished(server, journal, asked(80, 3))
    assert {name: grown["texts"][name] for name in first["texts"]} == first["texts"]
    assert calls(server) == 80
    finished(server, journal, asked(80, 0, 0.7))
    assert calls(server) == 160, "another temperature is another answer"


def test_eight_samples_after_four_pay_for_four(server: Scripted, tmp_path: Path) -> None:
    def wave(index: int) -> list[Request]:
        return [replace(request, seed=1000 * index + request.seed) for request in asked(20)]

    with model_of(server) as model:
        journal = Journal(tmp_path / "j.sqlite")
        for index in (*range(4), *range(8)):
            caller(model, journal).complete(wave(index), ignore)
        journal.close()
    assert calls(server) == 20 * 8


def test_equal_requests_are_asked_once(server: Scripted, tmp_path: Path) -> None:
    with model_of(server) as model:
        journal = Journal(tmp_path / "j.sqlite")
        answers = caller(model, journal).complete([*asked(5), *asked(5)], ignore)
        journal.close()
    assert answers[:5] == answers[5:]
    assert calls(server) == 5


def test_another_endpoint_of_the_same_model_pays_nothing(server: Scripted, tmp_path: Path) -> None:
    with serving() as other:
        texts = []
        for one in (server, other):
            with model_of(one) as model:
                journal = Journal(tmp_path / "j.sqlite")
                texts.append(caller(model, journal).complete(asked(10), ignore))
                journal.close()
        assert texts[0] == texts[1]
        assert calls(other) == 0


def test_the_journal_is_read_without_the_server(server: Scripted, tmp_path: Path) -> None:
    gone = Scripted(server.process, 9)
    for one in (server, gone):
        with model_of(one) as model:
            journal = Journal(tmp_path / "j.sqlite")
            assert len(caller(model, journal).complete(asked(10), ignore)) == 10
            journal.close()


def faults(server: Scripted, folder: Path, count: int) -> None:
    server.become(latency=0.01, shares=FAULTS)
    with model_of(server, timeout_s=5.0, in_flight=64) as model:
        journal = Journal(folder / "j.sqlite")
        answers = caller(model, journal).complete(asked(count), ignore)
        ledger, seen = journal.ledger()["s"], server.seen()
        again = caller(model, journal).complete(asked(count), ignore)
        journal.close()
    lost = [answer for answer in answers if answer.failure]
    assert len(lost) <= count * 0.01
    assert all(answer.failure and answer.detail for answer in lost)
    assert set(seen["faults"]) >= set(FAULTS)
    assert max(seen["answered"].values()) == 1, "an answer that came whole is never asked for again"
    assert len(seen["answered"]) == count - len(lost)
    assert ledger["answered"] == count - len(lost)
    happened = seen["faults"]
    assert ledger["unknown"] == happened["hang"] + happened["reset"] + happened["cut"]
    assert ledger["sent"] == ledger["resolved"] + ledger["unknown"]
    assert sum(answer.finish.value == "length" for answer in answers) == happened["truncate"]
    assert [a.text for a, b in zip(answers, again, strict=True) if not a.failure and a.text != b.text] == []


def test_every_fault_at_once(server: Scripted, tmp_path: Path) -> None:
    faults(server, tmp_path, 600)


@pytest.mark.slow
def test_every_fault_at_once_for_five_thousand_calls(server: Scripted, tmp_path: Path) -> None:
    faults(server, tmp_path, 5000)


def test_calls_that_never_succeed_are_counted_by_reason(server: Scripted, tmp_path: Path) -> None:
    server.become(shares={"error": 0.3, "garbage": 0.3})
    with model_of(server, attempts=1) as model:
        journal = Journal(tmp_path / "j.sqlite")
        answers = caller(model, journal).complete(asked(30), ignore)
        journal.close()
    assert {answer.failure for answer in answers} == {"", "server_error", "bad_answer"}


def test_a_server_that_only_fails_stops_the_job(server: Scripted, tmp_path: Path) -> None:
    server.become(shares={"error": 1.0})
    with model_of(server, patience_s=1.0) as model:
        journal = Journal(tmp_path / "j.sqlite")
        with pytest.raises(UserError, match="answered for 1 s"):
            caller(model, journal).complete(asked(100), ignore)
        journal.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j.sqlite")
    with pytest.raises(RunLocked, match="another writer"):
        Journal(tmp_path / "j.sqlite")
    first.close()
    Journal(tmp_path / "j.sqlite").close()


def test_stopping_early_leaves_no_thread_working(server: Scripted) -> None:
    server.become(latency=0.05)
    with model_of(server, in_flight=8) as model:
        stream = model.stream(enumerate(asked(500)), FreeMeter(), keep_nothing)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        time.sleep(0.2)
        before = calls(server)
        time.sleep(0.2)
        assert calls(server) == before < 100


def test_prices_have_decimals() -> None:
    teacher = Teacher.of("http://h:1/v1#m?price=0.40/1.15")
    assert teacher.price == Price(prompt=Decimal("0.40"), completion=Decimal("1.15"))
    assert teacher.price.tokens_nano(1_000_000, 2_000_000) == int(Decimal("2.70") * 10**9)
    assert Price(gpu_hour=Decimal("2.5"), gpus=2).time_nano(1800) == int(Decimal("2.5") * 10**9)


def test_the_key_changes_with_what_decides_and_with_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from stillwise.runtime.caller import request_key

    base = Teacher.of("http://h:1/v1#m")
    same = ["http://other:2/v1#m", "http://h:1/v1#m?in_flight=3&timeout_s=9&attempts=2", "http://h:1/v1#m?price=1/2"]
    other = ["http://h:1/v1#n", "http://h:1/v1#m?revision=b", "http://h:1/v1#m?logprobs=3"]
    assert {Teacher.of(spec).identity for spec in same} == {base.identity}
    assert base.identity not in {Teacher.of(spec).identity for spec in other}
    request = asked(1)[0]
    changed = [
        replace(request, seed=9),
        replace(request, ask=replace(request.ask, prefill="x")),
        replace(request, ask=replace(request.ask, user="x")),
        *(replace(request, sampling=s) for s in (Sampling(top_p=0.5), Sampling(top_k=3), Sampling(stop=("x",)))),
    ]
    keys = {request_key(base.identity, one) for one in [request, *changed]}
    assert len(keys) == len(changed) + 1
    assert os.environ.get("OPENAI_API_KEY") is None or "OPENAI" not in base.identity


def test_how_a_ban_was_served_is_noted_once_and_survives_a_replay(server: Scripted, tmp_path: Path) -> None:
    server.become()
    plain = asked(20)
    banned = [replace(r, ask=replace(r.ask, ban=Ban(words=("wait",)))) for r in plain]
    served = {"s": {"ban": ["approximate: bad_words in their usual spellings, every output scanned"]}}
    for _ in range(2):
        journal = Journal(tmp_path / "j.sqlite")
        with model_of(server) as model:
            caller(model, journal).complete(banned, ignore)
        assert journal.served() == served
        journal.close()
    journal = Journal(tmp_path / "k.sqlite")
    with model_of(server) as model:
        caller(model, journal).complete(plain, ignore)
    assert journal.served() == {}, "nothing was asked but answers"
    journal.close()


def drawn(model: HttpModel, journal: Journal, tries: int, problems: int = 12) -> list[Sampled | Failure]:
    """Every try of some problems, as a sampler draws them."""
    role = caller(model, journal)
    tools = Tools(step="s", seed=0, callers={"t": role}, graders=Here(), progress=counting)
    asked = [Problem.of(f"q{i}", "4") for i in range(problems)]
    return list(All(by="t", paradigm=Think(), tries=tries, max_tokens=100).sample(asked, tools))


def test_eight_tries_after_four_pay_for_four_in_calls_of_four(server: Scripted, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with model_of(server, n=4) as model:
        first, then = drawn(model, journal, 4), drawn(model, journal, 8)
    assert then[:48] == first, "wave after wave, however they were asked"
    assert len({one.trace.text for one in then if isinstance(one, Sampled)}) == 96
    assert calls(server) == 12 * 8 // 4
    assert journal.served() == {"s": {"n": ["4 samples a call, seeds derived by the server"]}}
    ledger = journal.ledger()["s"]
    assert ledger["answered"] == 96
    tokens = [one.trace.num_prompt_tokens for one in then if isinstance(one, Sampled)]
    assert ledger["prompt_tokens"] == sum(tokens) // 4, "a prompt is paid for once a call"
    journal.close()


@pytest.mark.parametrize("bound", ["KEPT_AHEAD", "KEPT_BYTES"])
def test_answers_long_before_their_turn_are_let_go_and_read_again(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    server.become(latency=0.02, tail=0.1)
    with model_of(server, in_flight=8) as model:
        whole = drawn(model, journal, 2, 100)
        for module in (runtime_caller, runtime_draw):
            monkeypatch.setattr(module, bound, 1)
        other = Journal(tmp_path / "k.sqlite")
        assert drawn(model, other, 2, 100) == whole
        assert drawn(model, journal, 2, 100) == whole
    assert calls(server) == 400
    assert max(server.seen()["answered"].values()) == 2
    journal.close()
    other.close()
