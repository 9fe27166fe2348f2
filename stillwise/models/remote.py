"""Files and folders at addresses that fsspec knows (``s3://``, ``gs://``, ``hf://``, …), fetched once to this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stillwise.errors import MissingExtra, UserError
from stillwise.records import digest

_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")
"""What stores call that which changes with a file."""


def is_address(path: str) -> bool:
    """Whether a path is an address rather than a place of this machine."""
    return "://" in path


def cache_folder() -> Path:
    """Where this machine keeps what it can make or fetch again."""
    cache = os.environ.get("STILLWISE_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "stillwise"


def filesystem(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path on it; UserError where no installed package speaks its protocol."""
    try:
        import fsspec
    except ImportError as err:
        raise MissingExtra(f"storage at {address}", "ray") from err
    try:
        fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except (ValueError, ImportError) as err:
        raise UserError(f"{address}: {err}") from err
    return fs, str(root).rstrip("/")


def fetched(address: str) -> Path:
    """The local copy of a file or folder; fetched whole when it is not here or has changed."""
    fs, root = filesystem(address)
    found = fs.find(root, detail=True) if fs.exists(root) else {}
    if not found:
        raise UserError(f"{address} does not exist")
    stamp = digest(address, sorted((path, info.get("size"), _changed(info)) for path, info in found.items()))
    target = cache_folder() / "fetched" / stamp / root.rpartition("/")[2]
    if target.exists():
        return target
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent.parent))
    try:
        for path in found:
            below = path[len(root) :].strip("/")
            place = aside / target.name / below if below else aside / target.name
            place.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(path, str(place))
        if not target.exists():
            aside.rename(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _changed(info: dict[str, Any]) -> str:
    return next((str(info[name]) for name in _STAMPS if info.get(name)), "")
