"""Which block of an answer is the program, what counts as the same output, and what each way to fail is called."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from stillwise.arrows import Tools, Verifier
from stillwise.errors import UserError
from stillwise.problems.columns import Columns
from stillwise.problems.file import File
from stillwise.records import AnswerKind, Finish, Outcome, Problem, Trace, Verdict
from stillwise.runtime import sandbox
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.sandbox import Sandbox
from stillwise.verify.code import Code
from stillwise.verify.code_blocks import find_code
from stillwise.verify.code_outputs import difference
from stillwise.verify.code_tests import BadTests, CodeTests
from stillwise.verify.dispatch import ByAnswerKind

Traced = Callable[..., Trace]


@pytest.fixture(scope="module")
def code() -> Code:
    try:
        Sandbox().tier()
    except UserError as err:
        pytest.skip(str(err))
    return Code(cpu_s=0.4, memory=256 << 20)


def problem(tests: Any, **more: Any) -> Problem:
    return Problem.of("q", None, answer_kind=AnswerKind.CODE_TESTS, scorer=json.dumps({"code": {"tests": tests, **more}}))


ADD = problem([{"input": f"{a}\n{a}\n", "output": f"{2 * a}\n"} for a in range(3)], style="stdin")
DOUBLE = problem([{"input": json.dumps(a), "output": json.dumps(2 * a)} for a in range(3)], style="call", entry="double")
SQUARE = problem(["assert square(2) == 4", "assert square(-3) == 9"], style="python", entry="square")


def fenced(source: str, language: str = "python") -> str:
    return f"<think>\n```python\nprint('in thought')\n```\n</think>\nHere it is:\n```{language}\n{source}\n```\nDone."


BLOCKS = {
    "```python\na\n```": ("a\n", "python_block"),
    "```py\na\n```\n```python\nb\n```": ("b\n", "python_block"),
    "```python\na\n```\n```\noutput: 3\n```": ("a\n", "python_block"),
    "```\na\n```\ntext\n```\nb\n```": ("b\n", "last_block"),
    "```cpp\na\n```": ("a\n", "last_block"),
    "~~~Python3 title=x\na\n~~~": ("a\n", "python_block"),
    "````python\ns = '''\n```\n'''\n````": ("s = '''\n```\n'''\n", "python_block"),
    "1. so:\n   ```python\n   def f():\n       pass\n   ```": ("def f():\n    pass\n", "python_block"),
    "```python\na\nb": ("a\nb", "python_block_open"),
    "```python\n\n```\n```python\na\n```\n```python\n\n```": ("a\n", "python_block"),
    "def f(): pass": None,
    "``` ```": None,
    "": None,
}


@pytest.mark.parametrize("text", BLOCKS, ids=repr)
def test_the_program_is_the_last_python_block(text: str) -> None:
    assert find_code(text) == BLOCKS[text]


SAME = [
    ("1\n2\n", "1\n2"),
    (" 1 \n", "1"),
    ("1.50 2", "1.5 2.0"),
    ("1e3", "1000"),
    ("a  b", "a  b"),
    ("1\r\n2\r\n", "1\n2"),
    ("", "\n"),
]
OTHER = [
    ("1\n3", "1\n2"),
    ("1", "1\n2"),
    ("1\n2\n3", "1\n2"),
    ("a b", "a  b"),
    ("0.1", "0.10000001"),
    ("nan", "NaN"),
    ("1", "one"),
]


@pytest.mark.parametrize(("printed", "expected"), SAME)
def test_the_same_output(printed: str, expected: str) -> None:
    assert difference(printed, expected) is None
    assert difference(expected, printed) is None


@pytest.mark.parametrize(("printed", "expected"), OTHER)
def test_another_output(printed: str, expected: str) -> None:
    assert difference(printed, expected)
    assert difference(expected, printed)


def test_tolerance_and_the_words_for_a_difference() -> None:
    assert difference("0.3333333", "0.3333334", 1e-6) is None
    assert difference("1000000.5", "1000000.4", 1e-6) is None
    assert difference("0.3333", "0.3334", 1e-6) == "line 1 is '0.3333', not '0.3334'"
    assert difference("1\n2", "1") == "line 2 is too much"
    assert difference("1", "1\n2") == "line 2 is missing"


VERDICTS: list[tuple[Problem, str, Outcome, str | None]] = [
    (ADD, "print(int(input()) + int(input()))", Outcome.CORRECT, None),
    (ADD, "import sys\nprint(sum(map(float, sys.stdin)))", Outcome.CORRECT, None),
    (ADD, "print(int(input()) - int(input()))", Outcome.INCORRECT, "wrong_answer: test 2: line 1 is '0', not '2'"),
    (ADD, "print(0)", Outcome.INCORRECT, "wrong_answer: test 2: line 1 is '0', not '2'"),
    (ADD, "import os\nprint(0, flush=True)\nos._exit(0)", Outcome.INCORRECT, "wrong_answer: test 2: line 1 is '0', not '2'"),
    (ADD, "print(1 / 0)", Outcome.INCORRECT, "runtime_error: test 1: exit code 1 ZeroDivisionError: division by zero"),
    (ADD, "import sys\nsys.stdout.write = len\nprint(0)", Outcome.INCORRECT, "wrong_answer: test 1: line 1 is '', not '0'"),
    (ADD, "print(", Outcome.INCORRECT, "compile_error: test 1: SyntaxError: '(' was never closed (solution.py, line 1)"),
    (ADD, "x = [0] * 10 ** 9", Outcome.INCORRECT, "memory_limit: test 1: over 268435456 bytes"),
    (ADD, "print('x' * 10 ** 7)", Outcome.INCORRECT, "output_limit: test 1: more than 4194304 bytes"),
    (ADD, "while True: pass", Outcome.TIMED_OUT, None),
    (DOUBLE, "def double(x): return x + x", Outcome.CORRECT, None),
    (DOUBLE, "class Solution:\n    def double(self, x: int) -> int: return x + x", Outcome.CORRECT, None),
    (DOUBLE, "def double(x): return gcd(x, 0) * 2", Outcome.CORRECT, None),
    (
        DOUBLE,
        "def double(x): return 0",
        Outcome.INCORRECT,
        "wrong_answer: test 2: AssertionError: double returned 0, not 2",
    ),
    (SQUARE, "def square(x): return x * x", Outcome.CORRECT, None),
    (SQUARE, "def square(x): return 4", Outcome.INCORRECT, "wrong_answer: test 2: AssertionError:"),
    (SQUARE, "def cube(x): return 4", Outcome.INCORRECT, "runtime_error: test 1: NameError: name 'square' is not defined"),
]


@pytest.mark.parametrize(("asked", "source", "outcome", "detail"), VERDICTS, ids=lambda value: str(value)[:30])
def test_verdicts(code: Code, trace_of: Traced, asked: Problem, source: str, outcome: Outcome, detail: str | None) -> None:
    found = code.verify(asked, trace_of(fenced(source)))
    assert (found.outcome, found.rule, found.extracted) == (outcome, "python_block", source + "\n")
    assert found.grader == "code@1/namespaces"
    if outcome is Outcome.TIMED_OUT:
        assert (found.detail or "").startswith("time_limit: test 1: over ")
    else:
        assert found.detail == detail


def test_what_needs_no_sandbox(trace_of: Traced) -> None:
    code = Code()
    cut = code.quick(ADD, trace_of(fenced("print(1)"), finish=Finish.LENGTH))
    assert cut == Verdict(outcome=Outcome.TRUNCATED, grader="finish@1")
    for text in ("I cannot.", "<think>```python\nprint(1)\n```", "<think>```python\nprint(1)\n```</think>It prints 1."):
        assert code.quick(ADD, trace_of(text)) == Verdict(outcome=Outcome.INCORRECT, grader="code@1", detail="no_code")
    for scorer in (
        None,
        "{}",
        "not json",
        '{"code": {"style": "stdin", "tests": []}}',
        '{"code": {"style": "c", "tests": [1]}}',
    ):
        asked = Problem.of("q", None, answer_kind=AnswerKind.CODE_TESTS, scorer=scorer)
        found = code.quick(asked, trace_of(fenced("print(1)")))
        assert found is not None
        assert found.outcome is Outcome.UNDECIDED
        assert found.detail
    broken = problem([{"input": "not json", "output": "1"}], style="call", entry="f")
    assert (code.quick(broken, trace_of(fenced("x"))) or VERDICTS).outcome is Outcome.UNDECIDED  # type: ignore[union-attr]
    assert code.quick(ADD, trace_of(fenced("print(1)"))) is None


def test_an_answer_may_continue_the_prompt(code: Code, trace_of: Traced) -> None:
    prompt = 'import math\n\ndef area(r):\n    """ Area of a circle of radius r. """\n'
    asked = problem(["assert area(2) == 4 * math.pi"], style="python", entry="area", before=prompt)
    for source in (
        "    return math.pi * r ** 2",
        "def area(r):\n    return math.pi * r ** 2",
        f"{prompt}    return math.pi * r * r",
    ):
        assert code.verify(asked, trace_of(fenced(source))).outcome is Outcome.CORRECT, source
    assert code.verify(asked, trace_of(fenced("    return r"))).outcome is Outcome.INCORRECT


def test_setup_comes_before_the_tests_and_a_problem_may_set_its_limits(code: Code, trace_of: Traced) -> None:
    asked = problem(["assert f(given) == 3"], style="python", setup="given = 1 + 1")
    assert code.verify(asked, trace_of(fenced("def f(x): return x + 1"))).outcome is Outcome.CORRECT
    loose = problem([{"input": "", "output": "0.3333"}], style="stdin", tolerance=1e-3)
    assert code.verify(loose, trace_of(fenced("print(1 / 3)"))).outcome is Outcome.CORRECT
    long = problem([{"input": "", "output": ""}], style="stdin", cpu_s=1.5)
    spin = "import time\nwhile time.process_time() < 0.6: pass"
    assert code.verify(long, trace_of(fenced(spin))).outcome is Outcome.CORRECT


def pickled(cases: list[dict[str, str]]) -> str:
    """Private tests as LiveCodeBench publishes them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def case(given: str, wanted: str, kind: str) -> dict[str, str]:
    return {"input": given, "output": wanted, "testtype": kind}


