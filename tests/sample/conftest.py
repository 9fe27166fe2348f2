"""Tools over a scripted model: a caller that calls, graders that grade, bars that remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from stillwise.arrows import Ask, Completion, OnBatch, Progress, Request, Tools, Verifier
from stillwise.models.model import Model
from stillwise.models.scripted import Script, ScriptedModel
from stillwise.records import Problem, Trace, Verdict


@dataclass(frozen=True)
class DirectCaller:
    """Calls the model with no journal between."""

    model: Model

    @property
    def revision(self) -> str:
        return self.model.revision

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        answers: dict[int, Completion] = {}
        for places in reversed(self.model.plan(requests)):
            batch = self.model.generate([requests[i] for i in places])
            answers.update(zip(places, batch, strict=True))
            on_batch(places, batch)
        return [answers[i] for i in range(len(requests))]

    def render(self, ask: Ask) -> tuple[str, str]:
        return self.model.render(ask)

    def count_tokens(self, text: str) -> int:
        return self.model.count_tokens(text)


@dataclass
class DirectGraders:
    """Grades in this process and counts."""

    graded: int = 0

    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        self.graded += len(pairs)
        return [verifier.verify(problem, trace) for problem, trace in pairs]


@dataclass
class Bar:
    """Remembers what it was told."""

    label: str
    total: int
    done: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    def advance(self, done: int = 1, **figures: float) -> None:
        self.done += done
        self.figures |= figures


@dataclass
class Bench:
    """A scripted model with the tools of a step around it."""

    model: ScriptedModel
    seed: int = 1
    graders: DirectGraders = field(default_factory=DirectGraders)
    bars: list[Bar] = field(default_factory=list)

    def bar(self, label: str, total: int) -> Progress:
        self.bars.append(Bar(label, total))
        return self.bars[-1]

    @property
    def tools(self) -> Tools:
        callers = {"reasoner": DirectCaller(self.model)}
        return Tools(step="s", seed=self.seed, callers=callers, graders=self.graders, progress=self.bar)


@pytest.fixture
def bench() -> Callable[..., Bench]:
    def made(script: Script | Mapping[str, str], seed: int = 1, template: str = "<u>{user}<a>") -> Bench:
        return Bench(ScriptedModel(script, template=template, batch_size=2), seed)

    return made
