"""Log-probabilities of given texts: sums agree with the model's own, ratios are of characters, refusals are plain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from stillwise import micro
from stillwise.arrows import Ask, Caller, Graders, Likely, Progress, Tools
from stillwise.errors import UserError
from stillwise.micro import families, solutions
from stillwise.models.transformers import TransformersModel
from stillwise.records import Problem, Trace, thinking_spans
from stillwise.score.likelihood import Likelihood


def tools(**callers: Any) -> Tools:
    def nobody(label: str, total: int) -> Progress:
        raise AssertionError("no progress is shown here")

    return Tools(
        step="score",
        seed=0,
        callers=cast("dict[str, Caller]", callers),
        graders=cast(Graders, None),
        progress=cast("Callable[[str, int], Progress]", nobody),
    )


def trace(text: str) -> Trace:
    return Trace(
        id=text, problem_id="p", role="r", model="m", paradigm="p", prompt="", text=text, spans=thinking_spans(text)
    )  # fmt: skip


@dataclass(frozen=True)
class Coin:
    """Gives each token of so many characters the same log-probability."""

    width: int
    nats: float

    def logprobs(self, ask: Ask, answers: list[str]) -> list[tuple[float, ...]]:
        return [(self.nats,) * math.ceil(len(answer) / self.width) for answer in answers]


PROBLEM = Problem.of("1 + 1?", "2")


def test_means_are_of_tokens_and_ratios_of_characters() -> None:
    held = [trace("abcdef"), trace("")]
    models = tools(student=Coin(2, -1.0), teacher=Coin(3, -0.5))
    assert [score.value for score in Likelihood().score(PROBLEM, held, models)] == [-1.0, None]
    scores = Likelihood(against="teacher").score(PROBLEM, held, models)
    assert [score.value for score in scores] == [pytest.approx((-3 + 1) / 6), None]


def test_a_role_that_gives_none_is_named() -> None:
    with pytest.raises(UserError, match="role 'student' gives no log-probabilities"):
        Likelihood().score(PROBLEM, [trace("a")], tools(student=object()))


@pytest.fixture(scope="module")
def student() -> TransformersModel:
    return TransformersModel(str(micro.path("student")), threads=1, batch_tokens=4096)


def test_a_models_own_logprobs_add_up(student: TransformersModel) -> None:
    import torch

    assert isinstance(student, Likely)
    ask, text = Ask(user=PROBLEM.question), "The answer is \\boxed{2}."
    (held,) = student.logprobs(ask, [text])
    prompt = student._tokenizer.encode(student.render(ask)[0], add_special_tokens=False)
    ids = student._tokenizer.encode(text, add_special_tokens=False)
    with torch.inference_mode():
        logits = student._model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(ids)]
    assert held == pytest.approx(expected, abs=1e-4)


def test_worked_solutions_are_likelier_than_scrambled_ones(student: TransformersModel) -> None:
    (problem,) = families.generate("chain_sum", 2, 1, seed=3)
    text = solutions.short_solution(problem.expression)
    held = [trace(text), trace(text[::-1]), trace("x " * 5000)]
    right, reversed_, long = Likelihood(instruction="").score(PROBLEM, held, tools(student=student))
    assert right.value is not None
    assert reversed_.value is not None
    assert right.value > reversed_.value
    assert long.value is None
