from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Example, Tools
from stillwise.errors import StillwiseError, UserError
from stillwise.records import digest
from stillwise.train import packing
from stillwise.train.fields import Lora
from stillwise.train.folder import whole_folder
from stillwise.train.render import end_token, render
from stillwise.train.sft import SFT
from tests.train.conftest import CHATML, Heard, make_tokenizer, sums, without_padding

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
CLOSING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n\\n</think>\\n\\n' }}")
PROMPT = "<|im_start|>user\nWhat is 1?<|im_end|>\n<|im_start|>assistant\n"


def learnt(template: str, target: str, max_length: int = 500) -> Any:
    tokenizer = make_tokenizer(template)
    rendered = render([Example(id="x", user="What is 1?", assistant=target)], tokenizer, max_length)
    if rendered.dropped:
        return rendered.dropped["x"]
    (row,) = rendered.rows
    return tokenizer.decode(row.ids[: row.start]), tokenizer.decode(row.ids[row.start :])


@pytest.mark.parametrize(
    ("template", "opened", "target", "expected"),
    [
        (CHATML, "", "One.", "One."),
        (CHATML, "", "<think>\nhm\n</think>\n\nOne.", "<think>\nhm\n</think>\n\nOne."),
        (OPENING, "<think>\n", "<think>\nhm\n</think>\n\nOne.", "hm\n</think>\n\nOne."),
        (OPENING, "<think>\n", "<think>hm</think>One.", "hm</think>One."),
        (OPENING, "<think>\n", "One.", "</think>\n\nOne."),
        (CLOSING, "<think>\n\n</think>\n\n", "One.", "One."),
    ],
)
def test_the_target_follows_what_the_template_opens(template: str, opened: str, target: str, expected: str) -> None:
    prompt, supervised = learnt(template, target)
    assert prompt == PROMPT + opened
    assert supervised == expected + "<|im_end|>"
    assert (prompt + supervised).count("<think>") <= 1


@pytest.mark.parametrize(
    ("template", "target", "reason"),
    [
        (CLOSING, "<think>\nhm\n</think>\n\nOne.", "template_closes_thought"),
        (CHATML, "<think>a</think><think>b</think>", "several_thoughts"),
        (CHATML, " \n", "empty_target"),
        (CHATML, "One.<|im_end|>Two.", "end_token_inside"),
        (CHATML, "One" * 200, "too_long"),
    ],
)
def test_rows_are_dropped_with_a_reason_and_never_cut(template: str, target: str, reason: str) -> None:
    assert learnt(template, target) == reason


def test_the_longest_row_allowed_is_whole() -> None:
    prompt, supervised = learnt(CHATML, "One.")
    length = len(make_tokenizer()(prompt + supervised)["input_ids"])
    assert learnt(CHATML, "One.", length) == (prompt, supervised)
    assert learnt(CHATML, "One.", length - 1) == "too_long"


def test_a_thinking_template_that_rewrites_answers_does_not_touch_the_target() -> None:
    stripping = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
    assert learnt(stripping, "<think>\nhm\n</think>\n\nOne.")[1] == "<think>\nhm\n</think>\n\nOne.<|im_end|>"


def test_the_end_token_is_the_templates_and_not_a_base_models() -> None:
    tokenizer = make_tokenizer(eos="<|endoftext|>")
    assert tokenizer.convert_ids_to_tokens(end_token(tokenizer)) == "<|im_end|>"
    plain = make_tokenizer("{{ messages[0]['content'] }}{{ messages[1]['content'] if messages|length > 1 }}", "<|endoftext|>")
    assert plain.convert_ids_to_tokens(end_token(plain)) == "<|endoftext|>"


def train(part: SFT, examples: list[Example], student: Path, out: Path, tools: Tools) -> dict[str, Any]:
    return dict(part.train(examples, student, out, tools))


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(str(folder)).eval(), AutoTokenizer.from_pretrained(str(folder))


