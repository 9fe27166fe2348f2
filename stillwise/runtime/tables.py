"""Records as Parquet and back: explicit schemas, nothing lost, equal records give equal bytes, a file is whole or absent.

Texts stand in the tables of traces and problems only; verdicts and scores are narrow side tables keyed by trace id. Any
reader of Parquet (``datasets.load_dataset("parquet", …)``, DuckDB, Polars) opens the files with no help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

from stillwise.arrows import Lesson, Pair, Row, Scaffold
from stillwise.errors import CorruptOutput, UserError
from stillwise.records import AnswerKind, Failure, Finish, Outcome, Problem, Sampling, Score, Signature, Span, Trace, Verdict
from stillwise.runtime.files import whole_file

FORMAT = "1"
"""Raised when a schema changes; files of another format are refused."""
ROWS_PER_GROUP, GROUP_SIZE = 4096, 4_000_000
"""A group has no more rows, and ends with the row that brings its text to so many characters."""
ROWS_AT_ONCE, SIZE_AT_ONCE = 512, 1_000_000
"""So many rows are Python's objects; the others of their group stand in columns, which take a fraction of the room."""
ZSTD_LEVEL = 3

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One row of the side table of verdicts."""

    trace_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One row of the side table of scores."""

    trace_id: str
    score: Score


Column = str | Mapping[str, str] | list[Mapping[str, str]]
"""A column's type: a scalar's name, a struct, or (in a list of one) a list of structs."""

_SPAN = {"kind": "string", "start": "int64", "end": "int64"}
_SIGNATURE = {"kind": "string", "fingerprint": "string"}
_SAMPLING = {"temperature": "float64", "top_p": "float64", "top_k": "int64", "max_tokens": "int64", "stop": "strings"}
_VERDICT = {"outcome": "string", "rule": "string", "extracted": "string", "grader": "string", "detail": "string"}
_SCORE = {"name": "string", "value": "float64", "detail": "string"}

COLUMNS: Mapping[type[Any], Mapping[str, Column]] = {
    Problem: {
        **dict.fromkeys(("id", "question", "answer", "answer_kind"), "string"),
        "level": "int64",
        **dict.fromkeys(("subject", "source", "language", "licence", "scorer"), "string"),
    },
    Trace: {
        **dict.fromkeys(("id", "problem_id", "role", "model", "paradigm", "prompt", "text"), "string"),
        "spans": [_SPAN],
        "num_prompt_tokens": "int64",
        "num_tokens": "int64",
        "num_thinking_tokens": "int64",
        "finish": "string",
        "sampling": _SAMPLING,
        "seed": "int64",
        "sample_index": "int64",
        "parent": "string",
        "edit": "string",
        "history": [_SIGNATURE],
    },
    Judged: {"trace_id": "string", **_VERDICT},
    Scored: {"trace_id": "string", **_SCORE},
    Failure: dict.fromkeys(("step", "item", "reason", "detail"), "string"),
    Pair: {**dict.fromkeys(("problem_id", "chosen", "rejected", "gap"), "string"), "beta": "float64", "margin": "float64"},
    Lesson: {**dict.fromkeys(("stage", "trace_id", "target", "spans"), "string"), "weight": "float64", "apart": "bool"},
    Row: {
        **dict.fromkeys(("trace_id", "problem_id", "output"), "string"),
        "level": "int64",
        "outcome": "string",
        "num_tokens": "int64",
        "sample_index": "int64",
    },
    Scaffold: {
        **dict.fromkeys(("problem_id", "group", "trace_id", "solved_by", "censored"), "string"),
        **dict.fromkeys(("level", "units", "units_tried", "units_given"), "int64"),
        **dict.fromkeys(("thought_tokens", "prefix_tokens", "rest_tokens", "answer_tokens"), "int64"),
    },
}

JOINED: Mapping[type[Any], frozenset[str]] = {Row: frozenset({"scores", "domain"})}
"""Fields that no table holds: they are joined to the records from other tables whenever these are read."""
ADDED: Mapping[type[Any], frozenset[str]] = {Trace: frozenset({"num_thinking_tokens"}), Lesson: frozenset({"spans", "apart"})}
"""Columns with a default that came later: a table without them is read as well."""


