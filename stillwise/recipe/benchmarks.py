"""The problems that a run measured on, kept in its folder: what is measured beside its students takes the same ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stillwise.errors import UserError
from stillwise.parts import plain
from stillwise.problems.file import File
from stillwise.recipe.schema import BenchmarkSet
from stillwise.recipe.work import Work
from stillwise.records import Problem
from stillwise.runtime import tables
from stillwise.runtime.files import write_json

FOLDER, SETTINGS = "benchmarks", "settings.json"


def write_benchmarks(work: Work) -> None:
    """One table of problems for each benchmark, and what the binding changed of the evaluation for it."""
    folder = work.folder.path / FOLDER
    sets = work.loaded.binding.benchmarks
    for name, held in work.benchmarks.items():
        tables.write(folder / f"{name}.parquet", held, Problem)
    if work.benchmarks:
        changes = {name: plain(sets[name].changes) if name in sets else {} for name in work.benchmarks}
        write_json(folder / SETTINGS, changes)


def read_benchmarks(run: Path) -> dict[str, BenchmarkSet]:
    """The benchmarks of a run's folder. Raises UserError where it holds none."""
    held = run / FOLDER / SETTINGS
    if not held.is_file():
        raise UserError(f"{run} does not hold the problems that it measured on; repeat its command, which writes them")
    changes: dict[str, dict[str, Any]] = json.loads(held.read_text(encoding="utf-8"))
    return {
        name: BenchmarkSet(source=File(path=str(run / FOLDER / f"{name}.parquet")), **change)
        for name, change in changes.items()
    }
