r"""A source's row to a problem: which column is which, where the answer stands in it, what its level means.

Four places of an answer are met in public data: a column of its own, the last ``\boxed{}`` of a solution (MATH), after
``#### `` (GSM8K), a list of ``$…$`` strings (OlympiadBench).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from stillwise.boxed import has_box, last_boxed
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields
from stillwise.records import AnswerKind, Failure, Problem

STEP = "problems"
"""The step that a source's failures are counted under."""

AnswerFrom = Literal["auto", "column", "boxed", "gsm8k", "list"]
Layout = Literal["columns", "gpqa", "knights", "humaneval", "mbpp", "livecodebench"]
PolicyValue = bool | int | float | str

QUESTIONS = ("problem", "question", "prompt", "query", "instruction", "input")
ANSWERS = ("final_answer", "answer", "expected_answer", "gtruth_answer", "gold", "gt", "target", "answerkey", "solution")
LEVELS = ("level", "difficulty")
SUBJECTS = ("subject", "type", "subfield", "domain", "category")
SETTING = "body"
"""A column that states the situation; the question's column then only asks (SVAMP)."""

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_LEVEL = re.compile(r"(?:level\s*)?(\d+)(?:\.0+)?", re.IGNORECASE)
_WHOLE = re.compile(r"([-+]?)0*(\d+)(?:\.0+)?")
_FORMULAS = re.compile(r"\$[^$]+\$(?:\s*,\s*\$[^$]+\$)+")
_WORDS = frozenset({"yes", "no", "true", "false", "unknown"})


