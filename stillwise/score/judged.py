"""Scores that a model gives by a rubric: Reasoning Verbosity, its fit, Cognitive Difficulty, and difficulty for a student.

Thinking with DistilQwen, §3.2.2 (easy, medium, hard) and §3.2.3 (RV and CD on 0 to 9). The rubrics are packaged prompts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from pydantic import Field, model_validator

from stillwise.arrows import Ask, Completion, Request, Scorer, Tools
from stillwise.decoding import Decoding
from stillwise.errors import UserError
from stillwise.parts import Role
from stillwise.records import Finish, Problem, Score, Trace, derive_seed, thinking_spans
from stillwise.runtime.prompts import STUDENT, excerpt, only_object, packaged, schema
from stillwise.score.agreement import calibrate
from stillwise.score.panel import Rubric, panel_of, rounded

HIGHEST: dict[Rubric, int] = {"verbosity": 9, "verbosity_fit": 9, "cognitive_difficulty": 9, "difficulty": 2}
"""Every scale begins at 0; of ``difficulty`` 0 is easy, 1 medium, 2 hard."""
LABELS = ("easy", "medium", "hard")
_READ_CHARS = 4_000
"""A judgement stands at the end of an answer."""
_AGAIN_TEMPERATURE = 0.6
"""A greedy answer that could not be read would come again word for word."""

Item = tuple[Problem, Trace]


class Judged(Scorer, Decoding):
    """A model's judgement by a rubric, strictly read: an answer without exactly one score in range is asked for once more.

    With several judgements the score is their mean (of ``difficulty`` their median, ties to the easier). A score is None
    where no judgement could be read: undecided, never a number that nobody gave.
    """

    kind: ClassVar[str] = "judged"
    revision: ClassVar[int] = 2
    rubric: Rubric = "verbosity"
    """What is judged; also the score's name."""
    by: Role = "judge"
    """The role that judges; the paper's difficulty scorer is the teacher itself."""
    version: int = Field(default=1, ge=1)
    """Of the packaged prompt: scores of different versions do not compare."""
    student: str = STUDENT
    """For whom the difficulty is judged, as it is put to the judge."""
    judgements: int = Field(default=1, ge=1)
    """Independent judgements of each trace (self-consistency); more than one wants a temperature above 0."""
    asks: int = Field(default=2, ge=1)
    """How often one judgement is asked for until it can be read."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    max_tokens: int = Field(default=8192, ge=1)
    """A longer judgement cannot be read."""
    max_chars: int = Field(default=60_000, ge=2)
    """Of a longer trace the judge sees the beginning and the end, and that something is left out."""
    panel: str | None = None
    """A packaged panel of traces with known marks that the judge is put before, too: ``prose-1`` for judges of real traces,
    ``sums-1`` for the embedded world. How far it agrees stands in the report."""

    @model_validator(mode="after")
    def _known_panel(self) -> Judged:
        if self.panel is not None:
            try:
                panel_of(self.panel, self.rubric)
            except UserError as err:
                raise ValueError(str(err)) from err
        return self

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One score for each trace."""
        return self.score_all([(problem, traces)], tools)[0]

    def score_all(self, groups: Sequence[tuple[Problem, Sequence[Trace]]], tools: Tools) -> list[list[Score]]:
        """One score for each trace of each problem; all first judgements are asked for together."""
        scores = iter(self._scores([(problem, trace) for problem, traces in groups for trace in traces], tools))
        return [[next(scores) for _ in traces] for _, traces in groups]

    def figures(self, tools: Tools) -> Mapping[str, Any]:
        """Bias, error and quadratic kappa on the panel, with how many of it were undecided; nothing without a panel."""
        if self.panel is None:
            return {}
        known = panel_of(self.panel, self.rubric)
        scores = self._scores([(problem, trace) for problem, trace, _ in known], tools)
        pairs = [(rounded(s.value), mark) for s, (_, _, mark) in zip(scores, known, strict=True) if s.value is not None]
        found = asdict(calibrate([given for given, _ in pairs], [mark for _, mark in pairs])) if pairs else {"n": 0}
        return {"panel": self.panel, "undecided": len(known) - len(pairs), **found}

    def _scores(self, items: Sequence[Item], tools: Tools) -> list[Score]:
        return [self._pooled(marks) for marks in self._marks(items, tools)]

    def _marks(self, items: Sequence[Item], tools: Tools) -> list[list[int]]:
        marks: list[list[int]] = [[] for _ in items]
        todo = [(place, number) for place in range(len(items)) for number in range(self.judgements)]
        for turn in range(self.asks):
            if not todo:
                break
            answers = self._asked(items, todo, turn, tools)
            read = [self._read(answer) for answer in answers]
            for (place, _), mark in zip(todo, read, strict=True):
                marks[place] += [] if mark is None else [mark]
            todo = [each for each, mark in zip(todo, read, strict=True) if mark is None]
        return marks

    def _asked(self, items: Sequence[Item], todo: Sequence[tuple[int, int]], turn: int, tools: Tools) -> list[Completion]:
        temperature = self.temperature or (_AGAIN_TEMPERATURE if turn else 0.0)
        sampling = replace(self.sampling, temperature=temperature)
        bar = tools.progress(tools.step, len(todo))
        requests = [
            Request(
                ask=self._shaped(items[place], turn), sampling=sampling, seed=self._seed(items[place][1], number, turn, tools)
            )
            for place, number in todo
        ]
        return tools.callers[self.by].complete(requests, lambda places, _: bar.advance(len(places)))

    def ask(self, problem: Problem, trace: Trace) -> Ask:
        """What the judge is asked about one trace."""
        prompt = packaged("stillwise.score", f"{self.rubric}-{self.version}")
        text = excerpt(trace.text, self.max_chars)
        return Ask(user=prompt.filled(problem=problem.question, trace=text, student=self.student))

    def _shaped(self, item: Item, turn: int) -> Ask:
        """First in the judge's own words; where these cannot be read, in the form alone where a server can enforce it."""
        form = schema(score={"type": "integer", "minimum": 0, "maximum": HIGHEST[self.rubric]}) if turn else ""
        return replace(self.ask(*item), schema=form)

    def _seed(self, trace: Trace, number: int, turn: int, tools: Tools) -> int:
        return derive_seed(tools.seed, tools.step, self.by, self.kind, self.rubric, trace.id, number, turn)

    def _read(self, answer: Completion) -> int | None:
        if answer.failure or answer.finish is Finish.LENGTH:
            return None
        return read_mark(answer.opened + answer.text, HIGHEST[self.rubric])

    def _pooled(self, marks: Sequence[int]) -> Score:
        said = f"{len(marks)} of {self.judgements} judgements: {' '.join(map(str, marks))}".rstrip(": ")
        if not marks:
            return Score(name=self.rubric, value=None, detail=f"undecided; {said}")
        pooled = statistics.median_low(marks) if self.rubric == "difficulty" else statistics.fmean(marks)
        return Score(name=self.rubric, value=float(pooled), detail=said)


def read_mark(text: str, highest: int) -> int | None:
    """The whole number from 0 to ``highest`` under ``score`` in the one JSON object of an answer, its thinking left out.

    None for anything else: no object or several, a fraction, a word, a number out of range, a thought without an end.
    """
    solutions = [span for span in thinking_spans(text) if span.kind == "solution"]
    found = only_object(text[solutions[0].start :][-_READ_CHARS:]) if solutions else None
    mark = found.get("score") if found else None
    if not isinstance(mark, int) or isinstance(mark, bool):
        return None
    return mark if 0 <= mark <= highest else None
