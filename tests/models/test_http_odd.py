"""Answers that nobody would write on purpose: each is read, repeated or counted, and none hangs the job."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from stillwise.arrows import Completion
from stillwise.models import http_pool
from stillwise.models.http import HttpModel
from stillwise.models.http_pool import LONGEST_HOLD_S, seconds
from stillwise.models.http_spec import Teacher
from stillwise.records import Finish
from tests.models.odd_server import Said, choice, odd, well
from tests.models.serving import requests


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "FIRST_WAIT_S", 0.01)


def answered(said: Said, times: int = 1, **fields: Any) -> tuple[Completion, int]:
    """What came of one call to which this is said so many times before a good answer; and how often it was sent."""
    with odd(lambda question, time: said if time <= times else well(choice("fine"))) as server:
        model = HttpModel(Teacher(endpoints=(server.url,), model="m", timeout_s=20, **fields), "test")
        try:
            return model.generate(requests(1))[0], server.asked["q0"]
        finally:
            model.close()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (choice("x", {"type": "stop"}), "the finish reason is dict"),
        (choice("x", None), "unfinished"),
        (choice("x", token_ids=3), "token_ids is no list"),
        (choice("x", "abort"), "abort"),
        (choice("x", "error"), "error"),
        (choice(None), "an empty message"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "no choices"),
    ],
)
def test_what_is_no_answer_is_repeated_and_its_reason_kept(body: bytes, detail: str) -> None:
    found, sent = answered(well(body))
    assert (found.text, found.failure, sent) == ("fine", "", 2)
    lost, sent = answered(well(body), times=9, attempts=2)
    assert (lost.failure, sent) == ("bad_answer", 2)
    assert detail in lost.detail


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "max_length", "model_length"])
def test_a_limit_that_came_before_the_first_word_is_a_truncated_answer(finish: str) -> None:
    found, sent = answered(well(choice(None, finish)))
    assert (found.text, found.finish, found.failure, found.num_tokens, sent) == ("", Finish.LENGTH, "", 5, 1)


def test_a_refusal_is_a_failure_and_asked_once() -> None:
    body = json.loads(choice(None))
    body["choices"][0]["message"]["refusal"] = "I will not add."
    found, sent = answered(well(json.dumps(body).encode()))
    assert (found.failure, found.detail, sent) == ("refusal", "I will not add.", 1)


def test_a_filtered_answer_is_a_failure_and_asked_once() -> None:
    found, sent = answered(well(choice(None, "content_filter")))
    assert (found.failure, sent) == ("content_filter", 1)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (rb'{"choices":[{"message":{"content":"a\ud83d"},"finish_reason":"stop"}]}', "a\ufffd"),
        (b'{"choices":[{"message":{"content":"a\xff"},"finish_reason":"stop"}]}', "a\ufffd"),
        (
            b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop","logprobs":{"content":[{"logprob":-Infinity}]}}]}',
            "a",
        ),
        (choice([{"type": "text", "text": "a"}, {"type": "text", "text": None}]), "a"),
    ],
)
def test_a_body_that_is_nearly_right_is_read(said: bytes, text: str) -> None:
    found, sent = answered(well(said))
    assert (found.text, found.failure, sent) == (text, "", 1)


@pytest.mark.parametrize("value", ["²", "soon", "", "-1", "nan"])
def test_a_pause_that_cannot_be_read_is_none(value: str) -> None:
    assert seconds(value) is None
    found, sent = answered((429, b"busy", {"Retry-After": value}))
    assert (found.text, sent) == ("fine", 2)


def test_a_pause_may_be_a_date_and_has_a_limit() -> None:
    assert seconds("2.5") == 2.5
    now = time.time()
    assert 100 < (seconds(formatdate(now + 300, usegmt=True)) or 0) <= 301
    assert seconds(formatdate(now - 300, usegmt=True)) == 0.0
    assert seconds("86400") == seconds(formatdate(now + 86400, usegmt=True)) == LONGEST_HOLD_S
