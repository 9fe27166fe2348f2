"""The journal of model calls: what was generated once is never generated again.

SQLite in WAL mode on one host; one writer (the driver, which holds the run folder's lock). A batch of a local model is
journalled and repeated whole, because floating-point results depend on which rows stand together; its completions are
written in one transaction, so a kill leaves all of a batch or nothing.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillwise.arrows import Completion
from stillwise.errors import CorruptOutput, UserError
from stillwise.records import Finish
from stillwise.runtime.files import disk_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (key TEXT PRIMARY KEY, step TEXT NOT NULL, size INTEGER NOT NULL, answers BLOB NOT NULL)
"""


def _pack(answers: Sequence[Completion]) -> bytes:
    rows = [asdict(answer) for answer in answers]
    return zlib.compress(json.dumps(rows, ensure_ascii=False).encode(), 1)


def _unpack(blob: bytes) -> list[Completion]:
    return [_completion(row) for row in json.loads(zlib.decompress(blob))]


def _completion(row: dict[str, Any]) -> Completion:
    ids = row.pop("token_ids")
    return Completion(**{**row, "finish": Finish(row["finish"]), "token_ids": None if ids is None else tuple(ids)})


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
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, str(err), str(path))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        advice = "another process uses it: wait for that or stop it"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        advice = "make the file and its folder writable, or choose another folder with --out"
    else:
        advice = "check the disk"
    return UserError(f"the journal {path} cannot be used now ({err}); {advice}, then repeat: the answers in it are kept")


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


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    rows: Iterable[tuple[str, int]] = db.execute("SELECT step, SUM(size) FROM batches GROUP BY step ORDER BY step")
    return dict(rows)


class Journal:
    """Batches of completions by key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _database_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""
        with _database_errors(self._path):
            row = self._db.execute("SELECT answers FROM batches WHERE key = ?", (key,)).fetchone()
        try:
            return None if row is None else _unpack(row[0])
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as err:
            raise CorruptOutput(_damaged(self._path, err)) from err

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""
        row = (key, step, len(answers), _pack(answers))
        with _database_errors(self._path), self._db:
            self._db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?)", row)

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""
        with _database_errors(self._path):
            return _counts(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
