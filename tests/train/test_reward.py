"""Reward models: they learn what a judge says, say it as any classifier would, and tell how well on problems held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Example, Tools
from stillwise.errors import UserError
from stillwise.models.reward import RewardModel, batches, reward_ids
from stillwise.records import Problem, Trace
from stillwise.score.reward import RewardScore
from stillwise.train.fields import Lora
from stillwise.train.folder import quiet
from stillwise.train.losses.regression import Huber, SoftBCE
from stillwise.train.reward import PairRewardTrainer, RewardTrainer
from stillwise.train.reward_fit import Base, split
from stillwise.train.reward_report import calibration, pair_report, regression_report, spearman

QUICK: dict[str, Any] = {"epochs": 8, "learning_rate": 1e-2, "batch_tokens": 1024, "max_length": 512, "instruction": ""}


def scored(count: int, instruction: str = "") -> list[Example]:
    """Answers of one to ten words to sums; the mark is the number of words less one."""
    found = []
    for i in range(count):
        words = 1 + (7 * i) % 10
        user = f"What is {i // 2} + 1?" + (f"\n{instruction}" if instruction else "")
        found.append(Example(id=f"e{i}", user=user, assistant=" ".join(["so"] * words), label=float(words - 1)))
    return found


def logits(folder: Path, user: str, answers: list[str]) -> list[float]:
    """What a plain classifier of transformers says, one row at a time and without anything of ours."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    end = json.loads((folder / "config.json").read_text())["reward"]["end"]
    with torch.no_grad():
        rows = [torch.tensor([reward_ids(tokenizer, user, answer, end)]) for answer in answers]
        return [float(model(input_ids=row).logits[0, 0]) for row in rows]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("objective", ["mse", Huber(delta=0.5), SoftBCE()], ids=["mse", "huber", "soft_bce"])
def test_it_learns_the_marks_and_loads_as_a_classifier(student: Path, tmp_path: Path, tools: Tools, objective: Any) -> None:
    from math import exp

    part = RewardTrainer(objective=objective, **QUICK)
    found = part.train(scored(60), student, tmp_path / "model", tools)
    held = found["held_out"]
    assert held["problems"] == 3
    assert held["traces"] == 6
    assert found["rows"] == 54
    assert held["spearman"] > 0.9
    assert held["mae"] < 0.5 * held["mae_of_mean"]
    answers = ["so", "so so so so", " ".join(["so"] * 9)]
    ours = RewardModel(tmp_path / "model").values([("What is 1 + 1?", answer) for answer in answers])
    stated = json.loads((tmp_path / "model" / "config.json").read_text())["reward"]
    raw = [stated["mean"] + stated["deviation"] * value for value in logits(tmp_path / "model", "What is 1 + 1?", answers)]
    logistic = stated["link"] == "logistic"
    plain = [1 / (1 + exp(-value)) if logistic else min(1.0, max(0.0, value)) for value in raw]
    assert ours == pytest.approx(plain, abs=1e-5)
    assert all(value is not None and 0 <= value <= 1 for value in ours)
    assert ours[0] < ours[1] < ours[2]  # type: ignore[operator]


@pytest.mark.usefixtures("threads")
def test_a_low_rank_reward_model_is_saved_whole(student: Path, tmp_path: Path, tools: Tools) -> None:
    part = RewardTrainer(**{**QUICK, "epochs": 4}, adapter=Lora(rank=8))
    found = part.train(scored(60), student, tmp_path / "model", tools)
    assert found["held_out"]["spearman"] > 0.5
    assert not list((tmp_path / "model").glob("adapter*"))
    ours = RewardModel(tmp_path / "model").values([("What is 1 + 1?", "so so")])[0]
    stated = RewardModel(tmp_path / "model").settings
    (raw,) = logits(tmp_path / "model", "What is 1 + 1?", ["so so"])
    assert ours == pytest.approx(min(1, max(0, stated.mean + stated.deviation * raw)), abs=1e-5)


@pytest.mark.usefixtures("threads")
def test_pairs_teach_an_order(student: Path, tmp_path: Path, tools: Tools) -> None:
    pairs = [replace(e, assistant=e.assistant + " so so so", rejected=e.assistant, label=None) for e in scored(40)]
    found = PairRewardTrainer(**QUICK).train(pairs, student, tmp_path / "model", tools)
    assert found["held_out"]["accuracy"] == 1.0
    assert found["pairs"] == 36
    values = RewardModel(tmp_path / "model").values([("What is 1 + 1?", "so " * n) for n in (1, 5, 12)])
    assert all(value is not None for value in values)
    assert values == sorted(values)  # type: ignore[type-var]
    assert 0 < values[0] < 0.5 < values[2] < 1  # type: ignore[operator]


