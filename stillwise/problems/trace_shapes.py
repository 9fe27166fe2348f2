"""The shapes in which people publish traces, read as one: question, answer, thinking, content, for every sample of a row.

Known: fields for thinking and content (API answers), tags inline, chat messages (OpenAI, ShareGPT), a list of samples, columns
that hold one list each, and the columns of OpenThoughts, OmniThought (with its scores), s1K, LIMO, OpenR1, OpenCodeReasoning,
DeepMath and Alpaca.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Row = Mapping[str, Any]

THINKING = (
    "message_thinking",
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
    "thinking_trajectory",
    "think",
    "deepseek_reasoning",
)
CONTENT = ("message_content", "content", "output", "response", "completion", "generation", "code", "text", "solution")
WHOLE = ("full_response", "deepseek_solution")
"""Content under names of one set only; they go before the general ones."""
SCORES = {"Reasoning_Verbosity": "verbosity", "Cognitive_Difficulty": "cognitive_difficulty"}
"""OmniThought's columns, and what such scores are called here."""
_NUMBERED = re.compile(r"r1_solution_\d+")
_PREFIXED = "_thinking_trajectory"
_GRADES = {"yes": 1.0, "no": 0.0}
TALKS = ("messages", "conversations", "conversation")
ASSISTANTS = ("assistant", "gpt", "model", "bot")
USERS = ("user", "human")
TOKENS = ("num_tokens", "completion_tokens", "generated_tokens")

