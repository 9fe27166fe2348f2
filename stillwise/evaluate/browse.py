"""A bounded sample of a run's traces, with what a reader needs beside each: for the report's trace browser.

Every kind of trace (step or benchmark, outcome, level) gives one trace in each round, in an order that depends on nothing but
problems' ids, until the room is used up: rare outcomes are there however large the run, and the same problems come up in every
step, so that they can be read side by side. Traces that were edited bring their parents along.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from stillwise.evaluate.batches import Batch, ScoreTable
from stillwise.evaluate.metrics import level_key
from stillwise.evaluate.sections import shortened
from stillwise.models.bans import banned_words_in
from stillwise.records import Problem, Trace, digest

BYTES = 1_800_000
"""Room for the sample as JSON."""
TRACES = 3_000
THINKING, SOLUTION, QUESTION, SHORT = 8_000, 4_000, 4_000, 400
"""Characters of a text; a longer one is cut in its middle and says so."""
FILE = "browse.json"
LOOKED_AT, MISSES = 1000, 200


@dataclass(frozen=True)
class Place:
    """A trace and the batch that it came from."""

    batch: Batch
    trace: Trace


@dataclass
class Sample:
    """What was chosen so far, and the room that it takes."""

    room: int
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)
    traces: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By (batch, trace id), in the order in which they were chosen."""

    def takes(self, records: Mapping[tuple[str, str], dict[str, Any]], problem: dict[str, Any]) -> bool:
        """Adds these traces of one problem, unless they do not fit."""
        new = {key: record for key, record in records.items() if key not in self.traces}
        weight = sum(map(_size, new.values())) + (0 if problem["id"] in self.problems else _size(problem))
        if weight > self.room or len(self.traces) + len(new) > TRACES:
            return False
        self.room -= weight
        self.traces |= new
        self.problems.setdefault(problem["id"], problem)
        return True


def browse_section(batches: Sequence[Batch], scores: Iterable[ScoreTable] = (), room: int = BYTES) -> dict[str, Any]:
    """The sample: traces (most evenly chosen first), their problems, and how many of how many they are.

    Equal batches give equal sections, whatever the order of their traces.
    """
    named = _scores(scores)
    words = _words(batches)
    known = {problem.id: problem for batch in batches for problem in batch.problems}
    family = Family.of(batches)
    sample = Sample(room)
    misses, rounds = 0, _rounds(batches)
    # Most traces are never looked at: those that may be are fetched a few hundred at a time.
    while misses <= MISSES and (keys := list(islice(rounds, LOOKED_AT))):
        chains = [(key, *family.ancestors(key)) for key in keys]
        # Texts are cut as they are read: whole ones would not fit.
        found = {
            key: (_record(place, words, named.get(key[1], {})), _problem(known.get(place.trace.problem_id), place))
            for key, place in _fetched(batches, {key for chain in chains for key in chain})
        }
        for chain in chains:
            # One trace that is too long leaves room for others; many in a row mean that the room is used up.
            misses = 0 if sample.takes({each: found[each][0] for each in chain}, found[chain[0]][1]) else misses + 1
            if misses > MISSES:
                break
    total = sum(len(batch.output.traces) for batch in batches)
    return {
        "shown": len(sample.traces),
        "of": total,
        "words": words,
        "problems": sample.problems,
        "traces": list(sample.traces.values()),
    }


def _rounds(batches: Sequence[Batch]) -> Iterator[tuple[str, str]]:
    """(batch, trace id): the first of every stratum, then the second of every one, …"""
    strata: dict[tuple[str, str, str], list[tuple[str, int, str]]] = defaultdict(list)
    for batch in batches:
        levels = {problem.id: level_key(problem.level) for problem in batch.problems}
        for trace in batch.output.traces:
            outcome = batch.output.verdict(trace).outcome.value
            place = (digest(trace.problem_id), trace.sample_index, trace.id)
            stratum = strata[batch.name, outcome, levels.get(trace.problem_id, "unknown")]
            stratum.append(place)
            # No stratum is shown further than that: of a million traces only these are held.
            if len(stratum) >= 2 * TRACES:
                stratum.sort()
                del stratum[TRACES:]
    queues = [(key, sorted(strata[key])) for key in sorted(strata, key=lambda key: digest(*key))]
    for turn in range(max((len(queue) for _, queue in queues), default=0)):
        yield from ((name, queue[turn][2]) for (name, _, _), queue in queues if turn < len(queue))