@pytest.mark.usefixtures("threads")
def test_a_student_learns_its_rows_by_heart_and_stops(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools, bars: list[Heard]
) -> None:
    import torch

    student = make_student(eos="<|endoftext|>", hidden_size=64, eos_token_id=256)
    examples = [
        Example(id=str(i), user=f"{i}?", assistant=text) for i, text in enumerate(("no", "yes it is", "<think>x</think>y", "4"))
    ]
    part = SFT(steps=60, learning_rate=1e-2, batch_tokens=4096)
    figures = train(part, examples, student, tmp_path / "out", tools)
    assert figures["first_loss"] == pytest.approx(math.log(264), abs=0.3)
    assert figures["last_loss"] < 0.02
    model, tokenizer = load(tmp_path / "out")
    assert model.generation_config.eos_token_id == [258, 256]
    for example in examples:
        turn = [{"role": "user", "content": example.user}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            ids = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(ids) == example.assistant + "<|im_end|>"
    assert [(bar.total, bar.done) for bar in bars] == [(60, 60)]
    assert set(bars[0].figures[-1]) == {"loss", "tokens_per_s"}


def plain_loss(student: Path, examples: list[Example]) -> float:
    """The mean loss per supervised token, row by row from the plain model's logits of the tokenizer's ids."""
    import torch
    from torch.nn.functional import cross_entropy

    model, tokenizer = load(student)
    total, count = 0.0, 0
    for row in render(examples, tokenizer, 10_000).rows:
        with torch.no_grad():
            logits = model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1, : len(tokenizer)]
        total += float(cross_entropy(logits, torch.tensor(row.ids[row.start :]), reduction="sum"))
        count += row.num_learnt
    return total / count


def test_the_first_loss_is_that_of_plain_rows_however_the_step_is_cut(student: Path, tmp_path: Path, tools: Tools) -> None:
    examples = sums(11, thought=True)
    cuts: list[dict[str, Any]] = [
        {},
        {"micro_batch_tokens": 200},
        {"micro_batch_tokens": 1},
        {"packing": False},
        {"gradient_checkpointing": True},
    ]
    base: dict[str, Any] = {"batch_tokens": 100_000, "epochs": 2, "learning_rate": 1e-3, "warmup_ratio": 0}
    figures = [train(SFT(**base, **cut), examples, student, tmp_path / str(i), tools) for i, cut in enumerate(cuts)]
    assert [f["steps"] for f in figures] == [2] * len(cuts)
    assert figures[0]["first_loss"] == pytest.approx(plain_loss(student, examples), abs=1e-5)
    for other in figures[1:]:
        assert other["first_loss"] == pytest.approx(figures[0]["first_loss"], abs=1e-5)
        assert other["last_loss"] == pytest.approx(figures[0]["last_loss"], abs=1e-4)
    assert figures[0]["last_loss"] < figures[0]["first_loss"] - 1e-3


def test_rows_are_seen_in_the_curriculums_order_in_every_epoch(student: Path, tmp_path: Path, tools: Tools) -> None:
    examples = sums(9)
    figures = train(SFT(batch_tokens=130, micro_batch_tokens=70), examples, student, tmp_path / "out", tools)
    lengths = [len(r.ids) for r in render(examples, make_tokenizer(), 10_000).rows]
    expected: list[list[str]] = []
    for _ in range(2):
        group: list[int] = []
        for i in range(9):
            if group and sum(lengths[j] for j in group) + lengths[i] > 130:
                expected.append([f"e{j}" for j in group])
                group = []
            group.append(i)
        expected.append([f"e{j}" for j in group])
    assert figures["steps"] == len(expected)
    assert figures["order"] == digest(expected)
    assert figures["total_tokens"] == 2 * sum(lengths)


@pytest.mark.usefixtures("threads")
def test_equal_runs_write_equal_bytes_and_another_seed_does_not(student: Path, tmp_path: Path, tools: Tools) -> None:
    from dataclasses import replace

    part = SFT(batch_tokens=300, order="shuffled", learning_rate=1e-3)
    folders = [tmp_path / name for name in ("one", "two", "three")]
    all_tools = (tools, tools, replace(tools, seed=8))
    figures = [train(part, sums(8), student, out, t) for out, t in zip(folders, all_tools, strict=True)]
    weights = [(out / "model.safetensors").read_bytes() for out in folders]
    assert weights[0] == weights[1] != weights[2]
    for f in figures:
        assert f.pop("timing")["seconds"] > 0
    assert figures[0] == figures[1]
    assert figures[0]["order"] != figures[2]["order"]
    assert json.loads(json.dumps(figures[0]))["steps"] == figures[0]["steps"]


