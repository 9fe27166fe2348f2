"""A run's finished steps on storage that outlives its machine: what is final is copied there, and fetched where it is missing.

The folder of a run stays on a disk of its driver. A step's files go to the store before its manifest does, so a step that is in
the store is whole; a run on another machine with the same store finds it, and the journal's segments beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillwise.models.remote import filesystem
from stillwise.runtime.files import folder_files, whole_file
from stillwise.runtime.store import MANIFEST

WORK, JOURNAL = "work", "journal"


@dataclass(frozen=True)
class SharedStore:
    """A copy of a run's folder at an address."""

    address: str
    folder: Path

    @property
    def journal(self) -> str:
        """Where the journal's segments lie."""
        return f"{self.address.rstrip('/')}/{JOURNAL}"

    def at(self, path: Path) -> str:
        """The address of a file or folder of the run."""
        return f"{self.address.rstrip('/')}/{path.resolve().relative_to(self.folder.resolve()).as_posix()}"

    def pull(self) -> int:
        """Fetches the finished steps that are not here; how many they were."""
        fs, root = filesystem(self.address)
        manifests = list(fs.glob(f"{root}/{WORK}/*/*/{MANIFEST}"))
        missing = [path for path in manifests if not (self.folder / path[len(root) + 1 :]).is_file()]
        for manifest in missing:
            step = manifest.rpartition("/")[0]
            files = [path for path in fs.find(step) if path != manifest]
            for path in (*files, manifest):
                self._get(fs, path, self.folder / path[len(root) + 1 :])
        return len(missing)

    def push(self, step: Path) -> None:
        """Copies a finished step's folder, its manifest last; one that is there already stays as it is."""
        fs, _ = filesystem(self.address)
        if fs.exists(self.at(step / MANIFEST)):
            return
        files = [path for path in folder_files(step) if path.name != MANIFEST or path.parent != step]
        for path in (*files, step / MANIFEST):
            self._put(fs, path)

    def publish(self) -> None:
        """Copies what a user looks for."""
        fs, _ = filesystem(self.address)
        for path in folder_files(self.folder):
            if path.relative_to(self.folder).parts[0] != WORK:
                self._put(fs, path)

    def _put(self, fs: Any, path: Path) -> None:
        target = self.at(path)
        fs.makedirs(fs._strip_protocol(target).rpartition("/")[0], exist_ok=True)
        fs.put_file(str(path), target)

    def _get(self, fs: Any, source: str, target: Path) -> None:
        with whole_file(target) as aside:
            fs.get_file(source, str(aside))
