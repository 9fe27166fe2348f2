"""Files that appear whole or not at all, and digests of what is in them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillwise.errors import UserError

_CHUNK = 1 << 20
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
_ADVICE = {
    errno.EACCES: "choose another folder with --out",
    errno.EROFS: "choose another folder with --out",
    errno.EPERM: "choose another folder with --out",
    errno.ENAMETOOLONG: "choose a shorter path with --out",
    errno.EIO: "the disk reports an error: check it, or choose a folder on another one with --out",
    errno.ENOENT: "a folder on the way is missing or was removed meanwhile: repeat the command",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What a disk or a path can do to a write leaves as a UserError that names the file; what stood there is untouched."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(existing_parent(path)).free
            raise UserError(
                f"disk full while writing {path} ({free} bytes free); nothing was overwritten: free some space and repeat"
            ) from err
        if err.errno in _IN_THE_WAY:
            raise UserError(f"cannot write {path}: {_obstacle(path, err)}; choose another folder with --out") from err
        if err.errno in _ADVICE:
            raise UserError(f"cannot write {path}: {_reason(path, err)}; {_ADVICE[err.errno]}") from err
        raise


def _obstacle(path: Path, err: OSError) -> str:
    """The file that stands where a folder is needed, or what the system says."""
    file = next((p for p in (*reversed(path.parents), path) if p.is_file()), None)
    return _reason(path, err) if file is None else f"{file} is a file, not a folder"


def _reason(path: Path, err: OSError) -> str:
    named = "" if err.filename is None or str(err.filename) == str(path) else f" ({err.filename})"
    return f"{err.strerror}{named}"


def existing_parent(path: Path) -> Path:
    """The nearest folder on the way up that exists."""
    return next(p for p in (path, *path.parents) if p.is_dir())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is fsynced and takes its place, on error nothing changes."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")
        try:
            yield aside
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(aside, path)
            sync_folder(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file's text, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace the file with canonical JSON: sorted keys, so equal values are equal bytes."""
    write_text(path, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n")


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            seen.update(block)
    return seen.hexdigest()


def folder_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted, temporary ones (leading dot) excluded."""
    found = (p for p in folder.rglob("*") if p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def folder_size(folder: Path) -> int:
    """Bytes held by the files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
