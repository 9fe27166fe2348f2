"""All correct traces, of several outputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from stillwise.arrows import Row
from stillwise.recipe.work import Work
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


def test_what_was_cut_off_is_truncated_though_nobody_verified_it() -> None:
    columns = {"whole": "stop", "cut": "length", "right": "stop"}
    work = SimpleNamespace(
        every_problem=[],
        outcomes=lambda output: {"right": "correct"},
        narrow=lambda output, *names: ((trace, "q", 7, 0, finish) for trace, finish in columns.items()),
    )
    rows = Work.rows(cast(Work, work), "fitted")
    assert {row.trace_id: row.outcome for row in rows} == {"whole": None, "cut": "truncated", "right": "correct"}
    assert [row.trace_id for row in AllCorrect(unverified="take").select(rows)[0]] == ["whole", "right"]