@dataclass
class Family:
    """Which traces were edited from which others: ids only."""

    batch_of: dict[str, str] = field(default_factory=dict)
    """The batch of each trace that another one was edited from; the last one that holds it."""
    parent_of: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> Family:
        """The family of all these traces."""
        found = cls()
        for batch in batches:
            edited = ((trace.id, trace.parent) for trace in batch.output.traces if trace.parent is not None)
            found.parent_of |= {(batch.name, name): parent for name, parent in edited}
        wanted = set(found.parent_of.values())
        for batch in batches if wanted else ():
            found.batch_of |= {trace.id: batch.name for trace in batch.output.traces if trace.id in wanted}
        return found

    def ancestors(self, key: tuple[str, str]) -> Iterator[tuple[str, str]]:
        """The traces from which this one was edited, nearest first."""
        seen = {key[1]}
        while (parent := self.parent_of.get(key)) in self.batch_of and parent not in seen:
            assert parent is not None
            key = (self.batch_of[parent], parent)
            yield key
            seen.add(parent)


def _fetched(batches: Sequence[Batch], keys: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Place]]:
    for batch in batches:
        for trace in batch.output.traces:
            if (batch.name, trace.id) in keys:
                yield (batch.name, trace.id), Place(batch, trace)


def _scores(tables: Iterable[ScoreTable]) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for table in tables:
        for trace, score in table.scores:
            found[trace][score.name] = None if score.value is None else round(score.value, 4)
    return found


def _words(batches: Iterable[Batch]) -> list[str]:
    return sorted({word for batch in batches if batch.ban for word in batch.ban.words})


def _problem(problem: Problem | None, place: Place) -> dict[str, Any]:
    if problem is None:
        return {
            "id": place.trace.problem_id,
            "question": shortened(place.trace.prompt, QUESTION),
            "answer": None,
            "level": "unknown",
        }
    return {
        "id": problem.id,
        "question": shortened(problem.question, QUESTION),
        "answer": shortened(problem.answer, SHORT),
        "level": level_key(problem.level),
        "source": problem.source,
    }


def _record(place: Place, words: Sequence[str], scores: Mapping[str, float | None]) -> dict[str, Any]:
    """One trace for a reader; what is not known is left out."""
    batch, trace = place.batch, place.trace
    verdict = batch.output.verdict(trace)
    facts = {
        "id": trace.id,
        "in": batch.name,
        "problem": trace.problem_id,
        "paradigm": trace.paradigm,
        "outcome": verdict.outcome.value,
        "rule": verdict.rule,
        "extracted": shortened(verdict.extracted, SHORT),
        "detail": shortened(verdict.detail, SHORT),
        "sample": trace.sample_index,
        "role": trace.role,
        "model": trace.model,
        "tokens": trace.num_tokens,
        "finish": trace.finish.value,
        "thinking": shortened(trace.span("thinking"), THINKING),
        "solution": shortened(trace.span("solution") if trace.spans else trace.text, SOLUTION),
        "parent": trace.parent,
        "edit": trace.edit,
        "by": " → ".join(signature.kind for signature in trace.history) or None,
        "banned": list(batch.ban.words) if batch.ban else None,
        "said": _said(trace.text, words),
        "scores": dict(sorted(scores.items())) or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _said(text: str, words: Sequence[str]) -> dict[str, int] | None:
    from stillwise.arrows import Ban

    counted = Counter(banned_words_in(text, Ban(words=tuple(words)))) if words else Counter[str]()
    return dict(sorted(counted.items())) or None


def _size(record: Any) -> int:
    return len(embedded(record).encode())


def embedded(value: Any) -> str:
    """JSON that can stand inside a ``<script>`` element: no tag can end or open in it, whatever a model wrote."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # A lone surrogate has no bytes in UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def fitted(section: Mapping[str, Any], room: int) -> dict[str, Any]:
    """The section with as many of its first traces as fit into ``room`` bytes."""
    left = room - len(embedded({**section, "traces": [], "problems": {}}).encode())
    kept: list[dict[str, Any]] = []
    problems: dict[str, Any] = {}
    for trace in section["traces"]:
        problem = {trace["problem"]: section["problems"][trace["problem"]]}
        left -= _size(trace) + 1 + (0 if trace["problem"] in problems else _size(problem))
        if left < 0:
            break
        kept.append(trace)
        problems |= problem
    return {**section, "shown": len(kept), "traces": kept, "problems": problems}
