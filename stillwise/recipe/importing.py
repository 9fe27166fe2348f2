"""Existing traces brought in: records, verdicts where a reference exists, and a summary by paradigm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stillwise.problems.import_traces import import_files


def import_lines(files: Sequence[Path], out: Path, *, verify: bool) -> list[str]:
    """Import the files into ``out`` and say what came."""
    summary = import_files(files, out, verify=verify)
    return [f"{key}: {value}" for key, value in summary.items()]
