"""Filters by score, orders, passes, replay, mixing and pacing: what a schedule lists, and in which order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Row
from stillwise.curriculum.competence import Competence
from stillwise.curriculum.order import crossfaded, interleaved
from stillwise.curriculum.stages import MIXED, Stages
from stillwise.errors import UserError
from stillwise.parts import inputs_of, scores_of, traces_of


def row(number: int, level: int | None = 1, output: str = "cots", **scores: float) -> Row:
    return Row(
        trace_id=f"{output}{number}",
        problem_id=str(number),
        output=output,
        level=level,
        outcome="correct",
        num_tokens=1,
        sample_index=0,
        scores=scores,
    )


def stages(*each: Mapping[str, Any], **more: Any) -> Stages:
    return Stages.model_validate({"stages": list(each), **more})


def stage(name: str = "only", where: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "take": [{"from": "cots", **({"where": where} if where else {})}], **more}


def seen(part: Stages | Competence, rows: list[Row], seed: int = 0) -> list[str]:
    return [lesson.trace_id for lesson in part.schedule(rows, seed)]


LABELLED = [
    replace(one, scores={"labels": i % 3, "cd": i % 10, **({"more": 0.0} if i < 9 else {})})
    for i, one in enumerate(map(row, range(30)))
]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"labels": 2}, lambda s: s["labels"] == 2),
        ({"labels": [0, 1]}, lambda s: s["labels"] <= 1),
        ({"cd": [4, None]}, lambda s: s["cd"] >= 4),
        ({"more": [None, None]}, lambda s: "more" in s),
        ({"cd": [4, 7], "labels": 1}, lambda s: 4 <= s["cd"] <= 7 and s["labels"] == 1),
    ],
)
def test_a_share_takes_what_its_scores_admit(where: Any, holds: Any) -> None:
    expected = {r.trace_id for r in LABELLED if holds(r.scores)}
    assert set(seen(stages(stage(where=where)), LABELLED)) == expected
    assert len(expected) < len(LABELLED)


def test_an_undecided_score_is_dropped_unless_it_is_taken() -> None:
    rows = [*LABELLED, row(99)]
    condition = {"score": "labels", "at_least": 2}
    assert "cots99" not in seen(stages(stage(where=[condition])), rows)
    assert "cots99" in seen(stages(stage(where=[{**condition, "undecided": "take"}])), rows)


def test_a_share_that_nobody_meets_says_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no trace of 30 meets 'where': 3 <= labels <= 5 holds for 0, values run from 0 to 2"):
        seen(stages(stage(where={"labels": [3, 5]})), LABELLED)
    with pytest.raises(UserError, match="none was decided"):
        seen(stages(stage(where={"other": 1})), LABELLED)


def test_a_share_may_be_left_out_where_there_is_nothing_for_it_but_not_all_of_them() -> None:
    nobody = {"from": "cots", "where": {"labels": 7}, "if_none": "skip"}
    part = stages(stage("medium"), {"name": "harder", "take": [nobody]})
    assert {x.stage for x in part.schedule(LABELLED, 0)} == {"medium"}
    with pytest.raises(UserError, match="no stage finds any of 30 selected traces"):
        stages({"name": "harder", "take": [nobody]}).schedule(LABELLED, 0)
    with pytest.raises(UserError, match="no share finds any of 30"):
        Competence.model_validate({"take": [nobody]}).schedule(LABELLED, 0)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"\[2, 1\] runs backwards"):
        stages(stage(where={"labels": [2, 1]}))


def test_scores_are_inputs_of_their_own_sort() -> None:
    part = stages(stage(where={"labels": 2}, by="cd", order="easy_to_hard"))
    assert set(inputs_of(part)) == {"cots", "labels", "cd"}
    assert set(scores_of(part)) == {"labels", "cd"}
    assert traces_of(part) == ("cots",)


@pytest.mark.parametrize("by", [None, "cd"])
def test_orders_by_level_and_by_score(by: str | None) -> None:
    rows = random.Random(1).sample([row(i, level=i % 5, cd=float(9 - i % 5)) for i in range(20)], 20)
    key = {r.trace_id: (r.scores["cd"] if by else r.level or 0) for r in rows}
    up = [key[i] for i in seen(stages(stage(order="easy_to_hard", by=by)), rows)]
    down = [key[i] for i in seen(stages(stage(order="hard_to_easy", by=by)), rows)]
    assert up == sorted(up)
    assert down == up[::-1]
    low, high = (6, 7) if by else (2, 3)
    first = [key[i] for i in seen(stages(stage(order="medium_first", by=by, medium=[low, high])), rows)]
    assert set(first[:8]) == {low, high}
    assert first[8:] == sorted(first[8:])
    assert set(first[8:]).isdisjoint({low, high})


def test_equals_are_shuffled_by_the_seed_and_not_by_the_order_of_rows() -> None:
    rows = [row(i, level=i % 2) for i in range(40)]
    part = stages(stage(order="easy_to_hard"))
    assert seen(part, rows, 1) == seen(part, rows[::-1], 1) != seen(part, rows, 2)


def test_what_has_no_difficulty_comes_last_in_every_order() -> None:
    rows = [row(0, level=None), row(1, level=3), row(2, level=1)]
    for order in ("easy_to_hard", "hard_to_easy"):
        assert seen(stages(stage(order=order)), rows)[-1] == "cots0"
    assert seen(stages(stage(order="medium_first", medium=[1, 1])), rows) == ["cots2", "cots1", "cots0"]


def test_medium_first_and_its_range_go_together() -> None:
    for wrong in ({"order": "medium_first"}, {"medium": [1, 2]}, {"order": "medium_first", "medium": [2, 1]}):
        with pytest.raises(ValidationError, match="medium"):
            stages(stage(**wrong))


def test_each_pass_has_all_lessons_in_a_shuffle_of_its_own() -> None:
    rows = [row(i) for i in range(20)]
    listed = seen(stages(stage(passes=3)), rows)
    passes = [listed[i : i + 20] for i in (0, 20, 40)]
    assert all(sorted(held) == sorted(r.trace_id for r in rows) for held in passes)
    assert len({tuple(held) for held in passes}) == 3
    assert passes[0] == seen(stages(stage()), rows)


def two_stages(**second: Any) -> list[Mapping[str, Any]]:
    return [stage("medium", {"labels": 1}), stage("hard", {"labels": 2}, **second)]


def test_replay_repeats_earlier_lessons_evenly_in_the_later_stage() -> None:
    rows = [row(i, labels=1.0 + (i >= 40)) for i in range(60)]
    lessons = stages(*two_stages(replay=0.5)).schedule(rows, 0)
    later = [x.trace_id for x in lessons if x.stage == "hard"]
    again = [place for place, name in enumerate(later) if int(name[4:]) < 40]
    assert len(later) == 30
    assert len(again) == len({later[place] for place in again}) == 10
    assert all(b - a == 3 for a, b in pairwise(again))
    own = [name for name in later if int(name[4:]) >= 40]
    assert own == [x.trace_id for x in stages(*two_stages()).schedule(rows, 0) if x.stage == "hard"]


def test_a_replay_larger_than_what_was_seen_repeats_it_in_full_rounds() -> None:
    rows = [row(i, labels=1.0 + (i >= 4)) for i in range(16)]
    later = [x.trace_id for x in stages(*two_stages(replay=1.0)).schedule(rows, 0) if x.stage == "hard"]
    assert Counter(name for name in later if int(name[4:]) < 4) == {f"cots{i}": 3 for i in range(4)}


@pytest.mark.parametrize("sizes", [(40, 40), (10, 70), (70, 10), (20, 30, 40), (5, 1, 5), (8,)])
@pytest.mark.parametrize("overlap", [0.0, 0.4, 1.0])
def test_a_crossfade_holds_each_lesson_once_in_its_lists_order(sizes: tuple[int, ...], overlap: float) -> None:
    lists = [[(i, j) for j in range(size)] for i, size in enumerate(sizes)]
    mixed = crossfaded(lists, overlap)
    assert [[x for x in mixed if x[0] == i] for i in range(len(sizes))] == lists
    assert overlap or mixed == [x for held in lists for x in held]


def test_linear_decay_of_two_equal_stages_falls_from_all_to_nothing() -> None:
    mixed = crossfaded([[0] * 500, [1] * 500], 1.0)
    shares = [1 - sum(mixed[i : i + 100]) / 100 for i in range(0, 1000, 100)]
    assert shares == pytest.approx([0.95 - 0.1 * i for i in range(10)], abs=0.02)


def test_a_narrower_fade_leaves_both_ends_pure() -> None:
    mixed = crossfaded([[0] * 500, [1] * 500], 0.5)
    assert not any(mixed[:250])
    assert all(mixed[750:])
    assert 0.4 < sum(mixed[400:600]) / 200 < 0.6


def test_interleaving_keeps_one_rhythm() -> None:
    assert interleaved(["abcd", "XY"]) == list("aXbcYd")


def test_mixed_stages_are_one_stage_of_all_lessons() -> None:
    rows = [row(i, labels=float(1 + i % 2)) for i in range(40)]
    apart = Counter(seen(stages(*two_stages()), rows))
    for arrange in ("interleave", "linear_decay", "union"):
        lessons = stages(*two_stages(), arrange=arrange).schedule(rows, 0)
        assert Counter(x.trace_id for x in lessons) == apart
        assert {x.stage for x in lessons} == {"union" if arrange == "union" else MIXED}


def paced(**more: Any) -> Competence:
    return Competence.model_validate({"take": [{"from": "cots"}], **more})


def test_competence_follows_the_papers_formula() -> None:
    part = paced(start=0.1, root=2, pace=1.0)
    assert part.competence(0) == pytest.approx(0.1)
    assert part.competence(0.5) == pytest.approx((0.5 * (1 - 0.01) + 0.01) ** 0.5)
    assert part.competence(1) == 1.0
    assert paced(start=0.1, root=1, pace=0.5).competence(0.25) == pytest.approx(0.55)


@pytest.mark.parametrize("by", [None, "cd"])
def test_no_lesson_is_harder_than_the_competence_of_its_time(by: str | None) -> None:
    rows = random.Random(2).sample([row(i, level=i, cd=float(i)) for i in range(100)], 100)
    part = paced(start=0.05, pace=0.6, by=by, passes=3)
    drawn = [int(name[4:]) for name in seen(part, rows)]
    assert len(drawn) == 300
    assert all((number + 1) / 100 <= part.competence(place / 300) + 1e-9 for place, number in enumerate(drawn))
    assert max(drawn[200:]) > 95
    assert len(set(drawn)) > 60


def test_pacing_starts_with_all_of_the_easiest_and_ends_with_what_is_not_known() -> None:
    rows = [*(row(i, level=1) for i in range(10)), row(50, level=None)]
    names = seen(paced(start=0.01, pace=0.5, passes=20), rows)
    assert len(set(names[:20])) > 5
    assert "cots50" not in names[:100]
    assert "cots50" in names[110:]
