"""Append-only segments of checksummed records on storage that machines share: what was acknowledged is there, or is named lost.

A transaction is some records in a row; each record says where its transaction began and whether it is the last one. Bytes after
the last whole transaction are what a killed writer left: they were never acknowledged and are cut. A damaged record before a
later transaction was acknowledged once: that is corruption, and is refused with its place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import orjson

from stillwise.errors import CorruptOutput

SUFFIX = ".seg"
SEGMENT_BYTES = 1 << 28
"""A segment that has grown so large is followed by a new one."""
_MARK = b"\xabSW1"
_HEADER = struct.Struct("<4sBBQIII")
"""Mark, kind, last of its transaction, where the transaction began, lengths of meta and body, checksum of all that and both."""
_SUM = struct.Struct("<I")


class Kind(IntEnum):
    """What a record holds."""

    ANSWER = 1
    BATCH = 2
    LEDGER = 3
    NOTES = 4


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to keep."""

    kind: Kind
    meta: Any
    """JSON values: step, key, size."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it stands in a segment."""

    offset: int
    length: int
    record: Record
    begun: int
    last: bool


class Storage(Protocol):
    """Where segments lie."""

    appends: bool
    """Whether a segment can grow; else each transaction is a segment of its own."""

    def names(self) -> list[str]:
        """Segments in the order of their numbers."""

    def size(self, name: str) -> int:
        """Bytes of a segment."""

    def read(self, name: str, begin: int, end: int) -> bytes:
        """Some of its bytes."""

    def append(self, name: str, data: bytes) -> None:
        """Adds to a segment (or makes it); durable when the call returns."""

    def cut(self, name: str, size: int) -> None:
        """Shortens a segment; durable when the call returns."""

    def lock(self) -> None:
        """This process is the only writer until ``unlock``; raises RunLocked where there is one already."""

    def unlock(self) -> None:
        """Let another writer in."""


def packed_transaction(records: Sequence[Record], begun: int) -> list[bytes]:
    """The bytes of each record of a transaction that begins at this offset."""
    ending = len(records) - 1
    return [_packed(record, begun, place == ending) for place, record in enumerate(records)]


def _packed(record: Record, begun: int, last: bool) -> bytes:
    meta = orjson.dumps(record.meta)
    head = _HEADER.pack(_MARK, record.kind, last, begun, len(meta), len(record.body), 0)[: -_SUM.size]
    return b"".join((head, _SUM.pack(zlib.crc32(record.body, zlib.crc32(meta, zlib.crc32(head)))), meta, record.body))


def record_at(data: bytes, offset: int = 0) -> Found | None:
    """The record that begins here; None where none does, or not the whole of one, or a damaged one."""
    if len(data) - offset < _HEADER.size:
        return None
    mark, kind, last, begun, meta_size, body_size, checksum = _HEADER.unpack_from(data, offset)
    body = offset + _HEADER.size + meta_size
    end = body + body_size
    if mark != _MARK or end > len(data):
        return None
    summed = zlib.crc32(
        memoryview(data)[offset + _HEADER.size : end], zlib.crc32(data[offset : offset + _HEADER.size - _SUM.size])
    )
    if summed != checksum:
        return None
    meta = orjson.loads(data[offset + _HEADER.size : body])
    return Found(offset, end - offset, Record(Kind(kind), meta, data[body:end]), begun, bool(last))


def transactions(storage: Storage, name: str, start: int = 0) -> Iterator[list[Found]]:
    """The whole transactions of a segment from an offset on, records at their offsets in the file.

    Raises CorruptOutput where a record is damaged that was acknowledged: one before another transaction.
    """
    data = storage.read(name, start, storage.size(name))
    offset, held = 0, list[Found]()
    while (found := record_at(data, offset)) is not None:
        held.append(Found(start + offset, found.length, found.record, found.begun, found.last))
        offset += found.length
        if found.last:
            yield held
            held = []
    if later := _later_transaction(data, offset, start):
        raise CorruptOutput(
            f"the journal's segment {name} is damaged at byte {start + offset} (whole records follow at {later}); "
            "restore it from a copy, or move it aside to generate its answers again"
        )


def _later_transaction(data: bytes, offset: int, start: int) -> int:
    """Where a transaction stands that began behind a bad record; 0 where none does."""
    place = data.find(_MARK, offset + 1)
    while place >= 0:
        found = record_at(data, place)
        if found is not None and found.begun > start + offset:
            return start + place
        place = data.find(_MARK, place + 1)
    return 0


def whole_end(storage: Storage, name: str, start: int = 0) -> int:
    """The end of the last whole transaction."""
    end = start
    for records in transactions(storage, name, start):
        end = records[-1].offset + records[-1].length
    return end


class Writer:
    """Appends transactions behind what is there."""

    def __init__(self, storage: Storage, identity: str) -> None:
        """``identity`` tells writers apart: two that overlap by mistake never write one file."""
        self._storage, self._identity = storage, identity
        names = storage.names()
        self._number = number_of(names[-1]) if names else 0
        self._name, self._size = "", 0
        if names and storage.appends:
            self._name, self._size = names[-1], storage.size(names[-1])

    def append(self, records: Sequence[Record]) -> tuple[str, list[tuple[int, int]], bytes]:
        """Writes one transaction; (segment, offset and length of each record, bytes of the last) when it is durable."""
        if not self._name or not self._storage.appends or self._size >= SEGMENT_BYTES:
            self._number += 1
            self._name, self._size = f"{self._number:08d}-{self._identity}{SUFFIX}", 0
        pieces = packed_transaction(records, self._size)
        self._storage.append(self._name, b"".join(pieces))
        places = []
        for piece in pieces:
            places.append((self._size, len(piece)))
            self._size += len(piece)
        return self._name, places, pieces[-1]


def number_of(name: str) -> int:
    """A segment's number."""
    return int(name[:8])


def cut_tail(storage: Storage) -> int:
    """Cuts what a killed writer left behind the last whole transaction; how many bytes it was."""
    names = storage.names()
    if not names:
        return 0
    size, end = storage.size(names[-1]), whole_end(storage, names[-1])
    if end < size:
        storage.cut(names[-1], end)
    return size - end
