"""Selection by a score: bounds, the best of each problem, the best problems, and problems that a student solves by itself."""

from __future__ import annotations

from random import Random

from stillwise.arrows import Row
from stillwise.select.ranked import ByScore


def row(problem: str, number: int, score: float | None, outcome: str = "correct", output: str = "think") -> Row:
    return Row(
        trace_id=f"{output}-{problem}-{number}",
        problem_id=problem,
        output=output,
        level=None,
        outcome=outcome,
        num_tokens=9,
        sample_index=number,
        scores={} if score is None else {"cv": score},
    )


ROWS = [
    row("a", 0, 0.2),
    row("a", 1, 0.9),
    row("b", 0, 0.0),
    row("c", 0, 0.7),
    row("c", 1, 0.7),
    row("c", 2, 1.5, "incorrect"),
    row("d", 0, None),
    row("e", 0, 0.6, "truncated"),
]


def chosen(part: ByScore, rows: list[Row] = ROWS) -> list[str]:
    return [row.trace_id.removeprefix("think-") for row in part.select(rows)[0]]


def reasons(part: ByScore, rows: list[Row] = ROWS) -> dict[str, str]:
    return {failure.item: failure.reason for failure in part.select(rows)[1]}


def test_only_correct_traces_within_the_bounds_go_on() -> None:
    part = ByScore(of="think", by="cv", at_least=0.5)
    assert chosen(part) == ["a-1", "c-0", "c-1"]
    assert reasons(part) == {"b": "no_trace", "d": "no_trace", "e": "no_trace"}
    assert chosen(ByScore(of="think", by="cv", at_most=0.2)) == ["a-0", "b-0"]


def test_the_best_of_each_problem_and_the_best_problems() -> None:
    assert chosen(ByScore(of="think", by="cv", per_problem=1)) == ["a-1", "b-0", "c-0"]
    assert chosen(ByScore(of="think", by="cv", per_problem=1, best="lowest")) == ["a-0", "b-0", "c-0"]
    part = ByScore(of="think", by="cv", per_problem=1, problems=2)
    assert chosen(part) == ["a-1", "c-0"]
    assert reasons(part)["b"] == "over_number"


def test_problems_that_the_student_solves_are_too_easy() -> None:
    tries = [row("a", n, None, outcome, "own") for n, outcome in enumerate(("correct", "correct", "incorrect"))]
    tries += [row("c", n, None, outcome, "own") for n, outcome in enumerate(("incorrect", "truncated", "undecided"))]
    part = ByScore(of="think", by="cv", attempts="own", solved_at_most=0.5)
    assert chosen(part, ROWS + tries) == ["b-0", "c-0", "c-1"]
    assert reasons(part, ROWS + tries)["a"] == "too_easy"
    assert "a-0" in chosen(part.model_copy(update={"solved_at_most": 0.67}), ROWS + tries)


def test_the_order_of_the_rows_does_not_decide() -> None:
    part = ByScore(of="think", by="cv", per_problem=1, problems=2)
    expected = set(chosen(part))
    for seed in range(5):
        mixed = list(ROWS)
        Random(seed).shuffle(mixed)
        assert set(chosen(part, mixed)) == expected
