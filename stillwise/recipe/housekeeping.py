"""What a run folder holds: what is finished, what the journal keeps, and what nothing uses any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stillwise.errors import UserError
from stillwise.runtime.files import folder_size
from stillwise.runtime.journal import Journal
from stillwise.runtime.store import MANIFEST, RunFolder

USED = "used.json"
"""Written by each run: the step folders that its recipe uses now."""


def status_lines(out: Path) -> list[str]:
    """Each step's outputs, the journal's answers by step, and the size on disk."""
    folder = _run_folder(out)
    lines = [f"{out}: {folder_size(out) / 1e6:.1f} MB"]
    for path in sorted(folder.work.glob("*/*")):
        if path.is_dir():
            lines.append(f"  {path.parent.name:<24}{path.name}  {_state(path)}")
    journal = folder.work / "journal.sqlite"
    if journal.is_file():
        held = Journal(journal)
        lines += [f"  journal: {count:,} answers of {step}" for step, count in held.counts().items()]
        held.close()
    return [*lines, "finished" if (out / "metrics.json").is_file() else "not finished: repeat the run's command to go on"]


def _state(path: Path) -> str:
    manifest = path / MANIFEST
    if not manifest.is_file():
        return "unfinished"
    facts = json.loads(manifest.read_text())["facts"]
    counts = [f"{key} {value:,}" for key, value in facts.items() if isinstance(value, int)]
    return ", ".join(["finished", *counts])


def collect_lines(out: Path, *, dry_run: bool) -> list[str]:
    """Remove (or only name) the step folders that the last run did not use."""
    folder = _run_folder(out)
    listed = folder.work / USED
    if not listed.is_file():
        raise UserError(f"{out} was never run to its end, so nothing is known to be unused; repeat the run's command first")
    used = {folder.work / name for name in json.loads(listed.read_text())}
    with folder.locked():
        idle = [path for path in sorted(folder.work.glob("*/*")) if path.is_dir() and path not in used]
        lines = [f"{'would remove' if dry_run else 'removed'} {path} ({folder_size(path) / 1e6:.1f} MB)" for path in idle]
        for path in [] if dry_run else idle:
            shutil.rmtree(path)
    return lines or ["nothing to remove"]


def _run_folder(out: Path) -> RunFolder:
    folder = RunFolder(out)
    if not folder.work.is_dir():
        raise UserError(f"{out} is not a run folder (it has no work/ inside)")
    return folder