class Columns(Fields):
    """Which columns of a source are which; what is not named is found by the usual names."""

    question: tuple[str, ...] = ()
    """One column, or several that are joined with a space (SVAMP: Body, Question)."""
    answer: str | None = None
    """The column that holds the answer, or the solution that ends in it."""
    answer_from: AnswerFrom = "auto"
    r"""Where the answer stands: the whole ``column``, the last ``boxed``, after ``####`` (``gsm8k``), a ``list``; ``auto``."""
    answer_kind: AnswerKind | Literal["auto"] = "auto"
    """How answers are compared; ``auto`` judges by their look."""
    level: str | None = None
    """The column that holds the level: ``3``, ``3.0``, ``"3"`` and ``"Level 3"`` are 3; 0 and ``"Level ?"`` are unknown."""
    subject: str | None = None
    """The column that holds the subject."""
    error: str | None = None
    """The column with the tolerance of a row's answer (OlympiadBench's ``error``); without one it is exact."""
    policy: tuple[tuple[str, PolicyValue], ...] = ()
    """How all answers are compared, such as ``{kind: integer}`` or ``{relative_tolerance: 0.01}``; each problem carries it."""
    layout: Layout = "columns"
    """Rows of a benchmark whose columns make the question only together; ``columns`` for all others."""

    @field_validator("question", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("policy", mode="before")
    @classmethod
    def _policy_pairs(cls, value: Any) -> Any:
        return tuple(sorted(value.items() if isinstance(value, Mapping) else value))


class Origin(Fields):
    """What a source says of its problems beside their columns."""

    language: str = "en"
    """Language of the questions."""
    licence: str | None = None
    """Licence of the data, as an SPDX identifier where there is one."""
    limit: int | None = Field(default=None, ge=1)
    """Read at most this many rows."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Columns that are known to exist, and what to say of the problems."""

    where: str
    columns: Columns
    origin: Origin
    question: tuple[str, ...]
    answers: tuple[str, ...]
    level: str | None
    subject: str | None

    @classmethod
    def of(cls, where: str, columns: Columns, origin: Origin, present: Sequence[str]) -> Reader:
        """Resolves the names; raises UserError, naming the columns present, where one is not there."""
        given = (columns.answer, columns.level, columns.subject)
        named = (*columns.question, *(name for name in given if name))
        for name in named:
            if name not in present:
                raise UserError(f"{where} has no column {name!r}; {nearest(name, present)}{_listed(present)}")
        question = columns.question or _usual_question(present)
        answers = (columns.answer,) if columns.answer else _usual(ANSWERS, present)
        for what, found in (("question", question), ("answer", answers)):
            if not found:
                how = f"name it with --column {what}=NAME, or columns.{what} in a binding"
                raise UserError(f"no column of {where} looks like the {what}; {how}{_listed(present)}")
        level = columns.level or next(iter(_usual(LEVELS, present)), None)
        subject = columns.subject or next(iter(_usual(SUBJECTS, present)), None)
        return cls(where, columns, origin, question, answers, level, subject)

    def problem(self, row: Mapping[str, Any], item: str) -> Problem | Failure:
        """The row's problem, or the reason why it gives none."""
        question = _question(row, self.question)
        if not question:
            return Failure(step=STEP, item=item, reason="no_question")
        answer = self._answer(row)
        if answer is None:
            return Failure(step=STEP, item=item, reason="no_answer", detail=f"looked in {', '.join(self.answers)}")
        policy = self._policy(row)
        if policy.get("kind") == "integer":
            whole = whole_number(answer)
            if whole is None:
                return Failure(step=STEP, item=item, reason="not_an_integer", detail=answer[:80])
            answer = whole
        kind = self.columns.answer_kind
        return Problem.of(
            question,
            answer,
            answer_kind=_looks_like(answer, row, self.answers) if kind == "auto" else kind,
            level=level_of(row.get(self.level)) if self.level else None,
            subject=_subject(row.get(self.subject)) if self.subject else None,
            source=self.where,
            language=self.origin.language,
            licence=self.origin.licence,
            scorer=json.dumps({"policy": policy}, sort_keys=True) if policy else None,
        )

    def _policy(self, row: Mapping[str, Any]) -> dict[str, PolicyValue]:
        stated = tolerance(row.get(self.columns.error)) if self.columns.error else None
        return {**dict(self.columns.policy), **({"absolute_tolerance": stated} if stated else {})}

    def _answer(self, row: Mapping[str, Any]) -> str | None:
        found = (answer_of(row.get(name), self.columns.answer_from, is_solution(name)) for name in self.answers)
        return next((clean(answer) for answer in found if answer), None)


def _listed(present: Sequence[str]) -> str:
    return f" (columns: {', '.join(present)})"


def _usual(names: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    lower = {name.casefold(): name for name in reversed(present)}
    return tuple(lower[name] for name in names if name in lower)


def _usual_question(present: Sequence[str]) -> tuple[str, ...]:
    setting = _usual((SETTING,), present)
    question = _usual(("question",) if setting else QUESTIONS, present)[:1]
    return (*setting, *question) if question else ()


def is_solution(column: str) -> bool:
    """Whether a column's name says that it holds a worked solution, whose end is the answer."""
    return any(word in column.casefold() for word in ("solution", "rationale", "response", "completion"))


def _question(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    parts = [clean(str(row[name])).strip() for name in columns if row.get(name)]
    text = " ".join(part if i == len(parts) - 1 or part[-1:] in ".?!,:;" else f"{part}." for i, part in enumerate(parts))
    return text + _options(row.get("choices"))


def _options(choices: Any) -> str:
    if not isinstance(choices, Mapping) or not {"label", "text"} <= choices.keys():
        return ""
    return "".join(f"\n({label}) {clean(str(text))}" for label, text in zip(choices["label"], choices["text"], strict=True))


def answer_of(value: Any, mode: AnswerFrom, worked: bool) -> str | None:
    r"""The answer in one cell, or None. ``worked``: the column holds solutions, so the whole text is no answer."""
    if isinstance(value, (list, tuple)):
        return ", ".join(_undollared(str(item)) for item in value) or None if mode in ("auto", "list") else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if mode == "gsm8k" or (mode == "auto" and "####" in text):
        return text.rpartition("####")[2].strip().replace(",", "") if "####" in text else None
    if mode == "boxed" or (mode == "auto" and (worked or has_box(text))):
        return last_boxed(text) or None
    return _undollared(text) or None


def whole_number(text: str) -> str | None:
    """``033``, ``33`` and ``33.0`` as 33; None for what is no whole number."""
    match = _WHOLE.fullmatch(text.strip().replace(",", ""))
    return (match[1].replace("+", "") + match[2]) if match else None


def tolerance(value: Any) -> float | None:
    """``0.1``, ``"1e-1"`` and ``"0.1"`` as a number; None for an empty cell and for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and found > 0 else None


def _undollared(text: str) -> str:
    bare = text.strip()
    if _FORMULAS.fullmatch(bare):
        return bare.replace("$", "")
    inner = bare.strip("$").strip()
    return inner if bare.startswith("$") and bare.endswith("$") and "$" not in inner else bare


def level_of(value: Any) -> int | None:
    """``3``, ``3.0``, ``"3"``, ``"Level 3"`` are 3; 0, fractions and anything else are unknown."""
    if isinstance(value, bool):
        return None
    match = _LEVEL.fullmatch(str(value).strip())
    return int(match[1]) or None if match else None


def _subject(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or None
    return None if value is None else str(value)


def _looks_like(answer: str, row: Mapping[str, Any], answers: Sequence[str]) -> AnswerKind:
    if "choices" in row and len(answer) == 1:
        return AnswerKind.CHOICE
    several = any(isinstance(row.get(name), (list, tuple)) and len(row[name]) > 1 for name in answers)
    if several or row.get("is_multiple_answer") is True:
        return AnswerKind.SET
    return kind_of(answer)


def kind_of(answer: str) -> AnswerKind:
    """A plain number, a word of logic, else an expression."""
    if _NUMBER.fullmatch(answer):
        return AnswerKind.NUMBER
    return AnswerKind.TEXT if answer.casefold() in _WORDS else AnswerKind.EXPRESSION


def clean(text: str) -> str:
    """The text without lone surrogates (a half of an emoji that was cut off), which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def distinct(found: Iterable[Problem | Failure], where: str) -> Iterator[Problem | Failure]:
    """The same in the same order; a problem met before becomes a Failure. Raises UserError where no problem is left."""
    seen: set[str] = set()
    reasons: dict[str, int] = {}
    for item in found:
        if isinstance(item, Problem) and item.id in seen:
            item = Failure(step=STEP, item=item.id, reason="duplicate", detail=item.question[:80])
        if isinstance(item, Problem):
            seen.add(item.id)
        else:
            reasons[item.reason] = reasons.get(item.reason, 0) + 1
        yield item
    if not seen:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "it is empty"
        raise UserError(f"{where} holds no usable problem ({counts})")
