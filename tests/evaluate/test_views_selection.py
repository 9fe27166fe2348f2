"""The figures that explain a choice of traces: drawn from metrics alone, absent where nothing was explained."""

from __future__ import annotations

from typing import Any, cast

from stillwise.evaluate.charts import Bars, Heat, Lines
from stillwise.evaluate.page import sections
from stillwise.evaluate.report import render
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.views_selection import selection_figures


def metrics(**figures: Any) -> Metrics:
    kept = {"problems": 4, "kept": 2, "by_level": {}, "share_by_level": {}, "dropped": {}}
    held = {**kept, **({"figures": figures} if figures else {})}
    return cast(Metrics, {"selection": {"chosen": held}})


def one(cd: int, k: int, standing: str) -> dict[str, Any]:
    rate = k / 10
    return {
        "cd": cd, "problems": 5, "k": k, "n": 10, "likelihood": None, "pass_rate": rate, "standing": standing,
        "rv_range": [0.0, 3.0],
    }  # fmt: skip


PROFILE = {
    "sort": "target_aware",
    "asked": 10,
    "chosen": 2,
    "candidates": 8,
    "fitting": 6,
    "cd_range": [1, 1],
    "profile": [one(1, 9, "learning"), one(7, 0, "beyond")],
    "cells": [
        {"domain": "maths", "cd": 1, "rv": 3, "fitting": 4, "chosen": 1},
        {"domain": "code", "cd": 1, "rv": 3, "fitting": 2, "chosen": 1},
    ],
    "lengths": {
        third: {"before": {"traces": 4, "mean_tokens": 100.0}, "after": {"traces": n, "mean_tokens": 50.0 if n else None}}
        for third, n in (("easy", 2), ("hard", 0), ("middle", 0))
    },
}


def test_a_profile_its_cells_and_lengths_are_drawn() -> None:
    profile, cells, lengths = selection_figures(metrics(**PROFILE))
    [(_, lines)], [(_, heat)], [(_, bars)] = profile.drawings, cells.drawings, lengths.drawings
    assert isinstance(lines, Lines)
    assert [point.value for point in lines.series[0].points] == [0.9, 0.0]
    assert profile.body[1][-2:] == ("beyond", "–")
    assert "2 traces of 10 asked for: cognitive difficulty 1 to 1 is in reach; 6 of 8 candidates" in profile.note
    assert isinstance(heat, Heat)
    assert heat.cells[3][1] == 2
    assert isinstance(bars, Bars)
    assert bars.categories == ("easy", "middle", "hard")
    assert [point.value for point in bars.series[1].points] == [50.0, None, None]


def test_lengths_stand_alone_where_nothing_was_profiled() -> None:
    [figure] = selection_figures(metrics(sort="suited_length", lengths=PROFILE["lengths"]))
    assert figure.title == "Length by difficulty, before and after “chosen”"


def test_a_selector_that_explains_nothing_has_no_section() -> None:
    assert selection_figures(metrics()) == []
    assert "selection" not in [section.id for section in sections(metrics())]


def test_the_page_holds_them() -> None:
    page = render(cast(dict[str, Any], metrics(**PROFILE)))
    assert "The choice of traces" in page
    assert "nats per token" in page
