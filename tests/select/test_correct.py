from __future__ import annotations

import pytest
from pydantic import ValidationError

from stillwise.arrows import Row
from stillwise.parts import inputs_of
from stillwise.select.correct import CommonSubset, FirstCorrect, level_counts


def row(problem: str, output: str, index: int, outcome: str | None = "correct", level: int | None = 1) -> Row:
    return Row(
        trace_id=f"{output}/{problem}/{index}",
        problem_id=problem,
        output=output,
        level=level,
        outcome=outcome,
        num_tokens=10,
        sample_index=index,
    )


def test_first_correct_takes_the_lowest_index_among_correct_rows_only() -> None:
    rows = [row("a", "think", 2), row("a", "think", 1), row("a", "think", 0, "incorrect"), row("b", "think", 0, "truncated")]
    kept, failures = FirstCorrect().select(rows)
    assert [r.trace_id for r in kept] == ["think/a/1"]
    assert [(f.item, f.reason) for f in failures] == [("b", "no_correct:think")]


@pytest.mark.parametrize("outcome", ["incorrect", "undecided", "truncated", "timed_out", "failed", None])
def test_nothing_but_correct_counts(outcome: str | None) -> None:
    kept, failures = FirstCorrect().select([row("a", "think", 0, outcome)])
    assert kept == []
    assert len(failures) == 1


def test_first_correct_treats_each_output_by_itself() -> None:
    rows = [row("a", "x", 0), row("a", "y", 1, "incorrect"), row("b", "y", 0), row("b", "x", 0)]
    kept, failures = FirstCorrect().select(rows)
    assert [r.trace_id for r in kept] == ["x/a/0", "x/b/0", "y/b/0"]
    assert [(f.item, f.reason) for f in failures] == [("a", "no_correct:y")]


def test_common_subset_is_the_intersection_and_names_what_was_lacking() -> None:
    rows = [
        row("a", "think", 0),
        row("a", "short", 1),
        row("b", "think", 0),
        row("b", "short", 0, "incorrect"),
        row("c", "short", 0, "truncated"),
        row("c", "other", 0),
        row("d", "think", 0, "incorrect"),
        row("d", "think", 3),
        row("d", "short", 0),
    ]
    kept, failures = CommonSubset(of=("short", "think")).select(rows)
    assert [r.trace_id for r in kept] == ["short/a/1", "short/d/0", "think/a/0", "think/d/3"]
    assert {f.item: f.reason for f in failures} == {"b": "no_correct:short", "c": "no_correct:short+think"}


def test_common_subset_names_its_inputs_and_needs_one() -> None:
    assert inputs_of(CommonSubset(of=("think", "short"))) == ("think", "short")
    with pytest.raises(ValidationError):
        CommonSubset(of=())


def test_counts_are_of_problems_and_keep_unknown_levels() -> None:
    rows = [row("a", "x", 0, level=5), row("a", "y", 0, level=5), row("b", "x", 0, level=1), row("c", "x", 0, level=None)]
    rows.append(row("d", "x", 0, level=1))
    assert level_counts(rows) == {1: 2, 5: 1, None: 1}
    assert list(level_counts(rows)) == [1, 5, None]
