"""The journal of model calls: what was generated once is never generated again.

SQLite in WAL mode on one host; one writer, a second one is refused. A batch of a local model is journalled and repeated
whole, because floating-point results depend on which rows stand together; its completions are written in one transaction,
so a kill leaves all of a batch or nothing. Answers of servers are journalled one by one, as the bytes that came (reading
them again is free), many in one transaction; beside them stands a ledger of exchanges, tokens and money.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import threading
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from stillwise.arrows import Completion
from stillwise.errors import CorruptOutput, RunLocked, UserError
from stillwise.records import Finish
from stillwise.runtime.files import disk_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (key TEXT PRIMARY KEY, step TEXT NOT NULL, size INTEGER NOT NULL, answers BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, step TEXT NOT NULL, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (step TEXT PRIMARY KEY, amounts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS served (step TEXT, what TEXT, how TEXT, PRIMARY KEY (step, what, how));
"""
_COLUMNS = {"batches": "key step size answers", "answers": "key step raw", "ledger": "step amounts", "served": "step what how"}
_COUNT = "SELECT step, SUM(size) FROM (SELECT step, size FROM batches {answers}) GROUP BY step ORDER BY step"
_AND_ANSWERS = "UNION ALL SELECT step, 1 FROM answers"
_ASKED_AT_ONCE = 500
_SMALL = 2048
"""Bytes under which a body is kept as it is: compressing it would gain nothing."""
SYNC_EVERY_S = 0.2
"""Single answers may be lost to a power cut (never to a kill) for so long at most while answers come."""
_PLAIN, _PACKED = b"r", b"z"


def packed(answers: Sequence[Completion]) -> bytes:
    rows = [asdict(answer) for answer in answers]
    return zlib.compress(json.dumps(rows, ensure_ascii=False).encode(), 1)


def unpacked(blob: bytes) -> list[Completion]:
    return [_completion(row) for row in json.loads(zlib.decompress(blob))]


def _completion(row: dict[str, Any]) -> Completion:
    ids = row.pop("token_ids")
    return Completion(**{**row, "finish": Finish(row["finish"]), "token_ids": None if ids is None else tuple(ids)})


def shelved(raw: bytes) -> bytes:
    return _PLAIN + raw if len(raw) < _SMALL else _PACKED + zlib.compress(raw, 1)


def unshelved(blob: bytes) -> bytes:
    if blob[:1] == _PLAIN:
        return blob[1:]
    if blob[:1] != _PACKED:
        raise ValueError("neither plain nor packed")
    return zlib.decompress(blob[1:])


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    """A journal that is locked, full or shut is a UserError and keeps its answers; only a damaged one is a CorruptOutput."""
    with disk_errors(path):
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.OperationalError as err:
            raise _unusable(path, err) from err
        except sqlite3.DatabaseError as err:
            raise CorruptOutput(_damaged(path, err)) from err


def _unusable(path: Path, err: sqlite3.OperationalError) -> Exception:
    # The low byte is the primary code; errors that Python raises itself carry none.
    code = getattr(err, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_ERROR:
        return UserError(_foreign(path, str(err)))
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, str(err), str(path))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        advice = "another process uses it: wait for that or stop it"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        advice = "make the file and its folder writable, or choose another folder with --out"
    else:
        advice = "check the disk"
    return UserError(f"the journal {path} cannot be used now ({err}); {advice}, then repeat: the answers in it are kept")


def _foreign(path: Path, found: str) -> str:
    return (
        f"the journal {path} was written by another version of stillwise ({found}); go on with that version, or choose another "
        "folder with --out (a journal moved aside is whole for that version, but here its answers are generated again)"
    )


def _damaged(path: Path, err: Exception) -> str:
    return f"the journal {path} is damaged ({err}); move it aside to generate again, nothing else depends on it"


def counts_of(path: Path) -> dict[str, int]:
    """Answers held by the journal in a file, by step; none where there is no file. Nothing is written."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    with _database_errors(path):
        try:
            return _counts_in(f"{path.resolve().as_uri()}?mode=ro")
        except sqlite3.OperationalError:
            # In a folder that cannot be written the log's index cannot be made; without a log the file alone is whole.
            if path.with_name(path.name + "-wal").exists():
                raise
            return _counts_in(f"{path.resolve().as_uri()}?immutable=1")


def _counts_in(uri: str) -> dict[str, int]:
    with closing(sqlite3.connect(uri, uri=True)) as db:
        return _counts(db)


def _check_columns(path: Path, db: sqlite3.Connection) -> None:
    """Raises UserError where a table that is there already is not the one that this version writes."""
    for table, columns in _COLUMNS.items():
        found = " ".join(row[1] for row in db.execute(f"PRAGMA table_info({table})"))
        if found not in ("", columns):
            raise UserError(_foreign(path, f"its table {table} holds {found}, not {columns}"))


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    # A journal of an earlier version has no table of single answers.
    single = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone()
    rows: Iterable[tuple[str, int]] = db.execute(_COUNT.format(answers=_AND_ANSWERS if single else ""))
    return dict(rows)


class CallJournal(Protocol):
    """What a run keeps its model calls in: ``Journal`` on one machine, ``SegmentJournal`` where several work."""

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The raw bodies of those keys that are known."""

    def add(self, step: str, answers: Sequence[tuple[bytes, bytes]], ledger: Mapping[str, int]) -> None:
        """Store raw bodies by key and add to the ledger, all or nothing; a kill after the call loses nothing."""

    def note(self, step: str, served: Mapping[str, str]) -> None:
        """Remember how a server did what a step asked of it."""

    def served(self) -> dict[str, dict[str, list[str]]]:
        """How servers did what was asked of them, by step and by what that was."""

    def settle(self, waited: bool = False) -> None:
        """Afterwards a power cut loses nothing that is committed; with ``waited`` only if the last time was a while ago."""

    def ledger(self) -> dict[str, dict[str, int]]:
        """What was sent, came back, was lost and was paid, by step."""

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""

    def close(self) -> None:
        """Let another writer in."""


