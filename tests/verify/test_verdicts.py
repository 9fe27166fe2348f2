"""Every verifier accepts its reference, refuses a perturbed one, is undecided on garbage; where answers are looked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stillwise.arrows import Verifier
from stillwise.records import AnswerKind, Finish, Outcome, Problem, Trace
from stillwise.verify import PARTS
from stillwise.verify.answers import MAX_ANSWER_CHARS
from stillwise.verify.choice import Choice
from stillwise.verify.code import Code
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.gym import CHEAP, EVALUATES_LISTS, EVALUATES_SUMS, Gym, harmless
from stillwise.verify.judge import Judge
from stillwise.verify.majority import Majority
from stillwise.verify.maths import Maths
from stillwise.verify.roles import Roles
from stillwise.verify.text import Text

Make = Callable[..., Trace]
SUM = Problem.of("1 + 2 =", "3", answer_kind=AnswerKind.GYM, scorer=json.dumps({"dataset": "chain_sum"}))
KNIGHTS = "Zoey is a knight, and Owen is a knave."
CASES: list[tuple[Verifier, Problem, str, str]] = [
    (Maths(), Problem.of("q", r"\frac{1}{2}"), "0.5", "0.6"),
    (Maths(), Problem.of("q", "12"), "12.0", "13"),
    (Gym(), SUM, "3", "4"),
    (Text(), Problem.of("q", "Paris", answer_kind=AnswerKind.TEXT), r"\text{paris}.", "Rome"),
    (Choice(), Problem.of("q", "B", answer_kind=AnswerKind.CHOICE), "(b) because", "C"),
    (ByAnswerKind(), SUM, "3", "4"),
    (
        Roles(),
        Problem.of("q", KNIGHTS, answer_kind=AnswerKind.ROLES),
        "Owen is a knave and Zoey is not a knave",
        "Zoey is a knave, Owen is a knave",
    ),
    (Majority(members=(Maths(), Maths(mode="recall"), Text())), Problem.of("q", "1/2"), r"\frac12", "2/3"),
    (ByAnswerKind(mode="recall"), Problem.of("q", "1/2"), r"50\%", "50"),
    (ByAnswerKind(), Problem.of("q", "x+1"), "1+x", "x-1"),
    (ByAnswerKind(), Problem.of("q", r"\{1,2\}", answer_kind=AnswerKind.SET), r"\{2,1\}", r"\{2,3\}"),
    (ByAnswerKind(), Problem.of("q", "12", answer_kind=AnswerKind.NUMBER), "12", "21"),
    (ByAnswerKind(), Problem.of("q", "Yes", answer_kind=AnswerKind.TEXT), "yes", "no"),
    (ByAnswerKind(), Problem.of("q", "A", answer_kind=AnswerKind.CHOICE), "A", "B"),
]


def test_every_verifier_has_a_case() -> None:
    assert {type(verifier) for verifier, *_ in CASES} | {Code, Judge} == set(PARTS.values())


@pytest.mark.parametrize(("verifier", "problem", "right", "wrong"), CASES)
def test_contract(verifier: Verifier, problem: Problem, right: str, wrong: str, trace_of: Make) -> None:
    verdict = verifier.verify(problem, trace_of(f"<think>\n\\boxed{{{wrong}}}\n</think>\n\nso \\boxed{{{right}}}"))
    assert verdict.outcome is Outcome.CORRECT
    assert verdict.rule == "boxed"
    assert right in (verdict.extracted or "")
    assert "@" in verdict.grader
    assert verifier.verify(problem, trace_of(f"\\boxed{{{wrong}}}")).outcome is Outcome.INCORRECT
    if not isinstance(verifier, ByAnswerKind) or verifier.mode != "recall":
        assert verifier.verify(problem, trace_of("I cannot say")).outcome is Outcome.UNDECIDED
    assert verifier.verify(problem, trace_of(f"<think>\n\\boxed{{{right}}}")).outcome is Outcome.UNDECIDED
    assert verifier.verify(problem, trace_of(f"\\boxed{{{right}}}", Finish.LENGTH)).outcome is Outcome.TRUNCATED


@pytest.mark.parametrize(("verifier", "problem", "right", "wrong"), CASES)
def test_a_quick_verdict_is_the_verdict(verifier: Verifier, problem: Problem, right: str, wrong: str, trace_of: Make) -> None:
    for answer in (right, wrong, problem.answer, "", "{" * 99):
        trace = trace_of(f"\\boxed{{{answer}}}")
        assert verifier.quick(problem, trace) in (None, verifier.verify(problem, trace))


def test_unmarked_answers_count_on_request_only(trace_of: Make) -> None:
    problem, trace = Problem.of("q", "5"), trace_of("so there are 5 of them")
    strict, lenient = Maths().verify(problem, trace), Maths(anchored_only=False).verify(problem, trace)
    assert (strict.outcome, strict.rule) == (Outcome.UNDECIDED, "number")
    assert (lenient.outcome, lenient.rule) == (Outcome.CORRECT, "number")


def test_no_reference_is_undecided(trace_of: Make) -> None:
    for verifier in (Maths(), Text(), Choice(), Gym(), ByAnswerKind()):
        assert verifier.verify(Problem.of("q", None), trace_of(r"\boxed{5}")).outcome is Outcome.UNDECIDED


def test_an_unreadable_reference_is_undecided(trace_of: Make) -> None:
    assert Maths().verify(Problem.of("q", r"\begin{"), trace_of(r"\boxed{5}")).outcome is Outcome.UNDECIDED


def test_code_tests_have_no_verifier(trace_of: Make) -> None:
    problem = Problem.of("q", "assert f(1) == 2", answer_kind=AnswerKind.CODE_TESTS)
    assert ByAnswerKind().verify(problem, trace_of(r"\boxed{5}")).outcome is Outcome.UNDECIDED


def test_long_and_deep_answers_are_not_parsed(trace_of: Make) -> None:
    for answer in ("x" * (MAX_ANSWER_CHARS + 1), "(" * 100):
        verdict = Maths().quick(Problem.of("q", "1"), trace_of(f"\\boxed{{{answer}}}"))
        assert verdict is not None
        assert verdict.outcome is Outcome.UNDECIDED
        assert len(verdict.extracted or "") <= 100


def test_swapping_one_kind() -> None:
    swapped = ByAnswerKind.model_validate({"expression": {"kind": "text", "anchored_only": False}})
    assert swapped.expression == Text(anchored_only=False)
    assert swapped.fingerprint != ByAnswerKind().fingerprint


@pytest.mark.parametrize(
    ("dataset", "answer", "passes"),
    [
        ("spiral_matrix", "[1, 2, 'a']", True),
        ("spiral_matrix", "__import__('os').system('true')", False),
        ("countdown", "3 * (4 + 5)", True),
        ("countdown", "().__class__", False),
        ("countdown", "open('f')", False),
        ("simple_integration", "x**2 + exp(x) + C", True),
        ("simple_integration", "x.func(1)", False),
        ("chain_sum", "anything(1)", True),
    ],
)
def test_only_plain_data_reaches_a_scorer_that_evaluates(dataset: str, answer: str, passes: bool) -> None:
    assert harmless(dataset, answer) is passes


def test_a_hostile_answer_does_nothing(trace_of: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("d") / "made"
    scorer = json.dumps({"dataset": "countdown", "metadata": {"numbers": [1], "target": 1}})
    problem = Problem.of("q", "1", answer_kind=AnswerKind.GYM, scorer=scorer)
    verdict = Gym().verify(problem, trace_of(f"\\boxed{{open('{target}', 'w')}}"))
    assert verdict.outcome is Outcome.INCORRECT
    assert not target.exists()


def test_the_lists_of_scorers_are_those_of_the_installed_reasoning_gym() -> None:
    import inspect

    from reasoning_gym.factory import DATASETS

    evaluating, cheap = set(), set()
    for name, (cls, _) in DATASETS.items():
        source = inspect.getsource(cls.score_answer)
        if "eval(answer)" in source or "parse_expr(answer" in source:
            evaluating.add(name)
        if "compute_decimal_reward" in source:
            cheap.add(name)
    assert evaluating == EVALUATES_LISTS | EVALUATES_SUMS
    assert cheap | {"basic_arithmetic"} == CHEAP