def write(path: Path, records: Iterable[R], kind: type[R]) -> int:
    """Writes the records in order and returns how many; equal records give equal bytes. The file appears whole or not at all.

    ``kind`` is the record class (``Judged`` and ``Scored`` for the side tables): an empty table has a schema too. Records are
    taken as they come and let go with their group. Raises UserError where the disk is full.
    """
    count = 0
    with writing(path, kind) as add:
        for record in records:
            add(record)
            count += 1
    return count


@contextmanager
def writing(path: Path, kind: type[R]) -> Iterator[Callable[[R], None]]:
    """What adds one record after another to a table, which appears when the block ends well."""
    import pyarrow.parquet as pq

    schema = _schema(kind)
    options: dict[str, Any] = {"compression": "zstd", "compression_level": ZSTD_LEVEL, "write_page_checksum": True}
    with whole_file(path) as aside, pq.ParquetWriter(aside, schema, **options) as writer:
        groups = _Groups(writer, schema)
        yield lambda record: groups.add(_flat(record))
        groups.close()


@dataclass
class _Groups:
    """Rows on their way into a table: first as they are, then as columns, written group by group."""

    writer: Any
    schema: Any
    rows: list[dict[str, Any]] = field(default_factory=list)
    packed: list[Any] = field(default_factory=list)
    size: int = 0
    """Characters in the rows."""
    held: tuple[int, int] = (0, 0)
    """Rows and characters in the columns."""
    any: bool = False

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.size += sum(len(value) for value in row.values() if isinstance(value, str))
        if self.held[0] + len(self.rows) == ROWS_PER_GROUP or self.held[1] + self.size >= GROUP_SIZE:
            self.flush()
        elif len(self.rows) == ROWS_AT_ONCE or self.size >= SIZE_AT_ONCE:
            self.pack()

    def pack(self) -> None:
        import pyarrow as pa

        columns = [pa.array([row[name] for row in self.rows], type=self.schema.field(name).type) for name in self.schema.names]
        self.packed.append(pa.table(columns, schema=self.schema))
        self.held = self.held[0] + len(self.rows), self.held[1] + self.size
        self.size = 0
        self.rows.clear()

    def flush(self) -> None:
        import pyarrow as pa

        self.pack()
        self.writer.write_table(pa.concat_tables(self.packed).combine_chunks(), row_group_size=ROWS_PER_GROUP)
        self.packed.clear()
        pa.default_memory_pool().release_unused()
        self.held, self.any = (0, 0), True

    def close(self) -> None:
        """A table without rows has a group too."""
        if self.rows or self.packed or not self.any:
            self.flush()


def read(path: Path, kind: type[R]) -> list[R]:
    """The records of one file in the order written; every page's checksum is verified.

    Raises CorruptOutput, naming the file, where it is cut short, damaged, or holds other records; UserError where it is
    missing.
    """
    return list(each(path, kind))


def each(path: Path, kind: type[R], groups: Sequence[int] | None = None) -> Iterator[R]:
    """The same records one by one; never more than a group of them is held. ``groups`` names some of the file's groups."""
    build = _BUILDERS.get(kind, kind)
    for rows in _groups(path, kind, None, groups):
        try:
            yield from (build(**row) for row in rows)
        except (TypeError, ValueError) as err:
            raise CorruptOutput(f"{path} holds a value that no {kind.__name__} has ({_first_line(err)}); {_REMEDY}") from err


