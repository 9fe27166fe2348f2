"""When a run stops because nobody answers, and when it does not: a long thought is no silence."""

from __future__ import annotations

import threading
import time

import pytest

from stillwise.errors import UserError
from stillwise.models.endpoint import State
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from tests.models.odd_server import Said, choice, odd, well
from tests.models.serving import model_of, own_host, requests, start

FAILED: Said = (503, b"busy", {})


def model_at(url: str, **fields: float) -> HttpModel:
    return HttpModel(Teacher.model_validate({"endpoints": (url,), "model": "m", "timeout_s": 60.0, **fields}), "test")


def test_two_failures_far_apart_do_not_stop_a_job_that_thinks() -> None:
    failed = threading.Semaphore(0)

    def script(question: str, time_: int) -> Said:
        if question in ("q0", "q1") and time_ == 1:
            # The second failure comes when the patience is over.
            time.sleep(0.1 if question == "q0" else 2.0)
            failed.release()
            return FAILED
        if not answer.is_set():
            answer.wait(60)
        return well(choice("fine"))

    def release() -> None:
        failed.acquire()
        failed.acquire()
        time.sleep(0.5)
        answer.set()

    answer = threading.Event()
    with odd(script) as server:
        model = model_at(server.url, patience_s=1.0)
        threading.Thread(target=release, daemon=True).start()
        try:
            assert [one.text for one in model.generate(requests(8))] == ["fine"] * 8
        finally:
            model.close()


def test_a_server_that_only_fails_stops_the_job() -> None:
    with odd(lambda question, time_: FAILED) as server:
        model = model_at(server.url, patience_s=1.0, attempts=100)
        try:
            with pytest.raises(UserError, match="answered for 1 s"):
                model.generate(requests(20))
        finally:
            model.close()


def test_a_call_of_before_does_not_keep_a_server_that_is_back_from_its_trial() -> None:
    back, hung, opened = threading.Event(), threading.Event(), threading.Event()

    def script(question: str, time_: int) -> Said:
        if question == "q0" and time_ == 1:
            hung.set()
            assert back.wait(60), "the others were answered while this one was out"
            return well(choice("late"))
        hung.wait(60)
        if not opened.is_set():
            if model.endpoints()[0].state is not State.CLOSED:
                opened.set()
            return FAILED
        if question == "q39":
            back.set()
        return well(choice("fine"))

    with odd(script) as server:
        model = model_at(server.url, in_flight=16, attempts=100)
        try:
            answers = model.generate(requests(40))
        finally:
            model.close()
    assert [one.text for one in answers] == ["late", *["fine"] * 39]


def test_a_job_whose_only_endpoint_dies_stops_when_the_patience_is_over() -> None:
    server = start("--latency", "0.05", host=own_host())
    with model_of(server, patience_s=0.5) as model:
        model.generate(requests(4))
        server.stop()
        with pytest.raises(UserError, match=r"answered for 0\.5 s"):
            model.generate(requests(8))
