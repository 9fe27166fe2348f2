"""On-policy distillation: the student's own answers, the teacher's word on them, divided by what was generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Tools
from stillwise.errors import UserError
from stillwise.train.fit import load_student
from stillwise.train.folder import load_tokenizer
from stillwise.train.losses.divergence import ReverseKL
from stillwise.train.losses.mix import Hidden, Matching, divergence_sum
from stillwise.train.packing import ATTENTION
from stillwise.train.render import Row, render
from stillwise.train.rollout import Rollouts
from stillwise.train.sft import SFT
from stillwise.train.signals.source import Live
from stillwise.train.white_box import WhiteBox
from tests.train.conftest import sums

DRAW = Rollouts(share=1.0, temperature=1.0, max_tokens=30, end=258, pad=256, seed=3)
ON_POLICY: dict[str, Any] = {"on_policy": 1.0, "max_rollout_tokens": 12, "divergence": ReverseKL(), "share": 1.0}


@pytest.fixture(scope="module")
def student(make_student: Callable[..., Path]) -> Path:
    return make_student(vocab_size=261, initializer_range=0.3)


@pytest.fixture
def taught(tools: Tools, make_student: Callable[..., Path]) -> Tools:
    return replace(tools, folders={"reasoner": make_student(hidden_size=40, initializer_range=0.3, vocab_size=272)})


def rows_of(student: Path) -> tuple[Row, ...]:
    return render(sums(5), load_tokenizer(student), 10_000).rows


def test_answers_follow_their_own_prompts_and_leave_the_model_as_it_was(student: Path) -> None:
    import torch

    rows = rows_of(student)
    model = load_student(SFT(), student, rows[:2]).train()
    before = torch.random.get_rng_state()
    found = DRAW.of(model, rows, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    assert model.config._attn_implementation == ATTENTION
    for row, own in zip(rows, found, strict=True):
        assert own.ids[: own.start] == row.ids[: row.start]
        assert own.start == row.start
        answer = own.ids[own.start :]
        assert 0 < len(answer) <= 30
        assert 258 not in answer[:-1]
        assert answer[-1] == 258 or len(answer) == 30
    assert found == DRAW.of(model, rows, 1)
    assert found != DRAW.of(model, rows, 2)


def test_the_share_of_steps_is_that_of_lambda() -> None:
    drawn = [replace(DRAW, share=0.3).wanted(step) for step in range(2000)]
    assert 0.26 < sum(drawn) / 2000 < 0.34
    assert drawn == [replace(DRAW, share=0.3).wanted(step) for step in range(2000)]
    assert all(DRAW.wanted(step) for step in range(50))


def test_the_loss_is_the_divergence_per_generated_token(student: Path, tmp_path: Path, taught: Tools) -> None:
    import torch

    from stillwise.records import derive_seed

    part = WhiteBox(epochs=1, batch_tokens=100_000, **ON_POLICY)
    found = part.train(sums(5), student, tmp_path / "out", taught)
    tokenizer = load_tokenizer(student)
    rows = rows_of(student)
    draw = part.rollouts(tokenizer, derive_seed(taught.seed, taught.step, part.kind))
    assert draw is not None
    own = draw.of(load_student(SFT(), student, rows[:2]), rows, 0)
    count = sum(row.num_learnt for row in own)
    assert (found["generated_tokens"], found["on_policy_steps"]) == (count, 1)
    mine, teacher = Live(student, tokenizer).signals(own), Live(taught.folders["reasoner"], tokenizer).signals(own)
    assert isinstance(mine, Hidden)
    weights = torch.full((count,), 1 / count)
    exact, _ = divergence_sum(mine.hidden_NH, mine.head, teacher, Matching(divergence=ReverseKL()), weights)
    assert found["first_loss"] == pytest.approx(float(exact), rel=1e-4)


@pytest.mark.usefixtures("threads")
def test_mixed_training_is_repeatable_and_learns(student: Path, tmp_path: Path, taught: Tools) -> None:
    part = WhiteBox(**{**ON_POLICY, "on_policy": 0.5}, steps=16, learning_rate=5e-3, batch_tokens=100_000)
    found = [part.train(sums(5), student, tmp_path / str(i), taught) for i in range(2)]
    weights = [(tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(2)]
    assert weights[0] == weights[1]
    assert 0 < found[0]["on_policy_steps"] < 16
    losses = [figures["divergence"] for _, figures in found[0]["parts"]]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_own_answers_cannot_be_cached(student: Path, tmp_path: Path, taught: Tools) -> None:
    with pytest.raises(UserError, match="new in every step"):
        WhiteBox(signals="cached", top_k=4, on_policy=0.5).train(sums(1), student, tmp_path / "out", taught)


def test_ids_that_no_text_has_are_never_drawn(make_student: Callable[..., Path]) -> None:
    import torch

    student = make_student(vocab_size=264, initializer_range=0.3)
    tokenizer, rows = load_tokenizer(student), rows_of(student)
    model = load_student(SFT(), student, rows[:2])
    with torch.no_grad():
        model.get_output_embeddings().weight[len(tokenizer) :] *= 1e4  # As if padding were likely.
    draws = (DRAW, replace(DRAW, vocab=len(tokenizer)))
    drawn = [{token for row in draw.of(model, rows, 0) for token in row.ids[row.start :]} for draw in draws]
    assert max(drawn[0]) >= len(tokenizer), "the trap is there"
    assert max(drawn[1]) < len(tokenizer)
