"""Programs judged by tests in the sandbox: reads and prints, calls, or statements in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Tools, Verifier
from stillwise.records import Problem, Trace, Verdict

if TYPE_CHECKING:
    from stillwise.verify.code_run import How


class Code(Verifier):
    """Whether the program in the answer passes all the problem's tests, run in the sandbox.

    Tests never meet the program in one process: expected outputs stay here, expected values in a judge's process. The program
    is the last fenced block tagged as Python behind the thinking, else the last block. ``verify`` runs one program here;
    ``decide`` runs as many at a time as there are cores, and those that ran out of time once more, alone.
    """

    kind: ClassVar[str] = "code"
    cpu_s: float = Field(default=6.0, gt=0)
    """CPU seconds of one run: an input, a call, or all statements together (LiveCodeBench's limit for a test)."""
    memory: int = Field(default=1 << 30, ge=1 << 26)
    """Bytes of address space."""
    tolerance: float = Field(default=0.0, ge=0)
    """Numbers count as equal within this, relative (absolute below 1); 0 compares exactly, as LiveCodeBench does."""
    require: Literal["namespaces", "any"] = "namespaces"
    """``namespaces`` refuses to run where programs cannot be isolated; ``any`` falls back to limits only, with a warning."""
    packages: tuple[str, ...] = ()
    """Installed packages that programs may import, beside the standard library; ``numpy`` wants 2 GiB of ``memory``."""
    prelude: Literal["livecodebench", "none"] = "livecodebench"
    """Imports made before programs of ``stdin`` and ``call`` problems: those of LiveCodeBench's own harness, or none."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, or INCORRECT with the status; TIMED_OUT at the time limit, FAILED where the sandbox failed twice."""
        from stillwise.verify import code_run

        how = self._how()
        return code_run.unrun(how, problem, trace) or code_run.judged(how, problem, trace)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict where there is nothing to run: cut off, no code (INCORRECT), no readable tests (UNDECIDED)."""
        from stillwise.verify import code_run

        return code_run.unrun(self._how(), problem, trace)

    def decide(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Verdict]:
        """Verdicts in the order of the pairs; raises UserError where programs cannot be isolated as ``require`` asks."""
        from stillwise.verify import code_run

        return code_run.decided(self._how(), pairs)

    def _how(self) -> How:
        from stillwise.verify.code_run import How

        return How(**{name: getattr(self, name) for name in type(self).model_fields})
