"""What a run says at its end, and the report written again from metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from stillwise.errors import CorruptOutput, UserError
from stillwise.recipe.outputs import METRICS_FILE, REPORT_FILE, write_report
from stillwise.recipe.run import Result


def closing_lines(result: Result) -> list[str]:
    """The table, where the report lies, and what to try next."""
    done = "nothing was left to do: every step was found finished" if not result.fresh else ""
    return [table_text(result.metrics), *([done] if done else []), *_next(result.out)]


def table_text(metrics: Mapping[str, Any]) -> str:
    """The terminal's table of a run."""
    from stillwise.evaluate.report import table

    return table(cast(Any, metrics))


def _next(out: Path) -> list[str]:
    lines = [f"report: {out / REPORT_FILE}"]
    if (out / "student").is_dir():
        lines += [f"student: {out / 'student'} (a transformers folder)"]
        lines += [f"try next: stillwise evaluate {out / 'student'} --problems micro:basic_arithmetic:heldout --instruction '' "
                  f"--max-tokens 768 --out {out}-transfer"]  # fmt: skip
    return lines


def read_metrics(out: Path) -> dict[str, Any]:
    """The metrics of a finished run; a damaged file is a CorruptOutput that names it."""
    path = out / METRICS_FILE
    if not path.is_file():
        raise UserError(
            f"{out} holds no {METRICS_FILE}: the run is not finished; repeat its command, or see: stillwise status {out}"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise CorruptOutput(_damaged(path, str(err))) from err
    if not isinstance(found, dict):
        raise CorruptOutput(_damaged(path, "no JSON object"))
    return found


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why}); repeat the run's command, which writes it again from the finished steps"


def rewrite_report(out: Path) -> list[str]:
    """Write the report again; the table and the report's path."""
    metrics = read_metrics(out)
    write_report(metrics, out)
    return [table_text(metrics), f"report: {out / REPORT_FILE}"]
