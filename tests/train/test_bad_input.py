"""What cannot be trained on: dropped and counted, refused with a reason, or the training stops and names its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stillwise.arrows import Example, Tools
from stillwise.errors import StillwiseError, UserError
from stillwise.machine import Site
from stillwise.train.folder import load_tokenizer
from stillwise.train.loop import NOT_FINITE
from stillwise.train.render import end_token, render
from stillwise.train.sft import SFT
from tests.train.conftest import CHATML, make_tokenizer, sums

THOUGHT = [Example(id="t", user="What is 1?", assistant="<think>\none\n</think>\n\n1")]
CLOSING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n\\n</think>\\n\\n' }}")
DELETING = CHATML.replace("message['content'] +", "message['content'].split('</think>')[-1] +")


def test_rows_that_are_too_long_are_dropped_or_cut_where_that_is_asked_for(student: Path, tmp_path: Path, tools: Tools) -> None:
    lengths = sorted(len(row.ids) for row in render(sums(9), load_tokenizer(student), 10_000).rows)
    over = sum(length > lengths[4] for length in lengths)
    dropping = SFT(max_length=lengths[4], steps=1).train(sums(9), student, tmp_path / "dropping", tools)
    assert dropping["dropped"] == {"too_long": over}
    assert "cut" not in dropping
    cutting = SFT(max_length=lengths[4], too_long="cut", epochs=1).train(sums(9), student, tmp_path / "cutting", tools)
    assert (cutting["rows"], cutting["cut"], cutting["dropped"]) == (9, over, {})
    assert cutting["total_tokens"] == sum(min(length, lengths[4]) for length in lengths)
    asking = SFT(max_length=10, too_long="cut")
    with pytest.raises(UserError, match="9 too_long; too_long: raise max_length"):
        asking.train(sums(9), student, tmp_path / "prompts", tools)


def test_a_template_that_ends_the_thought_is_refused_with_an_explanation(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    with pytest.raises(UserError, match="ends the thought before the answer begins"):
        SFT().train(THOUGHT, make_student(template=CLOSING), tmp_path / "out", tools)
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_deletes_thoughts_from_answers_never_touches_what_is_learnt() -> None:
    tokenizer = make_tokenizer(DELETING)
    turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": THOUGHT[0].assistant}]
    assert "<think>" not in tokenizer.apply_chat_template(turn, tokenize=False), "the trap is there"
    (row,) = render(THOUGHT, tokenizer, 1000).rows
    assert tokenizer.decode(row.ids[row.start : -1]) == THOUGHT[0].assistant


def test_a_padding_token_that_is_the_end_token_is_learnt_all_the_same(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    folder = make_student()
    tokenizer = load_tokenizer(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(str(folder))
    equal = load_tokenizer(folder)
    assert equal.pad_token_id == equal.eos_token_id == end_token(equal)
    assert all(row.ids[-1] == end_token(equal) and row.token_weights[-1] == 1 for row in render(sums(3), equal, 1000).rows)
    found = SFT(epochs=1).train(sums(3), folder, tmp_path / "out", tools)
    assert found["supervised_tokens"] == sum(row.num_learnt for row in render(sums(3), equal, 1000).rows)


def test_tokens_without_a_row_in_the_weights_are_refused(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    with pytest.raises(UserError, match=r"ids up to 260 \('</think>'\), and its weights 260 rows: resize"):
        SFT().train(sums(1), make_student(vocab_size=260), tmp_path / "out", tools)


def test_a_loss_that_is_not_finite_stops_and_leaves_the_ids_of_its_rows(student: Path, tmp_path: Path, tools: Tools) -> None:
    here = replace(tools, site=Site(logs=tmp_path / "logs"))
    part = SFT(steps=20, learning_rate=1e30, warmup_ratio=0, batch_tokens=200)
    with pytest.raises(StillwiseError, match=r"rows \(ids in .*not_finite.json\)"):
        part.train(sums(3), student, tmp_path / "out", here)
    held = json.loads((tmp_path / "logs" / NOT_FINITE).read_text())
    assert held["loss"] in ("nan", "inf")
    assert set(held["ids"]) <= {"e0", "e1", "e2"}
    assert held["ids"]
    with pytest.raises(StillwiseError, match=r"rows \(ids e\d"):
        part.train(sums(3), student, tmp_path / "out", tools)
    assert not (tmp_path / "out").exists()


def test_losses_are_reported_where_the_machine_says(student: Path, tmp_path: Path, tools: Tools) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = SFT(steps=3, batch_tokens=200).train(
        sums(3), student, tmp_path / "out", replace(tools, site=Site(logs=tmp_path / "logs"))
    )
    held = EventAccumulator(str(tmp_path / "logs"))
    held.Reload()
    points = [(event.step, event.value) for event in held.Scalars("train/loss")]
    assert [step for step, _ in points] == [1, 2, 3]
    assert [loss for _, loss in points] == pytest.approx([loss for _, loss, _ in found["curve"]])
    quiet = Site(logs=tmp_path / "nothing", training=Site().training.model_copy(update={"report_to": ()}))
    SFT(steps=1).train(sums(3), student, tmp_path / "quiet", replace(tools, site=quiet))
    assert not (tmp_path / "nothing").exists()
    unknown = Site(logs=tmp_path, training=Site().training.model_copy(update={"report_to": ("tensorbord",)}))
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        SFT(steps=1).train(sums(3), student, tmp_path / "unknown", replace(tools, site=unknown))
