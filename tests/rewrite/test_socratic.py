"""Traces as dialogues: who learns which line, what drops out, and what the teacher is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stillwise.arrows import Request
from stillwise.micro.writer import write
from stillwise.models.direct import Direct
from stillwise.models.scripted import ScriptedModel
from stillwise.records import AnswerKind, Failure, Problem, Trace, thinking_spans
from stillwise.rewrite.segment import LogicalUnits
from stillwise.rewrite.socratic import Socratic, dialogue
from stillwise.runtime.dialogue import CLOSING
from tests.asking import scripted, tools_for

PROBLEM = Problem.of("What is 4 + 5 - 2?", "7", answer_kind=AnswerKind.NUMBER)
THOUGHT = "4 + 5: 4+5=9. So 9.\n9 - 2: 9-2=7. So 7."
LINES = LogicalUnits(min_words=1, check_words=0)


def trace(thought: str = THOUGHT, solution: str = "The answer is \\boxed{7}.") -> Trace:
    text = f"<think>\n{thought}\n</think>\n\n{solution}"
    return Trace(
        id="t", problem_id=PROBLEM.id, role="reasoner", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=40, num_thinking_tokens=30,
    )  # fmt: skip


def made(answer: Callable[[Request], str], held: Trace, **fields: object) -> tuple[Trace | Failure, Direct[ScriptedModel]]:
    teacher = scripted(answer)
    part = Socratic.model_validate({"by": "teacher", "segment": LINES, **fields})
    return part.rewrite(PROBLEM, held, tools_for(teacher=teacher)), teacher


def test_each_step_answers_its_question_and_the_closing_one_is_answered_by_the_answer() -> None:
    found, _ = made(lambda _: "What is 4 + 5?\nWhat is 9 - 2?", trace())
    assert isinstance(found, Trace)
    assert found.text == (
        "Q:\nWhat is 4 + 5?\nA:\n4 + 5: 4+5=9. So 9.\nQ:\nWhat is 9 - 2?\nA:\n9 - 2: 9-2=7. So 7.\n"
        + f"Q:\n{CLOSING}\nA:\n\\boxed{{7}}"
    )
    assert (found.parent, found.edit) == ("t", "socratic")


def test_the_masks_cover_exactly_what_each_speaker_writes() -> None:
    text, spans = dialogue([("one?", "1"), ("two?", "2")])
    assert text == "Q:\none?\nA:\n1\nQ:\ntwo?\nA:\n2"
    said = {kind: [text[span.start : span.end] for span in spans if span.kind == kind] for kind in ("question", "answer")}
    assert said == {"question": ["one?\n", "two?\n"], "answer": ["1\n", "2"]}


@pytest.mark.parametrize(
    ("answer", "held", "reason"),
    [
        ("What is 4 + 5?", trace(), "other_number_of_questions"),
        ("What is 4 + 5?\nWhat is 9 - 2?\nAnd?", trace(), "other_number_of_questions"),
        ("a?\nb?", trace(solution="Seven."), "no_answer"),
        ("a?", trace(thought="", solution=""), "no_steps"),
        ("a?", trace(thought="\n".join(f"step {n}." for n in range(12))), "too_many_steps"),
    ],
)
def test_what_drops_out(answer: str, held: Trace, reason: str) -> None:
    found, _ = made(lambda _: answer, held)
    assert isinstance(found, Failure)
    assert found.reason == reason


def test_the_teacher_sees_problem_and_steps_and_the_embedded_writer_understands_it() -> None:
    found, teacher = made(lambda request: write(request.ask.user), trace())
    (asked,) = teacher.model.requests
    assert PROBLEM.question in asked.ask.user
    assert "2. 9 - 2: 9-2=7. So 7." in asked.ask.user
    assert isinstance(found, Trace)
    assert "Q:\n9 - 2 = ?" in found.text
