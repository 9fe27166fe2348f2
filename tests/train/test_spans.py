"""Weights by span: which token has which, what the loss is then, and that the default changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Example, Tools
from stillwise.train.fields import SpanWeights
from stillwise.train.render import Rendered, render, weighed
from stillwise.train.sft import SFT
from tests.train.conftest import CHATML, make_tokenizer, sums

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
ODD = SpanWeights(prompt=0.25, thinking=2.0, solution=3.0)
PROMPT = "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\n"


def rows(target: str, spans: SpanWeights, template: str = CHATML, weight: float = 1.0) -> tuple[Any, Rendered]:
    tokenizer = make_tokenizer(template)
    examples = [Example(id="x", user="1?", assistant=target, weight=weight)]
    return tokenizer, weighed(render(examples, tokenizer, 500), examples, tokenizer, spans)


def by_weight(target: str, spans: SpanWeights, template: str = CHATML) -> dict[float, str]:
    """The text of each weight."""
    tokenizer, rendered = rows(target, spans, template)
    (row,) = rendered.rows
    ids = row.ids[row.start :]
    return {w: tokenizer.decode([i for i, v in zip(ids, row.weights, strict=True) if v == w]) for w in row.weights}


@pytest.mark.parametrize(
    ("template", "opened", "target", "thinking", "solution"),
    [
        (CHATML, "", "<think>\nhm é\n</think>\n\nOne é.", "<think>\nhm é\n</think>", "\n\nOne é.<|im_end|>"),
        (CHATML, "", "One.", "", "One.<|im_end|>"),
        (CHATML, "", "<think>\nhm", "<think>\nhm<|im_end|>", ""),
        (OPENING, "<think>\n", "<think>\nhm\n</think>\n\nOne.", "hm\n</think>", "\n\nOne.<|im_end|>"),
        (OPENING, "<think>\n", "One.", "</think>\n\n", "One.<|im_end|>"),
    ],
)
def test_each_token_has_the_weight_of_its_span(template: str, opened: str, target: str, thinking: str, solution: str) -> None:
    found = by_weight(target, ODD, template)
    assert found.get(2.0, "") == thinking
    assert found.get(3.0, "") == solution
    assert found[0.25] == (PROMPT + opened).removeprefix("<|im_start|>")
    assert set(by_weight(target, SpanWeights(thinking=2.0, solution=3.0), template)) <= {2.0, 3.0}


def test_an_examples_weight_is_multiplied_in_and_rows_without_weight_drop_out() -> None:
    _, rendered = rows("One.", ODD, weight=0.5)
    assert rendered.rows[0].token_weights == [0.125] * (rendered.rows[0].num_learnt - 5) + [1.5] * 5
    _, rendered = rows("One.", SpanWeights(solution=0))
    assert (rendered.rows, rendered.dropped) == ((), {"x": "no_weight"})
    with pytest.raises(ValidationError, match="nothing would be learnt"):
        SpanWeights(thinking=0, solution=0)


def plain_loss(student: Path, examples: list[Example], spans: SpanWeights) -> float:
    """The weighted mean, row by row through full logits, spans found by hand in single-byte tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    model, total, divisor = AutoModelForCausalLM.from_pretrained(str(student)).eval(), 0.0, 0.0
    tokenizer = make_tokenizer()
    close = tokenizer.convert_tokens_to_ids("</think>")
    for row in render(examples, tokenizer, 10_000).rows:
        turn = row.ids.index(close) + 1
        weights = [spans.prompt] * row.start + [spans.thinking] * (turn - row.start)
        weights_L = torch.tensor(weights + [spans.solution] * (len(row.ids) - turn))[1:]
        ids_L = torch.tensor(row.ids)
        with torch.no_grad():
            logits = model(ids_L[None]).logits[0, :-1, : len(tokenizer)].float()
        losses_L = torch.nn.functional.cross_entropy(logits, ids_L[1:], reduction="none")
        total, divisor = total + float((weights_L * losses_L).sum()), divisor + float(weights_L.sum())
    return total / divisor


@pytest.mark.usefixtures("threads")
def test_the_loss_is_the_weighted_mean_however_the_step_is_cut(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    student, examples = make_student(initializer_range=0.2), sums(6, thought=True)
    base: dict[str, Any] = {"batch_tokens": 100_000, "epochs": 1, "learning_rate": 1e-3, "warmup_ratio": 0}
    for i, spans in enumerate((ODD, SpanWeights(solution=0), SpanWeights())):
        for j, micro in enumerate((16384, 1)):
            part = SFT(**base, micro_batch_tokens=micro, span_weights=spans)
            found = part.train(examples, student, tmp_path / f"{i}.{j}", tools)
            assert found["first_loss"] == pytest.approx(plain_loss(student, examples, spans), abs=1e-5)
    SFT(**base).train(examples, student, tmp_path / "plain", tools)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "2.0", "0.0")]
    assert weights[0] == weights[1] != weights[2]
