"""Where a journal's segments lie: a folder that machines share, or any address that fsspec knows."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from stillwise.errors import MissingExtra, RunLocked
from stillwise.runtime.files import disk_errors, sync_folder
from stillwise.runtime.segments import SUFFIX, Storage

LOCK, LEASE = ".lock", "writer.json"
LEASE_S = 60.0
"""A writer whose lease is older is taken for dead; living ones renew it three times as often."""
SETTLE_S = 0.5
"""Two writers that ask at the same moment both see who came last after so long."""


def storage_at(place: str) -> Storage:
    """The storage of a folder's path or an address (``s3://bucket/run``, ``memory://run``)."""
    return ObjectStorage(place) if "://" in place and not place.startswith("file://") else FolderStorage(_path(place))


def _path(place: str) -> Path:
    return Path(place.removeprefix("file://"))


class FolderStorage:
    """Files in a folder; a segment grows, and the kernel's lock on a file beside it ends with its holder."""

    appends = True

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, -1
        self._handles: dict[str, int] = {}

    def names(self) -> list[str]:
        """Segments by number."""
        return sorted(path.name for path in self._folder.glob(f"*{SUFFIX}"))

    def size(self, name: str) -> int:
        """Bytes of a segment."""
        return (self._folder / name).stat().st_size

    def read(self, name: str, begin: int, end: int) -> bytes:
        """Some of its bytes."""
        with (self._folder / name).open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def append(self, name: str, data: bytes) -> None:
        """Adds and syncs."""
        path = self._folder / name
        with disk_errors(path):
            if name not in self._handles:
                self._close()
                self._handles[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                sync_folder(self._folder)
            _write(self._handles[name], data)

    def cut(self, name: str, size: int) -> None:
        """Shortens and syncs."""
        path = self._folder / name
        with disk_errors(path), path.open("rb+") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def lock(self) -> None:
        """One writer for a folder, over all machines that share it."""
        path = self._folder / LOCK
        with disk_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(handle)
            raise _locked(str(self._folder)) from err
        self._lock = handle

    def unlock(self) -> None:
        """Let another writer in."""
        self._close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    begin = os.lseek(handle, 0, os.SEEK_END)
    try:
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError:
        # What a full disk took in must not stand before the next transaction.
        os.ftruncate(handle, begin)
        raise


class ObjectStorage:
    """Objects of any store that fsspec knows: each transaction is an object of its own, the writer holds a lease."""

    appends = False

    def __init__(self, address: str) -> None:
        try:
            import fsspec
        except ImportError as err:
            raise MissingExtra(f"storage at {address}", "ray") from err
        self._address = address
        self._fs, self._root = fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
        self._identity = f"{platform.node()} {os.getpid()} {uuid4().hex}"
        self._gone, self._over, self._renewed = False, threading.Event(), time.monotonic()

    def names(self) -> list[str]:
        """Segments by number."""
        if not self._fs.exists(self._root):
            return []
        found = self._fs.ls(self._root, detail=False)
        return sorted(path.rsplit("/", 1)[-1] for path in found if path.endswith(SUFFIX))

    def size(self, name: str) -> int:
        """Bytes of a segment."""
        return int(self._fs.size(self._at(name)))

    def read(self, name: str, begin: int, end: int) -> bytes:
        """Some of its bytes."""
        found: bytes = self._fs.cat_file(self._at(name), start=begin, end=end) if end > begin else b""
        return found

    def append(self, name: str, data: bytes) -> None:
        """Makes the object, whole."""
        if self._gone or time.monotonic() - self._renewed > LEASE_S:
            raise _locked(self._address)
        self._fs.pipe_file(self._at(name), data)

    def cut(self, name: str, size: int) -> None:
        """Replaces the object by its beginning."""
        self._fs.pipe_file(self._at(name), self.read(name, 0, size))

    def lock(self) -> None:
        """Takes the lease where nobody holds it; the last of several that try at once has it."""
        self._fs.makedirs(self._root, exist_ok=True)
        holder = self._holder()
        if holder and holder["id"] != self._identity and time.time() - holder["at"] < LEASE_S:
            raise _locked(self._address, holder["id"])
        self._renew()
        time.sleep(SETTLE_S)
        holder = self._holder()
        if holder and holder["id"] != self._identity:
            raise _locked(self._address, holder["id"])
        threading.Thread(target=self._keep, name="stillwise-lease", daemon=True).start()

    def _keep(self) -> None:
        while not self._over.wait(LEASE_S / 6):
            # A store that does not answer for a while costs nothing until the lease is over.
            with suppress(OSError):
                holder = self._holder()
                self._gone = (holder or {"id": self._identity})["id"] != self._identity
                if self._gone:
                    return
                self._renew()

    def _holder(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._fs.cat_file(self._at(LEASE)))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _renew(self) -> None:
        self._fs.pipe_file(self._at(LEASE), json.dumps({"id": self._identity, "at": time.time()}).encode())
        self._renewed = time.monotonic()

    def unlock(self) -> None:
        """Gives the lease back."""
        self._over.set()
        if not self._gone and (self._holder() or {}).get("id") == self._identity:
            self._fs.rm_file(self._at(LEASE))

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _locked(place: str, holder: str = "") -> RunLocked:
    by = f" ({holder.rsplit(' ', 1)[0]})" if holder else ""
    return RunLocked(f"the journal {place} has another writer{by}; wait for that process, or choose another --out")
