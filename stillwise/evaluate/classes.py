"""Which answers to one problem are equal, by the grader that judges them: what a majority vote counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stillwise.arrows import Sampled, Tools, Verifier
from stillwise.records import AnswerKind, Finish, Outcome, Problem, Span, Trace

ANSWER_CLASS = "answer_class"
"""The score's name: 0 for the right answer, 1, 2, … for wrong ones in the order in which they first came."""
RIGHT = 0
COMPARABLE = frozenset({AnswerKind.NUMBER, AnswerKind.EXPRESSION, AnswerKind.SET, AnswerKind.CHOICE, AnswerKind.TEXT})
"""Kinds whose verifier can take one answer as the reference of another; of the others equal texts are equal."""


@dataclass
class _Open:
    """The wrong answers to one problem that have no class yet, and the classes found."""

    problem: Problem
    texts: list[str]
    classes: dict[str, int] = field(default_factory=dict)
    found: int = 0

    def begin(self) -> list[str]:
        """Opens a class for the first text; the other texts are to be compared with it."""
        self.found += 1
        first, *others = self.texts
        self.classes[first] = self.found
        self.texts = others
        return others

    def close(self, same: Iterable[bool]) -> None:
        """Puts the texts that equal the class's first one into it."""
        for text, equal in zip(list(self.texts), same, strict=True):
            if equal:
                self.classes[text] = self.found
                self.texts.remove(text)


def answer_classes(problems: Sequence[Problem], sampled: Sequence[Sampled], verifier: Verifier, tools: Tools) -> dict[str, int]:
    """The class of each answered sample by trace id; samples without an answer are left out.

    A wrong answer joins the first class whose first answer the verifier accepts as equal, in the order of the samples; all
    problems are compared together, one class at a time.
    """
    owners = {problem.id: problem for problem in problems}
    answered = [one for one in sampled if one.verdict is not None and one.verdict.extracted is not None]
    wrong: dict[str, dict[str, None]] = {}
    for one in answered:
        if not _right(one):
            wrong.setdefault(one.trace.problem_id, {})[_text(one)] = None
    opened = {key: _Open(owners[key], list(texts)) for key, texts in wrong.items()}
    while waiting := [one for one in opened.values() if one.texts]:
        _classify(waiting, verifier, tools)
    return {
        one.trace.id: RIGHT if _right(one) else opened[one.trace.problem_id].classes[_text(one)] for one in answered
    }  # fmt: skip


def _right(one: Sampled) -> bool:
    return one.verdict is not None and one.verdict.outcome is Outcome.CORRECT


def _text(one: Sampled) -> str:
    return (one.verdict.extracted or "") if one.verdict else ""


def _classify(waiting: Sequence[_Open], verifier: Verifier, tools: Tools) -> None:
    pairs: list[tuple[Problem, Trace]] = []
    sizes = []
    for one in waiting:
        reference = one.texts[0]
        others = one.begin()
        compared = others if one.problem.answer_kind in COMPARABLE else []
        sizes.append(len(compared))
        asked = replace(one.problem, answer=reference)
        pairs += [(asked, _as_trace(one.problem, text)) for text in compared]
    verdicts = iter(verifier.decide(pairs, tools) if pairs else [])
    for one, size in zip(waiting, sizes, strict=True):
        if size:
            one.close([next(verdicts).outcome is Outcome.CORRECT for _ in range(size)])


def _as_trace(problem: Problem, answer: str) -> Trace:
    text = f"\\boxed{{{answer}}}"
    return Trace(
        id=answer,
        problem_id=problem.id,
        role="",
        model="",
        paradigm="",
        prompt="",
        text=text,
        spans=(Span(kind="solution", start=0, end=len(text)),),
        finish=Finish.IMPORTED,
    )


def scores_by_trace(rows: Iterable[tuple[str, str, float | None]]) -> Mapping[str, Mapping[str, float]]:
    """(trace id, name, value) to numbers by trace id and name; unknown values are left out."""
    found: dict[str, dict[str, float]] = {}
    for trace_id, name, value in rows:
        if value is not None:
            found.setdefault(trace_id, {})[name] = value
    return found
