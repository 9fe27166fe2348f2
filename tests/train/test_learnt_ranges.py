"""Examples of which only some ranges are learnt: which tokens have a weight, and that the rest is only read."""

from __future__ import annotations

import pytest

from stillwise.arrows import Example
from stillwise.records import Span
from stillwise.train.fields import SpanWeights
from stillwise.train.render import render, weighed
from tests.train.conftest import CHATML, make_tokenizer

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
TEXT = "Q: é + 2?\nA: é + 2 = 4\nQ: done?\nA: 4"
ALIKE = SpanWeights()


def ranges(kind: str, *pieces: str) -> tuple[Span, ...]:
    return tuple(Span(kind=kind, start=TEXT.index(piece), end=TEXT.index(piece) + len(piece)) for piece in pieces)


QUESTIONS = ranges("question", " é + 2?\n", " done?\n")
ANSWERS = (*ranges("answer", " é + 2 = 4\n"), Span(kind="answer", start=len(TEXT) - 2, end=len(TEXT)))


def learnt_text(learnt: tuple[Span, ...], template: str = CHATML, spans: SpanWeights = ALIKE) -> str:
    tokenizer = make_tokenizer(template)
    example = Example(id="x", user="1?", assistant=TEXT, learnt=learnt)
    (row,) = weighed(render([example], tokenizer, 500), [example], tokenizer, spans).rows
    ids = row.ids[row.start :]
    return str(tokenizer.decode([i for i, weight in zip(ids, row.token_weights, strict=True) if weight]))


@pytest.mark.parametrize("template", [CHATML, OPENING])
def test_only_the_ranges_are_learnt_and_the_end_goes_with_the_texts_end(template: str) -> None:
    assert learnt_text(QUESTIONS, template) == " é + 2?\n done?\n"
    assert learnt_text(ANSWERS, template) == " é + 2 = 4\n 4<|im_end|>"


def test_no_range_learns_everything_and_an_empty_one_drops_the_row() -> None:
    assert learnt_text(()) == TEXT + "<|im_end|>"
    tokenizer = make_tokenizer(CHATML)
    example = Example(id="x", user="1?", assistant=TEXT, learnt=(Span(kind="question", start=3, end=3),))
    assert render([example], tokenizer, 500).dropped == {"x": "no_weight"}


def test_weights_by_span_are_multiplied_in() -> None:
    assert learnt_text(QUESTIONS, spans=SpanWeights(solution=2.0)) == learnt_text(QUESTIONS)
    tokenizer = make_tokenizer(CHATML)
    example = Example(id="x", user="1?", assistant=TEXT, learnt=QUESTIONS)
    (row,) = weighed(render([example], tokenizer, 500), [example], tokenizer, SpanWeights(solution=2.0)).rows
    assert set(row.token_weights) == {0.0, 2.0}
