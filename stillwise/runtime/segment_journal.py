"""The journal of a run that several machines work on: segments on shared storage are the truth, SQLite says where in them.

The index lies on the writer's own disk (no SQLite file is opened over a network) and holds places, not answers: it is made
again from the segments where it is missing, damaged or of other ones, and brought up to them where they are ahead.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from stillwise.arrows import Completion
from stillwise.errors import CorruptOutput, RunLocked
from stillwise.models.remote import cache_folder
from stillwise.records import digest
from stillwise.runtime.journal import counts_of, packed, shelved, unpacked, unshelved
from stillwise.runtime.segments import Kind, Record, Storage, Writer, cut_tail, record_at, transactions
from stillwise.runtime.storage import storage_at

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY, number INTEGER UNIQUE, applied INTEGER, last INTEGER, sum INTEGER);
CREATE TABLE IF NOT EXISTS places (key BLOB PRIMARY KEY, number INTEGER, offset INTEGER, length INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (step TEXT PRIMARY KEY, answers INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (step TEXT PRIMARY KEY, amounts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entered (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served (step TEXT, what TEXT, how TEXT, PRIMARY KEY (step, what, how));
"""
_TABLES = {"segments", "places", "counts", "ledger", "entered", "served"}
_ASKED_AT_ONCE = 500
IMPORTED_AT_ONCE = 256
HANDOVER_S = 30.0
"""How long a writer that was just killed may take to be noticed."""


def index_path(place: str) -> Path:
    """Where this machine keeps the index of the journal at a place."""
    return cache_folder() / f"{digest(place)}.index.sqlite"


