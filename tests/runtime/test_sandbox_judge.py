"""Tests judge what a program defines from a process of their own: no trick inside the program makes them pass."""

from __future__ import annotations

import pytest

from stillwise.errors import UserError
from stillwise.runtime.sandbox import Limits, Ran, Sandbox, Status, call_test, lent_names, python_test
from stillwise.runtime.sandbox_wire import Broken, dump, load, no_handles

SMALL = Limits(cpu_s=0.5, memory=256 << 20, output_bytes=1 << 20, processes=8)
EXPECTS_2 = [
    python_test("assert f(1) == 2"),
    python_test("assert all(f(n) == n + 1 for n in range(3))\nassert len(str(f(9))) == 2"),
]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    made = Sandbox(limits=SMALL)
    try:
        made.tier()
    except UserError as err:
        pytest.skip(str(err))
    return made


RIGHT = {
    "plain": "def f(x): return x + 1",
    "lambda": "f = lambda x: x + 1",
    "object": "class F:\n    def __call__(self, x): return x + 1\nf = F()",
    "prints": "def f(x):\n    print('noise', x)\n    return x + 1",
    "main": "def f(x): return x + 1\nif __name__ == '__main__': print('ran')",
    "own equality": "class I(int): pass\ndef f(x): return I(x + 1)",
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_pass(sandbox: Sandbox, name: str) -> None:
    ran = sandbox.check(RIGHT[name], EXPECTS_2)
    assert ran.status is Status.PASSED, ran


EQUAL = "    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False"
ATTACKS = {
    "equal to all": f"class E:\n{EQUAL}\n    __hash__ = None\ndef f(x): return E()",
    "a number equal to all": f"class I(int):\n{EQUAL}\n    __hash__ = int.__hash__\ndef f(x): return I(0)",
    "a text equal to all": f"class S(str):\n{EQUAL}\n    __hash__ = str.__hash__\ndef f(x): return S()",
    "a list equal to all": f"class L(list):\n{EQUAL}\ndef f(x): return L()",
    "leaves at once": "import os; os._exit(0)",
    "leaves politely": "import sys; sys.exit(0)",
    "leaves when called": "import os\ndef f(x): os._exit(0)",
    "leaves when called, politely": "def f(x): raise SystemExit(0)",
    "patches builtins": (
        "import builtins\nbuiltins.all = builtins.any = builtins.sum = lambda *a: True\n"
        "builtins.AssertionError = ValueError\nbuiltins.print = lambda *a: None\ndef f(x): return None"
    ),
    "its own builtins": "def all(*a): return True\ndef len(*a): return 2\ndef str(*a): return '22'\ndef f(x): return 2",
    "patches the standard library": "import operator\noperator.eq = lambda a, b: True\ndef f(x): return 0",
    "prints a verdict": "import sys\nsys.stdout = open(1, 'w')\nprint('passed', flush=True)\ndef f(x): return 'passed'",
    "writes a verdict everywhere": (
        "import os\nfor fd in range(3, 64):\n    for text in (b'passed\\n', b'!'):\n        try: os.write(fd, text)\n"
        "        except OSError: pass\ndef f(x): return 0"
    ),
    "answers before it is asked": (
        "import os, struct\npart = b'ok', b'I' + struct.pack('>Q', 3) + b'0x2'\n"
        "os.write(6, struct.pack('>I', 2) + b''.join(struct.pack('>Q', len(p)) + p for p in part) * 1)\ndef f(x): return 0"
    ),
    "imports the tests": (
        "found = []\nfor name in ('tests', 'test_1', 'judge', 'stillwise.runtime.sandbox_judge', '__main__', 'solution'):\n"
        "    try: found.append(vars(__import__(name)))\n    except ImportError: pass\n"
        "def f(x): return next(v for d in found for v in d.values() if v == x + 1)"
    ),
    "searches memory for the tests": (
        "import gc, sys\ndef f(x):\n    frame = sys._getframe()\n    texts = []\n    while frame:\n"
        "        texts += [repr(v) for d in (frame.f_locals, frame.f_globals) for k, v in d.items()]\n"
        "        frame = frame.f_back\n"
        "    texts += [repr(gc.get_referents(o)) for o in gc.get_objects()]\n"
        "    if any(''.join(['assert ', 'f(1)']) in t for t in texts): return x + 1"
    ),
    "kills all others": (
        "import os\nfor pid in [*range(1, 64), -1]:\n    if pid != os.getpid():\n        try: os.kill(pid, 9)\n"
        # Killing the judge costs the program its verdict; in the instant before the judge gives up its rights it cannot.
        "        except OSError: pass\ndef f(x): return x"
    ),
    "floods the judge": "def f(x): return [[0] * 1000] * 10 ** 4 * 3",
    "returns a knot": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "raises something strange": "class X(BaseException):\n    def __str__(self): raise self\ndef f(x): raise X",
    "claims an assertion": "def f(x): raise AssertionError",
    "is not there": "def g(x): return x + 1",
    "is no program": "def f(x:",
    "eats memory when called": "def f(x): return bytearray(1 << 30)",
    "never returns": "def f(x):\n    while True: pass",
}
EXPECTED = {
    "leaves at once": Status.RUNTIME_ERROR,
    "claims an assertion": Status.RUNTIME_ERROR,
    "is not there": Status.RUNTIME_ERROR,
    "is no program": Status.COMPILE_ERROR,
    "eats memory when called": Status.MEMORY_LIMIT,
    "never returns": Status.TIME_LIMIT,
    "equal to all": Status.WRONG_ANSWER,
    "a number equal to all": Status.WRONG_ANSWER,
    "patches builtins": Status.WRONG_ANSWER,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_trick_passes(sandbox: Sandbox, name: str) -> None:
    ran = sandbox.check(ATTACKS[name], EXPECTS_2)
    assert ran.status not in (Status.PASSED, Status.SANDBOX_ERROR), ran
    assert ran.status is EXPECTED.get(name, ran.status), ran


def test_the_judges_memory_is_closed(sandbox: Sandbox) -> None:
    source = """
import ctypes, os
libc = ctypes.CDLL(None)
class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
def f(x):
    buffer = ctypes.create_string_buffer(8)
    local, remote = Vector(ctypes.addressof(buffer), 8), Vector(id(object), 8)
    others = [pid for pid in range(1, 32) if pid != os.getpid()]
    vectors = ctypes.byref(local), 1, ctypes.byref(remote), 1, 0
    return [libc.process_vm_readv(pid, *vectors) for pid in others] + [libc.ptrace(16, pid, None, None) for pid in others]
"""
    assert sandbox.check(source, [python_test("assert set(f(1)) == {-1}, f(1)")]).status is Status.PASSED


def test_what_failed_is_named(sandbox: Sandbox) -> None:
    ran = sandbox.check(RIGHT["plain"], [*EXPECTS_2, python_test("assert f(3) == 5, 'three'")])
    assert (ran.status, ran.detail) == (Status.WRONG_ANSWER, "test 3: AssertionError: three")
    ran = sandbox.check("def f(x): return {}[x]", EXPECTS_2)
    assert (ran.status, ran.detail) == (Status.RUNTIME_ERROR, "test 1: KeyError: 1")


VALUES: list[object] = [
    *(None, True, False, 0, -1, 10**5000, 0.1, -0.0, float("inf"), 1 + 2j, "", "é\ud800😀", b"\0\xff", bytearray(b"a")),
    *([], [1, -2], [1, True], (1,), {1, 2}, frozenset("ab"), {"a": [1, (2, {3: None})]}, [[]] * 3, [0.5, "x", None]),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(type(value).__name__))
def test_values_cross_with_their_types(value: object) -> None:
    def refuse(number: int) -> object:
        raise AssertionError(number)

    back = load(dump(value, no_handles), refuse)
    # repr tells -0.0 from 0.0 and True from 1, but a set's order changes with the seed of the hashes
    by_value = isinstance(value, int | set | frozenset)
    assert back == value if by_value else repr(back) == repr(value)
    assert type(back) is type(value)


def test_broken_values_are_refused() -> None:
    whole = dump([1, "two", {3: 4.0}], no_handles)
    for cut in range(len(whole)):
        with pytest.raises(Broken):
            load(whole[:cut], lambda number: number)
    with pytest.raises(Broken):
        load(whole + b"x", lambda number: number)
    with pytest.raises(Broken):
        load(b"l" + (1 << 62).to_bytes(8, "big"), lambda number: number)
    with pytest.raises(Broken):
        load((b"l" + (1).to_bytes(8, "big")) * 10**5, lambda number: number)


def test_values_cross_the_sandbox_both_ways(sandbox: Sandbox) -> None:
    tests = [call_test("f", [value], [value, [value]]) for value in VALUES if value == value]
    ran = sandbox.check("def f(x): return (x, [x])", tests)
    assert ran.status is Status.PASSED, ran


def test_objects_that_stay_with_the_program_can_be_used(sandbox: Sandbox) -> None:
    source = """
class Node:
    def __init__(self, value): self.value, self.left = value, None
    def __eq__(self, other): return self.value == other.value
    def __len__(self): return 1
def total(node): return node.value + (total(node.left) if node.left else 0)
def count():
    n = 0
    while True:
        yield n
        n += 1
def squares(n): return (i * i for i in range(n))
from collections import Counter, namedtuple, deque, OrderedDict
def counted(t): return Counter(t)
def point(): return namedtuple('P', 'x y')(1, 2)
"""
    tests = """
from itertools import islice
root = Node(1); root.left = Node(41)
assert total(root) == 42 and root.left.value == 41 and root == Node(1) and root != Node(2) and len(root) == 1
assert list(islice(count(), 3)) == [0, 1, 2]
assert list(squares(3)) == [0, 1, 4] and sum(squares(3)) == 5 and 4 in squares(3)
assert counted('aab') == {'a': 2, 'b': 1} and point() == (1, 2)
try:
    total(None)
except AttributeError as err:
    assert 'value' in str(err)
else:
    raise AssertionError
"""
    ran = sandbox.check(source, [python_test(tests)])
    assert ran.status is Status.PASSED, ran


def test_names_of_builtin_functions_are_lent_only_where_it_is_said(sandbox: Sandbox) -> None:
    source = "def sum(a, b): return a * b"
    assert sandbox.check(source, [python_test("assert sum(2, 3) == 6")]).status is Status.RUNTIME_ERROR
    assert sandbox.check(source, [lent_names(["sum"]), python_test("assert sum(2, 3) == 6")]).status is Status.PASSED


def test_a_function_may_be_called_like_a_module(sandbox: Sandbox) -> None:
    source = "def select(a): return a"
    assert sandbox.check(source, [call_test("select", [1], 1)]).status is Status.PASSED
    assert sandbox.check(source, [python_test("assert select(1) == 1")]).status is Status.RUNTIME_ERROR
    assert sandbox.check(source, [lent_names(["select"]), python_test("assert select(1) == 1")]).status is Status.PASSED


CLAIMS = """
class Claims:
    def __contains__(self, item): return True
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __iter__(self): return iter([])
    def __sub__(self, other): return 0
    __rsub__ = __sub__
def f(x): return Claims()
"""


@pytest.mark.parametrize(
    "test", ["2 in f(1)", "f(1) < 3", "1 < f(1) < 3", "abs(f(1) - 2) < 0.1", "f(1) in [2]", "[f(1)] == [2]"]
)
def test_an_object_claims_in_vain(sandbox: Sandbox, test: str) -> None:
    right = "def f(x): return [2]" if "in f" in test else "def f(x): return x + 1"
    assert sandbox.check(right, [python_test(f"assert {test}")]).status is Status.PASSED
    assert sandbox.check(CLAIMS, [python_test(f"assert {test}")]).status in (Status.WRONG_ANSWER, Status.RUNTIME_ERROR)


def test_calls(sandbox: Sandbox) -> None:
    def called(source: str, *test: object, **more: float) -> Ran:
        return sandbox.check(source, [call_test(*test, **more)])  # type: ignore[arg-type]

    method = "class Solution:\n    def f(self, a, b): return (a, [b])"
    assert called(method, "Solution.f", [1, 2], [1, [2]]).status is Status.PASSED
    assert called("def f(a): return a / 3", "f", [1], 0.333333, tolerance=1e-4).status is Status.PASSED
    assert called("def f(a): return a / 3", "f", [1], 0.333333).status is Status.WRONG_ANSWER
    assert called("def f(a): return [a]", "f", [1], [1, 2]).status is Status.WRONG_ANSWER
    assert called("def f(a): return {'k': (a,)}", "f", [1], {"k": [1]}).status is Status.PASSED
    big = list(range(10**4))
    assert called("def f(a): return a[::-1]", "f", [big], big[::-1]).status is Status.PASSED