CONTEST = [
    {
        "question_content": "Print the longest path's length; each node leads to the next.",
        "starter_code": "",
        "difficulty": "medium",
        "public_test_cases": json.dumps([case("3\n", "3\n", "stdin")]),
        "private_test_cases": pickled([case("20000\n", "20000\n", "stdin"), case("1", "1", "stdin")]),
        "metadata": "{}",
    },
    {
        "question_content": "Reverse the list and repeat it.",
        "starter_code": "class Solution:\n    def again(self, nums: List[int], times: int) -> List[int]:\n        ",
        "difficulty": "easy",
        "public_test_cases": json.dumps([case("[1, 2]\n2", "[2, 1, 2, 1]", "functional")]),
        "private_test_cases": pickled([case("[]\n3", "[]", "functional")]),
        "metadata": json.dumps({"func_name": "again"}),
    },
]
SOLUTIONS = [
    "@cache\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(int(input())))",
    "class Solution:\n    def again(self, nums: List[int], times: int) -> List[int]:\n        return tuple(nums[::-1] * times)",
]


def test_rows_of_livecodebench_from_a_file_to_verdicts(code: Code, trace_of: Traced, tmp_path: Path) -> None:
    path = tmp_path / "contest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CONTEST))
    found = list(File(path=str(path), columns=Columns.model_validate({"layout": "livecodebench"})).problems())
    problems = [problem for problem in found if isinstance(problem, Problem)]
    assert [problem.level for problem in problems] == [2, 1]
    right = [(problem, trace_of(fenced(source))) for problem, source in zip(problems, SOLUTIONS, strict=True)]
    wrong = [(problem, trace_of(fenced(source))) for problem, source in zip(problems, reversed(SOLUTIONS), strict=True)]
    assert [verdict.outcome for verdict in decide(code, right)] == [Outcome.CORRECT] * 2, decide(code, right)
    assert [verdict.outcome for verdict in decide(code, wrong)] == [Outcome.INCORRECT] * 2
    bare = code.model_copy(update={"prelude": "none"})
    assert [verdict.outcome for verdict in decide(bare, right)] == [Outcome.INCORRECT] * 2


