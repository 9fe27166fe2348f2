"""Where a trace's answer stands, by which rule; what needs no comparison at all. Never reads inside the thinking."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stillwise.boxed import has_box, last_boxed
from stillwise.records import Finish, Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.verify.words import unwrapped

Rule = Literal["boxed", "answer_tag", "answer_line", "whole", "math_span", "number"]
ANCHORED: tuple[Rule, ...] = ("boxed", "answer_tag", "answer_line")
"""Rules by which the model itself marked its answer."""
MAX_ANSWER_CHARS = 4096
MAX_NESTING = 64
_TAIL_CHARS = 20_000
"""Unmarked answers are looked for in this many last characters: the end of a solution, at a bounded cost."""

_NAMES = r"\b(?:answer|réponse|respuesta|antwort|risposta|resposta|ответ)\b|答案|答え"
_LINE = re.compile(rf"(?:(?:{_NAMES})[*_]*[ \t]*(?:\bis\b|\best\b|\bes\b|是|为|:|：|=)|####)[ \t]*[:=]?([^\n]+)", re.IGNORECASE)
_FINAL = re.compile(r"final answer\b[*_]*[ \t]*(?:is\b|:)[ \t]*:?([^\n]+)", re.IGNORECASE)
"""What may follow a box and take its place: the box was a step on the way."""
_SLIP = re.compile(r"\\f?box(?:ed)?\s*\{([^{}\\]+)\\\}[$.\s]*\Z")
"""A box at the very end whose only closing brace has a backslash before it."""
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"__\w+__|\blambda\b|\w\(\s*['\"]")
_LONE_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}")
_MAX_WORDS = 3
_MAX_WHOLE_CHARS = 300
_POLITE = re.compile(r"\.?\s*I hope (?:it|this) is correct.*", re.IGNORECASE)
"""What models trained on Minerva's prompt add to their answer."""
_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:/\d+)?%?")
_SENTENCE = re.compile(r"[.!?]\s+(?=[A-Z])|\n")
_DENIED = re.compile(r"\W*not\b", re.IGNORECASE)
_VERB = re.compile(r"(?:\b(?:is|are|equals|be|est|son)\b|=)(?!.*(?:\b(?:is|are|equals|be|est|son)\b|=))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as the model wrote it, and the rule that found it."""

    rule: Rule
    text: str


def solution_of(trace: Trace) -> str | None:
    """The text after the thinking; None where the thought was never closed."""
    if not trace.spans and "think>" not in trace.text:
        return trace.text
    spans = trace.spans or thinking_spans(trace.text)
    parts = [trace.text[span.start : span.end] for span in spans if span.kind == "solution"]
    return "".join(parts) if parts else None


def find_answer(solution: str) -> Found | None:
    """The last box, else ``<answer>`` tag, else "answer is" line (or ``####``), else a bare answer, last formula or number.

    A "final answer" line behind the last box takes its place. A last box that is never closed is no answer at all.
    """
    tail = solution[-_TAIL_CHARS:]
    if has_box(solution):
        final = _last(_FINAL, tail[tail.rfind("box") :])
        if final and not has_box(final):
            return Found("answer_line", _unwrapped(final))
        boxed = last_boxed(solution) or _last(_SLIP, tail)
        if boxed and len(boxed) <= MAX_ANSWER_CHARS and (line := _last(_LINE, boxed)):
            return Found("answer_line", _unwrapped(line))
        return Found("boxed", boxed) if boxed else None
    if tagged := _last(_TAG, tail[: tail.casefold().rfind("</answer>") + len("</answer>")]):
        return Found("answer_tag", _unwrapped(tagged))
    if line := _last(_LINE, tail):
        return Found("answer_line", _unwrapped(line))
    return _unmarked(solution, tail)


def _unmarked(solution: str, tail: str) -> Found | None:
    """Text that is a bare answer, else the formula or the number of the last sentence that has one."""
    bare = solution.strip()
    if len(bare) <= _MAX_WHOLE_CHARS and "\n" not in bare and is_bare(bare):
        return Found("whole", bare)
    if _CODE.search(tail):
        return None
    spans, numbers = list(_MATH.finditer(tail)), list(_NUMBER.finditer(tail))
    if spans and not (numbers and _SENTENCE.search(tail, spans[-1].end(), numbers[-1].start() + 1)):
        return Found("math_span", next(group for group in spans[-1].groups() if group).strip())
    return Found("number", numbers[-1][0].strip()) if numbers else None


def is_bare(text: str) -> bool:
    """Whether a text is an answer and nothing else: mathematics that can be read, with at most a word or a unit, or a name."""
    from stillwise.verify.latex import FUNCTIONS, Unreadable
    from stillwise.verify.nodes import Conditioned
    from stillwise.verify.reading import read

    outside = _MATH.sub("", text)
    if outside != text and _LONE_WORD.search(outside):
        return False
    try:
        node = read(text)
    except Unreadable:
        return False
    said = len(
        [word for word in _LONE_WORD.findall(unwrapped(text)) if word not in FUNCTIONS and word not in ("sqrt", "and", "or")]
    )
    return not isinstance(node, Conditioned) and said <= (1 if text[0].islower() else _MAX_WORDS)


def in_prose(line: str) -> str | None:
    """The value in an answer that came as a sentence: its formula, what stands behind its last verb, or its first number."""
    if _DENIED.match(line):
        return None
    if spans := [next(group for group in match.groups() if group) for match in _MATH.finditer(line)]:
        behind = line[line.rfind(spans[-1]) + len(spans[-1]) :]
        if not _NUMBER.search(behind):
            return spans[-1].strip()
    if verb := _VERB.search(line):
        behind = line[verb.end() :].strip().rstrip(".")
        if _NUMBER.match(behind) or is_bare(behind):
            return behind
    number = _NUMBER.search(line)
    return number[0] if number else None


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


def settled(trace: Trace, prose: bool = False) -> Verdict | Found:
    """The verdict where there is nothing to compare (cut off, no answer, not fit to be parsed), else the answer found."""
    if trace.finish is Finish.LENGTH:
        return Verdict(outcome=Outcome.TRUNCATED, grader="finish@1")
    solution = solution_of(trace)
    found = None if solution is None else find_answer(solution)
    if (
        found is None
        and prose
        and solution is not None
        and 0 < len(solution.strip()) <= _MAX_WHOLE_CHARS
        and not has_box(solution)
    ):
        found = Found("whole", solution.strip())
    if found is None:
        detail = "the thought was never closed" if solution is None else "no answer was found"
        return Verdict(outcome=Outcome.UNDECIDED, grader="finish@1", detail=detail)
    if len(found.text) > MAX_ANSWER_CHARS or _nesting(found.text) > MAX_NESTING:
        shown = found.text[:80]
        detail = f"an answer of {len(found.text)} characters is not graded"
        return Verdict(outcome=Outcome.UNDECIDED, rule=found.rule, extracted=shown, grader="finish@1", detail=detail)
    return found


def _nesting(text: str) -> int:
    """At least how deep brackets lie in each other; short texts, nearly all, are not even looked through."""
    if len(text) <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for char in text:
        depth += (char in "{([") - (char in "})]")
        deepest = max(deepest, depth)
    return deepest


def comparable(problem: Problem, trace: Trace, anchored_only: bool, grader: str, prose: bool = False) -> Verdict | Found:
    """The answer to compare with the reference, else the verdict why there is none (unmarked answers count on request).

    ``prose`` takes a short solution without any mathematics as an answer too.
    """
    found = settled(trace, prose)
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
