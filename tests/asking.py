"""Tools whose roles are scripted models, asked directly: no journal, no bars, graders in this process."""

from __future__ import annotations

from collections.abc import Sequence

from stillwise.arrows import Caller, Progress, Tools, Verifier
from stillwise.models.direct import Direct
from stillwise.models.scripted import Script, ScriptedModel
from stillwise.records import Problem, Trace, Verdict


def scripted(script: Script) -> Direct[ScriptedModel]:
    """A role that answers from a script."""
    return Direct(ScriptedModel(script))


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


def tools_for(**roles: Caller) -> Tools:
    """Tools of a step ``s`` with these roles."""
    return Tools(step="s", seed=0, callers=roles, graders=Here(), progress=counting)
