"""The tables that say what judges are worth."""

from __future__ import annotations

from typing import Any, cast

from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.views_judges import judge_tables


def judge(step: str, panel: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "step": step, "rubric": "cognitive_difficulty", "by": "judge", "judgements": 3, "spread": 0.25,
        "traces": 1200, "undecided": 2, "panel": panel,
    }  # fmt: skip


def tables(*steps: dict[str, Any], **rest: Any) -> list[Any]:
    return judge_tables(cast(Metrics, {"judges": {"steps": list(steps), **rest}}))


def test_each_judge_has_a_row_with_what_it_owes_and_how_it_does_on_a_panel() -> None:
    known = {"panel": "prose-1", "n": 13, "undecided": 1, "bias": 0.5, "mean_absolute_error": 0.75, "kappa": None}
    [table] = tables(judge("cd", known), judge("again"), agreement=[])
    assert table.body[0] == [
        "cd", "cognitive difficulty", "judge", "3", "0.25", "1,200", "2",
        "prose-1, 13 traces, 1 undecided", "+0.50", "0.75", "–",
    ]  # fmt: skip
    assert table.body[1][-4:] == ["–"] * 4


def test_a_panel_of_which_nothing_could_be_read_has_no_figures() -> None:
    [table] = tables(judge("cd", {"panel": "prose-1", "n": 0, "undecided": 14}))
    assert table.body[0][-4:] == ["prose-1, 0 traces, 14 undecided", "–", "–", "–"]


def test_two_judges_are_compared() -> None:
    pair = {"rubric": "verbosity", "first": "a", "second": "b", "traces": 40, "kappa": 0.5}
    _, agreement = tables(judge("a"), agreement=[pair])
    assert list(agreement.body[0]) == ["verbosity", "a", "b", "40", "0.50"]


def test_nothing_judged_is_nothing_shown() -> None:
    assert judge_tables(cast(Metrics, {})) == []
