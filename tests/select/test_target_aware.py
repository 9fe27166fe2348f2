"""What a profile makes of a pool of traces: ranges, shares, coverage, reasons; nothing depends on the order of rows."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Row
from stillwise.select.profile import binned, thirds
from stillwise.select.target_aware import TargetAware


def row(name: str, problem: str, *, output: str = "pool", outcome: str = "correct", tokens: int = 100, **scores: float) -> Row:
    return Row(
        trace_id=name, problem_id=problem, output=output, level=1, outcome=outcome, num_tokens=tokens, sample_index=0,
        scores=scores, domain="maths",
    )  # fmt: skip


def world(per_cd: int = 20) -> list[Row]:
    """Problems of difficulty 1, 4 and 7 that a student passes always, half of the time and never; traces of every verbosity."""
    rows = []
    for cd, passed in ((1, 10), (4, 5), (7, 0)):
        for number in range(per_cd):
            problem = f"{cd}-{number}"
            rows += [row(f"{problem}-{rv}", problem, tokens=10 * rv, rv=rv, cd=cd, likely=-0.1 * cd) for rv in range(10)]
            rows += [
                row(f"{problem}-try{i}", problem, output="tries", outcome="correct" if i < passed else "incorrect")
                for i in range(10)
            ]
    return rows


def part(**fields: Any) -> TargetAware:
    settings = {"of": ("pool",), "attempts": "tries", "verbosity": ("rv",), "difficulty": ("cd",), "budget": 60, **fields}
    return TargetAware(**settings)


def test_what_the_student_never_passes_is_out_of_reach_and_what_it_masters_keeps_a_share() -> None:
    kept, dropped = part().select(world())
    cds = Counter(r.problem_id[0] for r in kept)
    assert len(kept) == 52
    assert cds == {"1": 12, "4": 40}
    assert {f.reason for f in dropped if f.item.startswith("7")} == {"beyond_reach"}
    assert {f.reason for f in dropped if f.item.startswith("1")} == {"over_budget"}


def test_what_the_student_can_follow_is_in_reach_though_it_solves_none() -> None:
    standing = {
        within: [one["standing"] for one in part(likelihood=("likely",), likely_within=within).figures(world(), [])["profile"]]
        for within in (0.35, 0.25)
    }
    assert standing == {0.35: ["mastered", "learning", "learning"], 0.25: ["mastered", "learning", "beyond"]}


def test_the_less_the_student_passes_the_more_is_written() -> None:
    kept, _ = part(reach=0.0).select(world())
    figures = part(reach=0.0).figures(world(), kept)
    middles = [sum(one["rv_range"]) / 2 for one in figures["profile"]]
    assert middles == sorted(middles)
    means = [figures["lengths"][third]["after"]["mean_tokens"] for third in ("easy", "middle", "hard")]
    assert means == sorted(means)
    assert means[0] < means[2]
    before = [figures["lengths"][third]["before"]["mean_tokens"] for third in ("easy", "middle", "hard")]
    assert before == [45, 45, 45]


def test_cells_get_equal_parts_or_all_that_they_have() -> None:
    rows = [row(f"a{i}", f"a{i}", cd=4, rv=4) for i in range(50)] + [row(f"b{i}", f"b{i}", cd=4, rv=5) for i in range(3)]
    kept, _ = part(attempts=None, budget=20).select(rows)
    assert Counter(r.scores["rv"] for r in kept) == {4: 17, 5: 3}


def test_a_problem_is_not_taken_twice_before_others_were_taken_once_nor_more_often_than_it_may() -> None:
    rows = [row(f"p{i}", "p", cd=4, rv=4) for i in range(9)] + [row("q", "q", cd=4, rv=4)]
    kept, _ = part(attempts=None, budget=2).select(rows)
    assert {r.problem_id for r in kept} == {"p", "q"}
    kept, _ = part(attempts=None, budget=9).select(rows)
    assert Counter(r.problem_id for r in kept) == {"p": 2, "q": 1}


def test_the_choice_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = world()
    shuffled = Random(1).sample(rows, len(rows))
    assert {r.trace_id for r in part().select(rows)[0]} == {r.trace_id for r in part().select(shuffled)[0]}
    assert part().figures(rows, [])["cells"] == part().figures(shuffled, [])["cells"]


def test_reasons_name_the_farthest_that_any_trace_of_a_problem_came() -> None:
    rows = [
        row("wrong", "wrong", outcome="incorrect", cd=4, rv=4),
        row("unread", "unread", cd=4),
        *(row(f"near{i}", f"near{i}", cd=4, rv=4) for i in range(30)),
        row("far", "far", cd=4, rv=9),
    ]
    _, dropped = part(attempts=None, budget=100).select(rows)
    assert {f.item: f.reason for f in dropped} == {
        "wrong": "no_correct", "unread": "unscored", "far": "verbosity_out_of_range",
    }  # fmt: skip


def test_undecided_marks_are_never_zeros() -> None:
    rows = [row("a", "a", rv=1), row("b", "b", cd=1)]
    kept, dropped = part(attempts=None).select(rows)
    assert not kept
    assert {f.reason for f in dropped} == {"unscored"}


def test_scores_of_several_steps_are_one() -> None:
    rows = [row("a", "a", output="one", rv1=4, cd1=4), row("b", "b", output="two", rv2=4, cd2=4)]
    kept, _ = part(of=("one", "two"), attempts=None, verbosity=("rv1", "rv2"), difficulty=("cd1", "cd2")).select(rows)
    assert {r.trace_id for r in kept} == {"a", "b"}


def test_one_name_may_be_written_without_a_list() -> None:
    assert part(of="pool", verbosity="rv", difficulty="cd", likelihood="likely").likelihood == ("likely",)


def test_attempts_are_not_candidates() -> None:
    with pytest.raises(ValidationError, match="student's own tries"):
        part(of=("tries",))


def test_bins_round_halves_up_and_stay_in_range() -> None:
    assert [binned(mark) for mark in (0.4, 0.5, 8.6, 11.0, -1.0)] == [0, 1, 9, 9, 0]


def test_thirds_are_by_rank() -> None:
    assert list(thirds([1, 2, 3, 4, 5]).values()) == ["easy", "easy", "middle", "middle", "hard"]
    assert thirds([2.0]) == {2.0: "middle"}
