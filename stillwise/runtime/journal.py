"""The journal of model calls: what was generated once is never generated again.

SQLite in WAL mode on one host; one writer (the driver, which holds the run folder's lock). A batch of a local model is
journalled and repeated whole, because floating-point results depend on which rows stand together; its completions are
written in one transaction, so a kill leaves all of a batch or nothing.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillwise.arrows import Completion
from stillwise.errors import CorruptOutput
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


class Journal:
    """Batches of completions by key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self._path)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(_SCHEMA)
        except sqlite3.DatabaseError as err:
            raise CorruptOutput(
                f"the journal {self._path} is damaged ({err}); move it aside to generate again, nothing else depends on it"
            ) from err
        return db

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""
        row = self._db.execute("SELECT answers FROM batches WHERE key = ?", (key,)).fetchone()
        return None if row is None else _unpack(row[0])

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""
        with disk_errors(self._path):
            try:
                with self._db:
                    row = (key, step, len(answers), _pack(answers))
                    self._db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?)", row)
            except sqlite3.OperationalError as err:
                raise self._full(err) from err

    def _full(self, err: sqlite3.OperationalError) -> OSError:
        import errno

        return OSError(errno.ENOSPC if "full" in str(err) else errno.EIO, str(err), str(self._path))

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""
        rows: Iterable[tuple[str, int]] = self._db.execute("SELECT step, SUM(size) FROM batches GROUP BY step ORDER BY step")
        return dict(rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
