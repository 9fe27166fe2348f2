"""Training on pairs: the loss of every cut, the reference, the betas of pairs, and the watch on the chosen answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Example, Preference, Tools
from stillwise.errors import StillwiseError, UserError
from stillwise.train.losses.preference import DPO, KTO, ORPO, REDI, SimPO
from stillwise.train.pairwise import Pairwise, _units, strangers
from stillwise.train.render import Row
from tests.train.conftest import make_tokenizer, sums

ONE: dict[str, Any] = {"batch_tokens": 100_000, "learning_rate": 1e-3, "warmup_ratio": 0}


LOSSES: tuple[Preference, ...] = (
    DPO(),
    ORPO(),
    SimPO(),
    REDI(),
    KTO(undesirable=0.01),
    DPO(variant="aot"),
    DPO(variant="aot_unpaired"),
    DPO(weighted=True, tail=0.3),
)


def pairs(count: int) -> list[Example]:
    return [replace(e, rejected=f"I would rather say {7 * i}." + " No." * (i % 4)) for i, e in enumerate(sums(count))]


@pytest.fixture(scope="module")
def student(make_student: Callable[..., Path]) -> Path:
    return make_student(vocab_size=261, initializer_range=0.2)


def plain(student: Path, examples: list[Example]) -> list[tuple[float, float]]:
    """Mean log-probability per token of chosen and rejected answers, by transformers' own loss."""
    import torch
    from transformers import AutoModelForCausalLM

    from stillwise.train.render import render

    model = AutoModelForCausalLM.from_pretrained(str(student)).eval()

    def mean(example: Example) -> float:
        (row,) = render([example], make_tokenizer(), 10_000).rows
        labels = torch.tensor([[-100] * row.start + list(row.ids[row.start :])])
        with torch.no_grad():
            return -float(model(torch.tensor([row.ids]), labels=labels).loss)

    return [(mean(e), mean(replace(e, assistant=e.rejected))) for e in examples]


@pytest.mark.parametrize("objective", LOSSES, ids=lambda o: str(o.as_dict()))
def test_the_loss_does_not_depend_on_how_a_step_is_cut(
    student: Path, tmp_path: Path, tools: Tools, objective: Preference
) -> None:
    cuts: list[dict[str, Any]] = [{}, {"micro_batch_tokens": 200}, {"micro_batch_tokens": 1}]
    found = [
        Pairwise(objective=objective, **{**ONE, **cut}).train(pairs(5), student, tmp_path / str(i), tools)
        for i, cut in enumerate(cuts)
    ]
    for other in found[1:]:
        assert other["first_loss"] == pytest.approx(found[0]["first_loss"], abs=1e-5)
        assert other["last_loss"] == pytest.approx(found[0]["last_loss"], abs=1e-4)
    assert found[0]["last_loss"] < found[0]["first_loss"]
    assert found[0]["pairs"] == 5


def summed(folder: Path, rows: Sequence[Row]) -> list[float]:
    """Log-probabilities of the rows' answers, by transformers' own loss."""
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(str(folder)).eval(), []
    for row in rows:
        labels = torch.tensor([[-100] * row.start + list(row.ids[row.start :])])
        with torch.no_grad():
            found.append(-float(model(torch.tensor([row.ids]), labels=labels).loss) * row.num_learnt)
    return found


def test_ktos_reference_point_is_the_mean_log_ratio_of_answers_to_other_prompts(
    student: Path, tmp_path: Path, tools: Tools
) -> None:
    part = Pairwise(objective=KTO(), steps=1, **{**ONE, "learning_rate": 1e-2})
    part.train(pairs(5), student, tmp_path / "one", tools)
    found = part.model_copy(update={"steps": 2}).train(pairs(5), student, tmp_path / "two", tools)
    units, _ = _units(pairs(5), make_tokenizer(), 10_000)
    apart = [row for both in strangers(units, 10_000).values() for row in both]
    matched = [row for unit in units for row in unit]
    before, after = (summed(folder, [*matched, *apart]) for folder in (student, tmp_path / "one"))
    ratios = [b - a for a, b in zip(before, after, strict=True)]
    point, own = sum(ratios[10:]) / 10, sum(ratios[:10]) / 10
    assert point > 0.1, "a point below 0 would say nothing here"
    assert abs(point - own) > 0.1, "nor would one that is the matched answers'"
    gaps = [sign * (ratio - point) for sign, ratio in zip([1, -1] * 5, ratios[:10], strict=True)]
    assert found["last_loss"] == pytest.approx(sum(1 - 1 / (1 + math.exp(-0.1 * gap)) for gap in gaps) / 5, abs=1e-5)


