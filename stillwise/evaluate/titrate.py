"""Context titration: how much of a reasoner's thought another model needs before it solves the problem by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Ask, Completion, Paradigm, Probe, Progress, Sampled, Scaffold, Segmenter, Tools, Verifier
from stillwise.decoding import Decoding
from stillwise.models.opening import answer_start
from stillwise.parts import Fields, Role
from stillwise.records import (
    THINK_CLOSE,
    THINK_OPEN,
    Failure,
    Outcome,
    Problem,
    Span,
    Trace,
    derive_seed,
    thinking_spans,
)
from stillwise.runtime.draw import Drawing, drawn, verdicts

PREFIX = "prefix"
"""The span of a trace that was given, not generated."""
UNGROUPED = "ungrouped"
"""Problems without a level, or with one that no group holds."""
Search = Literal["linear", "bisection"]


class LevelGroup(Fields):
    """Levels that are reported together."""

    name: str
    """What the tables call it."""
    levels: tuple[int, int]
    """First and last level."""


class Titration(Probe, Decoding):
    """The first correct thought of each problem, given unit by unit until an answer is right (curriculum distillation, §3.2).

    The prefix stands at the start of the model's own answer; what counts is the answer that the model writes after it. A
    problem that no prefix solves, the whole thought included, is censored: it is counted and not dropped.
    """

    kind: ClassVar[str] = "titration"

    by: Role = "instructor"
    """The role that is given the thoughts."""
    tokenizer: Role = "reasoner"
    """The role whose tokenizer counts every token of the two ratios."""
    paradigm: Paradigm = Field(default="instruct", validate_default=True)
    """How the problem is put."""
    before: str = ""
    """Put before the prefix: "<think>\\n" for a model that knows thoughts by their tag."""
    after: str = ""
    """Put after the prefix: "\\n</think>\\n\\n" ends the thought there, so that the solution must follow."""
    segment: Segmenter = Field(default="logical_units", validate_default=True)
    """What cuts a thought into units."""
    samples: int = Field(default=4, ge=1)
    """Answers to each prefix; one correct answer is enough."""
    search: Search = "linear"
    """``linear`` tries unit 1, then 2, …, and finds the least prefix. ``bisection`` asks far less often and finds one that
    suffices while a shorter one that was tried does not: success is not monotone, so the least may be shorter."""
    max_prefixes: int = Field(default=64, ge=1)
    """A thought of more units is given in this many steps of neighbouring units, which bounds the requests."""
    max_context_tokens: int = Field(default=32768, ge=2)
    """What the model can read and write in all; a prefix that leaves no room is not tried."""
    groups: tuple[LevelGroup, ...] = (LevelGroup(name="low", levels=(1, 3)), LevelGroup(name="high", levels=(4, 5)))
    """Problems are reported by these, the easiest first."""
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What decides whether an answer is right."""

    @property
    def most_prefixes(self) -> int:
        """How many prefixes of one thought may be tried."""
        return self.max_prefixes if self.search == "linear" else self.max_prefixes.bit_length()

    def probe(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> Iterator[Sampled | Scaffold | Failure]:
        """Waves: the next prefix of every problem that is not solved, all its samples at once; then the findings.

        Of several correct traces of a problem the first is taken. A trace without a thought is a failure.
        """
        first: dict[str, tuple[Problem, Trace]] = {}
        for problem, trace in pairs:
            first.setdefault(problem.id, (problem, trace))
        begun = [self._case(problem, trace, tools) for problem, trace in first.values()]
        yield from (case for case in begun if isinstance(case, Failure))
        cases = [case for case in begun if isinstance(case, Case)]
        bar = tools.progress(tools.step, len(cases))
        while trying := [case for case in cases if case.search.next is not None]:
            yield from self._wave(trying, tools)
            _advance(bar, cases, sum(case.search.next is None for case in trying))
        yield from (self._finding(case, tools) for case in cases)

    def _case(self, problem: Problem, trace: Trace, tools: Tools) -> Case | Failure:
        thought = (trace.span("thinking") or "").lstrip()
        spans = self.segment.segment(thought)
        if not spans:
            return Failure(step=tools.step, item=problem.id, reason="no_thought", detail=f"trace {trace.id}")
        ends = [span.end for span in spans]
        count = min(len(ends), self.max_prefixes)
        prefixes = [thought[: ends[len(ends) * k // count - 1]] for k in range(1, count + 1)]
        asked = self.paradigm.ask(problem)
        fitting = self._fitting(asked, prefixes, tools)
        search = (Linear if self.search == "linear" else Bisection)(fitting)
        return Case(problem=problem, trace=trace, ask=asked, thought=thought, prefixes=prefixes, search=search)

    def _fitting(self, ask: Ask, prefixes: Sequence[str], tools: Tools) -> int:
        """How many prefixes leave the model room to answer."""
        caller = tools.callers[self.by]
        prompt, opened = caller.render(ask)
        low, high = 0, len(prefixes) + 1
        while high - low > 1:
            middle = (low + high) // 2
            start = answer_start(opened, ask.prefill + self.given(prefixes[middle - 1]))
            fits = caller.count_tokens(prompt + start) < self.max_context_tokens
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _wave(self, cases: Sequence[Case], tools: Tools) -> Iterator[Sampled | Failure]:
        """One prefix of each case, all samples; tells each search whether one of them was right.

        An answer that never came is a failure; a problem that got none at all to a prefix goes no further.
        """
        failed: dict[int, Failure] = {}

        def note(place: int, answer: Completion) -> None:
            failed[place] = Failure(step=tools.step, item=owners[place].problem.id, reason=answer.failure, detail=answer.detail)

        drawings = [self._drawing(case, index, tools) for case in cases for index in range(self.samples)]
        owners = [case for case in cases for _ in range(self.samples)]
        traces = list(drawn(drawings, self.paradigm, self.by, self.sampling, tools, on_failed=note))
        marked = [
            _marked(trace, case, self.given(case.prefixes[case.here - 1])) for trace, case in zip(traces, owners, strict=True)
        ]
        found = verdicts(self.verify, [case.problem for case in owners], marked, tools)
        for place, case in enumerate(cases):
            mine = slice(place * self.samples, (place + 1) * self.samples)
            right = [trace for trace, v in zip(marked[mine], found[mine], strict=True) if v.outcome is Outcome.CORRECT]
            case.told(right[0] if right else None)
            if all(i in failed for i in range(place * self.samples, (place + 1) * self.samples)):
                case.give_up()
        sampled = [Sampled(trace=trace, verdict=verdict) for trace, verdict in zip(marked, found, strict=True)]
        yield from (failed.get(i, one) for i, one in enumerate(sampled))

    def _drawing(self, case: Case, index: int, tools: Tools) -> Drawing:
        place = case.here
        seed = derive_seed(tools.seed, tools.step, self.by, self.kind, case.problem.id, case.trace.id, place, index)
        ask = replace(case.ask, prefill=case.ask.prefill + self.given(case.prefixes[place - 1]))
        return Drawing(problem=case.problem, ask=ask, seed=seed, sample_index=index)

    def _finding(self, case: Case, tools: Tools) -> Scaffold:
        count = tools.callers[self.tokenizer].count_tokens
        solved = case.answers.get(case.search.found) if case.search.found else None
        prefix = case.prefixes[case.search.found - 1] if case.search.found and solved else None
        rest = None if prefix is None else case.thought[len(prefix) :] + (case.trace.span("solution") or "")
        reason = "no_answer" if case.lost else "too_long" if case.search.count < len(case.prefixes) else "never_solved"
        return Scaffold(
            problem_id=case.problem.id,
            level=case.problem.level,
            group=self.group_of(case.problem.level),
            trace_id=case.trace.id,
            units=len(case.prefixes),
            units_tried=case.tried,
            units_given=case.search.found,
            solved_by=solved.id if solved else None,
            thought_tokens=count(case.thought),
            prefix_tokens=None if prefix is None else count(prefix),
            rest_tokens=None if rest is None else count(rest),
            answer_tokens=count(solved.span("answer") or "") if solved else None,
            censored=None if solved else reason,
        )

    def given(self, prefix: str) -> str:
        """A prefix as it is prefilled: without trailing blanks, which no tokenizer would have left alone there."""
        return self.before + prefix.rstrip(" \t") + self.after

    def group_of(self, level: int | None) -> str:
        """The name of the group that holds a level."""
        held = (group.name for group in self.groups if level is not None and group.levels[0] <= level <= group.levels[1])
        return next(held, UNGROUPED)


@dataclass
class Searching(ABC):
    """Which prefix of ``count`` comes next; ``found`` is the prefix that sufficed, once the search is over."""

    count: int
    next: int | None = None
    found: int | None = None

    @abstractmethod
    def told(self, solved: bool) -> None:
        """Take in what the prefix ``next`` did, and move on."""


@dataclass
class Linear(Searching):
    """Prefix 1, 2, … until one suffices."""

    def __post_init__(self) -> None:
        self.next = 1 if self.count else None

    def told(self, solved: bool) -> None:
        """The end where it was solved or none is left, else one more unit."""
        here = self.next or 0
        self.found = here if solved else None
        self.next = None if solved or here == self.count else here + 1


@dataclass
class Bisection(Searching):
    """Halves the range between a prefix that failed (none, at first) and one that sufficed (beyond the last, at first)."""

    low: int = 0
    high: int = field(init=False)

    def __post_init__(self) -> None:
        self.high = self.count + 1
        self._aim()

    def _aim(self) -> None:
        over = self.high - self.low <= 1
        self.next = None if over else (self.low + self.high) // 2
        self.found = self.high if over and self.high <= self.count else None

    def told(self, solved: bool) -> None:
        """The half that is left."""
        here = self.next or 0
        self.low, self.high = (self.low, here) if solved else (here, self.high)
        self._aim()


@dataclass
class Case:
    """One problem on its way."""

    problem: Problem
    trace: Trace
    ask: Ask
    thought: str
    prefixes: list[str]
    search: Searching
    tried: int = 0
    answers: dict[int, Trace] = field(default_factory=dict)
    """The first correct answer to each prefix that sufficed."""
    lost: bool = False
    """No answer came to the last prefix that was tried."""

    @property
    def here(self) -> int:
        """The prefix that is tried now, counted from 1."""
        assert self.search.next is not None
        return self.search.next

    def told(self, right: Trace | None) -> None:
        """Take in the first correct answer to the prefix of now, if there is one."""
        self.tried = max(self.tried, self.here)
        if right is not None:
            self.answers[self.here] = right
        self.search.told(right is not None)

    def give_up(self) -> None:
        """The end of this case, unsolved."""
        self.lost, self.search.next, self.search.found = True, None, None


def _marked(trace: Trace, case: Case, start: str) -> Trace:
    """The trace with what was given as a span of its own, so that only what was generated is read for an answer."""
    cut = trace.text.index(start) + len(start)
    inner, open_at = thinking_spans(trace.text[cut:]), trace.text.rfind(THINK_OPEN, 0, cut)
    if open_at >= 0 and THINK_CLOSE not in trace.text[open_at:]:
        inner = (Span(kind="thinking", start=0, end=len(trace.text) - cut),)
    moved = [Span(kind=span.kind, start=span.start + cut, end=span.end + cut) for span in inner]
    whole = [Span(kind=PREFIX, start=0, end=cut), Span(kind="answer", start=cut, end=len(trace.text))]
    edit = f"{Titration.kind}:{case.here}/{len(case.prefixes)}"
    return replace(trace, spans=(*whole, *moved), parent=case.trace.id, edit=edit)


def _advance(bar: Progress, cases: Sequence[Case], done: int) -> None:
    bar.advance(done, solved=sum(case.search.found is not None for case in cases) / len(cases))
