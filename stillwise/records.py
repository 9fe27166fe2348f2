"""The nouns that cross every seam: problems, traces, verdicts, scores, failures. Frozen: a step returns new ones.

Spans are half-open character offsets over one text. Identifiers are content hashes, so equal content has an equal id on
every machine. Unknown is a value here: six outcomes, never a bare boolean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"


# One encoder for each: ``json.dumps`` with options makes a new one every time, which costs more than the encoding.
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_PLAIN = json.JSONEncoder(ensure_ascii=False).encode


def digest(*values: Any) -> str:
    """Sixteen hex digits of the sha256 of the values' canonical JSON; equal values give equal digits anywhere."""
    text = _CANONICAL(values)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_rows(rows: Iterable[Any]) -> str:
    """``digest`` of a list of these rows, which is never held as a whole."""
    sha = hashlib.sha256(b"[[")
    for number, row in enumerate(rows):
        sha.update((("," if number else "") + _CANONICAL(row)).encode())
    sha.update(b"]]")
    return sha.hexdigest()[:16]


def derive_seed(*names: str | int) -> int:
    """A 63-bit seed from names alone (run seed, step, role, paradigm, problem id, sample index): no global generator."""
    text = _PLAIN(names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class AnswerKind(StrEnum):
    """How an answer is compared; it decides which verifier reads it."""

    NUMBER = "number"
    EXPRESSION = "expression"
    CHOICE = "choice"
    SET = "set"
    TEXT = "text"
    ROLES = "roles"
    """Who is a knight and who a knave."""
    CODE_TESTS = "code_tests"
    GYM = "gym"
    """Scored by the reasoning-gym generator that made the problem; ``Problem.scorer`` holds its entry."""


class Outcome(StrEnum):
    """What is known of a trace's answer. Only ``CORRECT`` counts as right; the other five are different words."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNDECIDED = "undecided"
    """Nobody could tell: no answer was found, or no reference exists."""
    TRUNCATED = "truncated"
    """Generation stopped at the token limit before an end-of-sequence token."""
    TIMED_OUT = "timed_out"
    FAILED = "failed"


class Finish(StrEnum):
    """Why generation ended."""

    STOP = "stop"
    LENGTH = "length"
    FAILED = "failed"
    """No usable answer came: the server failed, refused, or let a banned word through."""
    IMPORTED = "imported"
    """Not generated here; the source did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with its reference answer."""

    id: str
    question: str
    answer: str | None = None
    answer_kind: AnswerKind = AnswerKind.EXPRESSION
    level: int | None = None
    """1 is easiest; None where the source states no level."""
    subject: str | None = None
    source: str = ""
    language: str = "en"
    licence: str | None = None
    scorer: str | None = None
    """JSON that the problem's own scorer needs (reasoning-gym's entry metadata, code tests)."""

    @classmethod
    def of(cls, question: str, answer: str | None, **rest: Any) -> Self:
        """A problem whose id is the hash of question, answer and scorer."""
        return cls(id=digest(question, answer, rest.get("scorer")), question=question, answer=answer, **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A typed half-open range of characters of a trace's text."""

    kind: str
    """thinking, solution, step, chunk, tool_call, …"""
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Which part made or changed a record: its kind and the fingerprint of its fields."""

    kind: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn; every field is sent to every back end explicitly."""

    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 0.95
    top_k: int = 0
    """0 keeps all tokens."""
    max_tokens: int = 16384
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One answer of one model to one problem: the text as a reader sees it, and how it came about."""

    id: str
    problem_id: str
    role: str
    model: str
    """Model revision: a digest of weights, tokenizer and template (or a server's word for it)."""
    paradigm: str
    prompt: str
    """The prompt as rendered, without the prefilled part of the answer."""
    text: str
    """The assistant's whole text: prefilled part and generated part, thinking tags included."""
    spans: tuple[Span, ...] = ()
    num_prompt_tokens: int = 0
    num_tokens: int | None = None
    """Tokens as generated (end of sequence included, prefilled part excluded); None where the source did not say."""
    num_thinking_tokens: int | None = None
    """Of ``num_tokens``, those up to the close of the thought (its tag included); 0 without one, None where nobody counted."""
    finish: Finish = Finish.STOP
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    sample_index: int = 0
    parent: str | None = None
    """The trace that this one was edited from."""
    edit: str | None = None
    history: tuple[Signature, ...] = ()

    def span(self, kind: str) -> str | None:
        """The text of the first span of this kind, or None."""
        return next((self.text[s.start : s.end] for s in self.spans if s.kind == kind), None)

    def signed(self, kind: str, fingerprint: str) -> Self:
        """The same trace with one more signature."""
        return replace(self, history=(*self.history, Signature(kind=kind, fingerprint=fingerprint)))


def thinking_spans(text: str) -> tuple[Span, ...]:
    """The thinking (between the first ``<think>`` and the last ``</think>``) and the solution after it.

    No tags: all of it is solution. An unclosed thought has no solution. A close with no open (templates that prefill the
    opening tag) begins the thought at offset 0.
    """
    opened = text.find(THINK_OPEN)
    closed = text.rfind(THINK_CLOSE)
    if opened < 0 and closed < 0:
        return (Span(kind="solution", start=0, end=len(text)),)
    start = opened + len(THINK_OPEN) if opened >= 0 else 0
    if closed < start:
        return (Span(kind="thinking", start=start, end=len(text)),)
    return (
        Span(kind="thinking", start=start, end=closed),
        Span(kind="solution", start=closed + len(THINK_CLOSE), end=len(text)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier found, by which rule, with which version."""

    outcome: Outcome
    rule: str | None = None
    """How the answer was found: boxed, answer_line, last_number, …; None if none was."""
    extracted: str | None = None
    grader: str = ""
    """Name and version of what compared."""
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A named number about a trace; ``value`` is None where it could not be computed, with the reason."""

    name: str
    value: float | None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One item (problem, trace, row) that a step had to drop, with the reason that is counted in the report."""

    step: str
    item: str
    reason: str
    """A short word to count by: no_answer, no_level, timed_out, banned_word, …"""
    detail: str = ""
