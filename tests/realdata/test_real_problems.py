"""Public problem sets load whole: MATH with three encodings of level, GSM8K, OlympiadBench, SVAMP; references verify."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stillwise.arrows import Verifier
from stillwise.problems.resolve import resolve
from stillwise.records import AnswerKind, Failure, Outcome, Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.verify.answers import Found, decided
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.maths import Maths
from stillwise.verify.policy import Policy
from stillwise.verify.symbolic import symbolically_same, version

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]


class Symbolic(Verifier):
    """Maths without the exact comparison, so that Math-Verify itself must recognise each reference."""

    kind: ClassVar[str] = "symbolic_only"

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        right, _ = symbolically_same(problem.answer or "", trace.text, Policy())
        return decided(bool(right), Found("boxed", trace.text), version())

    def warm(self) -> None:
        Maths().warm()


def loaded(path: Path) -> tuple[list[Problem], Counter[str]]:
    found = list(resolve(str(path)).problems())
    failed = Counter(item.reason for item in found if isinstance(item, Failure))
    return [item for item in found if isinstance(item, Problem)], failed


def answered(problem: Problem, text: str) -> tuple[Problem, Trace]:
    return problem, Trace(id="t", problem_id=problem.id, role="r", model="m", paradigm="p", prompt="", text=text)


@pytest.mark.parametrize(
    ("name", "usable", "failed", "levels"),
    [
        ("math_train_7474.jsonl", 7470, {"no_answer": 4}, {1: 564, 2: 1345, 3: 1582, 4: 1681, 5: 2296, None: 2}),
        ("math500.jsonl", 500, {}, {1: 43, 2: 90, 3: 105, 4: 128, 5: 134}),
        ("math_test_5000.jsonl", 5000, {}, {1: 437, 2: 894, 3: 1131, 4: 1214, 5: 1324}),
        ("gsm8k_train.jsonl", 7473, {}, {None: 7473}),
        ("gsm8k_test.jsonl", 1319, {}, {None: 1319}),
        ("olympiadbench_oe_to_maths_en_675.jsonl", 675, {}, {None: 675}),
        ("svamp_1000.jsonl", 1000, {}, {None: 1000}),
    ],
)
def test_counts_and_levels(name: str, usable: int, failed: dict[str, int], levels: dict[Any, int], real: Real) -> None:
    problems, reasons = loaded(real(name))
    assert (len(problems), dict(reasons)) == (usable, failed)
    assert Counter(problem.level for problem in problems) == levels


def test_levels_agree_between_encodings(real: Real) -> None:
    texts = {p.question: p.level for p in loaded(real("math_test_5000.jsonl"))[0]}
    shared = [p for p in loaded(real("math500.jsonl"))[0] if p.question in texts]
    assert len(shared) > 400
    assert all(p.level == texts[p.question] for p in shared)


def test_grade_school_answers_are_plain_numbers(real: Real) -> None:
    for name in ("gsm8k_train.jsonl", "svamp_1000.jsonl"):
        problems, _ = loaded(real(name))
        assert all(p.answer_kind is AnswerKind.NUMBER and "," not in (p.answer or "") for p in problems)
        assert not any((p.answer or "").endswith(".0") for p in problems)


def test_each_worked_solution_of_math500_reaches_its_answer(real: Real) -> None:
    problems, _ = loaded(real("math500.jsonl"))
    solutions = [json.loads(line)["solution"] for line in real("math500.jsonl").read_text().splitlines()]
    pairs = [answered(problem, solution) for problem, solution in zip(problems, solutions, strict=True)]
    with GraderPool() as pool:
        outcomes = Counter(verdict.outcome.value for verdict in pool.verify(Maths(), pairs))
    print(f"MATH-500, worked solutions against references: {dict(outcomes)}")
    assert outcomes["correct"] == 500


def test_each_reference_of_math500_is_itself_and_no_perturbed_one_is(real: Real) -> None:
    problems, _ = loaded(real("math500.jsonl"))
    hard = [p for p in problems if p.answer_kind is not AnswerKind.NUMBER]
    changed = [answered(p, f"\\boxed{{1{p.answer}}}" if p not in hard else f"\\boxed{{{p.answer} + 1}}") for p in problems]
    with GraderPool() as pool:
        same = pool.verify(ByAnswerKind(), [answered(p, f"\\boxed{{{p.answer}}}") for p in problems])
        symbolic = Counter(v.outcome.value for v in pool.verify(Symbolic(), [answered(p, p.answer or "") for p in hard]))
        wrong = Counter(verdict.outcome.value for verdict in pool.verify(ByAnswerKind(), changed))
    print(f"MATH-500, {len(hard)} references that are no plain number, by Math-Verify alone: {dict(symbolic)}")
    print(f"MATH-500, perturbed references: {dict(wrong)}")
    assert all(verdict.outcome is Outcome.CORRECT for verdict in same)
    assert symbolic["correct"] == len(hard) == 183
    assert wrong["correct"] == 0
