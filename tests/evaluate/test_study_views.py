"""The tables that a study shows when it is asked to: pooled over seeds, level by level, K by K."""

from __future__ import annotations

from typing import Any

from stillwise.evaluate.study_views import shown
from stillwise.evaluate.survival import Stage, survival


def section(tokens: dict[str, dict[str, list[int]]], at_k: dict[str, float]) -> dict[str, Any]:
    return {
        "order": ["sums"],
        "tokens_per_problem": {"sums": tokens},
        "benchmarks": {"sums": {"pass_at_k": {k: {"value": value} for k, value in at_k.items()}}},
    }


ROWS = {
    "A": [
        section({"1": {"p": [20, 2], "q": [40, 2]}}, {"1": 0.5, "2": 0.75}),
        section({"1": {"p": [60, 2]}}, {"1": 0.7, "2": 0.85}),
    ],
    "B": [section({"1": {"p": [10, 1]}, "2": {"r": [30, 1]}}, {"1": 0.1, "2": 0.2})],
}


def test_tokens_are_pooled_over_seeds_before_the_mean_over_problems() -> None:
    [title, _, table] = shown(["tokens_by_level"], ROWS, {})
    assert title == "## sums: tokens per answer by level"
    head, _, first, second = table.splitlines()
    assert head == "| student | level 1 | level 2 |"
    assert first == "| A | 20 ± 0 | – |"
    assert second.startswith("| B | 10")
    assert second.endswith("| 30 |")


def test_pass_at_k_is_the_mean_over_seeds() -> None:
    [_, _, table] = shown(["pass_at_k"], ROWS, {})
    assert table.splitlines()[0] == "| student | K = 1 | K = 2 |"
    assert table.splitlines()[2] == "| A | 60.0 % | 80.0 % |"


def test_a_processor_that_students_share_is_shown_once_under_the_first_name() -> None:
    held = {"survival": survival(2, [Stage(step="s", does="d", traces=["p"], kept=["p"])])}
    blocks = shown(["survival"], {}, {"First": held, "Second": held, "Third": {}})
    assert [block for block in blocks if block.startswith("## ")] == ["## First: what is left after each step"]


def test_one_sample_gives_no_curve_and_a_study_without_processors_no_survival() -> None:
    single = {"A": [section({"1": {"p": [1, 1]}}, {"1": 0.5})]}
    assert shown(["pass_at_k", "survival"], single, {"A": {}}) == []
