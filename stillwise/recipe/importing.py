"""Existing traces brought in: records, verdicts where a reference exists, tokens and rethink words by paradigm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillwise.arrows import Verifier
from stillwise.parts import builtin_catalogue
from stillwise.problems.import_traces import import_files
from stillwise.recipe.schema import PLAINEST
from stillwise.records import Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.score.rethink import rethink_rates


def import_lines(files: Sequence[Path], out: Path, *, verify: bool) -> list[str]:
    """Import the files into ``out`` and say what came, one figure a line."""
    summary = import_files(files, out, verify=_graded if verify else None, measure=rethink_rates)
    return [*_lines(summary, ""), f"tables: {out}"]


def _graded(pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
    verifier = builtin_catalogue().parts[PLAINEST["verify"]]()
    assert isinstance(verifier, Verifier)
    with GraderPool() as pool:
        return pool.verify(verifier, pairs)


def _lines(values: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value:.4g}" if isinstance(value, float) else f"{indent}{key}: {value}")
    return lines
