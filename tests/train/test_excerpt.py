"""What of a row is trained on: sections, a share of the tokens, one chunk at a time; and white-box learning of half a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Example, Tools
from stillwise.records import Span
from stillwise.train.excerpt import kept, supervised, trimmed
from stillwise.train.fields import SpanWeights, Supervised
from stillwise.train.render import Row, render
from stillwise.train.sft import SFT
from stillwise.train.white_box import WhiteBox
from tests.train.conftest import make_tokenizer, sums

TEXT = "<think>\nFirst é.\nSecond.\n</think>\n\nFour."
SECTIONS = {
    "prompt": SpanWeights(prompt=1, thinking=0, solution=0),
    "thinking": SpanWeights(prompt=0, thinking=1, solution=0),
    "solution": SpanWeights(prompt=0, thinking=0, solution=1),
}


def rows(part: Supervised, *examples: Example, max_length: int = 500) -> dict[str, Row]:
    return {row.id: row for row in supervised(part, max_length, list(examples), make_tokenizer()).rows}


def learnt(row: Row) -> set[int]:
    """Places of the tokens that have a weight."""
    return {row.start + place for place, weight in enumerate(row.token_weights) if weight}


def text(row: Row) -> str:
    return str(make_tokenizer().decode([row.ids[place] for place in sorted(learnt(row))]))


def test_sections_are_apart_and_together_everything_but_the_first_token() -> None:
    example = Example(id="x", user="2 + 2?", assistant=TEXT)
    found = {name: rows(Supervised(span_weights=spans), example)["x"] for name, spans in SECTIONS.items()}
    assert text(found["thinking"]) == "<think>\nFirst é.\nSecond.\n</think>"
    assert text(found["solution"]) == "\n\nFour.<|im_end|>"
    whole = render([example], make_tokenizer(), 500).rows[0]
    places = [learnt(row) for row in found.values()]
    assert sum(map(len, places)) == len(set.union(*places)) == len(whole.ids) - 1


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_a_share_of_the_whole_row_is_left_and_nothing_else_is_read(share: float) -> None:
    every = SpanWeights(prompt=1)
    example = Example(id="x", user="2 + 2?", assistant=TEXT)
    whole = rows(Supervised(span_weights=every), example)["x"]
    count = max(1, math.floor(share * len(whole.ids)))
    for place, begin in (("start", 0), ("middle", (len(whole.ids) - count) // 2), ("end", len(whole.ids) - count)):
        row = kept(whole, share, place)  # type: ignore[arg-type]
        assert row.ids == whole.ids[begin : begin + count]
        assert row.num_learnt == count - 1
        assert len(row.token_weights) == count - 1


def test_the_row_is_cut_before_its_length_is_judged() -> None:
    example = Example(id="x", user="2 + 2?", assistant=TEXT)
    length = len(rows(Supervised(), example)["x"].ids)
    assert rows(Supervised(), example, max_length=length - 1) == {}
    assert rows(Supervised(keep=0.5, span_weights=SpanWeights(prompt=1)), example, max_length=length // 2)
    found = supervised(Supervised(keep=0.1), 500, [example], make_tokenizer())
    assert found.dropped == {"x": "no_weight"}


def test_tokens_behind_the_last_weight_and_before_the_first_are_no_targets() -> None:
    row = Row(id="x", ids=tuple(range(10)), start=3, weights=(0, 0, 2, 0, 1, 0, 0))
    cut = trimmed(row)
    assert (cut.ids, cut.start, cut.weights) == (tuple(range(8)), 5, (2, 0, 1))
    even = Row(id="x", ids=tuple(range(10)), start=3)
    assert trimmed(even) is even


# --- one chunk at a time


def chunked() -> list[Example]:
    bounds = [0, TEXT.index("Second"), TEXT.index("</think>"), len(TEXT)]
    spans = [Span(kind="chunk", start=a, end=b) for a, b in pairwise(bounds)]
    return [Example(id=f"x{n}", user="2 + 2?", assistant=TEXT, learnt=(span,)) for n, span in enumerate(spans)]


def test_chunks_are_apart_and_together_the_whole_answer_with_its_end() -> None:
    found = rows(Supervised(), *chunked())
    assert [text(row) for row in found.values()] == [
        "<think>\nFirst é.\n",
        "Second.\n",
        "</think>\n\nFour.<|im_end|>",
    ]
    whole = rows(Supervised(), Example(id="w", user="2 + 2?", assistant=TEXT))["w"]
    assert sorted(place for row in found.values() for place in learnt(row)) == sorted(learnt(whole))
    assert all(row.ids == whole.ids[: len(row.ids)] for row in found.values())
    assert [len(row.ids) for row in found.values()] == [max(learnt(row)) + 1 for row in found.values()]


@pytest.mark.usefixtures("threads")
def test_the_losses_of_the_chunks_add_up_to_that_of_the_trace(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    student = make_student(initializer_range=0.2)
    base: dict[str, Any] = {"batch_tokens": 100_000, "epochs": 1, "learning_rate": 1e-3, "warmup_ratio": 0}
    apart = SFT(**base).train(chunked(), student, tmp_path / "chunks", tools)
    whole = SFT(**base).train([Example(id="w", user="2 + 2?", assistant=TEXT)], student, tmp_path / "whole", tools)
    assert apart["supervised_tokens"] == whole["supervised_tokens"]
    assert apart["first_loss"] == pytest.approx(whole["first_loss"], abs=1e-5)
    assert apart["total_tokens"] < 3 * whole["total_tokens"]


# --- white-box distillation of a share


@pytest.mark.usefixtures("threads")
def test_half_of_the_tokens_are_learnt_by_both_losses(make_student: Callable[..., Path], tmp_path: Path, tools: Tools) -> None:
    student, teacher = make_student(initializer_range=0.2), make_student(initializer_range=0.3)
    tools = replace(tools, folders={"reasoner": teacher})
    examples = sums(4, thought=True)
    base: dict[str, Any] = {"batch_tokens": 100_000, "epochs": 1, "warmup_ratio": 0, "span_weights": {"prompt": 1}, "keep": 0.5}
    figures = {}
    for share in (0.0, 0.5, 1.0):
        figures[share] = WhiteBox(**base, share=share).train(examples, student, tmp_path / f"{share}", tools)
    lengths = [len(row.ids) for row in render(examples, make_tokenizer(), 10_000).rows]
    assert figures[0.5]["total_tokens"] == sum(length // 2 for length in lengths)
    assert figures[0.5]["supervised_tokens"] == sum(length // 2 - 1 for length in lengths)
    nll, kl = (figures[0.5]["parts"][0][1][name] for name in ("nll", "divergence"))
    assert figures[0.0]["first_loss"] == pytest.approx(nll, abs=1e-5)
    assert figures[1.0]["first_loss"] == pytest.approx(kl, abs=1e-5)
    assert figures[0.5]["first_loss"] == pytest.approx((nll + kl) / 2, abs=1e-5)
    assert (nll, kl) == pytest.approx(plain_losses(student, teacher, examples), abs=1e-4)


def plain_losses(student: Path, teacher: Path, examples: list[Example]) -> tuple[float, float]:
    """Mean cross-entropy and forward KL over the first half of every row, from full logits."""
    import torch
    from transformers import AutoModelForCausalLM

    models = [AutoModelForCausalLM.from_pretrained(str(path)).eval() for path in (teacher, student)]
    nll, kl = [], []
    for row in render(examples, make_tokenizer(), 10_000).rows:
        ids = torch.tensor(row.ids[: len(row.ids) // 2])[None]
        with torch.no_grad():
            log_p, log_q = (model(ids).logits[0, :-1, : len(make_tokenizer())].float().log_softmax(-1) for model in models)
        kl += (log_p.exp() * (log_p - log_q)).sum(-1).tolist()
        nll += (-log_q.gather(-1, ids[0, 1:, None])[:, 0]).tolist()
    return sum(nll) / len(nll), sum(kl) / len(kl)


def test_a_students_own_answers_are_learnt_whole() -> None:
    for fields in ({"keep": 0.5}, {"span_weights": {"prompt": 1}}):
        with pytest.raises(ValidationError, match="whole answers"):
            WhiteBox.model_validate({"on_policy": 0.5, **fields})
