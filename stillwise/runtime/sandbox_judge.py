"""Two processes judge code by Python tests: the candidate answers calls, the judge runs the tests. They share no memory.

What the candidate returns arrives as plain data of exact built-in types, so an object that claims to equal everything, a
patched ``print`` or a walk over stack frames finds nothing to fool: expected values are in the judge only. Other objects
(iterators, instances of the candidate's classes) stay with the candidate; the judge holds a handle and uses it by calls.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
import operator
import os
import sys

from stillwise.runtime.sandbox_wire import Broken, Caught, dump, load, no_handles, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Globals = dict[str, Any]
else:
    Globals = dict

EXEC, CALL, LEND = b"exec", b"call", b"lend"
"""Kinds of test: Python source to run; entry, arguments, expected value and float tolerance to compare; names of built-in
functions and modules that the tests mean to take from the program (a task may ask for a function called ``sum``)."""
_WORDS = 300


def serve(module: dict[str, Any], requests: int, replies: int) -> None:
    """In the candidate: answers the judge's calls until the judge has gone."""
    held: list[object] = []

    def keep(value: object) -> int:
        held.append(value)
        return len(held) - 1

    operations: Mapping[str, Callable[..., Any]] = {**_OPERATIONS, "name": module.__getitem__}
    while message := receive(requests):
        with Caught() as caught:
            arguments = load(message[1], held.__getitem__)
            named = load(message[2], held.__getitem__)
            reply = [b"ok", dump(operations[message[0].decode()](*arguments, **named), keep)]
        send(replies, *(reply if caught.error is None else _raised(caught.error)))


def _raised(error: BaseException) -> list[bytes]:
    words = ""
    with Caught():
        words = str(error)[:_WORDS]
    return [b"raise", type(error).__name__.encode(errors="replace"), words.encode(errors="replace")]


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "call": lambda target, *args, **named: target(*args, **named),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "eq": operator.eq,
    "lt": operator.lt,
}


class _Link:
    """The judge's line to the candidate."""

    def __init__(self, replies: int, requests: int) -> None:
        self._replies, self._requests = replies, requests

    def ask(self, operation: str, *arguments: object, **named: object) -> Any:
        """What the candidate answers; raises what it raised (a built-in exception, else RuntimeError), or Gone."""
        data = [dump(value, self._handle) for value in (arguments, named)]
        try:
            send(self._requests, operation.encode(), *data)
        except BrokenPipeError:
            raise Gone from None
        reply = receive(self._replies)
        if reply is None:
            raise Gone
        if reply[0] != b"ok" and len(reply) == 3:
            raise _as_error(reply[1].decode(errors="replace"), reply[2].decode(errors="replace"))
        return load(reply[-1], lambda number: Remote(self, number))

    @staticmethod
    def _handle(value: object) -> int:
        if isinstance(value, Remote):
            return object.__getattribute__(value, "number")  # type: ignore[no-any-return]
        return no_handles(value)


class Gone(Exception):
    """The candidate's process has ended."""


def _as_error(name: str, words: str) -> Exception:
    kind = getattr(builtins, name, None)
    known = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError)
    error = kind(words) if known and kind is not None else RuntimeError(f"{name}: {words}")
    assert isinstance(error, Exception)
    error.remote = f"{name}: {words}"  # type: ignore[attr-defined]
    return error


