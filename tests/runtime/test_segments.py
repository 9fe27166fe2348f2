"""Segments and their index: torn tails, damage, kills, a second writer, and an index that is only a help."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from stillwise.arrows import Completion
from stillwise.errors import CorruptOutput, RunLocked
from stillwise.records import Finish
from stillwise.runtime import journals, storage
from stillwise.runtime.journal import Journal
from stillwise.runtime.segment_journal import SegmentJournal, counts_of_segments
from stillwise.runtime.segments import SEGMENT_BYTES, Kind, Record, packed_transaction, record_at

WRITER = """
import sys
from pathlib import Path
from stillwise.runtime.segment_journal import SegmentJournal
journal = SegmentJournal(sys.argv[1], Path(sys.argv[2]))
for number in range(10_000):
    answers = [(bytes([which]) + number.to_bytes(15, "big"), bytes([which]) * (number % 300)) for which in range(3)]
    journal.add("step", answers, {"sent": 3})
    print(number, flush=True)
"""


def said(text: str) -> Completion:
    return Completion(prompt="p", text=text, num_prompt_tokens=1, num_tokens=2, finish=Finish.STOP)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(storage, "SETTLE_S", 0.01)
    return str(tmp_path / "journal") if request.param == "folder" else f"memory://{uuid4().hex}/journal"


def filled(place: str, index: Path, count: int = 5) -> None:
    journal = SegmentJournal(place, index)
    for number in range(count):
        journal.add("a", [(key(10 * number + i), b"x" * (100 * i)) for i in range(3)], {"sent": 3})
    journal.put("batch", "b", [said("one"), said("two")])
    journal.note("a", {"ban": "exact"})
    journal.close()


def check(journal: SegmentJournal, count: int = 5) -> None:
    keys = [key(10 * number + i) for number in range(count) for i in range(3)]
    assert journal.answers(keys) == {name: b"x" * (100 * (name[-1] % 10)) for name in keys}
    assert journal.ledger()["a"] == {"sent": 3 * count}


def test_what_was_kept_is_found_again_with_and_without_its_index(place: str, tmp_path: Path) -> None:
    filled(place, tmp_path / "index")
    for index in (tmp_path / "index", tmp_path / "fresh"):
        journal = SegmentJournal(place, index)
        check(journal)
        assert journal.get("batch") == [said("one"), said("two")]
        assert journal.get("other") is None
        assert journal.served() == {"a": {"ban": ["exact"]}}
        assert journal.counts() == counts_of_segments(place) == {"a": 15, "b": 2}
        journal.close()


def test_equal_answers_are_written_once_and_amounts_of_one_id_added_once(place: str, tmp_path: Path) -> None:
    journal = SegmentJournal(place, tmp_path / "index")
    for _ in range(3):
        journal.add("a", [(key(1), b"first")], {"sent": 1}, "once")
        journal.put("batch", "b", [said("one")])
    journal.add("a", [(key(1), b"second"), (key(2), b"third")], {"sent": 1}, "twice")
    assert journal.answers([key(1), key(2)]) == {key(1): b"first", key(2): b"third"}
    assert journal.ledger() == {"a": {"sent": 2}}
    assert journal.counts() == {"a": 2, "b": 1}
    journal.close()
    assert counts_of_segments(place) == {"a": 2, "b": 1}


def segment(folder: Path) -> Path:
    (found,) = folder.glob("*.seg")
    return found


def test_a_tail_torn_at_any_byte_is_cut_to_the_last_transaction(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    filled(str(folder), tmp_path / "index", 2)
    whole = segment(folder).read_bytes()
    added = b"".join(packed_transaction([Record(Kind.ANSWER, [key(99).hex(), "a"], b"torn" * 9)] * 2, len(whole)))
    for size in (*range(0, len(added), 5), len(added) - 1):
        segment(folder).write_bytes(whole + added[:size])
        index = tmp_path / ("index" if size % 2 else f"index{size}")
        journal = SegmentJournal(str(folder), index)
        assert journal.cut_bytes == size
        check(journal, 2)
        assert journal.answers([key(99)]) == {}
        journal.close()
        assert segment(folder).read_bytes() == whole


def test_after_a_torn_tail_writing_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    filled(str(folder), tmp_path / "index", 2)
    with segment(folder).open("ab") as file:
        file.write(b"\xabSW1 and half a header")
    journal = SegmentJournal(str(folder), tmp_path / "index")
    journal.add("a", [(key(77), b"after")], {})
    journal.close()
    again = SegmentJournal(str(folder), tmp_path / "fresh")
    check(again, 2)
    assert again.answers([key(77)]) == {key(77): b"after"}
    again.close()


@pytest.mark.parametrize("seed", range(20))
def test_damage_before_a_later_transaction_is_refused_and_named(seed: int, tmp_path: Path) -> None:
    folder, drawn = tmp_path / "journal", random.Random(seed)
    filled(str(folder), tmp_path / "index")
    whole = bytearray(segment(folder).read_bytes())
    last = max(place for place in range(len(whole)) if record_at(bytes(whole), place))
    where = drawn.randrange(last)
    whole[where] ^= 1 << drawn.randrange(8)
    segment(folder).write_bytes(whole)
    with pytest.raises(CorruptOutput, match=segment(folder).name):
        SegmentJournal(str(folder), tmp_path / "fresh")


def test_an_answer_damaged_after_it_was_indexed_is_refused_when_it_is_read(tmp_path: Path) -> None:
    journal = SegmentJournal(str(tmp_path / "journal"), tmp_path / "index")
    journal.add("a", [(key(1), b"y" * 50)], {})
    data = bytearray(segment(tmp_path / "journal").read_bytes())
    data[data.index(b"yyyy")] ^= 1
    segment(tmp_path / "journal").write_bytes(data)
    with pytest.raises(CorruptOutput, match="damaged at byte 0"):
        journal.answers([key(1)])
    journal.close()


@pytest.mark.parametrize("content", [b"", b"not a database" * 99, None])
def test_an_index_that_is_damaged_or_of_other_segments_is_made_again(content: bytes | None, tmp_path: Path) -> None:
    filled(str(tmp_path / "journal"), tmp_path / "index", 3)
    other = tmp_path / "other"
    filled(str(tmp_path / "elsewhere"), other, 4)
    if content is not None:
        other.write_bytes(content)
    journal = SegmentJournal(str(tmp_path / "journal"), other)
    check(journal, 3)
    assert journal.counts() == {"a": 9, "b": 2}
    journal.close()


def test_an_index_that_is_behind_catches_up(place: str, tmp_path: Path) -> None:
    filled(place, tmp_path / "old", 1)
    journal = SegmentJournal(place, tmp_path / "new")
    journal.add("late", [(key(500), b"z")], {"sent": 1})
    journal.close()
    behind = SegmentJournal(place, tmp_path / "old")
    assert behind.counts() == {"a": 3, "b": 2, "late": 1}
    behind.close()


def test_a_second_writer_is_refused_until_the_first_is_done(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SETTLE_S", 0.01)
    first = SegmentJournal(place, tmp_path / "index")
    with pytest.raises(RunLocked, match="another writer"):
        SegmentJournal(place, tmp_path / "other")
    first.add("a", [(key(1), b"still mine")], {})
    first.close()
    second = SegmentJournal(place, tmp_path / "other")
    assert second.counts() == {"a": 1}
    second.close()


def test_a_writer_whose_lease_was_taken_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SETTLE_S", 0.01)
    monkeypatch.setattr(storage, "LEASE_S", 0.3)
    place = f"memory://{uuid4().hex}/journal"
    first = SegmentJournal(place, tmp_path / "index")
    first._storage._over.set()  # type: ignore[attr-defined]  # its machine hangs: the lease is renewed no more
    time.sleep(0.4)
    second = SegmentJournal(place, tmp_path / "other")
    with pytest.raises(RunLocked):
        first.add("a", [(key(1), b"late")], {})
    monkeypatch.setattr(storage, "LEASE_S", 60.0)  # a machine that stalls must not cost the second its lease
    second.add("a", [(key(2), b"mine")], {})
    assert second.counts() == {"a": 1}
    second.close()


def test_large_segments_are_followed_by_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillwise.runtime.segments.SEGMENT_BYTES", 500)
    filled(str(tmp_path / "journal"), tmp_path / "index")
    assert len(list((tmp_path / "journal").glob("*.seg"))) > 2
    journal = SegmentJournal(str(tmp_path / "journal"), tmp_path / "fresh")
    check(journal)
    journal.close()
    assert SEGMENT_BYTES > 1 << 20


def test_a_journal_of_one_machine_moves_into_the_segments_once(tmp_path: Path) -> None:
    plain = Journal(tmp_path / "journal.sqlite")
    plain.put("batch", "b", [said("one")])
    plain.add("a", [(key(1), b"kept" * 999)], {"sent": 2, "nano": 7})
    plain.note("a", {"ban": "exact"})
    plain.close()
    for _ in range(2):
        journal = journals.opened(str(tmp_path / "journal"), str(tmp_path / "journal.sqlite"))
        assert journal.get("batch") == [said("one")]
        assert journal.answers([key(1)]) == {key(1): b"kept" * 999}
        assert journal.ledger() == {"a": {"sent": 2, "nano": 7}}
        assert journal.served() == {"a": {"ban": ["exact"]}}
        journal.close()
    assert journals.held(tmp_path) == {"a": 1, "b": 1}
    assert journals.open_journal(tmp_path, "local").counts() == {"a": 1, "b": 1}


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    drawn, acknowledged = random.Random(0), 0
    for attempt in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "journal"), str(tmp_path / f"index{attempt % 2}")]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        wanted = acknowledged + drawn.randrange(5, 60)
        for line in writer.stdout:
            acknowledged = max(acknowledged, int(line))
            if acknowledged >= wanted:
                break
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        acknowledged = max([acknowledged, *map(int, rest[:-1])])
        writer.wait()
        writer.stdout.close()
        journal = SegmentJournal(str(tmp_path / "journal"), tmp_path / "mine")
        keys = [bytes([which]) + n.to_bytes(15, "big") for n in range(acknowledged + 1) for which in range(3)]
        found = journal.answers(keys)
        assert set(found) == set(keys)
        assert all(body == name[:1] * (int.from_bytes(name[1:], "big") % 300) for name, body in found.items())
        journal.close()
