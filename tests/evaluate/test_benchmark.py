"""The benchmark asks with nothing prefilled, draws independent samples in a fixed order, and grades every one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from pydantic import ValidationError

from stillwise.arrows import INSTRUCTION, Ask, Completion, Graders, OnBatch, Progress, Request, Sampled, Tools, Verifier
from stillwise.evaluate import PARTS
from stillwise.evaluate.benchmark import PassAt1, Unaided
from stillwise.models.scripted import ScriptedModel
from stillwise.parts import roles_of
from stillwise.records import AnswerKind, Finish, Outcome, Problem, Trace, Verdict


@dataclass
class DirectCaller:
    """A caller without a journal."""

    model: ScriptedModel

    @property
    def revision(self) -> str:
        return self.model.revision

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        found: dict[int, Completion] = {}
        for places in self.model.plan(requests):
            answers = self.model.generate([requests[i] for i in places])
            found.update(zip(places, answers, strict=True))
            on_batch(places, answers)
        return [found[i] for i in range(len(requests))]

    def render(self, ask: Ask) -> tuple[str, str]:
        return self.model.render(ask)

    def count_tokens(self, text: str) -> int:
        return self.model.count_tokens(text)


class InlineGraders(Graders):
    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        return [verifier.verify(problem, trace) for problem, trace in pairs]


@dataclass
class Counted:
    """A progress bar that remembers."""

    total: int = 0
    done: int = 0
    labels: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def open(self, label: str, total: int) -> Progress:
        self.labels.append(label)
        self.total = total
        return self

    def advance(self, done: int = 1, **figures: float) -> None:
        self.done += done
        self.figures = figures


def answer(request: Request) -> str:
    """Right on even seeds, wrong on multiples of three, endless otherwise."""
    if request.seed % 2 == 0:
        return "It is \\boxed{7}."
    return "It is \\boxed{8}." if request.seed % 3 == 0 else "hm " * 50


def tools(model: ScriptedModel, bar: Counted) -> Tools:
    return Tools(step="after", seed=3, callers={"student": DirectCaller(model)}, graders=InlineGraders(), progress=bar.open)


def sums(count: int) -> list[Problem]:
    return [Problem.of(f"{i} + {7 - i} = ?", "7", answer_kind=AnswerKind.NUMBER, level=1) for i in range(count)]


def measured(part: PassAt1, problems: list[Problem], bar: Counted) -> tuple[list[Sampled], ScriptedModel]:
    model = ScriptedModel(answer, batch_size=3)
    found = [one for one in part.measure(problems, tools(model, bar)) if isinstance(one, Sampled)]
    return found, model


def test_every_problem_gets_its_samples_in_the_order_sample_then_problem() -> None:
    problems, bar = sums(5), Counted()
    found, _ = measured(PassAt1(samples=4, max_tokens=20), problems, bar)
    assert [(one.trace.sample_index, one.trace.problem_id) for one in found] == [(i, p.id) for i in range(4) for p in problems]
    assert len({one.trace.seed for one in found}) == 20
    assert (bar.total, bar.done, bar.labels) == (20, 20, ["after"])


def test_verdicts_are_those_of_the_answers_and_a_cut_answer_is_truncated() -> None:
    found, _ = measured(PassAt1(samples=8, max_tokens=20), sums(6), Counted())
    outcomes = {one.trace.id: one.verdict.outcome if one.verdict else None for one in found}
    for one in found:
        seed = one.trace.seed
        expected = Outcome.CORRECT if seed % 2 == 0 else Outcome.INCORRECT if seed % 3 == 0 else Outcome.TRUNCATED
        assert outcomes[one.trace.id] is expected
        assert (one.trace.finish is Finish.LENGTH) == (expected is Outcome.TRUNCATED)
    assert set(outcomes.values()) == {Outcome.CORRECT, Outcome.INCORRECT, Outcome.TRUNCATED}


def test_the_bar_ends_at_what_the_table_says() -> None:
    bar = Counted()
    found, _ = measured(PassAt1(samples=5, max_tokens=20), sums(6), bar)
    right = [one.verdict.outcome is Outcome.CORRECT for one in found if one.verdict]
    assert bar.figures["correct"] == pytest.approx(sum(right) / len(right))
    assert 0 < sum(right) < len(right)


def test_nothing_is_prefilled_or_banned_and_the_instruction_is_a_field() -> None:
    _, model = measured(PassAt1(samples=1), sums(1), Counted())
    assert model.requests[0].ask == Ask(user=f"0 + 7 = ?\n{INSTRUCTION}")
    _, model = measured(PassAt1(samples=1, instruction=""), sums(1), Counted())
    assert model.requests[0].ask == Ask(user="0 + 7 = ?")
    assert Unaided().ask(sums(1)[0]).prefill == ""


def test_the_sampling_fields_reach_the_model() -> None:
    _, model = measured(PassAt1(samples=1, temperature=0.1, top_p=0.5, max_tokens=99), sums(1), Counted())
    sampling = model.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.1, 0.5, 99)


def test_the_defaults_are_the_papers() -> None:
    part = PassAt1()
    assert (part.samples, part.temperature, part.top_p, part.max_tokens) == (8, 0.6, 0.95, 16384)
    assert part.verify.kind == "by_answer_kind"
    assert roles_of(part) == ("student",)
    assert PassAt1 in PARTS.values()


def test_no_problems_ask_nothing() -> None:
    found, model = measured(PassAt1(), [], Counted())
    assert found == []
    assert model.requests == []


@pytest.mark.parametrize(
    "fields",
    [{"samples": 0}, {"temperature": -1}, {"temperature": float("inf")}, {"top_p": 0}, {"max_tokens": 0}, {"sample": 3}],
)
def test_nonsense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PassAt1.model_validate(fields)


def test_two_runs_are_equal() -> None:
    first, _ = measured(PassAt1(samples=2), sums(3), Counted())
    again, _ = measured(PassAt1(samples=2), sums(3), Counted())
    assert first == again


def test_samples_are_scored_by_class_and_by_what_the_best_is_chosen_by() -> None:
    problems = sums(3)
    found, _ = measured(PassAt1(samples=6, max_tokens=20), problems, Counted())
    part = PassAt1.model_validate({"best_by": ["rethink_words"]})
    scores = part.scores(problems, found, tools(ScriptedModel(answer), Counted()))
    classes = {trace: score.value for trace, score in scores if score.name == "answer_class"}
    for one in found:
        assert one.verdict is not None
        expected = {Outcome.CORRECT: 0.0, Outcome.INCORRECT: 1.0}.get(one.verdict.outcome)
        assert classes.get(one.trace.id) == expected
    assert {score.name for _, score in scores} == {"answer_class", "rethink_words"}
    assert sum(score.name == "rethink_words" for _, score in scores) == len(found)
