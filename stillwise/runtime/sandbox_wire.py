"""Messages between the sandbox's processes, and plain values inside them. Standard library only; nothing here evaluates.

A message is a list of byte strings. A value is one of Python's built-in data types, written by its exact type; anything else
is written by the caller's ``opaque`` (a handle) and read by its ``seen``.
"""

from __future__ import annotations

import os
import struct

# Importing typing, dataclasses or contextlib would take longer than starting the sandbox itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    Opaque = Callable[[object], int]
    Seen = Callable[[int], object]

MAX_MESSAGE = 256 << 20
"""A longer message is a broken or hostile sender."""

_COUNT = struct.Struct(">I")
_SIZE = struct.Struct(">Q")
_CONTAINERS: dict[bytes, type] = {b"l": list, b"t": tuple, b"s": set, b"f": frozenset}
_CONTAINER_TAGS = {held: tag for tag, held in _CONTAINERS.items()}
_BASES = (int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)


class Caught:
    """Holds what a block raised, whatever it was: a candidate's code may raise anything."""

    error: BaseException | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.error = error
        return True


class Broken(Exception):
    """The bytes are not a message or a value."""


def pack(*parts: bytes) -> bytes:
    """One message: the number of its parts, then each part's length and bytes."""
    return b"".join([_COUNT.pack(len(parts)), *(piece for part in parts for piece in (_SIZE.pack(len(part)), part))])


def send(fd: int, *parts: bytes) -> None:
    """Writes one whole message."""
    view = memoryview(pack(*parts))
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> list[bytes] | None:
    """The next message, reading not one byte more; None where the sender has gone."""
    head = _exactly(fd, _COUNT.size)
    if head is None:
        return None
    parts: list[bytes] = []
    for _ in range(min(_COUNT.unpack(head)[0], 1 << 20)):
        size = _SIZE.unpack(_exactly(fd, _SIZE.size) or bytes(_SIZE.size))[0]
        part = _exactly(fd, size) if size <= MAX_MESSAGE else None
        if part is None:
            return None
        parts.append(part)
    return parts


def _exactly(fd: int, size: int) -> bytes | None:
    chunks: list[bytes] = []
    while size:
        chunk = os.read(fd, min(size, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def dump(value: object, opaque: Opaque) -> bytes:
    """The value's bytes. Subclasses of built-in types are written as the built-in type, numpy's values as lists and numbers."""
    out: list[bytes] = []
    _put(value, out.append, opaque)
    return b"".join(out)


def _put(value: Any, out: Callable[[bytes], None], opaque: Opaque) -> None:
    value = _plain(value)
    kind = type(value)
    if kind is list and set(map(type, value)) == {int}:
        out(_scalar(b"J", " ".join(map(hex, value)).encode()))
    elif kind in _CONTAINER_TAGS:
        _put_all(_CONTAINER_TAGS[kind], value, len(value), out, opaque)
    elif kind is dict:
        _put_all(b"d", (half for pair in value.items() for half in pair), 2 * len(value), out, opaque)
    else:
        out(_scalar(*_as_bytes(value, kind, opaque)))


def _put_all(tag: bytes, items: Iterable[Any], count: int, out: Callable[[bytes], None], opaque: Opaque) -> None:
    out(tag + _SIZE.pack(count))
    for item in items:
        _put(item, out, opaque)


def _scalar(tag: bytes, data: bytes) -> bytes:
    return tag + _SIZE.pack(len(data)) + data


def _as_bytes(value: Any, kind: type, opaque: Opaque) -> tuple[bytes, bytes]:
    if value is None or kind is bool:
        return b"N", b"" if value is None else str(value).encode()
    if kind is int:
        return b"I", hex(value).encode()
    if kind in (float, complex):
        return b"D" if kind is float else b"C", repr(value).encode()
    if kind is str:
        return b"S", value.encode("utf-8", "surrogatepass")
    if kind in (bytes, bytearray):
        return b"B" if kind is bytes else b"A", bytes(value)
    return b"H", hex(opaque(value)).encode()


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if kind in _BASES or kind is bool:
        return value
    base = next((base for base in _BASES if issubclass(kind, base)), None)
    if base is None:
        return value
    if base in (int, float, str):
        return {int: int.__int__, float: float.__float__, str: str.__str__}[base](value)
    made: Any = base
    if base is complex:
        return complex(value)
    return dict(dict.items(value)) if base is dict else made(made.__iter__(value))


def load(data: bytes, seen: Seen) -> Any:
    """The value that ``dump`` wrote; raises Broken where the bytes are something else."""
    try:
        value, end = _take(data, 0, seen)
    except (ValueError, TypeError, IndexError, KeyError, struct.error, RecursionError) as err:
        raise Broken(f"{type(err).__name__}: {err}") from err
    if end != len(data):
        raise Broken("bytes are left over")
    return value


def _take(data: bytes, at: int, seen: Seen) -> tuple[Any, int]:
    tag = data[at : at + 1]
    size: int = _SIZE.unpack_from(data, at + 1)[0]
    at += 1 + _SIZE.size
    if tag in _CONTAINERS or tag == b"d":
        items, at = _take_all(data, at, size, seen)
        return (dict(zip(items[::2], items[1::2], strict=True)) if tag == b"d" else _CONTAINERS[tag](items)), at
    if at + size > len(data):
        raise Broken("bytes are missing")
    return _READERS[tag](data[at : at + size], seen), at + size


def _take_all(data: bytes, at: int, count: int, seen: Seen) -> tuple[list[Any], int]:
    items: list[Any] = []
    for _ in range(count):
        item, at = _take(data, at, seen)
        items.append(item)
    return items, at


_READERS: dict[bytes, Callable[[bytes, Seen], Any]] = {
    b"N": lambda data, _: {b"": None, b"True": True, b"False": False}[data],
    b"I": lambda data, _: int(data, 16),
    b"J": lambda data, _: [int(item, 16) for item in data.split()],
    b"D": lambda data, _: float(data),
    b"C": lambda data, _: complex(data.decode("ascii")),
    b"S": lambda data, _: data.decode("utf-8", "surrogatepass"),
    b"B": lambda data, _: data,
    b"A": lambda data, _: bytearray(data),
    b"H": lambda data, seen: seen(int(data, 16)),
}


def no_handles(value: object) -> int:
    """The ``opaque`` of callers who send plain values only."""
    raise Broken(f"{type(value).__name__} is not a plain value")