def test_each_prompt_meets_the_answers_of_the_next_one() -> None:
    def unit(name: str, prompt: int) -> tuple[Row, Row]:
        return Row(name, (prompt, ord(name), 7), 1), Row("rejected:" + name, (prompt, ord(name), 8, 9), 1)

    units = [unit("a", 1), unit("b", 1), unit("c", 2), unit("d", 1)]
    found = strangers(units, 3)
    met = {name: chr(win.ids[1]) for name, (win, _) in found.items()}
    assert met == {"a": "c", "b": "c", "c": "d", "d": "c"}, "round the end, past pairs about the same prompt"
    assert [row.ids for row in found["b"]] == [(1, ord("c"), 7), (1, ord("c"), 8)], "no longer than a row may be"
    assert len({row.id for both in found.values() for row in both}) == 8
    for alike in (units[:1], units[:2]):
        with pytest.raises(UserError, match="all pairs are about one"):
            strangers(alike, 9)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("objective", [KTO(undesirable=0.01), DPO(variant="aot"), DPO(variant="aot_unpaired")], ids=str)
def test_two_processes_look_at_one_step(student: Path, tmp_path: Path, tools: Tools, objective: Preference) -> None:
    from stillwise.machine import Site, Training
    from stillwise.train.launch import train

    part = Pairwise(objective=objective, steps=4, learning_rate=1e-2, batch_tokens=700, micro_batch_tokens=300)
    one = train(part, pairs(7), student, tmp_path / "one", tools)
    two = train(part, pairs(7), student, tmp_path / "two", replace(tools, site=Site(training=Training(devices=2))))
    assert two["order"] == one["order"]
    assert [loss for _, loss, _ in two["curve"]] == pytest.approx([loss for _, loss, _ in one["curve"]], abs=1e-4)


def test_the_first_losses_are_those_of_plain_rows(student: Path, tmp_path: Path, tools: Tools) -> None:
    means = plain(student, pairs(5))
    redi = Pairwise(objective=REDI(), epochs=1, **ONE).train(pairs(5), student, tmp_path / "redi", tools)
    assert redi["first_loss"] == pytest.approx(sum(-w + 0.8 * lose for w, lose in means) / 5, abs=1e-4)
    assert redi["parts"][0][1]["chosen_logprob"] == pytest.approx(sum(w for w, _ in means) / 5, abs=1e-4)
    assert redi["parts"][0][1]["rejected_logprob"] == pytest.approx(sum(lose for _, lose in means) / 5, abs=1e-4)
    assert redi["parts"][0][1]["won"] == pytest.approx(sum(w > lose for w, lose in means) / 5)
    dpo = Pairwise(epochs=1, **ONE).train(pairs(5), student, tmp_path / "dpo", tools)
    assert dpo["first_loss"] == pytest.approx(math.log(2), abs=1e-5), "student and reference are one before the first step"


def test_pairs_with_betas_of_their_own_learn_at_their_own_pace(student: Path, tmp_path: Path, tools: Tools) -> None:
    one = Pairwise(objective=DPO(beta=0.1), **ONE)
    equal = [replace(e, beta=0.1) for e in pairs(4)]
    other = [replace(e, beta=0.1 + 0.3 * (i % 2)) for i, e in enumerate(pairs(4))]
    losses = [
        one.train(given, student, tmp_path / str(i), tools)["last_loss"] for i, given in enumerate((pairs(4), equal, other))
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.usefixtures("threads")
def test_a_student_learns_what_is_preferred_and_the_chosen_answers_are_watched(
    student: Path, tmp_path: Path, tools: Tools
) -> None:
    part = Pairwise(objective=REDI(), steps=12, learning_rate=3e-3, batch_tokens=100_000)
    found = part.train(pairs(6), student, tmp_path / "out", tools)
    before, after = plain(student, pairs(6)), plain(tmp_path / "out", pairs(6))
    gaps = [sum(w - lose for w, lose in means) / 6 for means in (before, after)]
    assert gaps[1] > gaps[0] + 0.2
    watched = found["chosen_logprob"]
    assert watched["last"] > watched["first"] >= watched["lowest"]
    assert watched["first"] == pytest.approx(found["parts"][0][1]["chosen_logprob"])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("objective", "rate"), [(DPO(beta=2.0), 0.03), (REDI(alpha=1.0), 0.3)], ids=["dpo", "redi"])
def test_a_training_that_unlearns_the_chosen_answers_is_ended(
    student: Path, tmp_path: Path, tools: Tools, objective: Preference, rate: float
) -> None:
    part = Pairwise(objective=objective, steps=40, learning_rate=rate, warmup_ratio=0, max_chosen_drop=0.5)
    with pytest.raises(StillwiseError, match="chosen answers became less likely"):
        part.train(pairs(4), student, tmp_path / "out", tools)
    assert list(tmp_path.iterdir()) == []


def test_pairs_drop_out_whole_and_examples_without_a_pair_are_refused(student: Path, tmp_path: Path, tools: Tools) -> None:
    long = [*pairs(3), replace(pairs(1)[0], id="long", rejected="x" * 500)]
    found = Pairwise(epochs=1, max_length=300, **ONE).train(long, student, tmp_path / "out", tools)
    assert found["dropped_ids"] == {"long": "too_long"}
    assert found["pairs"] == 3
    with pytest.raises(UserError, match="'e0' has no rejected answer"):
        Pairwise().train(sums(2), student, tmp_path / "other", tools)
