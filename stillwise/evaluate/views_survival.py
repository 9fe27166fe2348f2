"""What is left after each stage of a processor, and the labels before and after a rewriting, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Table
from stillwise.evaluate.wording import percent


def survival_tables(metrics: Metrics) -> list[Table]:
    """How many problems keep a trace, step by step; then one table for each rewriting whose labels are known."""
    found = metrics.get("survival")
    if not found:
        return []
    body = [
        [row["step"], row["does"], *(f"{row[key]:,}" for key in ("traces", "problems", "kept_traces", "kept_problems")),
         percent(row["share"])]
        for row in found["stages"]
    ]  # fmt: skip
    note = (
        f"Of {found['problems']:,} problems. What goes on of a sampling or rewriting step: traces that were verified as "
        "correct, and those of a rewriting that nobody verified; of a scoring step: those that it could decide."
    )
    head = ("step", "does", "traces", "of problems", "go on", "of problems", "share of all problems")
    survived = Table(title="What is left after each step", head=head, body=body, note=note)
    return [survived, *(_moved(name, moved) for name, moved in metrics.get("labels", {}).items())]


def _moved(name: str, moved: Mapping[str, Mapping[str, int]]) -> Table:
    after = list(dict.fromkeys(label for counts in moved.values() for label in counts))
    body = [[before, *(f"{counts.get(label, 0):,}" for label in after)] for before, counts in moved.items()]
    note = "Traces that the rewriting put out; rows are labels before it, columns after it. Medium ones were not rewritten."
    return Table(title=f"Difficulty labels before and after “{name}”", head=("before", *after), body=body, note=note)
