"""A server is asked what it honours, and its answers become the texts that the model wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stillwise.arrows import Ask, Ban, Completion, Request
from stillwise.errors import UserError
from stillwise.models import http_stream
from stillwise.models.bans import banned_words_in
from stillwise.models.http import HttpModel
from stillwise.models.http_stream import Stream
from stillwise.models.model import FreeMeter, keep_nothing
from stillwise.records import THINK_CLOSE, THINK_OPEN, Finish, Sampling
from tests.models.serving import Scripted, model_of, own_host, requests, serving, start

BAN = Ban(words=("alternatively", "another", "but", "hmm", "verify", "wait"))
NO_THOUGHT = "<think>\nOkay, I think I have finished thinking.\n</think>\n\n"


def test_every_spelling_of_the_reasoning_is_read_as_the_same_text(server: Scripted) -> None:
    texts = {}
    for reasoning in ("reasoning", "reasoning_content", "inline"):
        server.become(reasoning=reasoning)
        with model_of(server) as model:
            texts[reasoning] = [answer.text for answer in model.generate(requests(5))]
    assert texts["reasoning"] == texts["reasoning_content"] == texts["inline"]
    assert all(text.startswith(f"{THINK_OPEN}\n") and text.count(THINK_CLOSE) == 1 for text in texts["reasoning"])
    assert len(set(texts["reasoning"])) == 5


@pytest.mark.parametrize("reasoning", ["reasoning", "inline"])
def test_a_truncated_thought_is_truncated_and_not_closed(server: Scripted, reasoning: str) -> None:
    server.become(reasoning=reasoning)
    with model_of(server) as model:
        answer = model.generate(requests(1, max_tokens=7))[0]
    assert answer.finish is Finish.LENGTH
    assert answer.num_tokens == 7
    assert answer.text.startswith(THINK_OPEN)
    assert THINK_CLOSE not in answer.text


def test_usage_token_ids_and_seeds_are_used(server: Scripted) -> None:
    with model_of(server) as model:
        first, second = model.generate([requests(1)[0], replace(requests(1)[0], seed=5)])
        again = model.generate(requests(1))[0]
        assert model.dialect is not None
        assert (model.dialect.seed, model.dialect.token_ids, model.dialect.top_k) == (True, True, True)
    assert first.token_ids is not None
    assert first.num_tokens == len(first.token_ids)
    assert first == again
    assert first.text != second.text


def test_no_rethink_is_sent_and_every_output_is_clean(server: Scripted) -> None:
    asked = [replace(request, ask=replace(request.ask, ban=BAN)) for request in requests(20)]
    with model_of(server) as model:
        banned = model.generate(asked)
        assert model.dialect is not None
        assert model.dialect.ban == "bad_words"
        free = model.generate(requests(20))
    assert not any(answer.failure or banned_words_in(answer.text, BAN) for answer in banned)
    assert any(banned_words_in(answer.text, BAN) for answer in free), "without the ban the words do come"


def test_a_server_that_ignores_bans_is_refused(server: Scripted) -> None:
    server.become(dialect="deaf")
    asked = [replace(request, ask=replace(request.ask, ban=BAN)) for request in requests(2)]
    with model_of(server) as model, pytest.raises(UserError, match="cannot ban words"):
        model.generate(asked)


def test_a_violation_is_rejected_with_its_reason(server: Scripted) -> None:
    asked = [replace(request, ask=replace(request.ask, ban=BAN)) for request in requests(8)]
    with model_of(server) as model:
        model.generate(asked[:1])
        # The server changes its mind after it was asked: every output is scanned all the same.
        server.become(dialect="deaf")
        answers = model.generate(asked)
    rejected = [answer for answer in answers if answer.failure]
    assert rejected
    assert {answer.failure for answer in rejected} == {"banned_word"}
    assert all(banned_words_in(answer.text, BAN) for answer in rejected)


def test_no_think_is_continued_and_its_answer_lands_after_the_thought(server: Scripted) -> None:
    ask = Ask(user="2+2?", prefill=NO_THOUGHT)
    with model_of(server) as model:
        answer = model.generate([Request(ask=ask, sampling=Sampling(max_tokens=50))])[0]
        assert model.dialect is not None
        assert model.dialect.prefill == "continue"
    assert THINK_OPEN not in answer.text
    assert THINK_CLOSE not in answer.text
    assert answer.text.endswith("}.")


def test_an_error_between_two_looks_at_the_stream_is_not_lost(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    look = vars(Stream)["over"].fget

    def late(stream: Stream) -> bool:
        until = time.monotonic() + 30
        while stream.error is None and time.monotonic() < until:
            time.sleep(0.01)
        return bool(look(stream))

    monkeypatch.setattr(Stream, "over", property(late))
    server.become(dialect="plain")
    with model_of(server) as model, pytest.raises(UserError, match="cannot continue a prefilled answer"):
        model.generate([Request(ask=Ask(user="2+2?", prefill=NO_THOUGHT))])


@pytest.mark.parametrize("dialect", ["plain", "strict", "deaf"])
def test_a_server_without_prefill_is_refused(server: Scripted, dialect: str) -> None:
    server.become(dialect=dialect)
    with model_of(server) as model, pytest.raises(UserError, match="cannot continue a prefilled answer"):
        model.generate([Request(ask=Ask(user="2+2?", prefill=NO_THOUGHT))])


@pytest.mark.parametrize(("dialect", "seed"), [("plain", True), ("strict", False), ("deaf", False)])
def test_what_a_server_refuses_or_ignores_is_known(server: Scripted, dialect: str, seed: bool) -> None:
    server.become(dialect=dialect)
    with model_of(server) as model:
        assert len(model.generate(requests(3))) == 3
        assert model.dialect is not None
        assert model.dialect.seed is seed
        assert model.dialect.top_k is (dialect == "deaf"), "accepted; whether it is obeyed is asked where it matters"


@pytest.mark.parametrize("dialect", ["plain", "deaf"])
def test_top_k_that_would_be_ignored_is_refused(server: Scripted, dialect: str) -> None:
    server.become(dialect=dialect)
    with model_of(server) as model, pytest.raises(UserError, match="does not take top_k=5"):
        model.generate(requests(1, top_k=5))


def test_a_wrong_key_stops_the_job_and_is_not_repeated(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    server.become(key="right")
    monkeypatch.setenv("TEACHER_KEY", "hunter2")
    with model_of(server, key_env="TEACHER_KEY") as model, pytest.raises(UserError) as caught:
        model.generate(requests(1))
    assert "401" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("TEACHER_KEY", "right")
    with model_of(server, key_env="TEACHER_KEY") as model:
        assert not model.generate(requests(1))[0].failure


def test_a_missing_key_is_found_before_any_work(server: Scripted) -> None:
    with pytest.raises(UserError, match="NO_SUCH_KEY is not set"), model_of(server, key_env="NO_SUCH_KEY"):
        pass


def test_a_wrong_model_name_stops_the_job(server: Scripted) -> None:
    with model_of(server, model="other") as model, pytest.raises(UserError, match="404"):
        model.generate(requests(1))


def test_nobody_there_is_said_plainly() -> None:
    with model_of(Scripted(None, 9), patience_s=1.0) as model, pytest.raises(UserError, match="can be reached"):  # type: ignore[arg-type]
        model.generate(requests(1))


def test_concurrency_falls_to_what_the_server_bears(server: Scripted) -> None:
    server.become(latency=0.02, refuse_above=8)
    with model_of(server, in_flight=64) as model:
        answers = model.generate(requests(400))
        limits = [endpoint.limit for endpoint in model.endpoints()]
    assert not any(answer.failure for answer in answers)
    assert limits[0] < 20
    seen = server.seen()
    assert seen["faults"]["crowded"] < 400, "throttled calls wait instead of hammering"


def test_a_minute_limit_holds_calls_back(server: Scripted) -> None:
    began = time.monotonic()
    with model_of(server, requests_per_minute=60) as model:
        model.generate(requests(55))
        model.generate(requests(8))
    assert time.monotonic() - began > 2.9, "sixty at once, then one a second: the last three wait, however slow the first were"


def test_two_replicas_share_the_work(server: Scripted) -> None:
    # That two give twice the calls per second is benchmarks/replicas.py's to say.
    with serving() as second, model_of(server, second, in_flight=32) as model:
        for each in (server, second):
            each.become(latency=0.2, at_once=32)
        assert not any(answer.failure for answer in model.generate(requests(384)))
        seen = [each.seen() for each in (server, second)]
    assert all(24 <= one["most_at_once"] <= 32 for one in seen)
    assert min(sum(one["answered"].values()) for one in seen) > 384 / 3


def generated(model: HttpModel, asked: Sequence[Request], after: int, then: Callable[[], object]) -> list[Completion]:
    """All answers; something happens once so many have come."""
    found: list[Completion] = []
    for bunch in model.stream(enumerate(asked), FreeMeter(), keep_nothing):
        if len(found) < after <= len(found) + len(bunch):
            then()
        found += [arrived.completion for arrived in bunch]
    return found


def test_an_endpoint_joins_and_another_drains_without_a_lost_call(server: Scripted, tmp_path: Path) -> None:
    server.become(latency=0.05)
    with serving("--latency", "0.05") as second:
        listed = tmp_path / "endpoints.txt"
        listed.write_text(f"{server.url}  # the first\n")
        with model_of(endpoints_file=listed, in_flight=8) as model:
            answers = generated(model, requests(400), 50, lambda: listed.write_text(f"{second.url}\n"))
            assert [endpoint.url for endpoint in model.endpoints()] == [second.url]
        assert len(answers) == 400
        assert not any(answer.failure for answer in answers)
        first, then = server.seen(), second.seen()
    assert len(first["answered"]) >= 50
    assert len(then["answered"]) >= 50
    assert not set(first["asked"]) & set(then["asked"]), "a call in flight is finished where it began"


def test_an_endpoint_dies_and_returns(server: Scripted) -> None:
    server.become(latency=0.03)
    second = start("--latency", "0.03", host=own_host())
    back: list[Scripted] = []
    try:
        with model_of(server, second, in_flight=8) as model:
            asked = requests(300)
            answers = generated(model, asked, 50, second.stop)
            assert len(answers) == 300
            back.append(start("--latency", "0.03", host=second.host, port=second.port))
            end, some = time.monotonic() + 30, 300
            while not back[0].seen()["answered"] and time.monotonic() < end:
                answers += model.generate([replace(request, seed=some) for request in asked[:60]])
                some += 1
        assert not any(answer.failure for answer in answers)
        assert back[0].seen()["answered"], "the breaker let calls through again"
    finally:
        for process in (second, *back):
            process.stop()


SHAPE = '{"type": "object", "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["score"]}'


def shaped(count: int) -> list[Request]:
    return [replace(request, ask=replace(request.ask, schema=SHAPE)) for request in requests(count)]


@pytest.mark.parametrize("reasoning", ["reasoning", "reasoning_content"])
def test_a_schema_is_enforced_after_the_thought(server: Scripted, reasoning: str) -> None:
    server.become(reasoning=reasoning)
    with model_of(server) as model:
        answers = model.generate(shaped(5))
        assert model.dialect is not None
        assert model.dialect.notes["schema"] == "exact: response_format"
    for answer in answers:
        assert answer.text.startswith(THINK_OPEN)
        assert set(json.loads(answer.text.split(THINK_CLOSE)[1])) == {"score"}


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"reasoning": "inline"}, "it would forbid the thought"),
        ({"dialect": "plain"}, "ignores or refuses it"),
        ({"dialect": "deaf"}, "ignores or refuses it"),
    ],
)
def test_a_schema_that_cannot_be_had_is_left_out_and_said_so(server: Scripted, profile: dict[str, str], said: str) -> None:
    server.become(**profile)
    with model_of(server) as model:
        answers = model.generate(shaped(2))
        assert model.dialect is not None
        assert said in model.dialect.notes["schema"]
    assert not any(answer.failure for answer in answers)
    assert all(THINK_CLOSE in answer.text for answer in answers)


def many(questions: int, samples: int) -> list[Request]:
    """Samples of questions, a question's side by side."""
    return [replace(request, seed=7 * request.seed + i) for request in requests(questions) for i in range(samples)]


