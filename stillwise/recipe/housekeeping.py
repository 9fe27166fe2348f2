"""What a run folder holds: what is finished, what the journal keeps, and what nothing uses any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stillwise.errors import CorruptOutput, UserError
from stillwise.runtime import journals
from stillwise.runtime.files import folder_size
from stillwise.runtime.store import RunFolder, StepFolder

USED = "used.json"
"""Written by each run: the step folders that its recipe uses now."""
COMPLETE = "complete"
"""There from the end of a whole run to the beginning of the next."""


def status_lines(out: Path) -> list[str]:
    """Each step's outputs, the journal's answers by step, and the size on disk."""
    folder = _run_folder(out)
    lines = [f"{out}: {folder_size(out) / 1e6:.1f} MB"]
    for path in sorted(folder.work.glob("*/*")):
        if path.is_dir():
            lines.append(f"  {path.parent.name:<24}{path.name}  {_state(path)}")
    held = journals.held(folder.work)
    lines += [f"  journal: {count:,} answers of {step}" for step, count in held.items()]
    return [*lines, "finished" if (folder.work / COMPLETE).is_file() else "not finished: repeat the run's command to go on"]


def _state(path: Path) -> str:
    manifest = StepFolder(step=path.parent.name, fingerprint=path.name, path=path).manifest
    if manifest is None:
        return "unfinished"
    facts = manifest["facts"]
    counts = [f"{key} {value:,}" for key, value in facts.items() if isinstance(value, int)]
    return ", ".join(["finished", *counts])


def collect_lines(out: Path, *, dry_run: bool) -> list[str]:
    """Remove (or only name) the step folders that the last run did not use."""
    folder = _run_folder(out)
    with folder.locked():
        used = {folder.work / name for name in read_used(folder)}
        if not used:
            raise UserError(f"{out} was never run to its end, so nothing is known to be unused; repeat the run's command first")
        idle = [path for path in sorted(folder.work.glob("*/*")) if path.is_dir() and path not in used]
        lines = [f"{'would remove' if dry_run else 'removed'} {path} ({folder_size(path) / 1e6:.1f} MB)" for path in idle]
        for path in [] if dry_run else idle:
            shutil.rmtree(path)
    return lines or ["nothing to remove"]


def read_used(folder: RunFolder) -> list[str]:
    """The step folders that the last run used, relative to the work folder; none where no run came to an end."""
    path = folder.work / USED
    try:
        names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as err:
        raise CorruptOutput(f"{path} is damaged ({err}); delete it and repeat the run's command") from err
    return names


def _run_folder(out: Path) -> RunFolder:
    folder = RunFolder(out)
    if not folder.work.is_dir():
        raise UserError(f"{out} is not a run folder (it has no work/ inside)")
    return folder