@pytest.mark.usefixtures("threads")
def test_the_scorer_says_what_the_folder_says(student: Path, tmp_path: Path, tools: Tools) -> None:
    RewardTrainer(**{**QUICK, "epochs": 1, "instruction": "Think."}).train(scored(20, "Think."), student, tmp_path / "m", tools)
    taught = replace(tools, folders={"reward": tmp_path / "m"})
    problem = Problem.of("What is 1 + 1?", "2")
    texts = ["so", "so so", "word " * 2000]
    traces = [Trace(id=t, problem_id=problem.id, role="r", model="m", paradigm="p", prompt="", text=t) for t in texts]
    scores = RewardScore().score(problem, traces, taught)
    assert [score.value is None for score in scores] == [False, False, True]
    alone = [RewardScore().score(problem, [trace], taught)[0].value for trace in traces[:2]]
    assert [score.value for score in scores[:2]] == pytest.approx(alone, abs=1e-6)
    raw = logits(tmp_path / "m", "What is 1 + 1?\nThink.", texts[:2])
    stated = RewardModel(tmp_path / "m").settings
    assert alone == pytest.approx([min(1, max(0, stated.mean + stated.deviation * value)) for value in raw], abs=1e-5)
    with pytest.raises(UserError, match="no local folder"):
        RewardScore(model="other").score(problem, traces, taught)


def test_a_folder_without_settings_is_no_reward_model(student: Path) -> None:
    with pytest.raises(UserError, match="holds no reward model"):
        RewardModel(student)


@pytest.mark.usefixtures("threads")
def test_padding_is_never_taken_for_the_end_of_an_answer(
    make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    """A tokenizer that pads with the token that ends a turn: the classifier would look at the token before it."""
    from tests.train.conftest import make_tokenizer

    folder = make_student()
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(str(folder))
    RewardTrainer(**{**QUICK, "epochs": 2}).train(scored(20), folder, tmp_path / "m", tools)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["pad_token_id"] != config["reward"]["end"] == tokenizer.eos_token_id
    together = RewardModel(tmp_path / "m").values([("What is 1 + 1?", "so"), ("What is 1 + 1?", "so so so so so")])
    alone = [RewardModel(tmp_path / "m").values([("What is 1 + 1?", text)])[0] for text in ("so", "so so so so so")]
    assert together == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("packing", [True, False])
def test_packed_rows_have_the_outputs_of_rows_alone(student: Path, packing: bool) -> None:
    import torch

    with quiet():
        base = Base.load(RewardTrainer(packing=packing), student)
    torch.nn.init.normal_(base.model.score.weight)
    rows = base.rendered([(e.id, e.user, e.assistant) for e in scored(5)], 512).rows
    found = base.outputs(rows, 200)
    base.model.set_attn_implementation("eager")
    base.model.eval()
    with torch.no_grad():
        alone = [float(base.model(input_ids=torch.tensor([row.ids])).logits[0, 0]) for row in rows]
    assert found == pytest.approx(alone, abs=1e-5)


def test_before_the_first_step_every_answer_has_the_mean(student: Path) -> None:
    with quiet():
        base = Base.load(RewardTrainer(), student)
    rows = base.rendered([(e.id, e.user, e.assistant) for e in scored(3)], 512).rows
    assert base.outputs(rows, 200) == [0.0, 0.0, 0.0]


def test_problems_are_held_out_whole() -> None:
    taught, kept = split(scored(40), 0.2)
    assert len({e.user for e in kept}) == 4
    assert not {e.user for e in taught} & {e.user for e in kept}
    assert len(taught) + len(kept) == 40
    assert split(scored(40), 0.2) == (taught, kept)
    with pytest.raises(UserError, match="two at least"):
        split(scored(2), 0.5)


def test_marks_must_lie_on_the_scale(student: Path, tmp_path: Path, tools: Tools) -> None:
    with pytest.raises(UserError, match="outside \\[0, 1\\]"):
        RewardTrainer(highest=5, **QUICK).train(scored(20), student, tmp_path / "m", tools)
    with pytest.raises(UserError, match="no score, or one twice"):
        RewardTrainer(**QUICK).train([*scored(4), scored(1)[0]], student, tmp_path / "m", tools)
    assert not (tmp_path / "m").exists()


def test_long_rows_drop_out_with_a_reason(student: Path, tmp_path: Path, tools: Tools) -> None:
    examples = [*scored(10), Example(id="long", user="What is 1?", assistant="so " * 600, label=1.0)]
    found = RewardTrainer(**{**QUICK, "epochs": 1}).train(examples, student, tmp_path / "m", tools)
    assert found["dropped"] in ({"too_long": 1}, {})
    assert found["rows"] + found["held_out"]["traces"] + sum(found["dropped"].values()) == 11


def test_the_report_in_closed_form() -> None:
    report = regression_report([0.1, 0.5, 0.9, None], [0.0, 0.5, 1.0, 0.3], [0.25, 0.75])
    assert report["mae"] == pytest.approx(0.2 / 3)
    assert report["mae_of_mean"] == pytest.approx(1 / 3)
    assert report["spearman"] == pytest.approx(1.0)
    assert report["unscored"] == 1
    assert report["calibration_error"] == pytest.approx(0.2 / 3)
    assert calibration([(0.0, 0.0), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)], 2) == [(0.25, 0.5, 2), (0.875, 1.0, 2)]
    assert spearman([1, 2, 2, 4], [1, 3, 2, 4]) == pytest.approx(0.9486833)
    assert spearman([1, 1], [1, 2]) is None
    assert pair_report([1.0, 0.5, None], [0.0, 0.5, 1.0]) == {"pairs": 3, "unscored": 1, "accuracy": 0.75, "gap": 0.5}


def test_batches_hold_every_row_that_fits_once() -> None:
    assert batches([5, 2, 9, 3], 8, 6) == [[1, 3], [0]]
