"""Tools whose roles are scripted models, asked directly: no journal, no bars, graders in this process."""

from __future__ import annotations

from collections.abc import Sequence

from stillwise.arrows import Ask, Completion, OnBatch, Progress, Request, Tools, Verifier
from stillwise.models.scripted import Script, ScriptedModel
from stillwise.records import Problem, Trace, Verdict


class Direct:
    """A caller without a journal."""

    def __init__(self, script: Script) -> None:
        self.model = ScriptedModel(script)

    @property
    def revision(self) -> str:
        return self.model.revision

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        answers = self.model.generate(requests) if requests else []
        on_batch(range(len(requests)), answers)
        return answers

    def render(self, ask: Ask) -> tuple[str, str]:
        return self.model.render(ask)

    def count_tokens(self, text: str) -> int:
        return self.model.count_tokens(text)


class Here:
    """Graders in this process."""

    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        return [verifier.verify(problem, trace) for problem, trace in pairs]


class Counting:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, done: int = 1, **figures: float) -> None:
        self.done += done


def counting(label: str, total: int) -> Progress:
    return Counting()


def tools_for(**roles: Direct) -> Tools:
    """Tools of a step ``s`` with these roles."""
    return Tools(step="s", seed=0, callers=roles, graders=Here(), progress=counting)
