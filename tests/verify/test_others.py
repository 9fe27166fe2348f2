"""Choices, texts, roles; judges and majorities; each member of a dispatcher decides in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from stillwise.arrows import Request, Tools, Verifier
from stillwise.models.scripted import ScriptedModel
from stillwise.records import AnswerKind, Outcome, Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.verify.choice import Choice, letter, options_of, settled_letter
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.judge import Judge, agreement, equivalent
from stillwise.verify.majority import Majority
from stillwise.verify.maths import Maths
from stillwise.verify.roles import Roles
from stillwise.verify.text import Text, token_f1

Make = Callable[..., Trace]
ASKED = "Which planet is closest to the sun?\nA. Venus\nB. Mars\nC. Mercury\nD. Planet A"
SHUFFLED = json.dumps({"options": ["Mercury", "Venus", "Planet A", "Mars"]})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("b) because", "B"),
        (r"\text{B}", "B"),
        ("C. Mercury", "C"),
        ("Blue", None),
        ("a dog", None),
        ("B不是 A", "B"),
    ],
)
def test_letters(answer: str, found: str | None) -> None:
    assert letter(answer) == found


@pytest.mark.parametrize(
    ("solution", "found"),
    [
        ("D. it can't be A or B", "D"),
        ("B is correct. Or maybe C. Actually let's finalize B", "B"),
        ("The answer is C.\n\nAnswer: A", "A"),
        ('So the answer is "C".', "C"),
        ("A closer look shows that it is (D).", "D"),
        ("I think that nobody knows", None),
    ],
)
def test_the_letter_that_a_solution_settles_on(solution: str, found: str | None) -> None:
    assert settled_letter(solution) == found


@pytest.mark.parametrize(
    ("answer", "scorer", "text", "outcome"),
    [
        ("C", None, "C", "correct"),
        ("C", None, "Mercury", "correct"),
        ("Mercury", None, "(c)", "correct"),
        ("C", None, "it is Mercury, of course", "correct"),
        ("C", None, "Venus", "incorrect"),
        ("C", None, "Jupiter", "undecided"),
        ("Mercury", SHUFFLED, "A", "correct"),
        ("Mercury", SHUFFLED, "C", "incorrect"),
        ("C", SHUFFLED, "Planet A", "correct"),
        ("C", SHUFFLED, "A", "incorrect"),
    ],
)
def test_choices(answer: str, scorer: str | None, text: str, outcome: str, trace_of: Make) -> None:
    problem = Problem.of(ASKED, answer, answer_kind=AnswerKind.CHOICE, scorer=scorer)
    assert Choice().verify(problem, trace_of(f"\\boxed{{{text}}}")).outcome.value == outcome


def test_options() -> None:
    assert options_of(Problem.of(ASKED, "C")) == {"A": "Venus", "B": "Mars", "C": "Mercury", "D": "Planet A"}
    assert options_of(Problem.of(ASKED, "C", scorer=SHUFFLED))["A"] == "Mercury"
    assert options_of(Problem.of("no options", "C")) == {}


@pytest.mark.parametrize(
    ("answer", "text", "outcome"),
    [
        ("yes", "Yes, because it flies", "correct"),
        ("true", "yes", "correct"),
        ("no", "Yes", "incorrect"),
        ("Yes", "nobody knows", "incorrect"),
        ("the capital of France", "Capital of France.", "correct"),
        ('["Paris", "City of Light"]', "city of light", "correct"),
        ('["Paris", "City of Light"]', "Rome", "incorrect"),
        ("Albert Einstein", "Einstein", "incorrect"),
    ],
)
def test_texts(answer: str, text: str, outcome: str, trace_of: Make) -> None:
    verdict = Text().verify(Problem.of("q", answer, answer_kind=AnswerKind.TEXT), trace_of(f"\\boxed{{{text}}}"))
    assert verdict.outcome.value == outcome


def test_overlap_of_words(trace_of: Make) -> None:
    assert token_f1("Albert Einstein", "Einstein") == pytest.approx(2 / 3)
    assert token_f1("the the cat", "a cat") == 1
    assert token_f1("x y y", "y x") == pytest.approx(4 / 5)
    assert 0.99 < token_f1("red blue", "blue red") < 1
    problem = Problem.of("q", "Albert Einstein", answer_kind=AnswerKind.TEXT)
    verdict = Text(overlap=0.6).verify(problem, trace_of(r"\boxed{Einstein}"))
    assert (verdict.outcome, verdict.detail) == (Outcome.CORRECT, "F1 0.667")


@pytest.mark.parametrize(
    ("solution", "outcome"),
    [
        ("<answer>(1) Amelia is a knight\n(2) Penelope is a knight\n(3) Evelyn is a knave</answer>", "correct"),
        (r"\boxed{\text{Amelia is a knight, Penelope is a knight, and Evelyn is not a knight.}}", "correct"),
        ("<answer>Amelia: knight, Penelope: knight, Evelyn: knave</answer>", "correct"),
        ("The answer is:\n- **Amelia** is a knight\n- **Penelope** is a knight\n- **Evelyn** is a **knave**", "correct"),
        (
            "Suppose Evelyn is a knight. <answer>Amelia is a knight, Penelope is a knave, Evelyn is a knave</answer>",
            "incorrect",
        ),
        ("<answer>Amelia is a knight, Penelope is a knight</answer>", "incorrect"),
        ("<answer>no idea</answer>", "undecided"),
    ],
)
def test_roles(solution: str, outcome: str, trace_of: Make) -> None:
    problem = Problem.of("q", "Amelia is a knight, Penelope is a knight, and Evelyn is a knave.", answer_kind=AnswerKind.ROLES)
    assert Roles().verify(problem, trace_of(solution)).outcome.value == outcome


def test_shares_of_roles_and_other_words(trace_of: Make) -> None:
    problem = Problem.of("q", "Zoey is a pioneer and Owen is a laggard", answer_kind=AnswerKind.ROLES)
    trace = trace_of("<answer>Zoey is a pioneer and Owen is a pioneer</answer>")
    verdict = Roles(names=(("pioneer", "laggard"),)).verify(problem, trace)
    assert (verdict.outcome, verdict.detail) == (Outcome.INCORRECT, "1 of 2 right")
    assert Roles().verify(problem, trace).outcome is Outcome.UNDECIDED


@dataclass
class Journal:
    """A caller that keeps nothing: each request goes to the model."""

    model: ScriptedModel
    revision: str = "r1"
    asked: list[str] = field(default_factory=list)

    def complete(self, requests: Sequence[Request], on_batch: object) -> list[object]:
        self.asked += [request.ask.user for request in requests]
        assert len({request.seed for request in requests}) == len(requests)
        return list(self.model.generate(requests))


def tools_of(script: Callable[[Request], str | None], pool: GraderPool) -> tuple[Tools, Journal]:
    caller = Journal(ScriptedModel(script))
    return Tools(step="judge", seed=1, callers={"judge": caller}, graders=pool, progress=lambda label, total: None), caller  # type: ignore[dict-item, arg-type, return-value]


def pairs_of(trace_of: Make) -> list[tuple[Problem, Trace]]:
    problem = Problem.of("How many?", r"\text{infinitely many}", answer_kind=AnswerKind.TEXT)
    return [(problem, trace_of(f"\\boxed{{{text}}}")) for text in ("no end of them", "two", r"\text{Infinitely many}", "odd")]


def lenient(request: Request) -> str:
    """Finds the wordy answer equivalent, contradicts itself on "two" by order, talks about "odd"."""
    text = request.ask.user
    if "odd" in text:
        return "I would say so."
    first = text.index("Answer A:\ntwo") > 0 if "Answer A:\ntwo" in text else False
    same = "no end" in text or "Infinitely" in text or first
    return f'<think>{{"equivalent": false}}</think>{{"equivalent": {str(same).lower()}, "reason": "it says so"}}'


def test_a_judge_in_both_orders(trace_of: Make) -> None:
    with GraderPool(workers=1) as pool:
        tools, caller = tools_of(lenient, pool)
        found = Judge(rules=Text()).decide(pairs_of(trace_of), tools)
        assert [verdict.outcome.value for verdict in found] == ["correct", "undecided", "correct", "undecided"]
        assert [verdict.detail for verdict in found] == [
            "rules (text@2): incorrect",
            "the two orders disagree; rules (text@2): incorrect",
            "rules (text@2): correct",
            "the reply is no verdict; rules (text@2): incorrect",
        ]
        assert {verdict.grader for verdict in found} == {"judge-1/r1"}
        assert len(caller.asked) == 8
        once = Judge(both_orders=False).decide(pairs_of(trace_of)[:2], tools)
    assert [verdict.outcome.value for verdict in once] == ["correct", "incorrect"]
    ruled = [Text().verify(*pair) for pair in pairs_of(trace_of)]
    report = agreement(found, ruled)
    assert (report["both_decided"], report["agree"]) == (2, 0.5)
    assert report["judge / rules"]["undecided / incorrect"] == 2


def test_a_judge_hears_only_what_the_rules_leave_open(trace_of: Make) -> None:
    problem = Problem.of("q", "5")
    pairs = [(problem, trace_of(text)) for text in (r"\boxed{5}", r"\boxed{6}", "it is five", "<think>")]
    with GraderPool(workers=1) as pool:
        tools, caller = tools_of(lambda request: '{"equivalent": true}', pool)
        found = Judge(rules=Maths(), ask="undecided").decide(pairs, tools)
    assert [verdict.outcome.value for verdict in found] == ["correct", "incorrect", "correct", "undecided"]
    assert len(caller.asked) == 2
    assert "it is five" in caller.asked[0]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('{"equivalent": true}', True),
        ('```json\n{"equivalent": false, "reason": "{x}"}\n```', False),
        ('{"equivalent": "true"}', None),
        ('{"equivalent": true} {"equivalent": false}', None),
        ("true", None),
        ("", None),
    ],
)
def test_only_one_object_with_a_boolean_is_a_verdict(reply: str, found: bool | None) -> None:
    assert equivalent(reply) is found


def test_a_judge_without_its_model_decides_nothing(trace_of: Make) -> None:
    assert Judge().verify(Problem.of("q", "5"), trace_of(r"\boxed{5}")).outcome is Outcome.UNDECIDED


class Fixed(Verifier):
    """Says the same of everything."""

    kind: ClassVar[str] = "fixed"
    outcome: Outcome

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        return Verdict(outcome=self.outcome, grader=f"fixed-{self.outcome.value}")


@pytest.mark.parametrize(
    ("votes", "outcome"),
    [
        ("ccc", "correct"),
        ("cci", "correct"),
        ("cii", "incorrect"),
        ("cui", "undecided"),
        ("ci", "undecided"),
        ("cuu", "undecided"),
        ("tti", "truncated"),
        ("c", "correct"),
    ],
)
def test_majorities(votes: str, outcome: str, trace_of: Make) -> None:
    said = {"c": Outcome.CORRECT, "i": Outcome.INCORRECT, "u": Outcome.UNDECIDED, "t": Outcome.TRUNCATED}
    verdict = Majority(members=tuple(Fixed(outcome=said[vote]) for vote in votes)).verify(Problem.of("q", "1"), trace_of("1"))
    assert verdict.outcome.value == outcome
    assert (verdict.detail or "").count(":") == len(votes)


def test_members_decide_in_their_own_way(trace_of: Make) -> None:
    pairs = [
        *pairs_of(trace_of)[:1],
        (Problem.of("q", "5"), trace_of(r"\boxed{5}")),
        (Problem.of("q", "5"), trace_of(r"\boxed{6}")),
    ]
    dispatch = ByAnswerKind(text=Majority(members=(Judge(both_orders=False), Judge(max_question_chars=9), Text())))
    with GraderPool(workers=1) as pool:
        tools, caller = tools_of(lenient, pool)
        found = dispatch.decide([pairs[1], pairs[0], pairs[2]], tools)
    assert [verdict.outcome.value for verdict in found] == ["correct", "correct", "incorrect"]
    assert len(caller.asked) == 3
    assert dispatch.decide([], tools) == []


def test_one_mode_for_all_members(trace_of: Make) -> None:
    trace = trace_of("so there are 50% of them")
    for mode, outcome in (("precision", "undecided"), ("recall", "correct")):
        verifier = ByAnswerKind.model_validate({"mode": mode})
        assert verifier.verify(Problem.of("q", "1/2"), trace).outcome.value == outcome
    with pytest.raises(ValueError, match="mode"):
        ByAnswerKind.model_validate({"mode": "lenient"})
