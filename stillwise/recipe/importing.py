"""Existing traces brought in: records, verdicts where a reference exists, tokens and rethink words by paradigm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillwise.arrows import Verifier
from stillwise.parts import builtin_catalogue
from stillwise.problems.import_traces import import_files
from stillwise.recipe.imported import write_figures
from stillwise.recipe.outputs import REPORT_FILE
from stillwise.recipe.schema import PLAINEST
from stillwise.recipe.summary import table_text
from stillwise.records import Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.score.rethink import rethink_rates


def import_lines(files: Sequence[Path], out: Path, *, verify: bool) -> list[str]:
    """Import the files into ``out`` and say what came, one figure a line; verified traces also get figures and a report."""
    summary = import_files(files, out, verify=_graded if verify else None, measure=rethink_rates)
    lines = [*_lines(summary, ""), f"tables: {out}"]
    if not (verify and summary["problems_with_answer"]):
        return lines
    found = write_figures(out, _verifier(), [path.name for path in files])
    return [*lines, "", table_text(found), f"report: {out / REPORT_FILE}"]


def _verifier() -> Verifier:
    verifier = builtin_catalogue().parts[PLAINEST["verify"]]()
    assert isinstance(verifier, Verifier)
    return verifier


def _graded(pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
    with GraderPool() as pool:
        return pool.verify(_verifier(), pairs)


def _lines(values: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value:.4g}" if isinstance(value, float) else f"{indent}{key}: {value}")
    return lines