class Remote:
    """An object that stays with the candidate."""

    __slots__ = ("link", "number")

    def __init__(self, link: _Link, number: int) -> None:
        object.__setattr__(self, "link", link)
        object.__setattr__(self, "number", number)

    def _ask(self, operation: str, *arguments: object, **named: object) -> Any:
        link: _Link = object.__getattribute__(self, "link")
        return link.ask(operation, self, *arguments, **named)

    def __call__(self, *arguments: object, **named: object) -> Any:
        return self._ask("call", *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("setattr", name, value)

    def __getitem__(self, key: object) -> Any:
        return self._ask("getitem", key)

    def __setitem__(self, key: object, value: object) -> None:
        self._ask("setitem", key, value)

    def __iter__(self) -> Any:
        made = self._ask("iter")
        return made if isinstance(made, Remote) else iter(made)

    def __next__(self) -> Any:
        return self._ask("next")

    def __len__(self) -> int:
        return int(self._ask("len"))

    def __bool__(self) -> bool:
        return self._ask("bool") is True

    def __str__(self) -> str:
        return str(self._ask("str"))

    def __repr__(self) -> str:
        return str(self._ask("repr"))

    def __eq__(self, other: object) -> bool:
        """Never equal to a value of the judge's own; two of the candidate's objects compare as its class says."""
        return isinstance(other, Remote) and self._ask("eq", other) is True

    def __lt__(self, other: object) -> bool:
        return self._ask("lt", other) is True if isinstance(other, Remote) else NotImplemented

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "number"))


class _Names(Globals):
    """The globals of the tests: their own names first, then the standard library, then the candidate's."""

    def __init__(self, link: _Link) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._link = link
        self.lent: frozenset[str] = frozenset()

    def __missing__(self, name: str) -> Any:
        # A candidate that defines its own ``all`` or ``math`` must not lend it to the tests, unless they ask for it.
        if name.startswith("__") or (hasattr(builtins, name) and name not in self.lent):
            raise KeyError(name)
        if name in sys.stdlib_module_names and name not in self.lent:
            found: Any = importlib.import_module(name)
        else:
            found = self.program(name)
        self[name] = found
        return found

    def program(self, name: str) -> Any:
        """What the program calls so."""
        try:
            return self._link.ask("name", name)
        except KeyError:
            raise KeyError(name) from None


def judge(tests: Sequence[bytes], replies: int, requests: int, verdict: int) -> None:
    """In the judge: runs the tests in order and writes the verdict's status, a line end, and its detail."""
    names = _Names(_Link(replies, requests))
    pairs = list(zip(tests[::2], tests[1::2], strict=True))
    names.lent = frozenset(name for kind, body in pairs if kind == LEND for name in body.decode().split())
    for number, (kind, body) in enumerate((pair for pair in pairs if pair[0] != LEND), start=1):
        with Caught() as caught:
            if kind == CALL:
                _call(body, names)
            else:
                exec(compile(body, f"test_{number}.py", "exec", dont_inherit=True), names)
        if caught.error is not None:
            os.write(verdict, _verdict(caught.error, number))
            return
    os.write(verdict, b"passed\n")


def _verdict(error: BaseException, number: int) -> bytes:
    remote = getattr(error, "remote", None)
    words = remote if isinstance(remote, str) else f"{type(error).__name__}: {error}"
    if isinstance(error, Gone):
        return b"died\n"
    status = "wrong_answer" if isinstance(error, AssertionError) and remote is None else "runtime_error"
    if words.startswith("MemoryError"):
        status = "memory_limit"
    return f"{status}\ntest {number}: {' '.join(words.split())[:_WORDS]}".encode(errors="replace")


def _call(body: bytes, names: _Names) -> None:
    entry, arguments, expected, tolerance = load(body, lambda number: number)
    target = names.program(entry.partition(".")[0])
    for attribute in entry.split(".")[1:]:
        target = getattr(target() if entry.startswith("Solution.") else target, attribute)
    found = target(*arguments)
    if not same(found, expected, tolerance):
        raise AssertionError(f"{entry} returned {repr(found)[:120]}, not {repr(expected)[:120]}")


def same(found: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Equal as data: tuples count as lists, floats within the tolerance (relative, absolute below 1)."""
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        pairs = itertools.zip_longest(found, expected, fillvalue=Broken)
        return all(same(left, right, tolerance) for left, right in pairs)
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key], tolerance) for key in expected)
    if tolerance and isinstance(expected, (int, float)) and isinstance(found, (int, float)):
        return found == expected or abs(found - expected) <= tolerance * max(1.0, abs(expected))
    return bool(found == expected) and type(found) is not Remote