def test_by_answer_kind_sends_programs_to_the_sandbox_and_the_rest_to_the_pool(trace_of: Traced) -> None:
    sums = Problem.of("1 + 1", "2", answer_kind=AnswerKind.NUMBER)
    with GraderPool(workers=1) as pool:
        tools = Tools(step="s", seed=0, callers={}, graders=pool, progress=cast(Any, None))
        pairs = [(sums, trace_of(r"\boxed{2}")), (SQUARE, trace_of("nothing")), (sums, trace_of(r"\boxed{3}"))]
        found = ByAnswerKind().decide(pairs, tools)
    assert [verdict.outcome for verdict in found] == [Outcome.CORRECT, Outcome.INCORRECT, Outcome.INCORRECT]
    assert found[1].detail == "no_code"


def test_a_program_may_be_judged_in_a_pools_worker_too(code: Code, trace_of: Traced) -> None:
    big = problem([{"input": "x" * (3 << 20), "output": str(3 << 20)}], style="stdin")
    with GraderPool(workers=1) as pool:
        (found,) = pool.verify(code, [(big, trace_of(fenced("print(len(input()))")))])
    assert found.outcome is Outcome.CORRECT, found


@dataclass(frozen=True)
class NoTools:
    """Deciding needs nothing of a run."""