def columns(path: Path, kind: type[Any], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some columns of a table, row by row, as they stand in the file; the others are not read."""
    for rows in _groups(path, kind, names, None):
        yield from (tuple(row[name] for name in names) for row in rows)


def sizes(path: Path, kind: type[Any]) -> list[int]:
    """How many records each group of a table holds."""
    with _opened(path, kind) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


@contextmanager
def _opened(path: Path, kind: type[Any]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_schema(path, file.schema_arrow, kind)
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise CorruptOutput(f"{path} is damaged or cut short ({_first_line(err)}); {_REMEDY}") from err


def _groups(
    path: Path, kind: type[Any], names: Sequence[str] | None, groups: Sequence[int] | None
) -> Iterator[list[dict[str, Any]]]:
    import pyarrow as pa

    with _opened(path, kind) as file:
        for group in range(file.num_row_groups) if groups is None else groups:
            table = file.read_row_group(group, columns=names)
            step = min(ROWS_AT_ONCE, max(1, table.num_rows * SIZE_AT_ONCE // max(1, table.nbytes)))
            for start in range(0, table.num_rows, step):
                yield table.slice(start, step).to_pylist()
            del table
            # Otherwise Arrow keeps several groups' worth.
            pa.default_memory_pool().release_unused()


def holds(path: Path, kind: type[Any]) -> bool:
    """Whether a file of Parquet is a table of these records; False for other tables and for damaged files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool(metadata.get(b"stillwise.record") == kind.__name__.encode())


_REMEDY = "move it away and run the same command again: only what is missing is computed anew"


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]


def _check_schema(path: Path, found: Any, kind: type[Any]) -> None:
    meta = found.metadata or {}
    name = meta.get(b"stillwise.record", b"something else").decode()
    if name != kind.__name__ or meta.get(b"stillwise.format") != FORMAT.encode():
        version = meta.get(b"stillwise.format", b"?").decode()
        raise CorruptOutput(f"{path} holds {name} (format {version}), not {kind.__name__} (format {FORMAT}); {_REMEDY}")
    missing = ADDED.get(kind, frozenset()) - set(found.names)
    if not found.equals(_schema(kind, missing)):
        raise CorruptOutput(f"{path} has other columns than a table of {kind.__name__} ({', '.join(found.names)}); {_REMEDY}")


def _schema(kind: type[Any], without: frozenset[str] = frozenset()) -> Any:
    import pyarrow as pa

    metadata = {"stillwise.record": kind.__name__, "stillwise.format": FORMAT}
    return pa.schema(
        [(name, _arrow_type(column)) for name, column in COLUMNS[kind].items() if name not in without], metadata=metadata
    )


def _arrow_type(column: Column) -> Any:
    import pyarrow as pa

    if isinstance(column, list):
        return pa.list_(_arrow_type(column[0]))
    if isinstance(column, str):
        return pa.list_(pa.string()) if column == "strings" else pa.type_for_alias(column)
    return pa.struct([(name, _arrow_type(inner)) for name, inner in column.items()])


def _flat(record: Any) -> dict[str, Any]:
    if isinstance(record, Judged):
        return {"trace_id": record.trace_id, **_plain(record.verdict)}
    if isinstance(record, Scored):
        return {"trace_id": record.trace_id, **_plain(record.score)}
    row: dict[str, Any] = _plain(record)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _problem(**row: Any) -> Problem:
    return Problem(**{**row, "answer_kind": AnswerKind(row["answer_kind"])})


def _trace(**row: Any) -> Trace:
    rebuilt = {
        **{name: intern(row[name]) for name in ("problem_id", "role", "model", "paradigm")},
        "finish": Finish(row["finish"]),
        "spans": tuple(Span(**span) for span in row["spans"]),
        "history": tuple(Signature(**signature) for signature in row["history"]),
        "sampling": Sampling(**{**row["sampling"], "stop": tuple(row["sampling"]["stop"])}),
    }
    return Trace(**{**row, **rebuilt})


def _judged(trace_id: str, outcome: str, **rest: Any) -> Judged:
    # A table says the same few words in every row, and tables of one run the same ids: one string each is enough.
    alike = {name: value and intern(value) for name, value in rest.items() if name in ("rule", "grader")}
    return Judged(trace_id=intern(trace_id), verdict=Verdict(outcome=Outcome(outcome), **{**rest, **alike}))


def _scored(trace_id: str, **rest: Any) -> Scored:
    return Scored(trace_id=trace_id, score=Score(**rest))


_BUILDERS: Mapping[type[Any], Callable[..., Any]] = {Problem: _problem, Trace: _trace, Judged: _judged, Scored: _scored}
