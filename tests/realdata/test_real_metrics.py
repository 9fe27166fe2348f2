"""Published samples with published outcomes: pass@k, avg@n, majority and best of n come out as their source says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stillwise.arrows import Sampled, Tools
from stillwise.evaluate.classes import answer_classes
from stillwise.evaluate.metrics import measure_group
from stillwise.evaluate.rows import Measured, by_problem
from stillwise.evaluate.votes import by_text, is_tied, majority_share
from stillwise.problems.columns import kind_of
from stillwise.records import Outcome, Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.verify.dispatch import ByAnswerKind
from tests.evaluate.test_benchmark import Counted

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]
WORDS = {True: Outcome.CORRECT, False: Outcome.INCORRECT}


def loaded(path: Path) -> tuple[list[Problem], list[Sampled], dict[str, float]]:
    """100 problems with 8 samples: the source's extracted answers, its outcomes and its reward model's scores."""
    problems, sampled, rewards = [], [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        problem = Problem.of(one["question"], one["gt"], answer_kind=kind_of(one["gt"]), level=int(one["level"][-1]))
        problems.append(problem)
        samples = zip(one["code"], one["pred"], one["score"], one["pred_score"], strict=True)
        for i, (text, answer, right, reward) in enumerate(samples):
            name = f"{problem.id}-{i}"
            trace = Trace(id=name, problem_id=problem.id, role="", model="", paradigm="", prompt="", text=text, sample_index=i)
            sampled.append(Sampled(trace=trace, verdict=Verdict(outcome=WORDS[right], extracted=answer or None, rule="source")))
            rewards[name] = reward[-1]
    return problems, sampled, rewards


def rows(sampled: list[Sampled], rewards: dict[str, float], classes: dict[str, int]) -> list[Measured]:
    found = []
    for one in sampled:
        assert one.verdict is not None
        found.append(
            Measured(
                benchmark="math_cot",
                problem_id=one.trace.problem_id,
                level=None,
                sample_index=one.trace.sample_index,
                outcome=one.verdict.outcome,
                extracted=one.verdict.extracted,
                answer_class=classes.get(one.trace.id),
                scores={"reward": rewards[one.trace.id]},
            )
        )
    return found


def test_the_published_figures_of_a_hundred_problems_with_eight_samples(real: Real) -> None:
    problems, sampled, rewards = loaded(real("math_cot_100x8.jsonl"))
    with GraderPool() as pool:
        tools = Tools(step="s", seed=0, callers={}, graders=pool, progress=Counted().open)
        classes = answer_classes(problems, sampled, ByAnswerKind(), tools)
    held = rows(sampled, rewards, classes)
    found = measure_group(held)
    groups = by_problem(held).values()
    assert (len(problems), found["samples"]) == (100, 800)
    assert found["pass_at_k"]["8"]["value"] == pytest.approx(0.96)
    assert found["pass_at_1"]["value"] == pytest.approx(0.910)
    assert sum(majority_share(group, by_text) for group in groups) == 93
    assert found["best_of_n"]["reward"]["value"] == pytest.approx(0.94)
    assert found["pass_at_1"]["value"] <= found["pass_at_k"]["2"]["value"] <= found["pass_at_k"]["4"]["value"] <= 0.96  # type: ignore[operator]
    ties = sum(map(is_tied, groups))
    print(f"maj@8 over the grader's classes: {found['maj_at_n']['value']}, {ties} tied; string vote 0.93")
    assert found["maj_at_n"]["value"] == pytest.approx(0.93)
    assert found["maj_ties"] == ties


def test_classes_join_what_strings_keep_apart(real: Real) -> None:
    problems, sampled, _ = loaded(real("math_cot_100x8.jsonl"))
    with GraderPool() as pool:
        tools = Tools(step="s", seed=0, callers={}, graders=pool, progress=Counted().open)
        classes = answer_classes(problems, sampled, ByAnswerKind(), tools)
    texts = {(one.trace.problem_id, one.verdict.extracted) for one in sampled if one.verdict and one.trace.id in classes}
    joined = {(one.trace.problem_id, classes[one.trace.id]) for one in sampled if one.trace.id in classes}
    print(f"{len(texts)} different texts are {len(joined)} different answers")
    assert len(joined) < len(texts)
