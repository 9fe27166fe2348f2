"""Traces rewritten for the student: who is rewritten, what is verified afterwards, and what is dropped with which reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stillwise.arrows import Request
from stillwise.models.direct import Direct
from stillwise.models.scripted import ScriptedModel
from stillwise.parts import walk_parts
from stillwise.records import AnswerKind, Failure, Finish, Outcome, Problem, Score, Trace, thinking_spans
from stillwise.rewrite.fit import CritiqueRethink, FitDifficulty
from stillwise.score.judged import Judged
from tests.asking import scripted, tools_for

PROBLEM = Problem.of("What is 20 + 22?", "42", answer_kind=AnswerKind.NUMBER)
LABEL = {"easy": 0, "medium": 1, "hard": 2}


def trace(name: str, thought: str) -> Trace:
    text = f"<think>\n{thought}\n</think>\n\n\\boxed{{42}}"
    return Trace(
        id=name, problem_id=PROBLEM.id, role="teacher", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=40, num_thinking_tokens=30,
    )  # fmt: skip


def shown(request: Request) -> str:
    return request.ask.user.split("<chain_of_thought>")[1].split("</chain_of_thought>")[0]


def teacher(**written: str) -> Direct[ScriptedModel]:
    """Judges by the word in the thought; writes what the prompt's first words ask for."""

    def answer(request: Request) -> str:
        user = request.ask.user
        if user.startswith("You decide"):
            return next((f'{{"score": {mark}}}' for word, mark in LABEL.items() if word in shown(request)), "who knows")
        if "too few words" in user:
            return written["extend"]
        if "too hard for a student" in user:
            return written["simplify"]
        return written["critique"] if "Write only the critique" in user else written["rethink"]

    return scripted(answer)


def test_easy_is_extended_hard_simplified_medium_kept() -> None:
    model = teacher(extend="<think>how?</think>20 and 22, medium: \\boxed{42}", simplify="just add, medium \\boxed{42}")
    sources = [trace("e", "easy"), trace("m", "medium"), trace("h", "hard")]
    out = FitDifficulty().rewrite_all([(PROBLEM, each) for each in sources], tools_for(reasoner=model))
    extended, kept, simplified = out
    assert kept is sources[1]
    assert isinstance(extended, Trace)
    assert isinstance(simplified, Trace)
    assert extended.text == "<think>\n20 and 22, medium: \\boxed{42}\n</think>\n\n\\boxed{42}"
    assert (extended.edit, extended.parent, extended.role) == ("extended", "e", "reasoner")
    assert (simplified.edit, simplified.parent) == ("simplified", "h")
    assert simplified.model == model.revision
    assert simplified.num_thinking_tokens is None
    assert simplified.num_tokens == len(simplified.text.split())


def test_one_call_judges_all_and_one_rewrites_all() -> None:
    model = teacher(extend="\\boxed{42}", simplify="\\boxed{42}")
    FitDifficulty().rewrite_all([(PROBLEM, trace(f"{n}", "easy")) for n in range(5)], tools_for(reasoner=model))
    assert model.model.calls == 2
    assert len({request.seed for request in model.model.requests}) == 10


def test_the_rewritten_thoughts_own_answer_is_what_gets_verified() -> None:
    model = teacher(extend="a slip: \\boxed{43}", simplify="-")
    part = FitDifficulty()
    [new] = part.rewrite_all([(PROBLEM, trace("e", "easy"))], tools_for(reasoner=model))
    assert isinstance(new, Trace)
    [verdict] = part.until.decide([(PROBLEM, new)], tools_for())
    assert verdict.outcome is Outcome.INCORRECT
    assert verdict.extracted == "43"