def test_samples_of_one_question_come_for_one_call(server: Scripted) -> None:
    with model_of(server, n=4) as model:
        meter, answers = FreeMeter(), {}
        for bunch in model.stream(enumerate(many(6, 8)), meter, keep_nothing):
            answers.update({arrived.place: arrived for arrived in bunch})
    assert meter.counts["sent"] == 12
    assert len({arrived.completion.text for arrived in answers.values()}) == 48
    one = answers[0]
    assert one.completion.token_ids is not None
    assert one.completion.num_tokens == len(one.completion.token_ids), "tokens of one sample, not of all"
    assert model.read(many(6, 8)[0], one.raw) == one.completion, "each sample's body stands for itself"


@pytest.mark.parametrize("dialect", ["plain", "strict", "deaf"])
def test_a_server_that_gives_one_sample_a_call_is_asked_for_one(server: Scripted, dialect: str) -> None:
    server.become(dialect=dialect)
    with model_of(server, n=4) as model:
        meter = FreeMeter()
        found = [arrived for bunch in model.stream(enumerate(many(2, 4)), meter, keep_nothing) for arrived in bunch]
        assert model.dialect is not None
        assert "one sample a call" in model.dialect.notes["n"]
    assert (len(found), meter.counts["sent"]) == (8, 8)


def test_greedy_samples_are_never_asked_for_together(server: Scripted) -> None:
    with model_of(server, n=4) as model:
        meter = FreeMeter()
        asked = [replace(request, sampling=Sampling(temperature=0.0, max_tokens=50)) for request in many(1, 4)]
        assert sum(len(bunch) for bunch in model.stream(enumerate(asked), meter, keep_nothing)) == 4
    assert meter.counts["sent"] == 4


def test_no_call_goes_out_while_long_answers_wait_to_be_read(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "MOST_UNREAD_BYTES", 1)
    with model_of(server, in_flight=4) as model:
        bunches = model.stream(enumerate(requests(200)), FreeMeter(), keep_nothing)
        first = next(bunch for bunch in bunches if bunch)
        time.sleep(0.5)
        sent = server.seen()["exchanges"] - server.seen()["probes"]
        assert sent <= len(first) + 2 * 4
        assert len(first) + sum(map(len, bunches)) == 200, "and all come in the end"
