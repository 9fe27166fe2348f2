"""Programs judged by tests in the sandbox: reads and prints, calls, or statements in Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Tools, Verifier
from stillwise.records import Finish, Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.runtime.sandbox import Limits, Program, Ran, Require, Sandbox, Status
from stillwise.verify.code_blocks import find_code
from stillwise.verify.code_outputs import difference
from stillwise.verify.code_tests import BadTests, CodeTests

_GRADER = "code@1"
_STARRED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools"),
    *("functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
_NAMED = tuple(name for name in _STARRED if name not in ("builtins", "typing"))
PRELUDE = "".join(
    [
        *(f"from {name} import *\n" for name in _STARRED),
        *(f"import {name}\n" for name in _NAMED),
        "sys.setrecursionlimit(50000)\n",
    ]
)
_OUTCOMES = {
    Status.PASSED: Outcome.CORRECT,
    Status.TIME_LIMIT: Outcome.TIMED_OUT,
    Status.SANDBOX_ERROR: Outcome.FAILED,
}
"""Every other status is INCORRECT, named in the verdict's detail."""


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
    require: Require = "namespaces"
    """``namespaces`` refuses to run where programs cannot be isolated; ``any`` falls back to limits only, with a warning."""
    packages: tuple[str, ...] = ()
    """Installed packages that programs may import, beside the standard library; ``numpy`` wants 2 GiB of ``memory``."""
    prelude: Literal["livecodebench", "none"] = "livecodebench"
    """Imports made before programs of ``stdin`` and ``call`` problems: those of LiveCodeBench's own harness, or none."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, or INCORRECT with the status; TIMED_OUT at the time limit, FAILED where the sandbox failed twice."""
        return self.quick(problem, trace) or self._judged(problem, trace)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict where there is nothing to run: cut off, no code (INCORRECT), no readable tests (UNDECIDED)."""
        if trace.finish is Finish.LENGTH:
            return Verdict(outcome=Outcome.TRUNCATED, grader="finish@1")
        try:
            tests = CodeTests.of(problem.scorer, problem.answer)
            found = _found(trace)
            if found:
                tests.jobs(found[0], self.tolerance)
        except (BadTests, KeyError, TypeError) as err:
            return Verdict(outcome=Outcome.UNDECIDED, grader=_GRADER, detail=f"{err}"[:300])
        return None if found else Verdict(outcome=Outcome.INCORRECT, grader=_GRADER, detail=Status.NO_CODE.value)

    def decide(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Verdict]:
        """Verdicts in the order of the pairs; raises UserError where programs cannot be isolated as ``require`` asks."""
        from concurrent.futures import ThreadPoolExecutor

        known = [self.quick(problem, trace) for problem, trace in pairs]
        todo = [i for i, verdict in enumerate(known) if verdict is None]
        if not todo:
            return [verdict for verdict in known if verdict]
        self._sandbox(None).tier()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="sandbox") as pool:
            ran = dict(zip(todo, pool.map(lambda i: self._judged(*pairs[i]), todo), strict=True))
        for i in todo:
            if ran[i].outcome is Outcome.TIMED_OUT:
                ran[i] = self._judged(*pairs[i])
        return [verdict or ran[i] for i, verdict in enumerate(known)]

    def _judged(self, problem: Problem, trace: Trace) -> Verdict:
        tests, found = CodeTests.of(problem.scorer, problem.answer), _found(trace)
        assert found is not None
        code, rule = found
        ran = self._run(tests, code)
        words = f"{ran.status.value}: {ran.detail}" if ran.detail else ran.status.value
        return Verdict(
            outcome=_OUTCOMES.get(ran.status, Outcome.INCORRECT),
            rule=rule,
            extracted=code,
            grader=f"{_GRADER}/{ran.tier}",
            detail=None if ran.status is Status.PASSED else words,
        )

    def _run(self, tests: CodeTests, code: str) -> Ran:
        """The first run that did not pass, else the last."""
        tolerance = self.tolerance if tests.tolerance is None else tests.tolerance
        prelude = tests.style != "python" and self.prelude == "livecodebench"
        program = Program(
            source=tests.source(code),
            setup=tests.before + (PRELUDE if prelude else ""),
            modules=_NAMED if prelude else (),
        )
        jobs = tests.jobs(code, tolerance)
        for number, ran in enumerate(self._sandbox(tests.cpu_s).each(program, jobs)):
            if tests.style == "stdin" and ran.status is Status.PASSED:
                wrong = difference(ran.stdout.decode(errors="replace"), tests.expected(number), tolerance)
                ran = replace(ran, status=Status.WRONG_ANSWER, detail=wrong) if wrong else ran
            if ran.status is not Status.PASSED:
                # What a single call's judge counts as its first test is the problem's test of this number.
                bare = ran.detail.removeprefix("test 1: ") if tests.style == "call" else ran.detail
                return ran if tests.style == "python" else replace(ran, detail=f"test {number + 1}: {bare}")
        return ran

    def _sandbox(self, cpu_s: float | None) -> Sandbox:
        limits = Limits(cpu_s=cpu_s or self.cpu_s, memory=self.memory)
        return Sandbox(limits=limits, require=self.require, packages=self.packages)


def _found(trace: Trace) -> tuple[str, str] | None:
    spans = trace.spans or thinking_spans(trace.text)
    return find_code("".join(trace.text[span.start : span.end] for span in spans if span.kind == "solution"))