def decide(verifier: Verifier, pairs: list[tuple[Problem, Trace]]) -> list[Verdict]:
    return verifier.decide(pairs, cast(Tools, NoTools()))


def test_many_are_decided_at_once_and_in_order(code: Code, trace_of: Traced) -> None:
    pairs = [(problem, trace_of(fenced(source))) for problem, source, _, _ in VERDICTS]
    pairs.insert(3, (ADD, trace_of("no code")))
    found = [verdict.outcome for verdict in decide(code, pairs)]
    wanted = [outcome for _, _, outcome, _ in VERDICTS]
    wanted.insert(3, Outcome.INCORRECT)
    assert found == wanted
    assert decide(code, []) == []


def test_a_machine_without_namespaces_is_a_users_fault_before_any_run(
    trace_of: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_missing", lambda: "unshare: Operation not permitted")
    with pytest.raises(UserError, match="require: any"):
        decide(Code(), [(ADD, trace_of(fenced("print(1)")))])
    assert decide(Code(), [(ADD, trace_of("no code"))])[0].detail == "no_code"


def test_a_sandbox_that_fails_twice_is_no_wrong_answer(code: Code, trace_of: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_BOOT", "raise SystemExit('no start')")
    found = code.verify(ADD, trace_of(fenced("print(1)")))
    assert found.outcome is Outcome.FAILED
    assert (found.detail or "").startswith("sandbox_error: test 1: ")
    assert "no start" in (found.detail or "")


def test_tests_are_read_or_refused() -> None:
    tests = CodeTests.of(SQUARE.scorer, "def sum(a):\n    pass\ndef square(x):\n    pass")
    assert (tests.style, tests.own) == ("python", frozenset({"sum"}))
    asked = json.dumps({"code": {"style": "call", "entry": "select", "tests": [{}]}})
    assert CodeTests.of(asked).own == frozenset({"select"})
    with pytest.raises(BadTests, match="entry None"):
        CodeTests.of(json.dumps({"code": {"style": "call", "tests": [{}]}}))