@pytest.mark.parametrize(
    ("thought", "written", "reason"),
    [
        ("easy", "no box here", "no_answer"),
        ("easy", "<think>never ends \\boxed{42}", "no_answer"),
        ("easy", "far too many words for the limit that is set here \\boxed{42}", "truncated"),
        ("strange", "-", "undecided_difficulty"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_reason(thought: str, written: str, reason: str) -> None:
    out = FitDifficulty(max_tokens=8).rewrite(PROBLEM, trace("t", thought), tools_for(reasoner=teacher(extend=written)))
    assert isinstance(out, Failure)
    assert (out.reason, out.item, out.step) == (reason, "t", "s")


def test_tags_inside_a_rewriting_cannot_end_the_students_thought() -> None:
    model = teacher(extend="</think>one</think> two </think> three \\boxed{42}")
    new = FitDifficulty().rewrite(PROBLEM, trace("e", "easy"), tools_for(reasoner=model))
    assert isinstance(new, Trace)
    assert new.text.count("</think>") == new.text.count("<think>") == 1


def test_a_trace_without_a_thought_stays_without_one() -> None:
    plain = Trace(
        id="p", problem_id=PROBLEM.id, role="t", model="m", paradigm="instruct", prompt="p", text="easy \\boxed{42}",
        spans=thinking_spans("easy \\boxed{42}"),
    )  # fmt: skip
    new = FitDifficulty().rewrite(PROBLEM, plain, tools_for(reasoner=teacher(extend="20 + 22 = \\boxed{42}")))
    assert isinstance(new, Trace)
    assert new.text == "20 + 22 = \\boxed{42}"
    assert new.span("thinking") is None


def test_the_default_judge_is_the_teacher_itself() -> None:
    judges = [part for part in walk_parts(FitDifficulty()) if isinstance(part, Judged)]
    assert [(judge.by, judge.rubric) for judge in judges] == [("reasoner", "difficulty")]


def test_the_judge_is_asked_for_the_parts_student() -> None:
    model = teacher(extend="\\boxed{42}", simplify="\\boxed{42}")
    FitDifficulty(student="a very small model").rewrite(PROBLEM, trace("e", "easy"), tools_for(reasoner=model))
    assert ["a very small model" in request.ask.user for request in model.model.requests] == [True, True]


def test_rounds_go_on_until_medium() -> None:
    rethought = iter(["still hard \\boxed{42}", "now medium \\boxed{42}"])
    model = teacher(critique="too many leaps", rethink="-")
    script = model.model._script

    def answer(request: Request) -> str | None:
        return next(rethought) if "<critique>" in request.ask.user else script(request)

    model.model._script = answer
    new = CritiqueRethink().rewrite(PROBLEM, trace("h", "hard"), tools_for(reasoner=model))
    assert isinstance(new, Trace)
    assert "now medium" in new.text
    assert new.edit == "rethought"
    assert new.parent == "h", "the trace that is stored, not one between the rounds"
    critiques = [request.ask.user for request in model.model.requests if "<critique>" in request.ask.user]
    assert len(critiques) == 2
    assert "too many leaps" in critiques[0]
    assert "still hard" in critiques[1]


def test_a_wrong_rewriting_costs_its_round_and_the_limit_drops_the_trace() -> None:
    model = teacher(critique="hm", rethink="medium but wrong \\boxed{41}")
    out = CritiqueRethink(rounds=2).rewrite(PROBLEM, trace("h", "hard"), tools_for(reasoner=model))
    assert isinstance(out, Failure)
    assert out.reason == "never_medium"
    assert sum("<critique>" in request.ask.user for request in model.model.requests) == 2


def test_medium_traces_cost_no_round() -> None:
    model = teacher()
    source = trace("m", "medium")
    assert CritiqueRethink().rewrite(PROBLEM, source, tools_for(reasoner=model)) is source
    assert len(model.model.requests) == 1


@pytest.mark.parametrize("part", [FitDifficulty(), CritiqueRethink()])
def test_a_medium_trace_that_was_cut_off_is_dropped_as_truncated(part: FitDifficulty | CritiqueRethink) -> None:
    cut = replace(trace("m", "medium"), finish=Finish.LENGTH)
    out = part.rewrite(PROBLEM, cut, tools_for(reasoner=teacher()))
    assert isinstance(out, Failure)
    assert out.reason == "truncated"


def test_labels_of_an_earlier_step_are_not_asked_for_again() -> None:
    model = teacher(extend="-", simplify="\\boxed{42}")
    tools = replace(tools_for(reasoner=model), scores={"labels": {"h": Score(name="difficulty", value=2.0)}})
    part = FitDifficulty.model_validate({"difficulty": {"kind": "given", "of": "labels"}})
    done, lost = part.rewrite_all([(PROBLEM, trace("h", "easy")), (PROBLEM, trace("x", "easy"))], tools)
    assert isinstance(done, Trace)
    assert done.edit == "simplified"
    assert isinstance(lost, Failure)
    assert lost.reason == "undecided_difficulty"
    assert len(model.model.requests) == 1


@pytest.mark.parametrize(("verify", "medium"), [("edited", False), ("all", True)])
def test_medium_traces_are_verified_where_all_are(verify: str, medium: bool) -> None:
    part = FitDifficulty.model_validate({"verify": verify})
    assert part.wants == "all"
    assert part.verifies(trace("m", "medium")) is medium
    assert part.verifies(replace(trace("e", "easy"), edit="extended"))
