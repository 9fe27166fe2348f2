"""Files whole or absent, step folders final or unfinished, one process per run folder."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stillwise.errors import CorruptOutput, RunLocked, UserError
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