class SegmentJournal:
    """Implements ``journal.CallJournal`` over segments."""

    def __init__(self, place: str, index: Path | None = None, *, handover_s: float = 0.0) -> None:
        """``place``: a folder or an fsspec address. Raises RunLocked where another writer stays longer than ``handover_s``."""
        self.place, self._turn = place, threading.Lock()
        self._storage = storage_at(place)
        _lock(self._storage, handover_s)
        with ExitStack() as stack:
            stack.callback(self._storage.unlock)
            self._index = _Index(index or index_path(place), self._storage)
            self.cut_bytes = cut_tail(self._storage)
            self._index.catch_up()
            self._writer = Writer(self._storage, uuid4().hex[:8])
            # All is well: the lock stays until ``close``.
            stack.pop_all()

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""
        with self._turn:
            found = self._index.places([key.encode()])
            body = self._body(found[key.encode()]) if found else None
        try:
            return None if body is None else unpacked(body)
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as err:
            raise CorruptOutput(f"an answer in the journal {self.place} cannot be read ({err})") from err

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""
        self._keep([Record(Kind.BATCH, [key, step, len(answers)], packed(answers))])

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The raw bodies of those keys that are known."""
        with self._turn:
            return {key: unshelved(self._body(place)) for key, place in self._index.places(keys).items()}

    def add(self, step: str, answers: Sequence[tuple[bytes, bytes]], ledger: Mapping[str, int], id: str = "") -> None:
        """Store raw bodies by key and add to the ledger, all or nothing; durable before the call returns.

        The amounts of one ``id`` are added once, however often the call is repeated.
        """
        records = [Record(Kind.ANSWER, [key.hex(), step], shelved(raw)) for key, raw in answers]
        amounts = {name: amount for name, amount in ledger.items() if amount}
        if records or amounts:
            self._keep([*records, Record(Kind.LEDGER, [id or uuid4().hex, step, amounts])])

    def note(self, step: str, served: Mapping[str, str]) -> None:
        """Remember how a server did what a step asked of it."""
        if served:
            self._keep([Record(Kind.NOTES, [step, dict(served)])])

    def served(self) -> dict[str, dict[str, list[str]]]:
        """How servers did what was asked of them, by step and by what that was."""
        with self._turn:
            return self._index.served()

    def settle(self, waited: bool = False) -> None:
        """Nothing is left to do: what was kept is durable."""

    def ledger(self) -> dict[str, dict[str, int]]:
        """What was sent, came back, was lost and was paid, by step; money in billionths."""
        with self._turn:
            return self._index.ledger()

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""
        with self._turn:
            return self._index.counts()

    def close(self) -> None:
        """Close the index, and let another writer in."""
        self._index.close()
        self._storage.unlock()

    def import_sqlite(self, path: Path) -> int:
        """Takes over a journal that a run on one machine wrote; how many answers it held. Known ones are not written again."""
        if not path.is_file() or not counts_of(path):
            return 0
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            for rows in _chunks(db, "SELECT key, step, size, answers FROM batches"):
                self._keep([Record(Kind.BATCH, [key, step, size], blob) for key, step, size, blob in rows])
            for rows in _chunks(db, "SELECT key, step, raw FROM answers"):
                self._keep([Record(Kind.ANSWER, [key.hex(), step], blob) for key, step, blob in rows])
            for step, amounts in db.execute("SELECT step, amounts FROM ledger"):
                self._keep([Record(Kind.LEDGER, [digest(path.name, step), step, json.loads(amounts)])])
            for step, what, how in db.execute("SELECT step, what, how FROM served"):
                self._keep([Record(Kind.NOTES, [step, {what: how}])])
        return sum(counts_of(path).values())

    def _keep(self, records: Sequence[Record]) -> None:
        with self._turn:
            new = self._index.unknown(records)
            if new:
                name, places, tail = self._writer.append(new)
                self._index.apply(name, list(zip(places, new, strict=True)), zlib.crc32(tail))

    def _body(self, place: tuple[str, int, int]) -> bytes:
        name, offset, length = place
        found = record_at(self._storage.read(name, offset, offset + length))
        if found is None:
            raise CorruptOutput(
                f"the journal's segment {name} in {self.place} is damaged at byte {offset}; restore it from a copy, or move it "
                "aside to generate its answers again"
            )
        return found.record.body


def _lock(storage: Storage, handover_s: float) -> None:
    end = time.monotonic() + handover_s
    while True:
        try:
            storage.lock()
            return
        except RunLocked:
            if time.monotonic() >= end:
                raise
            time.sleep(0.5)


def _chunks(db: sqlite3.Connection, query: str) -> Any:
    cursor = db.execute(query)
    return iter(lambda: cursor.fetchmany(IMPORTED_AT_ONCE), [])


def _key_of(record: Record) -> bytes | None:
    """What an answer is found by."""
    if record.kind is Kind.ANSWER:
        return bytes.fromhex(record.meta[0])
    return record.meta[0].encode() if record.kind is Kind.BATCH else None


class _Index:
    """Where each answer stands, and what the other records add up to."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path, self._storage = path, storage
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._opened()
        self._numbers: dict[str, int] = dict(self._db.execute("SELECT name, number FROM segments"))

    def _opened(self) -> sqlite3.Connection:
        try:
            db = self._connected()
            if self._fits(db):
                return db
            db.close()
        except sqlite3.DatabaseError:
            pass
        for name in (self._path.name, f"{self._path.name}-wal", f"{self._path.name}-shm"):
            self._path.with_name(name).unlink(missing_ok=True)
        return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _fits(self, db: sqlite3.Connection) -> bool:
        """Whether what was applied is still what stands in the segments."""
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        held = set(self._storage.names())
        rows = db.execute("SELECT name, applied, last, sum FROM segments").fetchall()
        return tables == _TABLES and all(name in held and self._stands(name, *rest) for name, *rest in rows)

    def _stands(self, name: str, applied: int, last: int, sum: int) -> bool:
        data = self._storage.read(name, last, applied) if self._storage.size(name) >= applied else b""
        return len(data) == applied - last and zlib.crc32(data) == sum

    def catch_up(self) -> None:
        """Applies the transactions that are not in it yet."""
        for name in self._storage.names():
            row = self._db.execute("SELECT applied FROM segments WHERE name = ?", (name,)).fetchone()
            for found in transactions(self._storage, name, row[0] if row else 0):
                tail = self._storage.read(name, found[-1].offset, found[-1].offset + found[-1].length)
                self.apply(name, [((one.offset, one.length), one.record) for one in found], zlib.crc32(tail))

    def apply(self, name: str, found: Sequence[tuple[tuple[int, int], Record]], sum: int) -> None:
        """One transaction that stands in a segment; ``sum`` is the checksum of its last record's bytes."""
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        last, length = found[-1][0]
        with self._db:
            for place, record in found:
                self._enter(number, place, record)
            row = (name, number, last + length, last, sum)
            self._db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)", row)

    def _enter(self, number: int, place: tuple[int, int], record: Record) -> None:
        if record.kind is Kind.LEDGER:
            self._add(*record.meta)
        elif record.kind is Kind.NOTES:
            step, served = record.meta
            rows = [(step, what, how) for what, how in served.items()]
            self._db.executemany("INSERT OR IGNORE INTO served VALUES (?, ?, ?)", rows)
        else:
            size = record.meta[2] if record.kind is Kind.BATCH else 1
            new = self._db.execute(
                "INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?)", (_key_of(record), number, *place)
            ).rowcount
            if new:
                counted = (
                    "INSERT INTO counts VALUES (?, ?) ON CONFLICT (step) DO UPDATE SET answers = answers + excluded.answers"
                )
                self._db.execute(counted, (record.meta[1], size))

    def _add(self, id: str, step: str, amounts: Mapping[str, int]) -> None:
        if not self._db.execute("INSERT OR IGNORE INTO entered VALUES (?)", (id,)).rowcount:
            return
        before = self.ledger().get(step, {})
        after = {**before, **{name: before.get(name, 0) + amount for name, amount in amounts.items()}}
        self._db.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?)", (step, json.dumps(after)))

    def unknown(self, records: Sequence[Record]) -> list[Record]:
        """Those that are not kept yet; the first of equal ones."""
        keys = {key for record in records if (key := _key_of(record)) is not None}
        seen = set(self.places(list(keys)))
        new = []
        for record in records:
            key = _key_of(record)
            if key is None and record.kind is Kind.LEDGER:
                key = b"ledger" + record.meta[0].encode()
                if self._db.execute("SELECT 1 FROM entered WHERE id = ?", (record.meta[0],)).fetchone():
                    continue
            if key is None or key not in seen:
                new.append(record)
                seen.update([key] if key else [])
        return new

    def places(self, keys: Sequence[bytes]) -> dict[bytes, tuple[str, int, int]]:
        """Segment, offset and length of those keys that are known."""
        found: dict[bytes, tuple[str, int, int]] = {}
        query = "SELECT key, name, offset, length FROM places JOIN segments USING (number) WHERE key IN ({})"
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            some = keys[start : start + _ASKED_AT_ONCE]
            rows = self._db.execute(query.format(",".join("?" * len(some))), some)
            found.update((key, (name, offset, length)) for key, name, offset, length in rows)
        return found

    def served(self) -> dict[str, dict[str, list[str]]]:
        """Notes by step and by what was asked."""
        found: dict[str, dict[str, list[str]]] = {}
        for step, what, how in self._db.execute("SELECT step, what, how FROM served ORDER BY step, what, how"):
            found.setdefault(step, {}).setdefault(what, []).append(how)
        return found

    def ledger(self) -> dict[str, dict[str, int]]:
        """Amounts by step."""
        return {
            step: json.loads(amounts) for step, amounts in self._db.execute("SELECT step, amounts FROM ledger ORDER BY step")
        }

    def counts(self) -> dict[str, int]:
        """Answers by step."""
        return dict(self._db.execute("SELECT step, answers FROM counts ORDER BY step"))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def counts_of_segments(place: str) -> dict[str, int]:
    """Answers that the segments at a place hold, by step, read without an index; the writer is not disturbed."""
    storage, counts, seen = storage_at(place), dict[str, int](), set[bytes]()
    for name in storage.names():
        for found in transactions(storage, name):
            for key, record in ((_key_of(one.record), one.record) for one in found):
                if key is not None and key not in seen:
                    seen.add(key)
                    size = record.meta[2] if record.kind is Kind.BATCH else 1
                    counts[record.meta[1]] = counts.get(record.meta[1], 0) + size
    return dict(sorted(counts.items()))
