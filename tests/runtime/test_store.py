"""Files whole or absent, step folders final or unfinished, one process per run folder."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stillwise.errors import CorruptOutput, RunLocked, UserError
from stillwise.recipe.summary import read_metrics
from stillwise.runtime.files import disk_errors, whole_file, write_json, write_text
from stillwise.runtime.store import MANIFEST, RunFolder


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with whole_file(path) as aside:
            aside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="disk full while writing") as caught, disk_errors(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "nothing was overwritten" in str(caught.value)


def test_a_really_full_disk_is_explained() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match="disk full"), disk_errors(Path("/dev/full")), open("/dev/full", "w") as file:
        file.write("x" * 100_000)


@pytest.mark.parametrize("below", ["", "deeper/run"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"cannot write .*file is a file, not a folder; choose another folder with --out"):
        write_text(tmp_path / "file" / below / "a.txt", "x")
    with pytest.raises(UserError, match="is a file, not a folder"), RunFolder(tmp_path / "file" / below).locked():
        pass
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_in_the_way_and_a_long_name_are_explained(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: Is a directory"):
        write_text(tmp_path / "a.txt", "x")
    with pytest.raises(UserError, match="choose a shorter path"):
        write_text(tmp_path / ("x" * 300) / "a.txt", "x")


@pytest.mark.parametrize(("number", "advice"), [(errno.EIO, "check it"), (errno.ENOENT, "repeat the command")])
def test_a_failing_disk_and_a_vanished_folder_are_explained(tmp_path: Path, number: int, advice: str) -> None:
    with pytest.raises(UserError, match=advice), disk_errors(tmp_path / "x"):
        raise OSError(number, "the system's words", "other")
    with pytest.raises(UserError, match=r"x: the system's words \(other\)"), disk_errors(tmp_path / "x"):
        raise OSError(number, "the system's words", "other")


@pytest.mark.parametrize("damaged", ["{", "[]", "\xff"])
def test_damaged_metrics_are_named(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "metrics.json").write_bytes(damaged.encode("latin-1"))
    with pytest.raises(CorruptOutput, match=r"metrics\.json is damaged"):
        read_metrics(tmp_path)


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_folder_without_manifest_is_unfinished_and_made_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).step("s", "f1")
    folder.begin()
    (folder.path / "half").write_text("x")
    assert not folder.finished()
    folder.begin()
    assert list(folder.path.iterdir()) == []
    (folder.path / "whole").write_text("x")
    folder.finish({"rows": 1})
    assert folder.finished()
    assert folder.facts == {"rows": 1}
    assert not RunFolder(tmp_path).step("s", "f2").finished()


def test_content_follows_the_bytes(tmp_path: Path) -> None:
    contents = []
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        folder = RunFolder(tmp_path).step("s", name)
        folder.begin()
        (folder.path / "file").write_text(text)
        folder.finish({})
        contents.append(folder.content)
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("damage", ["missing", "changed", "manifest"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path).step("s", "f")
    folder.begin()
    (folder.path / "file").write_text("x")
    folder.finish({})
    if damage == "missing":
        (folder.path / "file").unlink()
    elif damage == "changed":
        (folder.path / "file").write_text("y")
    else:
        (folder.path / MANIFEST).write_text("{")
    with pytest.raises(CorruptOutput, match=str(folder.path)):
        folder.finished()


def test_a_lock_is_exclusive_and_ends_with_its_holder(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    with first.locked(), pytest.raises(RunLocked, match="is in use by process"), second.locked():
        pass
    with second.locked():
        pass
