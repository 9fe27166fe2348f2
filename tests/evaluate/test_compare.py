"""No gain is claimed that is not there: intervals, the sign-flip test, problems that differ, words."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from stillwise.errors import UserError
from stillwise.evaluate.compare import NOT_SHOWN, Side, compared, markdown, sign_flip_p
from stillwise.evaluate.metrics import dumps

Counts = dict[str, dict[str, list[int]]]


def side(name: str, benchmarks: dict[str, Counts], **settings: object) -> Side:
    section: dict[str, Any] = {"model": "student", "revision": "r1", "per_problem": benchmarks}
    return Side(name=name, section=section, order=list(benchmarks), settings=settings)


def skilled(skill: np.ndarray[Any, Any], samples: int, seed: int) -> dict[str, list[int]]:
    rng = np.random.default_rng(seed)
    return {f"p{i:03d}": [int(rng.binomial(samples, p)), samples] for i, p in enumerate(skill)}


def row(found: dict[str, Any], benchmark: str = "sums", level: str | None = None) -> dict[str, Any]:
    hits = [r for r in found["rows"] if (r["benchmark"], r["level"], r["measure"]) == (benchmark, level, "per_problem")]
    assert len(hits) == 1
    return dict(hits[0])


def test_a_real_gain_is_shown_and_none_is_not() -> None:
    skill = np.random.default_rng(0).uniform(0.1, 0.7, 200)
    before, same, better = (skilled(s, 8, seed) for s, seed in ((skill, 4), (skill, 5), (skill + 0.15, 6)))
    found = compared([side("a", {"sums": {"1": before}}), side("b", {"sums": {"1": same}}), side("c", {"sums": {"1": better}})])
    verdicts = [r["verdict"] for r in found["rows"]]
    assert verdicts == [NOT_SHOWN, "higher"]
    page = markdown(found)
    assert "no difference shown between a and b" in page
    assert "c is higher than a" in page
    back = compared([side("c", {"sums": {"1": better}}), side("a", {"sums": {"1": before}})])
    assert row(back)["verdict"] == "lower"
    assert json.loads(dumps(found))["reference"] == "a"


def test_about_one_in_twenty_comparisons_of_equals_is_called_a_difference() -> None:
    claimed = 0
    for trial in range(60):
        skill = np.random.default_rng(trial).uniform(0, 1, 40)
        pair = [side(name, {"sums": {"1": skilled(skill, 4, 1000 * trial + i)}}) for i, name in enumerate("ab")]
        claimed += row(compared(pair))["verdict"] != NOT_SHOWN
    assert claimed <= 8


def test_a_handful_of_problems_proves_nothing_whatever_the_bootstrap_says() -> None:
    before, after = ({f"p{i}": [n, 1] for i in range(5)} for n in (0, 1))
    found = row(compared([side("a", {"sums": {"1": before}}), side("b", {"sums": {"1": after}})]))
    assert found["difference"]["ci"] == [1.0, 1.0]
    assert found["p"] == pytest.approx(2 / 32)
    assert found["verdict"] == NOT_SHOWN


def test_the_p_value_is_the_share_of_sign_patterns_as_extreme() -> None:
    values = [0.5, -0.25, 0.75, 0.0, 0.5, 1.0, -0.5]
    flips = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in itertools.product((-1, 1), repeat=7)]
    exact = sum(f >= abs(sum(values)) - 1e-12 for f in flips) / len(flips)
    assert sign_flip_p(values) == pytest.approx(exact)
    many = [0.1] * 9 + [-0.1] * 5
    assert sign_flip_p(many) == pytest.approx(0.424, abs=0.02)
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([]) is None


def test_only_shared_problems_count_and_the_others_are_named() -> None:
    before = {"p1": [4, 8], "p2": [8, 8], "old": [0, 8]}
    after = {"p1": [2, 4], "p2": [4, 4], "new": [4, 4], "newer": [4, 4]}
    found = compared([side("a", {"sums": {"1": before}, "mine": {"1": before}}), side("b", {"sums": {"1": after}})])
    assert (row(found)["before"], row(found)["after"]) == (0.75, 0.75)
    assert (row(found)["only_before"], row(found)["only_after"]) == (1, 2)
    notes = "\n".join(found["notes"])
    assert "2 shared problems are compared; 1 only in a and 2 only in b are left out" in notes
    assert "samples per problem differ: 8 and 4" in notes
    assert "mine: measured for a only" in notes
    assert "## Not alike" in markdown(found)


def test_runs_without_a_shared_problem_are_refused() -> None:
    with pytest.raises(UserError, match="share no problem: measured on sums and words"):
        compared([side("a", {"sums": {"1": {"x": [1, 1]}}}), side("b", {"words": {"1": {"x": [1, 1]}}})])
    with pytest.raises(UserError, match="share no problem"):
        compared([side("a", {"sums": {"1": {"x": [1, 1]}}}), side("b", {"sums": {"1": {"y": [1, 1]}}})])
    with pytest.raises(UserError, match="at least two"):
        compared([side("a", {"sums": {"1": {"x": [1, 1]}}})])
    with pytest.raises(UserError, match="called the same"):
        compared([side("a", {"sums": {"1": {"x": [1, 1]}}})] * 2)


def test_levels_keep_their_order_and_the_average_weighs_benchmarks_equally() -> None:
    small = {"2": {"a": [0, 2], "b": [1, 2]}, "10": {"c": [1, 2]}}
    large = {"1": {f"q{i}": [1, 2] for i in range(100)}}
    better = {"2": {"a": [1, 2], "b": [2, 2]}, "10": {"c": [2, 2]}}
    found = compared([side("a", {"small": small, "large": large}), side("b", {"small": better, "large": large})])
    assert [(r["benchmark"], r["level"]) for r in found["rows"]] == [
        ("small", None), ("small", "2"), ("small", "10"), ("large", None), ("average", None),
    ]  # fmt: skip
    average = row(found, "average")
    assert average["difference"]["value"] == pytest.approx(0.25)
    assert average["after"] - average["before"] == pytest.approx(0.25)


def test_settings_that_differ_are_said() -> None:
    held = {"sums": {"1": {"x": [1, 1], "y": [0, 1]}}}
    found = compared([side("a", held, max_tokens=16384, seed=1), side("b", held, max_tokens=32768)])
    assert found["notes"] == ["a and b differ in max_tokens: 16384 and 32768"]


def test_tokens_are_compared_on_the_problems_that_have_them() -> None:
    counts = {"sums": {"1": {"x": [1, 1], "y": [0, 1]}}}
    sides = [side("a", counts), side("b", counts)]
    for one, tokens in zip(sides, (100, 80), strict=True):
        one.section["tokens_per_problem"] = {"sums": {"1": {"x": [tokens, 1], "y": [3 * tokens, 1]}}}  # type: ignore[index]
    rows = [r for r in compared(sides)["rows"] if r["measure"] == "tokens_per_problem"]
    assert rows[0]["difference"]["value"] == -40
    assert "-40 [-60, -20]" in markdown(compared(sides))
