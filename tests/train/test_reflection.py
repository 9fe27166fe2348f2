"""Self-reflection: the triplet's values, which rows stand in one, what enters the loss, and independence of the cutting."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stillwise.arrows import Example, Tools
from stillwise.train import folder
from stillwise.train.losses.contrast import triplet
from stillwise.train.reflection import NEGATIVE, POSITIVE, SelfReflection, triplets
from stillwise.train.sft import SFT
from tests.train.conftest import make_tokenizer

pytestmark = pytest.mark.usefixtures("threads")


def examples() -> list[Example]:
    """Two questions with two right answers each, a third with one; the second was never missed."""
    held = [("a", "1", "one"), ("a", "one 1", ""), ("b", "2", ""), ("b", "two 2", ""), ("c", "3", "drei")]
    return [
        Example(id=f"e{i}", user=f"What is {user}?", assistant=text, rejected=bad) for i, (user, text, bad) in enumerate(held)
    ]


def test_the_triplet_is_zero_when_the_mistake_is_a_margin_farther_and_the_margin_when_both_are_one() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    positive = torch.tensor([[2.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    negative = torch.tensor([[0.0, 3.0], [0.5, 0.5], [-1.0, -1.0]])
    assert triplet(a, positive, negative, 1.0).tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)
    assert triplet(a, negative, positive, 1.0).tolist() == pytest.approx([2.0, 1.0, 3.0], abs=1e-6)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    states = [torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda a, p, n: triplet(a, p, n, 1.0), states)


def test_a_triplet_needs_another_right_answer_and_a_mistake_and_neither_is_learnt() -> None:
    units, rendered = triplets(examples(), make_tokenizer(), 200, 0.1)
    assert [[row.id for row in unit] for unit in units] == [
        ["e0", f"{POSITIVE}e1", f"{NEGATIVE}e0"], ["e1"], ["e2"], ["e3"], ["e4"],
    ]  # fmt: skip
    assert len(rendered.rows) == 5
    anchor, *beside = units[0]
    assert set(anchor.token_weights) == {0.1, 1.0}
    assert all(weight == 0 for row in beside for weight in row.token_weights)


def trained(part: SelfReflection | SFT, student: Path, out: Path, tools: Tools, held: list[Example]) -> dict[str, object]:
    return dict(part.train(held, student, out, tools))


def weights(path: Path) -> dict[str, torch.Tensor]:
    model = folder.load_model(path, None)
    return {name: value.detach() for name, value in model.state_dict().items()}


def distance(a: Path, b: Path) -> float:
    mine, yours = weights(a), weights(b)
    return max(float((mine[name] - yours[name]).abs().max()) for name in mine)


@pytest.fixture
def fields() -> dict[str, object]:
    return {"epochs": 2, "learning_rate": 1e-3, "batch_tokens": 400, "max_length": 200}


def test_without_mistakes_it_is_sft_with_a_weighed_prompt(
    student: Path, tools: Tools, tmp_path: Path, fields: dict[str, object]
) -> None:
    held = [replace(example, rejected="") for example in examples()]
    found = trained(SelfReflection.model_validate(fields), student, tmp_path / "a", tools, held)
    plain = trained(SFT.model_validate({**fields, "span_weights": {"prompt": 0.1}}), student, tmp_path / "b", tools, held)
    assert found["triplets"] == 0
    # SFT divides by the summed weights, the paper by the number of tokens: the same sum, another divisor.
    assert float(str(found["first_loss"])) < float(str(plain["first_loss"]))


def test_mistakes_change_what_is_learnt_and_the_ratio_says_how_much(
    student: Path, tools: Tools, tmp_path: Path, fields: dict[str, object]
) -> None:
    runs = {}
    for ratio in (0.0, 0.5, 1.0):
        part = SelfReflection.model_validate({**fields, "ratio": ratio})
        runs[ratio] = trained(part, student, tmp_path / str(ratio), tools, examples())
    firsts = [float(str(runs[ratio]["first_loss"])) for ratio in (0.0, 0.5, 1.0)]
    assert math.isclose(firsts[2] - firsts[1], firsts[1] - firsts[0], rel_tol=1e-4), "the triplets enter linearly"
    assert firsts[1] > firsts[0]
    assert distance(tmp_path / "0.0", tmp_path / "0.5") > 1e-5


def test_the_loss_does_not_depend_on_how_a_step_is_cut(
    student: Path, tools: Tools, tmp_path: Path, fields: dict[str, object]
) -> None:
    losses: list[float] = []
    for micro in (400, 60):
        part = SelfReflection.model_validate({**fields, "micro_batch_tokens": micro})
        losses.append(float(str(trained(part, student, tmp_path / str(micro), tools, examples())["first_loss"])))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
