"""Figures of both probes: differences of neighbours on the same problems, medians with censoring, rank correlations."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from stillwise.arrows import Scaffold
from stillwise.evaluate import metrics
from stillwise.evaluate.charts import Lines
from stillwise.evaluate.paradigm_probe import paradigm_section, paradigm_text
from stillwise.evaluate.plots import draw
from stillwise.evaluate.sections import Output
from stillwise.evaluate.shape import Estimate, Metrics, TitrationFacts
from stillwise.evaluate.titration_figures import (
    AMONG_CENSORED,
    MOST_CENSORED,
    group_figures,
    median_difference,
    median_estimate,
    rank_correlation,
    titration_section,
    titration_text,
)
from stillwise.evaluate.views_probes import paradigm_gap_figure, paradigm_probe_figure
from tests.evaluate.synthetic_run import examined, problems


def scaffold(name: int, context: float | None, generation: float = 0.5, level: int | None = 1, group: str = "low") -> Scaffold:
    known = context is not None
    return Scaffold(
        problem_id=f"p{name:03}", level=level, group=group, trace_id="t", units=10, units_tried=10,
        units_given=1 if known else None, solved_by="s" if known else None, thought_tokens=1000,
        prefix_tokens=round(1000 * context) if context is not None else None, rest_tokens=100 if known else None,
        answer_tokens=round(100 * generation) if known else None, censored=None if known else "never_solved",
    )  # fmt: skip


def value(found: Estimate) -> float:
    assert found["value"] is not None
    return found["value"]


def test_neighbours_are_compared_in_accuracy_and_tokens_by_level() -> None:
    asked = problems(20)
    outputs = {mode: examined(asked, mode, 4) for mode in ("think", "no_think", "instruct")}
    found = paradigm_section(asked, outputs)
    pairs = list(dict.fromkeys((row["to"], row["from"]) for row in found["contrasts"]))
    assert pairs == [("think", "no_think"), ("no_think", "instruct")]
    whole = next(row for row in found["contrasts"] if row["level"] is None)
    held = {name: one["measurement"] for name, one in found["conditions"].items()}
    difference = value(held["think"]["pass_at_1"]) - value(held["no_think"]["pass_at_1"])
    assert value(whole["pass_at_1"]) == pytest.approx(difference)
    tokens = value(held["think"]["tokens"]["mean"]) - value(held["no_think"]["tokens"]["mean"])
    assert value(whole["tokens"]) == pytest.approx(tokens)
    low, high = whole["tokens"]["ci"] or (0, 0)
    assert low < tokens < high
    assert [row["level"] for row in found["contrasts"]][:6] == [None, "1", "2", "3", "4", "5"]
    text = paradigm_text({"paradigms": {"tiny": found}})
    assert "differences on the same problems, pass@1, points" in text
    assert metrics.dumps({"paradigms": {"tiny": found}})


def test_a_sample_that_is_missing_leaves_the_problem_paired() -> None:
    """A banned word drops one of four samples: the problem's mean is over three."""
    asked = problems(4)
    whole, part = examined(asked, "think", 4), examined(asked, "no_rethink", 4)
    fewer = Output(traces=part.traces[1:], verdicts=part.verdicts)
    found = paradigm_section(asked, {"think": whole, "no_rethink": fewer})
    assert found["contrasts"][0]["unpaired"] == 0
    assert found["conditions"]["no_rethink"]["measurement"]["samples"] == 4 * len(asked) - 1


def test_medians_with_censored_problems() -> None:
    one = group_figures([scaffold(i, context) for i, context in enumerate((0.1, 0.2, 0.3, None, None))])
    assert (one["n"], one["solved"], one["censored"]) == (5, 3, {"never_solved": 2})
    assert one["context_ratio"]["value"] == 0.3
    assert one["context_ratio"]["reason"] == AMONG_CENSORED
    assert one["context_ratio"]["ci"] is not None
    assert one["context_ratio"]["ci"][1] == 1.0
    assert one["context_ratio_solved"]["value"] == 0.2
    most = group_figures([scaffold(i, context) for i, context in enumerate((0.1, None, None))])["context_ratio"]
    assert (most["value"], most["reason"]) == (None, MOST_CENSORED)
    assert median_estimate([])["value"] is None


