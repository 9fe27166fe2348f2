"""Problems from a file: JSON Lines, a JSON list, Parquet, CSV."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from stillwise.arrows import Source
from stillwise.errors import CorruptOutput, UserError, nearest
from stillwise.problems.columns import STEP, Columns, Origin, Reader, distinct
from stillwise.problems.layouts import layout_reader
from stillwise.records import Failure, Problem
from stillwise.runtime import tables

Row = Mapping[str, Any]
_PEEK = 50
"""Rows whose columns count as present (JSON Lines may leave out empty ones)."""


class File(Source):
    """The problems of one file, in its order. Names of columns are found by themselves or given under ``columns``."""

    kind: ClassVar[str] = "file"
    path: str
    """``.jsonl``, ``.json``, ``.parquet``, ``.csv`` or ``.tsv``."""
    columns: Columns = Columns()
    """Which columns are which."""
    origin: Origin = Origin()
    """Language, licence, limit."""

    def problems(self) -> Iterator[Problem | Failure]:
        """Problems in the order of the file. Raises UserError: no file, no such column, nothing usable in it."""
        path = existing(Path(self.path))
        if path.suffix == ".parquet" and tables.holds(path, Problem):
            yield from itertools.islice(tables.read(path, Problem), self.origin.limit)
            return
        yield from distinct(problems_of(rows_of(path), path.name, self.columns, self.origin), str(path))


def existing(path: Path) -> Path:
    """The path, if it is a file; else UserError with the nearest names that are there."""
    if path.is_file():
        return path
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    if folder != path.absolute().parent:
        raise UserError(f"{path} does not exist: neither does its folder (the last that does is {folder})")
    there = [entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    raise UserError(f"{path} does not exist; {nearest(path.name, there)}")


def problems_of(rows: Iterable[Row | Failure], where: str, columns: Columns, origin: Origin) -> Iterator[Problem | Failure]:
    """Rows to problems; the columns are settled by the first rows."""
    numbered = enumerate(itertools.islice(rows, origin.limit), start=1)
    first = list(itertools.islice(numbered, _PEEK))
    present = list(dict.fromkeys(name for _, row in first if not isinstance(row, Failure) for name in row))
    if not present:
        yield from (row for _, row in first if isinstance(row, Failure))
        return
    reader = layout_reader(where, columns, origin, present) or Reader.of(where, columns, origin, present)
    for number, row in itertools.chain(first, numbered):
        yield row if isinstance(row, Failure) else reader.problem(row, f"{where}:{number}")


def rows_of(path: Path) -> Iterator[Row | Failure]:
    """The rows of a file by its ending; a line that is not JSON comes as a Failure."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UserError(f"{path}: no reader for {path.suffix or 'a file without an ending'}; {nearest(path.suffix, _READERS)}")
    try:
        yield from read(path)
    except UnicodeDecodeError as err:
        raise UserError(f"{path} is not UTF-8 text ({err.reason} at byte {err.start})") from err


def _json_lines(path: Path) -> Iterator[Row | Failure]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_row(line, f"{path.name}:{number}")


def _json_row(line: str, item: str) -> Row | Failure:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as err:
        return Failure(step=STEP, item=item, reason="not_json", detail=str(err))
    return row if isinstance(row, dict) else Failure(step=STEP, item=item, reason="not_an_object", detail=type(row).__name__)


def _json_list(path: Path) -> Iterator[Row | Failure]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as err:
        raise UserError(f"{path} is not JSON ({err}); JSON Lines belong in a file that ends in .jsonl") from err
    if isinstance(value, dict):
        value = next((held for held in value.values() if isinstance(held, list)), None)
    if not isinstance(value, list):
        raise UserError(f"{path} holds no list of rows")
    for number, row in enumerate(value, start=1):
        yield row if isinstance(row, dict) else _json_row(json.dumps(row), f"{path.name}:{number}")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as err:
        raise CorruptOutput(f"{path} is damaged or not Parquet ({str(err).splitlines()[0]})") from err


def _separated(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines, delimiter=delimiter):
                yield {name: value for name, value in row.items() if name is not None}

    return read


_READERS: Mapping[str, Callable[[Path], Iterator[Row | Failure]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".parquet": _parquet,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
}
