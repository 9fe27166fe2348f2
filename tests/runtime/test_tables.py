"""Records survive Parquet unchanged; damage is named; a full disk overwrites nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Lesson, Row
from stillwise.errors import CorruptOutput, UserError
from stillwise.records import (
    AnswerKind,
    Failure,
    Finish,
    Outcome,
    Problem,
    Sampling,
    Score,
    Signature,
    Span,
    Trace,
    Verdict,
)
from stillwise.runtime import tables
from stillwise.runtime.tables import Judged, Scored

TRACE = Trace(
    id="t1",
    problem_id="p1",
    role="reasoner",
    model="m",
    paradigm="think",
    prompt="2+2?\x00",
    text="<think>\nés 😀\r\n</think>\n4",
    spans=(Span(kind="thinking", start=7, end=14), Span(kind="solution", start=22, end=24)),
    num_prompt_tokens=3,
    num_tokens=9,
    finish=Finish.LENGTH,
    sampling=Sampling(temperature=0.7, top_p=0.9, top_k=5, max_tokens=7, stop=("a", "\n\n")),
    seed=2**63 - 1,
    sample_index=2,
    parent="t0",
    edit="cut",
    history=(Signature(kind="sample", fingerprint="f" * 16),),
)
BARE = Trace(id="t2", problem_id="p1", role="", model="", paradigm="", prompt="", text="")
PROBLEM = Problem.of("q", "4", answer_kind=AnswerKind.GYM, level=5, subject="s", source="x", licence="MIT", scorer='{"a": 1}')
VERDICT = Verdict(outcome=Outcome.TIMED_OUT, rule="boxed", extracted="4", grader="g@1", detail="slow")
TABLES: list[tuple[type[Any], list[Any]]] = [
    (Problem, [PROBLEM, Problem.of("", None)]),
    (Trace, [TRACE, BARE]),
    (Judged, [Judged(trace_id="t1", verdict=VERDICT), Judged(trace_id="t2", verdict=Verdict(outcome=Outcome.UNDECIDED))]),
    (
        Scored,
        [Scored(trace_id="t1", score=Score(name="n", value=0.1)), Scored(trace_id="t2", score=Score(name="n", value=None))],
    ),
    (Failure, [Failure(step="s", item="i", reason="no_answer", detail="d")]),
    (Lesson, [Lesson(stage="s1", trace_id="t1", target="full", weight=0.5)]),
    (Row, [Row(trace_id="t", problem_id="p", output="o", level=None, outcome=None, num_tokens=None, sample_index=0)]),
]


@pytest.mark.parametrize(("kind", "records"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_comes_back(kind: type[Any], records: list[Any], tmp_path: Path) -> None:
    assert tables.write(tmp_path / "t.parquet", records, kind) == len(records)
    assert tables.read(tmp_path / "t.parquet", kind) == records


def test_an_empty_table_has_a_schema(tmp_path: Path) -> None:
    tables.write(tmp_path / "t.parquet", [], Trace)
    assert tables.read(tmp_path / "t.parquet", Trace) == []


def names(record: type[Any]) -> set[str]:
    return {field.name for field in fields(record)}


def test_every_kind_declares_all_fields_of_its_record() -> None:
    for kind, columns in tables.COLUMNS.items():
        inner = {Judged: Verdict, Scored: Score}.get(kind)
        expected = names(kind) if inner is None else {"trace_id", *names(inner)}
        assert set(columns) == expected - tables.JOINED.get(kind, frozenset())
    assert set(tables._SAMPLING) == names(Sampling)


def test_equal_records_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    tables.write(tmp_path / "a.parquet", [TRACE, BARE] * 3000, Trace)
    code = (
        "import sys; from pathlib import Path; from stillwise.runtime import tables; from stillwise.records import Trace\n"
        "a, b = map(Path, sys.argv[1:]); tables.write(b, tables.read(a, Trace), Trace)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], check=True)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_datasets_reads_it_with_no_help(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import load_dataset
    tables.write(tmp_path / "t.parquet", [TRACE, BARE], Trace)
    loaded = load_dataset("parquet", data_files=str(tmp_path / "t.parquet"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["text"] == TRACE.text
    assert loaded[0]["spans"][1] == {"kind": "solution", "start": 22, "end": 24}
    assert loaded[0]["sampling"]["stop"] == ["a", "\n\n"]
    assert loaded[1]["num_tokens"] is None


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_a_shard_cut_short_is_named(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "shard-0.parquet"
    tables.write(path, [TRACE] * 100, Trace)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    with pytest.raises(CorruptOutput, match=r"shard-0\.parquet is damaged or cut short"):
        tables.read(path, Trace)


def test_one_flipped_bit_of_a_text_is_found(tmp_path: Path) -> None:
    path = tmp_path / "shard-0.parquet"
    incompressible = Failure(step="s", item=os.urandom(4096).hex(), reason="r")
    tables.write(path, [incompressible], Failure)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptOutput, match=r"shard-0\.parquet"):
        tables.read(path, Failure)


def test_other_records_other_formats_and_missing_files_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables.write(tmp_path / "p.parquet", [PROBLEM], Problem)
    with pytest.raises(CorruptOutput, match=r"p\.parquet holds Problem"):
        tables.read(tmp_path / "p.parquet", Trace)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "alien.parquet")
    with pytest.raises(CorruptOutput, match="something else"):
        tables.read(tmp_path / "alien.parquet", Problem)
    with pytest.raises(UserError, match="does not exist"):
        tables.read(tmp_path / "none.parquet", Problem)


def test_traces_written_before_a_column_came_are_read(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    tables.write(path, [replace(TRACE, num_thinking_tokens=7)], Trace)
    assert tables.read(path, Trace)[0].num_thinking_tokens == 7
    pq.write_table(pq.read_table(path).drop_columns(["num_thinking_tokens"]), path)
    assert tables.read(path, Trace) == [replace(TRACE, num_thinking_tokens=None)]
    pq.write_table(pq.read_table(path).drop_columns(["finish"]), path)
    with pytest.raises(CorruptOutput, match="other columns"):
        tables.read(path, Trace)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
def test_a_full_disk_keeps_the_old_table(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from stillwise.runtime import tables\n"
        "from stillwise.records import Failure; from stillwise.errors import UserError\n"
        "path = Path(sys.argv[1]) / 'f.parquet'; one = Failure(step='s', item='i', reason='r')\n"
        "tables.write(path, [one], Failure)\n"
        "many = [Failure(step='s', item=os.urandom(512).hex(), reason='r') for _ in range(1000)]\n"
        "try: tables.write(path, many, Failure)\n"
        "except UserError as err: print(err)\n"
        "assert tables.read(path, Failure) == [one]; print([p.name for p in path.parent.iterdir()])"
    )
    mount = 'mount -t tmpfs -o size=128k none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, code], capture_output=True, text=True
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "disk full while writing" in done.stdout
    assert "['f.parquet']" in done.stdout
