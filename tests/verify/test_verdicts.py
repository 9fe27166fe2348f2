"""Every verifier accepts its reference, refuses a perturbed one, is undecided on garbage; where answers are looked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stillwise.arrows import Verifier
from stillwise.records import AnswerKind, Finish, Outcome, Problem, Trace
from stillwise.verify import PARTS, ByAnswerKind, Choice, Gym, Maths, Text
from stillwise.verify.answers import MAX_ANSWER_CHARS, find_answer
from stillwise.verify.gym import CHEAP, EVALUATES_LISTS, EVALUATES_SUMS, harmless
from stillwise.verify.maths import exactly_equal

Make = Callable[..., Trace]
SUM = Problem.of("1 + 2 =", "3", answer_kind=AnswerKind.GYM, scorer=json.dumps({"dataset": "chain_sum"}))
CASES: list[tuple[Verifier, Problem, str, str]] = [
    (Maths(), Problem.of("q", r"\frac{1}{2}"), "0.5", "0.6"),
    (Maths(), Problem.of("q", "12"), "12.0", "13"),
    (Gym(), SUM, "3", "4"),
    (Text(), Problem.of("q", "Paris", answer_kind=AnswerKind.TEXT), r"\text{paris}.", "Rome"),
    (Choice(), Problem.of("q", "B", answer_kind=AnswerKind.CHOICE), "(b) because", "C"),
    (ByAnswerKind(), SUM, "3", "4"),
    (ByAnswerKind(), Problem.of("q", "x+1"), "1+x", "x-1"),
    (ByAnswerKind(), Problem.of("q", r"\{1,2\}", answer_kind=AnswerKind.SET), r"\{2,1\}", r"\{2,3\}"),
    (ByAnswerKind(), Problem.of("q", "12", answer_kind=AnswerKind.NUMBER), "12", "21"),
    (ByAnswerKind(), Problem.of("q", "Yes", answer_kind=AnswerKind.TEXT), "yes", "no"),
    (ByAnswerKind(), Problem.of("q", "A", answer_kind=AnswerKind.CHOICE), "A", "B"),
]


def test_every_verifier_has_a_case() -> None:
    assert {type(verifier) for verifier, *_ in CASES} == set(PARTS)


@pytest.mark.parametrize(("verifier", "problem", "right", "wrong"), CASES)
def test_contract(verifier: Verifier, problem: Problem, right: str, wrong: str, trace_of: Make) -> None:
    verdict = verifier.verify(problem, trace_of(f"<think>\n\\boxed{{{wrong}}}\n</think>\n\nso \\boxed{{{right}}}"))
    assert (verdict.outcome, verdict.rule, verdict.extracted) == (Outcome.CORRECT, "boxed", right)
    assert "@" in verdict.grader
    assert verifier.verify(problem, trace_of(f"\\boxed{{{wrong}}}")).outcome is Outcome.INCORRECT
    assert verifier.verify(problem, trace_of("I cannot say")).outcome is Outcome.UNDECIDED
    assert verifier.verify(problem, trace_of(f"<think>\n\\boxed{{{right}}}")).outcome is Outcome.UNDECIDED
    assert verifier.verify(problem, trace_of(f"\\boxed{{{right}}}", Finish.LENGTH)).outcome is Outcome.TRUNCATED


@pytest.mark.parametrize(("verifier", "problem", "right", "wrong"), CASES)
def test_a_quick_verdict_is_the_verdict(verifier: Verifier, problem: Problem, right: str, wrong: str, trace_of: Make) -> None:
    for answer in (right, wrong, problem.answer, "", "{" * 99):
        trace = trace_of(f"\\boxed{{{answer}}}")
        assert verifier.quick(problem, trace) in (None, verifier.verify(problem, trace))


@pytest.mark.parametrize(
    ("solution", "rule", "text"),
    [
        (r"first \boxed{1}, then \boxed{2}", "boxed", "2"),
        ("The answer is 5.", "answer_line", "5"),
        ("**Final Answer:** $x=3$, as claimed", "answer_line", "x=3"),
        ("The answer is **7**", "answer_line", "7"),
        ("answer: 1\nno, answer: 2", "answer_line", "2"),
        ("Final Answer: The final answer is 12. I hope it is correct.", "answer_line", "12"),
        ("total\n#### 1,234", "answer_line", "1,234"),
        (r"so \(a+b\) holds", "math_span", "a+b"),
        ("we get 3 and 1,000.5 then", "number", "1,000.5"),
    ],
)
def test_where_answers_are_found(solution: str, rule: str, text: str) -> None:
    found = find_answer(solution)
    assert found is not None
    assert (found.rule, found.text) == (rule, text)


@pytest.mark.parametrize("solution", ["", "nothing", r"\boxed{1} and \boxed{2", r"the answer is 5 \boxed{}"])
def test_no_answer(solution: str) -> None:
    assert find_answer(solution) is None


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


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("4", "4", True),
        ("1,000", "1000", True),
        (r"\$36", "36", True),
        (r"\dfrac12", r"\frac12", True),
        ("0.50", "0.5", True),
        ("7", "8", False),
        ("99999999999", "100000000000", False),
        ("0.33", r"\frac{1}{3}", None),
        ("(1,2)", "(1,23)", None),
        ("1234", "1, 234", None),
        ("1,234", "1, 234", None),
        ("1e400", "1e401", None),
    ],
)
def test_exact_comparison(reference: str, answer: str, same: bool | None) -> None:
    assert exactly_equal(reference, answer) is same


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
