"""What was generated once is never generated again; batches are kept whole."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import CorruptOutput, UserError
from stillwise.models.model import Model
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Finish, Sampling
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal, counts_of

QUESTIONS = {f"q{i}": f"answer {i}" for i in range(20)}


@dataclass(frozen=True)
class Open:
    """Opens one shared scripted model."""

    model: ScriptedModel

    def __call__(self) -> Model:
        return self.model


def requests(sampling: Sampling | None = None) -> list[Request]:
    return [Request(ask=Ask(user=q), seed=i, sampling=sampling or Sampling()) for i, q in enumerate(QUESTIONS)]


def complete(journal: Journal, model: ScriptedModel, asked: Sequence[Request]) -> list[Completion]:
    return JournalledCaller(step="s", opener=Open(model), executor=Local(), journal=journal).complete(asked, lambda *_: None)


def test_completions_survive_unchanged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    whole = Completion(
        prompt="p", text="t\n\u2028é", num_prompt_tokens=1, num_tokens=2, finish=Finish.LENGTH, token_ids=(1, 2), raw={"a": [1]}
    )
    journal.put("k", "s", [whole])
    assert journal.get("k") == [whole]
    assert journal.get("other") is None
    assert journal.counts() == {"s": 1}


def test_a_second_caller_pays_for_nothing_and_answers_stay_in_order(tmp_path: Path) -> None:
    first, second = ScriptedModel(QUESTIONS), ScriptedModel(QUESTIONS)
    answers = complete(Journal(tmp_path / "j.sqlite"), first, requests())
    again = complete(Journal(tmp_path / "j.sqlite"), second, requests())
    assert [a.text for a in answers] == list(QUESTIONS.values())
    assert again == answers
    assert (first.calls, second.calls) == (3, 0)


@pytest.mark.parametrize("changed", [Sampling(temperature=0.7), Sampling(max_tokens=9), Sampling(stop=("x",))])
def test_whatever_changes_the_answer_changes_the_key(tmp_path: Path, changed: Sampling) -> None:
    journal, model = Journal(tmp_path / "j.sqlite"), ScriptedModel(QUESTIONS)
    complete(journal, model, requests())
    complete(journal, model, requests(changed))
    assert model.calls == 6


def test_another_model_revision_is_asked_again(tmp_path: Path) -> None:
    journal, other = Journal(tmp_path / "j.sqlite"), ScriptedModel(QUESTIONS, revision="b")
    complete(journal, ScriptedModel(QUESTIONS, revision="a"), requests())
    complete(journal, other, requests())
    assert other.calls == 3


def test_an_interrupted_wave_keeps_its_finished_batches(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def dies(request: Request) -> str:
        if request.ask.user == "q10":
            raise Stop
        return QUESTIONS[request.ask.user]

    journal = Journal(tmp_path / "j.sqlite")
    with pytest.raises(Stop):
        complete(journal, ScriptedModel(dies, revision="r"), requests())
    model = ScriptedModel(lambda request: QUESTIONS[request.ask.user], revision="r")
    assert len(complete(journal, model, requests())) == 20
    assert model.calls == 2, "the first batch of eight was in the journal"


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(CorruptOutput, match=r"j\.sqlite is damaged"):
        Journal(path)


def test_batches_are_committed_before_they_are_heard_of(tmp_path: Path) -> None:
    path, heard = tmp_path / "j.sqlite", []

    def look(places: Sequence[int], answers: Sequence[Completion]) -> None:
        heard.append(sqlite3.connect(path).execute("SELECT COUNT(*) FROM batches").fetchone()[0])

    caller = JournalledCaller(step="s", opener=Open(ScriptedModel(QUESTIONS)), executor=Local(), journal=Journal(path))
    caller.complete(requests(), look)
    assert heard == [1, 2, 3]


ANSWER = Completion(prompt="p", text="t", num_prompt_tokens=1, num_tokens=2, finish=Finish.STOP)


def filled(path: Path) -> Path:
    """A closed journal that holds one answer."""
    journal = Journal(path)
    journal.put("k", "s", [ANSWER])
    journal.close()
    return path


def kept_after(path: Path, error: pytest.ExceptionInfo[UserError]) -> bool:
    """Whether the message asks for nothing that loses answers."""
    assert not isinstance(error.value, CorruptOutput)
    return "move it aside" not in str(error.value) and path.name in str(error.value)


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.sqlite")
    journal = Journal(path)
    journal._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(UserError, match="disk full while writing") as caught:
        journal.put("big", "s", [replace(ANSWER, text=os.urandom(40_000).hex())])
    assert kept_after(path, caught)
    assert journal.get("k") == [ANSWER]


def test_a_locked_journal_is_no_damage(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.sqlite")
    journal, other = Journal(path), sqlite3.connect(path)
    journal._db.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="another process uses it") as caught:
        journal.put("l", "s", [ANSWER])
    assert kept_after(path, caught)
    other.close()


def test_a_journal_that_cannot_be_opened_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").mkdir()
    with pytest.raises(UserError, match="make the file and its folder writable") as caught:
        Journal(tmp_path / "j.sqlite")
    assert kept_after(tmp_path / "j.sqlite", caught)


@pytest.mark.parametrize("blob", [b"x", zlib.compress(b"{"), zlib.compress(b"[1]"), "text"])
def test_a_damaged_row_is_named(tmp_path: Path, blob: bytes | str) -> None:
    journal = Journal(filled(tmp_path / "j.sqlite"))
    journal._db.execute("UPDATE batches SET answers = ?", (blob,))
    with pytest.raises(CorruptOutput, match=r"j\.sqlite is damaged"):
        journal.get("k")


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "j.sqlite")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(CorruptOutput, match=r"j\.sqlite is damaged"):
        Journal(path).get("k")
    with pytest.raises(CorruptOutput, match=r"j\.sqlite is damaged"):
        counts_of(path)


def test_counting_writes_nothing_and_sees_a_working_writer(tmp_path: Path) -> None:
    path = filled(tmp_path / "a #1?.sqlite")
    before = path.read_bytes()
    assert counts_of(path) == {"s": 1}
    assert path.read_bytes() == before
    writer = Journal(path)
    writer.put("l", "other", [ANSWER, ANSWER])
    assert counts_of(path) == writer.counts() == {"other": 2, "s": 1}
    assert counts_of(tmp_path / "none.sqlite") == {}
    assert not (tmp_path / "none.sqlite").exists()


def test_counting_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "shut"
    folder.mkdir()
    path = filled(folder / "j.sqlite")
    folder.chmod(0o555)
    try:
        assert counts_of(path) == {"s": 1}
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("answers", "key BLOB PRIMARY KEY, raw BLOB"),
        ("ledger", "step TEXT, sent INTEGER"),
        ("batches", "key TEXT, answers BLOB"),
    ],
)
def test_a_journal_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path, table: str, columns: str) -> None:
    path = tmp_path / "j.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"CREATE TABLE {table} ({columns})")
    before = path.read_bytes()
    for _ in range(2):  # the second time the first refusal must have let go of the lock
        with pytest.raises(UserError, match=rf"another version of stillwise.*{table}.*--out"):
            Journal(path)
    assert path.read_bytes() == before


def test_counts_of_a_journal_of_another_version_do_not_blame_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE batches (key TEXT, answers BLOB)")
    with pytest.raises(UserError, match="another version of stillwise"):
        counts_of(path)