class Journal:
    """Batches of completions, and single answers as they came, by key."""

    def __init__(self, path: Path) -> None:
        self._path, self._turn = path, threading.Lock()
        self._unsynced, self._synced_at = False, 0.0
        with _database_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._unlock = weakref.finalize(self, os.close, _only_writer(path))
            self._db = sqlite3.connect(path, check_same_thread=False)
            try:
                _check_columns(path, self._db)
            except UserError:
                self.close()
                raise
            self._db.execute("PRAGMA journal_mode=WAL")
            # A commit then survives a kill at once, and a power cut once the log is synced: for a batch that is before the
            # call returns, for single answers a moment later, many commits at once.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            rows = self._db.execute("SELECT step, amounts FROM ledger ORDER BY step").fetchall()
            # There is one writer, this one: what it read once stays true.
            self._amounts: dict[str, dict[str, int]] = {step: json.loads(amounts) for step, amounts in rows}

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""
        with self._turn, _database_errors(self._path):
            row = self._db.execute("SELECT answers FROM batches WHERE key = ?", (key,)).fetchone()
        try:
            return None if row is None else unpacked(row[0])
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as err:
            raise CorruptOutput(_damaged(self._path, err)) from err

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""
        row = (key, step, len(answers), packed(answers))
        with self._turn, _database_errors(self._path), self._db:
            self._db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?)", row)
        self.settle()

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The raw bodies of those keys that are known."""
        found: dict[bytes, bytes] = {}
        with self._turn, _database_errors(self._path):
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                some = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(f"SELECT key, raw FROM answers WHERE key IN ({marks})", some).fetchall()
                try:
                    found.update((key, unshelved(blob)) for key, blob in rows)
                except (zlib.error, ValueError, TypeError) as err:
                    raise CorruptOutput(_damaged(self._path, err)) from err
        return found

    def add(self, step: str, answers: Sequence[tuple[bytes, bytes]], ledger: Mapping[str, int]) -> None:
        """Store raw bodies by key and add to the ledger, all or nothing; a kill after the call loses nothing."""
        rows = [(key, step, shelved(raw)) for key, raw in answers]
        with self._turn, _database_errors(self._path), self._db:
            before = self._amounts.get(step, {})
            after = {**before, **{name: before.get(name, 0) + amount for name, amount in ledger.items()}}
            self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
            self._db.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?)", (step, json.dumps(after)))
            self._amounts[step] = after

        self._unsynced = True

    def note(self, step: str, served: Mapping[str, str]) -> None:
        """Remember how a server did what a step asked of it; a server that did it in two ways leaves two notes."""
        rows = [(step, what, how) for what, how in served.items()]
        with self._turn, _database_errors(self._path), self._db:
            self._db.executemany("INSERT OR IGNORE INTO served VALUES (?, ?, ?)", rows)
        self._unsynced = True

    def served(self) -> dict[str, dict[str, list[str]]]:
        """How servers did what was asked of them, by step and by what that was; every way in order."""
        found: dict[str, dict[str, list[str]]] = {}
        with self._turn, _database_errors(self._path):
            for step, what, how in self._db.execute("SELECT step, what, how FROM served ORDER BY step, what, how"):
                found.setdefault(step, {}).setdefault(what, []).append(how)
        return found

    def settle(self, waited: bool = False) -> None:
        """Bring what is committed to the disk itself: afterwards a power cut loses nothing either.

        Where more is to come (``waited``), only if the last time was a while ago. Other threads may commit meanwhile.
        """
        if waited and (not self._unsynced or time.monotonic() - self._synced_at < SYNC_EVERY_S):
            return
        self._unsynced, self._synced_at = False, time.monotonic()
        with disk_errors(self._path), suppress(FileNotFoundError):
            # Without a log the last commit was moved into the file, and synced, already.
            log = os.open(self._path.with_name(self._path.name + "-wal"), os.O_RDONLY)
            try:
                os.fsync(log)
            finally:
                os.close(log)

    def ledger(self) -> dict[str, dict[str, int]]:
        """What was sent, came back, was lost and was paid, by step; money in billionths.

        ``sent`` less ``resolved`` and ``unknown`` are calls that a kill cut off: their outcome is unknown too.
        """
        return {step: dict(amounts) for step, amounts in self._amounts.items()}

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""
        with _database_errors(self._path):
            return _counts(self._db)

    def close(self) -> None:
        """Close the file, and let another writer in."""
        if self._unsynced:
            self.settle()
        self._db.close()
        self._unlock()


def _only_writer(path: Path) -> int:
    """The held lock beside the journal. Not on the journal itself: closing such a handle would drop SQLite's own locks."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(lock)
        raise RunLocked(f"the journal {path} has another writer; wait for that process, or choose another --out") from err
    return lock
