"""What the ``code`` verifier does: finds the program, runs its tests in the sandbox, names the verdict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The verifier's fields, as ``Code`` documents them."""

    cpu_s: float
    memory: int
    tolerance: float
    require: Require
    packages: tuple[str, ...]
    prelude: str


def unrun(how: How, problem: Problem, trace: Trace) -> Verdict | None:
    """The verdict where there is nothing to run: cut off, no code (INCORRECT), no readable tests (UNDECIDED)."""
    if trace.finish is Finish.LENGTH:
        return Verdict(outcome=Outcome.TRUNCATED, grader="finish@1")
    try:
        tests = CodeTests.of(problem.scorer, problem.answer)
        found = _found(trace)
        if found:
            tests.jobs(found[0], how.tolerance)
    except (BadTests, KeyError, TypeError) as err:
        return Verdict(outcome=Outcome.UNDECIDED, grader=_GRADER, detail=f"{err}"[:300])
    return None if found else Verdict(outcome=Outcome.INCORRECT, grader=_GRADER, detail=Status.NO_CODE.value)


def decided(how: How, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
    """Verdicts in the order of the pairs; raises UserError where programs cannot be isolated as ``require`` asks."""
    known = [unrun(how, problem, trace) for problem, trace in pairs]
    todo = [i for i, verdict in enumerate(known) if verdict is None]
    if not todo:
        return [verdict for verdict in known if verdict]
    _sandbox(how, None).tier()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="sandbox") as pool:
        ran = dict(zip(todo, pool.map(lambda i: judged(how, *pairs[i]), todo), strict=True))
    for i in todo:
        if ran[i].outcome is Outcome.TIMED_OUT:
            ran[i] = judged(how, *pairs[i])
    return [verdict or ran[i] for i, verdict in enumerate(known)]


def judged(how: How, problem: Problem, trace: Trace) -> Verdict:
    """The verdict of running the program that the trace holds."""
    tests, found = CodeTests.of(problem.scorer, problem.answer), _found(trace)
    assert found is not None
    code, rule = found
    ran = _run(how, tests, code)
    words = f"{ran.status.value}: {ran.detail}" if ran.detail else ran.status.value
    return Verdict(
        outcome=_OUTCOMES.get(ran.status, Outcome.INCORRECT),
        rule=rule,
        extracted=code,
        grader=f"{_GRADER}/{ran.tier}",
        detail=None if ran.status is Status.PASSED else words,
    )


def _run(how: How, tests: CodeTests, code: str) -> Ran:
    """The first run that did not pass, else the last."""
    tolerance = how.tolerance if tests.tolerance is None else tests.tolerance
    prelude = tests.style != "python" and how.prelude == "livecodebench"
    program = Program(
        source=tests.source(code),
        setup=tests.before + (PRELUDE if prelude else ""),
        modules=_NAMED if prelude else (),
    )
    jobs = tests.jobs(code, tolerance)
    for number, ran in enumerate(_sandbox(how, tests.cpu_s).each(program, jobs)):
        if tests.style == "stdin" and ran.status is Status.PASSED:
            wrong = difference(ran.stdout.decode(errors="replace"), tests.expected(number), tolerance)
            ran = replace(ran, status=Status.WRONG_ANSWER, detail=wrong) if wrong else ran
        if ran.status is not Status.PASSED:
            # What a single call's judge counts as its first test is the problem's test of this number.
            bare = ran.detail.removeprefix("test 1: ") if tests.style == "call" else ran.detail
            return ran if tests.style == "python" else replace(ran, detail=f"test {number + 1}: {bare}")
    return ran


def _sandbox(how: How, cpu_s: float | None) -> Sandbox:
    limits = Limits(cpu_s=cpu_s or how.cpu_s, memory=how.memory)
    return Sandbox(limits=limits, require=how.require, packages=how.packages)


def _found(trace: Trace) -> tuple[str, str] | None:
    spans = trace.spans or thinking_spans(trace.text)
    return find_code("".join(trace.text[span.start : span.end] for span in spans if span.kind == "solution"))
