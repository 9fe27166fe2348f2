"""Traces from bare text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stillwise.records import Finish, Trace, thinking_spans


@pytest.fixture
def trace_of() -> Callable[..., Trace]:
    def make(text: str, finish: Finish = Finish.STOP) -> Trace:
        return Trace(
            id=str(len(text)),
            problem_id="p",
            role="r",
            model="m",
            paradigm="think",
            prompt="",
            text=text,
            spans=thinking_spans(text),
            finish=finish,
        )

    return make
