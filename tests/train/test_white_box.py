"""White-box distillation: a mixture of what sft does and a divergence to a teacher, whatever the signals' source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Tools
from stillwise.errors import UserError
from stillwise.train.folder import load_tokenizer
from stillwise.train.losses.divergence import JSD, ForwardKL
from stillwise.train.losses.mix import Hidden, Matching, divergence_sum
from stillwise.train.render import render
from stillwise.train.sft import SFT
from stillwise.train.signals.cache import Cached, capture
from stillwise.train.signals.source import Live, check_head
from stillwise.train.white_box import WhiteBox, train_with
from tests.train.conftest import make_model, make_tokenizer, sums

ONE: dict[str, Any] = {"batch_tokens": 100_000, "learning_rate": 1e-3, "warmup_ratio": 0}


@pytest.fixture(scope="module")
def teacher(make_student: Callable[..., Path]) -> Path:
    return make_student(hidden_size=40, num_hidden_layers=1, initializer_range=0.3, vocab_size=272)


@pytest.fixture
def taught(tools: Tools, teacher: Path) -> Tools:
    return replace(tools, folders={"reasoner": teacher})


def divergence_to(teacher: Path, student: Path) -> float:
    """Mean forward KL over the supervised tokens of the sums."""
    import torch

    tokenizer = load_tokenizer(student)
    rows = render(sums(9), tokenizer, 10_000).rows
    one, other = (Live(path, tokenizer).signals(rows) for path in (teacher, student))
    assert isinstance(other, Hidden)
    count = len(other.hidden_NH)
    total, _ = divergence_sum(
        other.hidden_NH, other.head, one, Matching(divergence=ForwardKL()), torch.full((count,), 1 / count)
    )
    return float(total)


def test_without_the_teachers_share_it_is_sft(make_student: Callable[..., Path], tmp_path: Path, taught: Tools) -> None:
    student = make_student(vocab_size=261)  # No padding of the output matrix, which only sft would see.
    mine = WhiteBox(share=0.0, **ONE).train(sums(6), student, tmp_path / "mine", taught)
    plain = SFT(**ONE).train(sums(6), student, tmp_path / "plain", taught)
    assert mine["first_loss"] == pytest.approx(plain["first_loss"], abs=1e-5)
    assert mine["last_loss"] == pytest.approx(plain["last_loss"], abs=1e-4)
    assert mine["order"] == plain["order"]
    assert mine["parts"][0][1]["nll"] == pytest.approx(plain["first_loss"], abs=1e-5)


def test_the_loss_is_the_mixture_and_does_not_depend_on_how_a_step_is_cut(
    student: Path, teacher: Path, tmp_path: Path, taught: Tools
) -> None:
    cuts: list[dict[str, Any]] = [{}, {"micro_batch_tokens": 150}, {"packing": False}]
    found = [
        WhiteBox(share=0.25, epochs=2, **{**ONE, **cut}).train(sums(9), student, tmp_path / str(i), taught)
        for i, cut in enumerate(cuts)
    ]
    part = found[0]["parts"][0][1]
    assert part["divergence"] == pytest.approx(divergence_to(teacher, student), rel=1e-4)
    assert found[0]["first_loss"] == pytest.approx(0.75 * part["nll"] + 0.25 * part["divergence"], rel=1e-5)
    for other in found[1:]:
        assert other["first_loss"] == pytest.approx(found[0]["first_loss"], abs=1e-5)
        assert other["last_loss"] == pytest.approx(found[0]["last_loss"], abs=1e-4)


@pytest.mark.usefixtures("threads")
def test_the_student_comes_nearer_to_the_teacher_than_by_its_tokens_alone(
    student: Path, teacher: Path, tmp_path: Path, taught: Tools
) -> None:
    settings: dict[str, Any] = {"steps": 25, "learning_rate": 1e-2, "batch_tokens": 100_000}
    before = divergence_to(teacher, student)
    WhiteBox(share=1.0, divergence=JSD(), **settings).train(sums(9), student, tmp_path / "jsd", taught)
    WhiteBox(share=1.0, **settings).train(sums(9), student, tmp_path / "mine", taught)
    SFT(**settings).train(sums(9), student, tmp_path / "plain", taught)
    mine, other, plain = (divergence_to(teacher, tmp_path / name) for name in ("mine", "jsd", "plain"))
    assert mine < 0.8 * before
    assert mine < 0.8 * plain
    assert other < plain


def test_a_teacher_that_is_the_student_has_nothing_to_say(student: Path, tmp_path: Path, tools: Tools) -> None:
    mine = WhiteBox(**ONE, epochs=1).train(sums(3), student, tmp_path / "out", replace(tools, folders={"reasoner": student}))
    assert mine["parts"][0][1]["divergence"] == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("threads")
def test_cached_signals_train_like_live_ones_and_equal_runs_write_equal_bytes(
    student: Path, teacher: Path, tmp_path: Path, taught: Tools
) -> None:
    part = WhiteBox(top_k=20, **ONE)
    live = part.train(sums(6), student, tmp_path / "live", taught)
    cached = part.model_copy(update={"signals": "cached"}).train(sums(6), student, tmp_path / "cached", taught)
    assert cached["first_loss"] == pytest.approx(live["first_loss"], abs=1e-3)
    assert cached["last_loss"] == pytest.approx(live["last_loss"], abs=2e-3)
    tokenizer = load_tokenizer(student)
    source = Live(teacher, tokenizer, 20)
    capture(tmp_path / "signals", source, [render(sums(6), tokenizer, 10_000).rows], 20)
    disk = Cached(tmp_path / "signals", source.origin)
    again = train_with(part, disk, sums(6), student, tmp_path / "disk", taught)
    assert again["last_loss"] == cached["last_loss"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("cached", "disk", "live")]
    assert weights[0] == weights[1] != weights[2]


def test_what_cannot_be_matched_is_refused(student: Path, tmp_path: Path, tools: Tools, taught: Tools) -> None:
    for part, given, message in (
        (WhiteBox(), tools, "role 'reasoner' needs a local model"),
        (WhiteBox(signals="cached"), taught, "set top_k"),
    ):
        with pytest.raises(UserError, match=message):
            part.train(sums(1), student, tmp_path / "out", given)
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_does_more_is_refused() -> None:
    from transformers import Qwen3ForCausalLM

    class Shifted(Qwen3ForCausalLM):
        def forward(self, *args: Any, **options: Any) -> Any:
            out = super().forward(*args, **options)
            out.logits = out.logits * 1.5 + 1
            return out

    model = make_model("qwen3").eval()
    row = render(sums(1), make_tokenizer(), 10_000).rows[0]
    check_head(model, row, 261)
    with pytest.raises(UserError, match="more between hidden states and logits"):
        check_head(Shifted(model.config).eval(), row, 261)
