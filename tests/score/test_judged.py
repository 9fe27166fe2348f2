"""Scores that a model gives: strictly read, asked once more, pooled; and what its judges are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from stillwise.arrows import Request
from stillwise.errors import UserError
from stillwise.models.direct import Direct
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Problem, Trace, thinking_spans
from stillwise.score.agreement import quadratic_kappa
from stillwise.score.judged import HIGHEST, Judged, read_mark
from stillwise.score.panel import panel_of
from tests.asking import scripted, tools_for

PROBLEM = Problem.of("What is 1 + 1?", "2")


def trace(name: str, text: str = "<think>\none and one\n</think>\n\n\\boxed{2}") -> Trace:
    return Trace(
        id=name, problem_id=PROBLEM.id, role="reasoner", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text),
    )  # fmt: skip


def queue(*answers: str) -> Direct[ScriptedModel]:
    left = list(answers)
    return scripted(lambda request: left.pop(0))


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        ('{"score": 7}', 7),
        ('{"score": 3, "score": 9}', None),
        ('{"why": {"score": 1}, "why": 2, "score": 4}', None),
        ('It is long.\n{"score": 0}', 0),
        ('<think>\nperhaps {"score": 3}\n</think>\n{"score": 4}', 4),
        ('{"reason": "steps", "score": 9}', 9),
        ('{"score": 10}', None),
        ('{"score": -1}', None),
        ('{"score": 7.5}', None),
        ('{"score": "7"}', None),
        ('{"score": true}', None),
        ('{"score": 3} or {"score": 4}', None),
        ("7", None),
        ("score: 7", None),
        ("{" * 5_000, None),
        ("", None),
        ('<think>\n{"score": 3}', None),
    ],
)
def test_only_one_whole_number_in_range_is_a_mark(answer: str, mark: int | None) -> None:
    assert read_mark(answer, 9) == mark


def test_what_cannot_be_read_is_asked_for_once_more_and_the_rest_is_not() -> None:
    judge = queue("seven", '{"score": 3}', '{"score": 70}', "eight", '{"score": 5}')
    scores = Judged().score(PROBLEM, [trace("a"), trace("b"), trace("c")], tools_for(judge=judge))
    assert [score.value for score in scores] == [None, 3.0, 5.0]
    assert len(judge.model.requests) == 5


def test_a_second_ask_has_a_seed_of_its_own_and_rescues_the_mark() -> None:
    judge = queue("seven", '{"score": 6}')
    [score] = Judged().score(PROBLEM, [trace("a")], tools_for(judge=judge))
    assert (score.name, score.value, score.detail) == ("verbosity", 6.0, "1 of 1 judgements: 6")
    first, second = judge.model.requests
    assert first.seed != second.seed
    assert (first.ask.schema, replace(second.ask, schema="")) == ("", first.ask)
    assert '"score"' in second.ask.schema, "where a server can, it enforces the form the second time"


def test_nothing_readable_is_undecided_not_zero() -> None:
    judge = scripted(lambda request: "no idea")
    [score] = Judged(judgements=2, temperature=0.6).score(PROBLEM, [trace("a")], tools_for(judge=judge))
    assert score.value is None
    assert score.detail == "undecided; 0 of 2 judgements"
    assert len(judge.model.requests) == 4


def test_judgements_are_pooled_by_mean_and_difficulty_by_median() -> None:
    marks = ['{"score": 2}', '{"score": 0}', '{"score": 0}']
    mean = Judged(judgements=3, rubric="cognitive_difficulty", temperature=0.6)
    median = Judged(judgements=3, rubric="difficulty", temperature=0.6)
    assert mean.score(PROBLEM, [trace("a")], tools_for(judge=queue(*marks)))[0].value == pytest.approx(2 / 3)
    assert median.score(PROBLEM, [trace("a")], tools_for(judge=queue(*marks)))[0].value == 0.0


def test_all_traces_are_asked_for_together_and_scores_keep_their_places() -> None:
    def by_length(request: Request) -> str:
        return '{"score": 8}' if "long" in request.ask.user.split("<chain_of_thought>")[1] else '{"score": 1}'

    judge = scripted(by_length)
    groups = [(PROBLEM, [trace("a"), trace("b", "a long one \\boxed{2}")]), (Problem.of("q", "2"), [trace("c")])]
    scores = Judged().score_all(groups, tools_for(judge=judge))
    assert [[score.value for score in each] for each in scores] == [[1.0, 8.0], [1.0]]
    assert judge.model.calls == 1


def test_a_truncated_judgement_is_not_read() -> None:
    judge = scripted(lambda request: '{"score": 3} and more words than allowed')
    [score] = Judged(max_tokens=3).score(PROBLEM, [trace("a")], tools_for(judge=judge))
    assert score.value is None


@pytest.mark.parametrize("rubric", HIGHEST)
def test_every_prompt_shows_problem_trace_and_scale(rubric: str) -> None:
    judged = Judged.model_validate({"rubric": rubric, "student": "a 3B model"})
    hostile = trace("a", "costs $5, ${problem} and {score}; \\boxed{2}")
    user = judged.ask(PROBLEM, hostile).user
    assert PROBLEM.question in user
    assert hostile.text in user
    assert '{"score": N}' in user
    assert "$problem" not in user.replace(hostile.text, "")
    assert ("a 3B model" in user) == (rubric == "difficulty")


def test_a_long_trace_is_cut_in_the_middle_and_says_so() -> None:
    user = Judged(max_chars=20).ask(PROBLEM, trace("a", "A" * 30 + "B" * 30)).user
    assert "A" * 10 + "\n[... 40 characters left out ...]\n" + "B" * 10 in user


def test_an_unknown_version_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="no prompt 'verbosity-7'; did you mean 'verbosity-1'"):
        Judged(version=7).ask(PROBLEM, trace("a"))


def test_a_greedy_answer_that_could_not_be_read_is_not_asked_for_greedily_again() -> None:
    judge = queue("seven", '{"score": 6}')
    Judged().score(PROBLEM, [trace("a")], tools_for(judge=judge))
    assert [request.sampling.temperature for request in judge.model.requests] == [0.0, 0.6]


def test_a_judge_is_put_before_a_panel_and_its_figures_say_how_it_does() -> None:
    known = panel_of("prose-1", "verbosity")
    marks = iter([min(9, mark + 1) for _, _, mark in known[:-1]])
    judge = scripted(lambda request: f'{{"score": {next(marks, 99)}}}')
    found = Judged(panel="prose-1", asks=1).figures(tools_for(judge=judge))
    assert found["panel"] == "prose-1"
    assert (found["n"], found["undecided"]) == (len(known) - 1, 1)
    assert 0.8 < found["bias"] <= 1
    assert found["kappa"] is not None
    assert Judged().figures(tools_for(judge=judge)) == {}


@pytest.mark.parametrize("name", ["prose-1", "sums-1"])
def test_a_panel_spans_the_scales_and_keeps_amount_apart_from_difficulty(name: str) -> None:
    amount, hard = ([mark for _, _, mark in panel_of(name, rubric)] for rubric in ("verbosity", "cognitive_difficulty"))
    assert min(amount) <= 1
    assert max(amount) >= 8
    assert max(hard) - min(hard) >= 7
    assert (quadratic_kappa(amount, hard) or 0) < 0.7


def test_a_panel_that_is_not_there_is_the_users_fault() -> None:
    with pytest.raises(ValidationError, match="no panel 'prose-9'; did you mean 'prose-1'"):
        Judged(panel="prose-9")
    with pytest.raises(ValidationError, match="has no marks of 'difficulty'"):
        Judged(panel="prose-1", rubric="difficulty")


def test_the_packaged_panel_of_sums_is_what_the_command_writes() -> None:
    from stillwise.micro.judge_corpus import panel

    known = panel_of("sums-1", "verbosity")
    assert [(p.question, t.text, m) for p, t, m in known] == [
        (row["question"], row["trace"], row["marks"]["verbosity"]) for row in panel()
    ]
