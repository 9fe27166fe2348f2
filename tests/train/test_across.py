"""Distillation between tokenizers: what is aligned, what it costs, and that a student learns from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Example, Tools
from stillwise.errors import UserError
from stillwise.train.across import Twin, twins
from stillwise.train.alignment import byte_table, token_bytes
from stillwise.train.fields import Across
from stillwise.train.folder import load_tokenizer
from stillwise.train.losses.cross_tokenizer import alm, uld
from stillwise.train.moments import FILE
from stillwise.train.render import Row, render
from stillwise.train.white_box import WhiteBox
from tests.train.conftest import CHATML, SPECIAL, make_model, sums
from tests.train.test_alignment import TEXTS, random_bpe

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
ONE: dict[str, Any] = {"batch_tokens": 100_000, "learning_rate": 1e-2, "warmup_ratio": 0}


def bpe(seed: int, template: str = CHATML) -> Any:
    tokenizer = random_bpe(seed)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.eos_token, tokenizer.pad_token, tokenizer.chat_template = "<|im_end|>", "<|endoftext|>", template
    return tokenizer


def pieces(tokenizer: Any, row: Row) -> list[bytes]:
    return token_bytes(byte_table(tokenizer), row.ids[row.start :])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("teacher"), bpe(3)
    ids = {"vocab_size": len(tokenizer) + 8, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    make_model(hidden_size=40, num_hidden_layers=1, initializer_range=0.3, **ids).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture
def taught(tools: Tools, teacher: Path) -> Tools:
    return replace(tools, folders={"reasoner": teacher})


@pytest.mark.parametrize("templates", [(CHATML, CHATML), (CHATML, OPENING), (OPENING, CHATML)])
def test_groups_hold_equal_bytes_for_random_pairs_of_tokenizers(templates: tuple[str, str]) -> None:
    rng = Random(5)
    for seed in range(12):
        one, other = bpe(seed, templates[0]), bpe(seed + 50, templates[1])
        examples = [
            Example(id=str(n), user="?", assistant=f"<think>\n{rng.choice(TEXTS)[n:]}\n</think>\n\n{rng.choice(TEXTS)}")
            for n in range(4)
        ]
        rows = render(examples, one, 10_000).rows
        found, dropped = twins(rows, examples, one, other)
        assert not dropped
        for row in rows:
            twin = found[row.id]
            ours, theirs = pieces(one, row), pieces(other, twin.theirs)
            for group in twin.groups:
                assert b"".join(ours[slice(*group.ours)]) == b"".join(theirs[slice(*group.theirs)]) != b""
            assert twin.groups[-1].ours == (len(ours) - 1, len(ours)), "the end tokens are a group of their own"
            covered = [at for group in twin.groups for at in range(*group.ours)]
            opened = 0 if templates[0] == templates[1] or templates[0] == OPENING else len(ours) - len(covered)
            assert covered == list(range(opened, len(ours)))
            assert b"".join(ours[:opened]) in (b"", b"<think>\n"), "only what the other template wrote is in no group"


def test_rows_that_begin_or_end_elsewhere_keep_the_groups_that_they_hold_whole() -> None:
    one, other = bpe(1), bpe(2)
    examples = [Example(id="a", user="?", assistant=TEXTS[0])]
    (row,) = render(examples, one, 10_000).rows
    whole = twins([row], examples, one, other)[0]["a"]
    asked = twins([replace(row, start=1)], examples, one, other)[0]["a"]
    shift = row.start - 1
    assert [(a - shift, b - shift) for a, b in (group.ours for group in asked.groups)] == [group.ours for group in whole.groups]
    cut = twins([replace(row, ids=row.ids[:-3])], examples, one, other)[0]["a"]
    assert 0 < len(cut.groups) < len(whole.groups)
    assert all(group.ours[1] <= row.num_learnt - 3 for group in cut.groups)


def by_hand(student: Path, teacher: Path, kind: str) -> float:
    """The loss from full distributions, row by row and group by group, in float64."""
    import torch

    from stillwise.train.folder import load_model

    tokenizers = load_tokenizer(student), load_tokenizer(teacher)
    models = [load_model(folder, None).eval().double() for folder in (student, teacher)]
    examples = sums(5)
    rows = render(examples, tokenizers[0], 10_000).rows
    found, _ = twins(rows, examples, *tokenizers)
    total = weight = 0.0
    for row in rows:
        twin: Twin = found[row.id]
        logprobs = []
        for model, side, tokenizer in zip(models, (row, twin.theirs), tokenizers, strict=True):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([side.ids])).logits[0, side.start - 1 : -1, : len(tokenizer)]
            logprobs.append(logits.log_softmax(-1))
        chosen = [
            x.gather(1, torch.tensor(s.ids[s.start :])[:, None])[:, 0]
            for x, s in zip(logprobs, (row, twin.theirs), strict=True)
        ]
        for group in twin.groups:
            count = group.ours[1] - group.ours[0]
            if kind == "uld":
                value = uld(logprobs[1][group.theirs[0]][None], logprobs[0][group.ours[0]][None])
            else:
                value = 100 * alm(chosen[1][slice(*group.theirs)].sum()[None], chosen[0][slice(*group.ours)].sum()[None])
            total, weight = total + count * float(value), weight + count
    return total / weight


@pytest.mark.parametrize("kind", ["alm", "uld"])
def test_the_loss_is_the_one_by_hand_however_the_step_is_cut(
    kind: Any, student: Path, teacher: Path, tmp_path: Path, taught: Tools
) -> None:
    part = WhiteBox(share=0.25, across=Across(kind=kind), epochs=2, **ONE)
    whole = part.train(sums(5), student, tmp_path / "whole", taught)
    first = whole["parts"][0][1]
    assert first["divergence"] == pytest.approx(by_hand(student, teacher, kind), rel=2e-3)
    assert whole["first_loss"] == pytest.approx(0.75 * first["nll"] + 0.25 * first["divergence"], rel=1e-5)
    cut = part.model_copy(update={"micro_batch_tokens": 150}).train(sums(5), student, tmp_path / "cut", taught)
    assert cut["last_loss"] == pytest.approx(whole["last_loss"], rel=1e-4)
    assert whole["groups"] > 10


@pytest.mark.parametrize("kind", ["alm", "uld"])
def test_a_teacher_that_is_the_student_has_nothing_to_say(kind: Any, student: Path, tmp_path: Path, tools: Tools) -> None:
    part = WhiteBox(share=1.0, across=Across(kind=kind), **{**ONE, "learning_rate": 1e-9}, epochs=1)
    same = part.train(sums(3), student, tmp_path / "out", replace(tools, folders={"reasoner": student}))
    assert same["first_loss"] == pytest.approx(0, abs=1e-5)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", ["alm", "uld"])
def test_a_student_comes_nearer_to_a_teacher_of_another_tokenizer(
    kind: Any, student: Path, tmp_path: Path, taught: Tools
) -> None:
    part = WhiteBox(share=1.0, across=Across(kind=kind), steps=20, **ONE)
    mine = part.train(sums(6), student, tmp_path / "mine", taught)
    plain = part.model_copy(update={"share": 0.0}).train(sums(6), student, tmp_path / "plain", taught)
    near, far = (found["parts"][-1][1]["divergence"] for found in (mine, plain))
    assert near < 0.8 * mine["parts"][0][1]["divergence"]
    assert near < 0.8 * far, "the tokens alone do not bring it there"


@pytest.mark.usefixtures("threads")
def test_a_kept_optimiser_goes_on_between_tokenizers_too(student: Path, tmp_path: Path, taught: Tools) -> None:
    """Two stages of one problem each: the second's update is another one with the moments of the first."""
    import torch
    from safetensors.torch import load_file

    found = {}
    for optimiser in ("fresh", "kept"):
        before, part = student, WhiteBox(across=Across(kind="alm"), optimiser=optimiser, epochs=1, **ONE)
        for stage in (0, 1):
            out = tmp_path / optimiser / str(stage) / "student"
            part.train(sums(4)[2 * stage : 2 * stage + 2], before, out, taught)
            found[optimiser, stage], before = load_file(out / "model.safetensors"), out
    assert (tmp_path / "kept" / "1" / FILE).is_file()
    assert not list((tmp_path / "fresh").rglob(FILE))
    first, last = ([found[optimiser, stage] for optimiser in ("fresh", "kept")] for stage in (0, 1))
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    assert not all(torch.equal(last[0][name], last[1][name]) for name in last[0])


def test_what_cannot_be_compared_is_refused(
    make_student: Callable[..., Path], student: Path, tmp_path: Path, taught: Tools
) -> None:
    with pytest.raises(UserError, match=r"different tokenizers .* set across: \{kind: alm\}"):
        WhiteBox().train(sums(1), student, tmp_path / "out", taught)
    for wrong in ({"top_k": 4}, {"signals": "cached", "top_k": 4}, {"on_policy": 0.5}):
        with pytest.raises(ValidationError, match="across compares whole live distributions"):
            WhiteBox.model_validate({"across": {"kind": "alm"}, **wrong})
    assert list(tmp_path.iterdir()) == []
