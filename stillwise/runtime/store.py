"""The run folder: one lock, one folder per step and fingerprint, a manifest that makes a step's output final.

Layout: ``DIR/work/<step>/<fingerprint>/`` holds a step's files; ``done.json`` lists each with its sha256 and is written
last, so a folder without it is unfinished work that will be made again. Changing one number changes the fingerprint of
exactly the steps that depend on it; the other folders are found and read.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillwise.errors import CorruptOutput, RunLocked
from stillwise.records import digest
from stillwise.runtime.files import disk_errors, file_digest, folder_files, write_json

MANIFEST = "done.json"


def file_name(step: str) -> str:
    """A step's name as a folder's or file's: the step ``exam/2`` of round 2 is ``exam.2`` there."""
    return step.replace("/", ".")


@dataclass(frozen=True)
class StepFolder:
    """Where one step with one fingerprint keeps its output."""

    step: str
    fingerprint: str
    path: Path

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished step, or None."""
        try:
            found: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:
            raise CorruptOutput(f"{self.path / MANIFEST} is damaged ({err}); delete the folder {self.path}") from err
        return found

    def finished(self) -> bool:
        """True if the output is complete and every file is as it was written; a damaged one is named, never reused."""
        manifest = self.manifest
        if manifest is None:
            return False
        for name, expected in manifest["files"].items():
            self._check(name, expected)
        return True

    def _check(self, name: str, expected: str) -> None:
        path = self.path / name
        if not path.is_file():
            raise CorruptOutput(f"{path} is missing; delete the folder {self.path} and the step is made again")
        if file_digest(path) != expected:
            raise CorruptOutput(f"{path} is not as it was written; delete the folder {self.path} and the step is made again")

    def begin(self, keep: str = "") -> None:
        """An empty folder: what an interrupted attempt left is removed (its model calls stay in the journal).

        ``keep`` names a hidden folder inside that stays, for work that goes on where it was interrupted.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for path in self.path.iterdir():
                if path.is_dir() and path.name != keep:
                    shutil.rmtree(path)
                elif not path.is_dir():
                    path.unlink()

    def forget(self, kept: str) -> None:
        """Removes what was kept for an interruption, once the step is finished."""
        shutil.rmtree(self.path / kept, ignore_errors=True)

    def finish(self, facts: dict[str, Any]) -> None:
        """Seal the folder: digests of its files and the step's facts (counts, never durations)."""
        files = {str(p.relative_to(self.path)): file_digest(p) for p in folder_files(self.path)}
        write_json(self.path / MANIFEST, {"step": self.step, "fingerprint": self.fingerprint, "files": files, "facts": facts})

    @property
    def content(self) -> str:
        """A digest of the output's bytes: what later steps' fingerprints depend on."""
        manifest = self.manifest
        assert manifest is not None, f"step {self.step} is not finished"
        return digest(manifest["files"])

    @property
    def facts(self) -> dict[str, Any]:
        """What the step said about itself when it finished."""
        manifest = self.manifest
        assert manifest is not None, f"step {self.step} is not finished"
        found: dict[str, Any] = manifest["facts"]
        return found


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. Use :meth:`locked` round all writing."""

    path: Path

    @property
    def work(self) -> Path:
        """Where steps and the journal live."""
        return self.path / "work"

    def step(self, name: str, fingerprint: str) -> StepFolder:
        """The folder of a step with this fingerprint (it may not exist yet)."""
        return StepFolder(step=name, fingerprint=fingerprint, path=self.work / file_name(name) / fingerprint)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; a second process is refused and nothing is touched."""
        with disk_errors(self.path):
            self.work.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.read(handle, 64).decode(errors="replace").strip() or "unknown"
            raise RunLocked(
                f"{self.path} is in use by process {holder}; wait for it, stop it, or choose another folder with --out"
            ) from err
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