_TAGGED = (
    re.compile(r"\s*<think>(?P<thinking>.*?)</think>\s*<answer>(?P<content>.*?)(?:</answer>\s*)?\Z", re.DOTALL),
    re.compile(r"\s*<think>(?P<thinking>.*?)(?:</think>(?P<content>.*)|\Z)", re.DOTALL),
    re.compile(r"\s*<Thought>(?P<thinking>.*?)(?:</Thought>\s*(?:<Output>)?(?P<content>.*?)(?:</Output>\s*)?\Z|\Z)", re.DOTALL),
    re.compile(
        r"\s*<\|begin_of_thought\|>(?P<thinking>.*?)(?:<\|end_of_thought\|>\s*(?:<\|begin_of_solution\|>)?"
        r"(?P<content>.*?)(?:<\|end_of_solution\|>\s*)?\Z|\Z)",
        re.DOTALL,
    ),
    re.compile(r"(?P<thinking>(?:(?!<think>).)*?)</think>(?P<content>.*)", re.DOTALL),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer as it was published."""

    thinking: str | None
    """None where the source shows none; "" where a thought was there and empty."""
    content: str | None
    """None where the thought was never closed."""
    question: str | None = None
    """Only where the sample itself holds it (messages)."""
    score: Any = None
    num_tokens: int | None = None
    finish: str | None = None
    model: str | None = None
    """Only where the sample itself names its teacher."""
    scores: tuple[tuple[str, float, str], ...] = ()
    """Further scores of the source: name, value, who gave it."""


def samples_of(row: Row) -> list[Sample]:
    """Every sample of a row, in order; none where no known shape fits."""
    for shape in (_of_generations, _of_teachers, _of_prefixed, _of_trajectories, _of_numbered):
        if found := shape(row):
            return found
    talk = _first(row, TALKS)
    if isinstance(talk, Sequence) and not isinstance(talk, str):
        return _of_talk(row, talk)
    held = row.get("samples")
    if isinstance(held, Sequence) and not isinstance(held, str):
        return [sample for each in held for sample in samples_of(each if isinstance(each, Mapping) else {"content": each})]
    return [sample for each in _unzipped(row) if (sample := _of_fields(each)) is not None]


def _of_generations(row: Row) -> list[Sample]:
    """OpenR1: a list of generations beside lists of verdicts and finish reasons (its messages hold one of them)."""
    texts = row.get("generations")
    if not isinstance(texts, list):
        return []
    marks, ends = ((row.get(name) or [None] * len(texts)) for name in ("correctness_math_verify", "finish_reasons"))
    found = (_of_fields({"content": t, "score": m, "finish_reason": e}) for t, m, e in zip(texts, marks, ends, strict=False))
    return [sample for sample in found if sample]


def _of_teachers(row: Row) -> list[Sample]:
    """OmniThought: a list of responses, each with its teacher and with scores of verbosity and difficulty."""
    held = row.get("reasoning")
    if not isinstance(held, list) or not all(isinstance(each, Mapping) for each in held):
        return []
    found = ((each, _of_fields(each)) for each in held)
    return [replace(sample, model=each.get("teacher"), scores=tuple(_scores(each))) for each, sample in found if sample]


def _scores(row: Row) -> Iterator[tuple[str, float, str]]:
    for column, name in SCORES.items():
        held = row.get(column)
        level = held.get("level") if isinstance(held, Mapping) else held
        if isinstance(level, (int, float)) and not isinstance(level, bool):
            yield name, float(level), str(held.get("judge") or column) if isinstance(held, Mapping) else column


def _of_prefixed(row: Row) -> list[Sample]:
    """s1K-1.1: a thought, an attempt and a grade for each of several teachers, told by their prefixes."""
    teachers = [name.removesuffix(_PREFIXED) for name in row if name.endswith(_PREFIXED) and row[name]]
    return [
        Sample(
            thinking=str(row[f"{who}{_PREFIXED}"]),
            content=None if row.get(f"{who}_attempt") is None else str(row[f"{who}_attempt"]),
            score=_GRADES.get(str(row.get(f"{who}_grade")).casefold()),
            model=who,
        )
        for who in teachers
    ]


def _of_trajectories(row: Row) -> list[Sample]:
    """s1K: a list of thoughts and one attempt."""
    thoughts = row.get("thinking_trajectories")
    attempt = row.get("attempt")
    if not isinstance(thoughts, list):
        return []
    return [Sample(thinking=str(thought), content=None if attempt is None else str(attempt)) for thought in thoughts]


def _of_numbered(row: Row) -> list[Sample]:
    """DeepMath: one column for each response."""
    found = (_of_fields({"content": row[name]}) for name in sorted(row) if _NUMBERED.fullmatch(name) and row[name])
    return [sample for sample in found if sample]


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _of_talk(row: Row, talk: Sequence[Any]) -> list[Sample]:
    question: str | None = None
    found: list[Sample] = []
    for turn in talk:
        who = str(turn.get("role", turn.get("from", ""))).lower() if isinstance(turn, Mapping) else ""
        if who in USERS:
            question = str(turn.get("content", turn.get("value", "")))
        elif who in ASSISTANTS:
            spoken = {**turn, "content": turn.get("content", turn.get("value"))}
            sample = _of_fields({**{k: row[k] for k in ("score", "finish_reason", *TOKENS) if k in row}, **spoken}, question)
            found += [sample] if sample else []
    return found[-1:]


def _unzipped(row: Row) -> Iterator[Row]:
    """A row of lists (eight answers, eight scores) as rows of single values; any other row as it is."""
    name = next((name for name in CONTENT if isinstance(row.get(name), list)), None)
    if name is None:
        yield row
        return
    size = len(row[name])
    lists = {key: held for key, held in row.items() if isinstance(held, list) and len(held) == size}
    for index in range(size):
        yield {**row, **{key: held[index] for key, held in lists.items()}}


def _of_fields(row: Row, question: str | None = None) -> Sample | None:
    thinking, content = _first(row, THINKING), _first(row, (*WHOLE, *CONTENT))
    if thinking is None and content is None:
        return None
    if thinking is None or row.get("full_response"):
        thinking, content = untagged(str(content))
    usage = row.get("usage")
    tokens = _first(usage if isinstance(usage, Mapping) else row, TOKENS)
    finish = _first(row, ("finish_reason", "stop_reason", "done_reason"))
    return Sample(
        thinking=None if thinking is None else str(thinking),
        content=None if content is None else str(content),
        question=question,
        score=row.get("score"),
        num_tokens=tokens if isinstance(tokens, int) else None,
        finish=None if finish is None else str(finish),
    )


def untagged(text: str) -> tuple[str | None, str | None]:
    """Thinking and content of a text with inline tags; no tags: no thinking. An unclosed thought has no content."""
    match = next((match for pattern in _TAGGED if (match := pattern.match(text))), None)
    return (match["thinking"], match["content"]) if match else (None, text)
