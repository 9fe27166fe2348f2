"""All correct traces, of several outputs."""

from __future__ import annotations

import pytest

from stillwise.arrows import Row
from stillwise.select.kept import AllCorrect


def row(problem: str, number: int, outcome: str | None = "correct", output: str = "cots") -> Row:
    return Row(
        trace_id=f"{output}/{problem}/{number}", problem_id=problem, output=output, level=1, outcome=outcome,
        num_tokens=1, sample_index=number,
    )  # fmt: skip


ROWS = [
    row("p", 0), row("p", 1, "incorrect"), row("p", 2), row("q", 0, None), row("r", 0, "undecided"),
    row("r", 1, "truncated"), row("p", 3, output="fitted"),
]  # fmt: skip


@pytest.mark.parametrize(("unverified", "more"), [("drop", []), ("take", ["cots/q/0"])])
def test_right_traces_go_on_and_unverified_ones_where_asked(unverified: str, more: list[str]) -> None:
    kept, dropped = AllCorrect.model_validate({"unverified": unverified}).select(ROWS)
    assert {r.trace_id for r in kept} == {"cots/p/0", "cots/p/2", "fitted/p/3", *more}
    assert {f.item for f in dropped} == {"r"} | (set() if more else {"q"})
    assert {f.reason for f in dropped} == {"no_correct"}


def test_the_first_samples_are_kept_for_each_output() -> None:
    kept, _ = AllCorrect(per_problem=1).select(ROWS[::-1])
    assert {r.trace_id for r in kept} == {"cots/p/0", "fitted/p/3"}
