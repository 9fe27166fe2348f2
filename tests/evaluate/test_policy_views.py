"""What a study shows of students that learnt from rewards."""

from __future__ import annotations

from typing import Any

from stillwise.evaluate.policy_views import bars, policy_blocks, policy_tables, reward_tables, score_tables


def section(scores: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {"scores_per_problem": {"sums": {"verbosity": scores}}}


def test_scores_are_pooled_over_seeds_and_levels() -> None:
    first = section({"1": {"a": [4.0, 2.0]}, "2": {"b": [3.0, 1.0]}})
    second = section({"1": {"a": [8.0, 2.0]}, "2": {"b": [5.0, 1.0]}})
    title, words, table = score_tables({"one": [first, second], "none": [{}]}, "sums")
    assert title == "## sums: verbosity"
    assert "95 %" in words
    head, _, row, empty = table.splitlines()
    assert head == "| student | all | level 1 | level 2 |"
    assert row.startswith("| one | 3.5 [3.0, 4.0] | 3.0 | 4.0")
    assert empty == "| none | – | – | – |"


def stage(rewards: list[float]) -> dict[str, Any]:
    curve = [[float(i), value] for i, value in enumerate(rewards, 1)]
    return {"steps": len(rewards), "policy_curves": {"reward": curve}, "groups": 10, "flat_groups": 4, "unscored": 1}


def test_curves_are_means_over_seeds() -> None:
    trained = {"one": [{"p": [stage([0.0, 1.0, 2.0])]}, {"p": [stage([2.0, 3.0, 4.0])]}], "sft": [{"s": [{"steps": 3}]}]}
    title, _, words, table = policy_tables(trained)
    assert title == "## How training went"
    assert words == "**one**: 2 trainings of 3 steps; 8 of 20 groups had no spread, 2 answers no reward."
    assert table.splitlines()[-1] == "| reward | 1.000 | 1.000 | 2.000 | 3.000 | 3.000 | ▁▅█ |"
    assert policy_tables({"sft": [{"s": [{"steps": 3}]}]}) == []


def test_bars_go_from_lowest_to_highest() -> None:
    assert bars([0.0, 1.0]) == "▁█"
    assert bars([2.0, 2.0, 2.0]) == "▁▁▁"
    assert len(bars([float(i) for i in range(100)])) == 12


def test_a_reward_model_that_two_students_share_counts_once() -> None:
    report = {"traces": 40, "mae": 0.1, "mae_of_mean": 0.3, "spearman": None, "calibration_error": 0.05}
    other = {**report, "mae": 0.2}
    trained = {
        "rv": [{"rv_model": [{"held_out": report}]}, {"rv_model": [{"held_out": other}]}],
        "both": [{"rv_model": [{"held_out": report}]}],
    }
    _, _, table = reward_tables(trained)
    assert table.splitlines()[-1] == "| rv_model | 2 | 40 | 0.150 | 0.300 | – | 0.050 |"


def test_the_report_draws_curves_below_zero_too() -> None:
    from stillwise.evaluate.plots import draw
    from stillwise.evaluate.view_kinds import Figure, Table

    falling = {**stage([0.0, -0.5, -1.0]), "answers": 80, "stage": "problems"}
    report = {"traces": 40, "mae": 0.125, "calibration": [[0.2, 0.25, 8]]}
    metrics: Any = {"training": {"a": [falling], "b": [{"stage": "s", "held_out": report}]}}
    blocks = policy_blocks(metrics)
    figure, table = blocks
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert "4 of 10 groups" in figure.note
    assert ["mae", "0.125"] in table.body
    assert ["calibration: said 0.20", "0.25 (8)"] in table.body
    ((_, chart),) = figure.drawings
    assert "-1" in draw(chart) or "−1" in draw(chart)
