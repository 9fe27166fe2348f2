"""Tailored feedback: the teacher sees the student's own mistake, and only mistakes are put to it."""

from __future__ import annotations

from stillwise.micro.writer import write
from stillwise.records import AnswerKind, Failure, Problem, Trace, thinking_spans
from stillwise.rewrite.tailored import Tailored
from tests.asking import scripted, tools_for

PROBLEM = Problem.of(
    "State the final answer to the following arithmetic problem: 47 - 68 + 56 =", "35", answer_kind=AnswerKind.NUMBER
)
WRONG = "<think>\n47 - 68: 8-7=1, 6-4=2. So 21.\n21 + 56: 1+6=7, 2+5=7. So 77.\n</think>\n\nThe answer is \\boxed{77}."


def mistake(text: str = WRONG) -> Trace:
    return Trace(
        id="wrong", problem_id=PROBLEM.id, role="learner", model="m", paradigm="instruct", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=40, num_thinking_tokens=30,
    )  # fmt: skip


def test_the_teacher_sees_problem_answer_and_the_students_own_reasoning() -> None:
    teacher = scripted(lambda _: "47 - 68 = -21\n-21 + 56 = 35\n\\boxed{35}")
    part = Tailored(by="teacher")
    found = part.rewrite(PROBLEM, mistake(), tools_for(teacher=teacher))
    (asked,) = teacher.model.requests
    assert WRONG in asked.ask.user
    assert PROBLEM.question in asked.ask.user
    assert "<reference_answer>\n35\n" in asked.ask.user
    assert isinstance(found, Trace)
    assert found.text == "<think>\n47 - 68 = -21\n-21 + 56 = 35\n\\boxed{35}\n</think>\n\n\\boxed{35}"
    assert (found.parent, found.edit, found.role) == ("wrong", "corrected", "teacher")
    assert part.wants == "incorrect"


def test_a_correction_without_an_answer_is_none() -> None:
    found = Tailored(by="teacher").rewrite(PROBLEM, mistake(), tools_for(teacher=scripted(lambda _: "I do not know.")))
    assert isinstance(found, Failure)
    assert found.reason == "no_answer"


def test_the_embedded_writer_works_the_problem_out() -> None:
    teacher = scripted(lambda request: write(request.ask.user))
    found = Tailored(by="teacher").rewrite(PROBLEM, mistake("nonsense \\boxed{1}"), tools_for(teacher=teacher))
    assert isinstance(found, Trace)
    assert found.text.endswith("\\boxed{35}.")
    assert "-21 + 56" in found.text