def test_the_interval_of_a_median_covers_it() -> None:
    hits, rng = 0, random.Random(0)
    for _ in range(60):
        ci = median_estimate([rng.gauss(0.4, 0.1) for _ in range(40)])["ci"]
        assert ci is not None
        hits += ci[0] <= 0.4 <= ci[1]
    assert 52 <= hits <= 60, "95 % of 60, give or take"


def test_the_difference_of_two_groups() -> None:
    low, high = [0.2, 0.3, 0.4] * 10, [0.5, 0.6, 0.7] * 10
    found = median_difference(low, high)
    assert found["value"] == pytest.approx(0.3)
    assert found["ci"] is not None
    assert found["ci"][0] > 0
    assert median_difference(low, [math.inf] * 3)["value"] is None


def naive_spearman(left: Sequence[float], right: Sequence[float]) -> float:
    def ranks(values: Sequence[float]) -> list[float]:
        return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]

    a, b = ranks(left), ranks(right)
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return top / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def test_spearman_with_ties_and_its_interval() -> None:
    rng = random.Random(1)
    left = [float(rng.randrange(5)) for _ in range(50)]
    right = [value + rng.choice((0.0, 1.0, math.inf)) for value in left]
    found = rank_correlation(left, right)
    assert found["value"] == pytest.approx(naive_spearman(left, right))
    assert found["ci"] is not None
    assert found["ci"][0] < (found["value"] or 0) < found["ci"][1]
    assert rank_correlation([1, 1], [1, 2])["value"] is None
    assert rank_correlation([1, 2, 3], [1, 2, 3])["value"] == pytest.approx(1)


def test_the_section_and_its_table() -> None:
    items = [scaffold(i, 0.1 + 0.02 * (i % 10), level=2) for i in range(30)]
    items += [scaffold(100 + i, None if i % 5 == 0 else 0.5 + 0.02 * (i % 10), 0.1, 5, "high") for i in range(30)]
    items += [scaffold(200, 0.4, level=None, group="ungrouped")]
    facts = TitrationFacts(model="m", role="instructor", tokenizer="reasoner", search="linear", samples=4)
    found = titration_section(items, groups=["low", "high"], attempts=9, facts=facts)
    assert found["order"] == ["low", "high", "ungrouped"]
    assert found["difference"] is not None
    assert (found["difference"]["value"] or 0) > 0.3
    assert (found["level_and_context"]["value"] or 0) > 0.8
    assert (found["context_and_generation"]["value"] or 0) < 0
    assert found["points"][0] == ["low", 2, 0.1, 0.5]
    assert [None, None] in [point[2:] for point in found["points"]]
    text = titration_text({"titration": {"titrated": found}})
    assert "never solved" in text
    assert metrics.dumps({"titration": {"titrated": found}})


def test_figure_1_has_two_rows_and_a_panel_for_each_scale() -> None:
    asked = problems(20)
    better, worse = examined(asked, "think", 4), examined(asked, "instruct", 4)
    up, down = (paradigm_section(asked, {"a": one, "b": other}) for one, other in ((better, worse), (worse, better)))
    found: Metrics = {"paradigms": {"7B": up, "14B": down}, "order": {"paradigms": ["7B", "14B"]}}
    upper, lower = paradigm_probe_figure(found), paradigm_gap_figure(found)
    assert upper is not None
    assert lower is not None
    assert [name for name, _ in upper.drawings] == ["7B: pass@1", "7B: tokens", "14B: pass@1", "14B: tokens"]
    charts = {name: chart for name, chart in lower.drawings if isinstance(chart, Lines)}
    assert charts["14B: difference of tokens"].bottom < -100, "room below zero"
    assert charts["7B: difference of tokens"].bottom == 0
    assert [series.name for series in charts["7B: difference of tokens"].series] == ["a − b"]
    assert "−100" in draw(charts["14B: difference of tokens"]).replace("-", "−")
    assert paradigm_gap_figure({}) is None
