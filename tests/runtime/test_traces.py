"""Traces that stay on the disk are a sequence like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.records import Trace
from stillwise.runtime import tables
from stillwise.runtime.traces import Traces


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Trace]]:
    """Ten traces in groups of four, as columns after two."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 2)
    made = [
        Trace(id=f"t{i}", problem_id=f"p{i % 3}", role="r", model="m", paradigm="think", prompt="?", text="x" * i)
        for i in range(10)
    ]
    path = tmp_path / "traces.parquet"
    assert tables.write(path, iter(made), Trace) == 10
    return path, made


def test_a_table_is_a_sequence(written: tuple[Path, list[Trace]]) -> None:
    path, made = written
    held = Traces(path)
    assert tables.sizes(path, Trace) == [4, 4, 2]
    assert list(held) == list(held) == made
    assert (len(held), held[0], held[5], held[-1]) == (10, made[0], made[5], made[9])
    assert list(held[3:9:2]) == made[3:9:2]
    with pytest.raises(IndexError):
        held[10]


def test_what_is_gone_is_not_there(written: tuple[Path, list[Trace]]) -> None:
    path, made = written
    held = Traces(path, frozenset({"t0", "t4", "t9"}))
    left = [trace for trace in made if trace.id not in held.gone]
    assert list(held) == left
    assert [held[i] for i in range(len(held))] == left
    assert len(held) == 7


def test_long_texts_end_a_group_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "GROUP_SIZE", 1000)
    monkeypatch.setattr(tables, "SIZE_AT_ONCE", 300)
    path, lengths = tmp_path / "traces.parquet", [10, 250, 700, 5000, 3, 400, 2]
    made = [
        Trace(id=f"t{i}", problem_id="p", role="r", model="m", paradigm="think", prompt="?", text="x" * size)
        for i, size in enumerate(lengths)
    ]
    tables.write(path, made, Trace)
    assert tables.sizes(path, Trace) == [3, 1, 3]
    assert list(Traces(path)) == made


def test_columns_are_read_alone(written: tuple[Path, list[Trace]]) -> None:
    path, made = written
    assert list(tables.columns(path, Trace, ["id", "sample_index"])) == [(trace.id, 0) for trace in made]


def test_a_block_that_fails_leaves_no_table(tmp_path: Path) -> None:
    path = tmp_path / "traces.parquet"
    with pytest.raises(RuntimeError, match="stop"), tables.writing(path, Trace):
        raise RuntimeError("stop")
    assert not path.exists()