def test_the_student_is_written_in_float32_with_everything_to_ask_it(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    student = make_student(dtype="bfloat16")
    capfd.readouterr()
    figures = train(SFT(dtype="bfloat16", steps=1), sums(2), student, tmp_path / "out", tools)
    assert capfd.readouterr() == ("", "")
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float32}
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (student / name).read_bytes()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["use_cache"] is True
    assert config["dtype"] == "float32"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert figures["last_loss"] == pytest.approx(plain_loss(student, sums(2)), rel=0.02)


def test_steps_override_epochs(student: Path, tmp_path: Path, tools: Tools) -> None:
    part = SFT(batch_tokens=200, epochs=3)
    planned = train(part, sums(6), student, tmp_path / "a", tools)["steps"]
    assert planned > 3
    matched = SFT(batch_tokens=200, steps=planned + 2)
    assert train(matched, sums(6), student, tmp_path / "b", tools)["steps"] == planned + 2


def test_the_loss_curve_is_thinned(student: Path, tmp_path: Path, tools: Tools) -> None:
    figures = train(SFT(batch_tokens=1, steps=205, warmup_ratio=0.2), sums(1), student, tmp_path / "out", tools)
    curve = figures["curve"]
    assert 100 <= len(curve) <= 200
    assert curve[0][:2] == (1, figures["first_loss"])
    assert curve[-1][:2] == (205, figures["last_loss"])
    rates = [rate for _, _, rate in curve]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(1e-5, rel=1e-2)
    assert rates[-1] < 1e-8


def test_a_training_that_diverges_leaves_nothing_behind(student: Path, tmp_path: Path, tools: Tools) -> None:
    with pytest.raises(StillwiseError, match=r"the loss is .* at optimiser step \d+ of 20; lower learning_rate"):
        SFT(steps=20, learning_rate=1e30, warmup_ratio=0).train(sums(3), student, tmp_path / "out", tools)
    assert list(tmp_path.iterdir()) == []


def interrupted(out: Path) -> None:
    with whole_folder(out) as aside:
        (aside / "half").write_text("x")
        assert not out.exists()
        raise KeyboardInterrupt


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_stands_at_out_is_not_overwritten(student: Path, tmp_path: Path, tools: Tools) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="not overwritten"):
        SFT().train(sums(1), student, tmp_path, tools)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_student_that_cannot_be_trained_is_refused_with_a_reason(
    make_student: Callable[..., Path], student: Path, tmp_path: Path, tools: Tools
) -> None:
    for folder, part, examples, message in (
        (tmp_path / "nowhere", SFT(), sums(1), "does not exist"),
        (make_student(template=None), SFT(), sums(1), "no chat template"),
        (student, SFT(max_length=10), sums(3), "nothing to train on: 3 too_long"),
        (student, SFT(), [], "nothing to train on: no example"),
    ):
        with pytest.raises(UserError, match=message):
            part.train(examples, folder, tmp_path / "out", tools)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("way", ["full", "chunks", "adapter"])
def test_rows_of_the_head_beyond_the_tokenizer_are_never_seen(
    way: str, make_student: Callable[..., Path], tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2000 rows of a random head, 261 are tokens; a training with the others cut off has the same losses."""
    wide = make_student(vocab_size=2000, initializer_range=0.2)
    narrow = without_padding(wide, tmp_path / "narrow")
    if way == "chunks":
        monkeypatch.setattr(packing, "FULL_ELEMENTS", 0)
    part = SFT(steps=4, learning_rate=1e-3, warmup_ratio=0, adapter=Lora(rank=4) if way == "adapter" else None)
    found = [part.train(sums(5), folder, tmp_path / "out" / folder.name, tools)["curve"] for folder in (wide, narrow)]
    for (_, one, _), (_, other, _) in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
