"""Where a trace's answer stands, by which rule; what needs no comparison at all. Never reads inside the thinking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stillwise.boxed import has_box, last_boxed
from stillwise.records import Finish, Outcome, Problem, Trace, Verdict, thinking_spans

Rule = Literal["boxed", "answer_line", "math_span", "number", "whole"]
ANCHORED: tuple[Rule, ...] = ("boxed", "answer_line")
"""Rules by which the model itself marked its answer."""
MAX_ANSWER_CHARS = 4096
MAX_NESTING = 64
_TAIL_CHARS = 20_000
"""Unmarked answers are looked for in this many last characters: the end of a solution, at a bounded cost."""

_LINE = re.compile(r"(?:\banswer\b[*_]*[ \t]*(?:is\b|:|=)|####)[ \t]*[:=]?([^\n]+)", re.IGNORECASE)
_POLITE = re.compile(r"\.?\s*I hope (?:it|this) is correct.*", re.IGNORECASE)
"""What models trained on Minerva's prompt add to their answer."""
_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as the model wrote it, and the rule that found it."""

    rule: Rule
    text: str


def solution_of(trace: Trace) -> str | None:
    """The text after the thinking; None where the thought was never closed."""
    spans = trace.spans or thinking_spans(trace.text)
    parts = [trace.text[span.start : span.end] for span in spans if span.kind == "solution"]
    return "".join(parts) if parts else None


def find_answer(solution: str) -> Found | None:
    """The last box, else the last "answer is" line (or ``####``), else the last formula, else the last number."""
    if has_box(solution):
        boxed = last_boxed(solution)
        return Found("boxed", boxed) if boxed else None
    tail = solution[-_TAIL_CHARS:]
    if line := _last(_LINE, tail):
        return Found("answer_line", _unwrapped(line))
    if span := _last(_MATH, tail):
        return Found("math_span", span.strip())
    if number := _last(_NUMBER, tail):
        return Found("number", number)
    return None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        value = next((group for group in match.groups() if group), match[0]).strip()
        found = value or found
    return found


def _unwrapped(line: str) -> str:
    """A line without its formula marks, emphasis and full stop; of "$x=5$, as claimed" the formula."""
    while nested := _LINE.search(line):
        line = nested[1]
    bare = _POLITE.sub("", line).strip().strip("*_ ").strip()
    if match := _MATH.match(bare):
        return next(group for group in match.groups() if group).strip()
    return bare.rstrip(".").strip().strip("*_").strip()


def settled(trace: Trace) -> Verdict | Found:
    """The verdict where there is nothing to compare (cut off, no answer, not fit to be parsed), else the answer found."""
    if trace.finish is Finish.LENGTH:
        return Verdict(outcome=Outcome.TRUNCATED, grader="finish@1")
    solution = solution_of(trace)
    found = None if solution is None else find_answer(solution)
    if found is None:
        detail = "the thought was never closed" if solution is None else "no answer was found"
        return Verdict(outcome=Outcome.UNDECIDED, grader="finish@1", detail=detail)
    if len(found.text) > MAX_ANSWER_CHARS or _nesting(found.text) > MAX_NESTING:
        shown = found.text[:80]
        detail = f"an answer of {len(found.text)} characters is not graded"
        return Verdict(outcome=Outcome.UNDECIDED, rule=found.rule, extracted=shown, grader="finish@1", detail=detail)
    return found


def _nesting(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "{([") - (char in "})]")
        deepest = max(deepest, depth)
    return deepest


def comparable(problem: Problem, trace: Trace, anchored_only: bool, grader: str) -> Verdict | Found:
    """The answer to compare with the reference, else the verdict why there is none (unmarked answers count on request)."""
    found = settled(trace)
    if isinstance(found, Verdict):
        return found
    if anchored_only and found.rule not in ANCHORED:
        return undecided(found, grader, "the model did not mark its answer")
    return found if problem.answer else undecided(found, grader, "the problem has no reference answer")


def decided(right: bool, found: Found, grader: str, detail: str | None = None) -> Verdict:
    """CORRECT or INCORRECT, with how it was found."""
    outcome = Outcome.CORRECT if right else Outcome.INCORRECT
    return Verdict(outcome=outcome, rule=found.rule, extracted=found.text, grader=grader, detail=detail)


def undecided(found: Found, grader: str, detail: str) -> Verdict:
    """UNDECIDED although an answer was found, with the reason."""
    return Verdict(outcome=Outcome.UNDECIDED, rule=found.rule, extracted=found.text, grader=grader, detail=detail)
