"""The tests of a programming problem as its ``scorer`` holds them, and what each asks of the sandbox.

``Problem.scorer`` is JSON, ``{"code": {…}}``:

- ``style``: ``stdin`` (a program that reads and prints), ``call`` (a function that is called), ``python`` (statements that
  raise AssertionError where it is wrong);
- ``tests``: ``{"input": …, "output": …}`` for ``stdin`` (texts) and ``call`` (JSON: one argument on each line of the input, the
  result), source texts for ``python``;
- ``entry``: the function's name (a method, where the program defines ``class Solution``); needed for ``call``;
- ``before``: source run in the program's own module before it (HumanEval's prompt); ``setup``: source run before the tests;
- ``cpu_s``, ``tolerance``: a problem's own limit per run and float tolerance.
"""

from __future__ import annotations

import builtins
import json
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal

from stillwise.runtime.sandbox import Job, call_test, job_of, lent_names, python_test

Style = Literal["stdin", "call", "python"]
STYLES: tuple[Style, ...] = ("stdin", "call", "python")


class BadTests(Exception):
    """The scorer's JSON holds no tests that can be read."""


@dataclass(frozen=True, slots=True)
class CodeTests:
    """The tests of one problem."""

    style: Style
    tests: tuple[Any, ...]
    entry: str | None = None
    before: str = ""
    setup: str = ""
    cpu_s: float | None = None
    tolerance: float | None = None
    own: frozenset[str] = frozenset()
    """Names of built-in functions and modules that the reference defines anew, so that tests mean the program's."""

    @classmethod
    def of(cls, scorer: str | None, reference: str | None = None) -> CodeTests:
        """Reads the JSON; raises BadTests, saying what is wrong."""
        try:
            held = json.loads(scorer or "null")["code"]
            style, tests = held["style"], tuple(held["tests"])
        except (ValueError, KeyError, TypeError) as err:
            raise BadTests(f"no code tests in the problem's scorer ({type(err).__name__}: {err})") from err
        rest = {name: held[name] for name in ("entry", "before", "setup", "cpu_s", "tolerance") if held.get(name) is not None}
        if style not in STYLES or not tests or (style == "call" and "entry" not in rest):
            raise BadTests(f"style {style!r}, {len(tests)} tests, entry {rest.get('entry')!r}")
        defined = [*re.findall(r"^def (\w+)", reference or "", re.MULTILINE), rest.get("entry") or ""]
        own = frozenset(name for name in defined if hasattr(builtins, name) or name in sys.stdlib_module_names)
        return cls(style=style, tests=tests, own=own, **rest)

    def source(self, code: str) -> str:
        """The program to run: an answer that only continues the prompt's function is put behind it."""
        if not self.before or not self.entry or defines(code, self.entry):
            return code
        return f"{self.before.rstrip()}\n{code}" if code[:1].isspace() else f"{self.before}\n{code}"

    def jobs(self, code: str, tolerance: float) -> list[Job]:
        """One run for each input or call; all statements of ``python`` tests share one."""
        if self.style == "stdin":
            return [Job(stdin=_text(test["input"]).encode(errors="surrogatepass")) for test in self.tests]
        if self.style == "call":
            entry = f"Solution.{self.entry}" if re.search(r"^class\s+Solution\b", code, re.MULTILINE) else str(self.entry)
            return [job_of([_call(entry, test, tolerance)]) for test in self.tests]
        first, *rest = self.tests
        statements = [python_test(text) for text in (f"{self.setup}\n{first}", *rest)]
        return [job_of([lent_names(self.own), *statements])]

    def expected(self, number: int) -> str:
        """What run ``number`` should print."""
        return _text(self.tests[number]["output"])


def defines(code: str, name: str) -> bool:
    """Whether the program defines this function at the top (or assigns the name)."""
    return re.search(rf"^(?:async\s+def\s+|def\s+|class\s+)?{re.escape(name)}\s*[(=:]", code, re.MULTILINE) is not None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _call(entry: str, test: Any, tolerance: float) -> tuple[bytes, bytes]:
    given, wanted = test["input"], test["output"]
    try:
        arguments = [json.loads(line) for line in given.split("\n") if line.strip()] if isinstance(given, str) else list(given)
        expected = json.loads(wanted) if isinstance(wanted, str) else wanted
    except ValueError as err:
        raise BadTests(f"a test's input or output is not JSON ({err})") from err
    return call_test(entry, arguments, expected, tolerance)
