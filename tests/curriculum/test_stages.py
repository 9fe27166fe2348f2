from __future__ import annotations

import random
from typing import Any

import pytest
from pydantic import ValidationError

from stillwise.arrows import Row
from stillwise.curriculum.stages import Single, Stages
from stillwise.errors import UserError
from stillwise.parts import inputs_of

PAPER: dict[str, Any] = {
    "stages": [
        {"name": "implicit", "take": [{"from": "instruct", "levels": [1, 4]}, {"from": "no_think", "levels": 5}]},
        {
            "name": "explicit",
            "take": [{"from": "no_think", "levels": [1, 4]}, {"from": "no_rethink", "levels": [5, 5], "target": "full"}],
        },
    ]
}


def row(output: str, problem: int, level: int | None) -> Row:
    return Row(
        trace_id=f"{output}/{problem}",
        problem_id=str(problem),
        output=output,
        level=level,
        outcome="correct",
        num_tokens=1,
        sample_index=0,
    )


def world(outputs: tuple[str, ...] = ("instruct", "no_think", "no_rethink"), count: int = 40) -> list[Row]:
    return [row(output, i, 1 + i % 5) for output in outputs for i in range(count)]


def test_the_papers_curriculum_takes_each_problem_once_a_stage_from_the_right_output() -> None:
    rows = world()
    lessons = Stages.model_validate(PAPER).schedule(rows, seed=0)
    by_id = {r.trace_id: r for r in rows}
    assert [x.stage for x in lessons] == ["implicit"] * 40 + ["explicit"] * 40
    for stage in ("implicit", "explicit"):
        mine = [by_id[x.trace_id] for x in lessons if x.stage == stage]
        assert sorted(int(r.problem_id) for r in mine) == list(range(40))
        easy, hard = ("instruct", "no_think") if stage == "implicit" else ("no_think", "no_rethink")
        assert {(r.output, r.level == 5) for r in mine} == {(easy, False), (hard, True)}
    assert {x.target for x in lessons if x.trace_id.startswith("no_rethink")} == {"full"}
    assert {x.target for x in lessons if not x.trace_id.startswith("no_rethink")} == {"solution"}


def test_the_shuffle_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = world()
    part = Stages.model_validate(PAPER)
    first = part.schedule(rows, seed=1)
    again = part.schedule(random.Random(3).sample(rows, len(rows)), seed=1)
    assert first == again
    assert first != part.schedule(rows, seed=2)
    given = [x.trace_id for x in first if x.stage == "implicit"]
    assert given != sorted(given, key=lambda name: int(name.split("/")[1]))


@pytest.mark.parametrize(("order", "sign"), [("easy_to_hard", 1), ("hard_to_easy", -1)])
def test_sorting_by_level_puts_unknown_levels_last(order: str, sign: int) -> None:
    rows = [*world(("x",)), row("x", 99, None)]
    lessons = Single.model_validate({"of": "x", "order": order}).schedule(rows, seed=0)
    levels = {r.trace_id: r.level for r in rows}
    ordered = [levels[x.trace_id] for x in lessons]
    assert ordered[-1] is None
    known = [level for level in ordered[:-1] if level is not None]
    assert known == sorted(known, key=lambda level: sign * level)


def test_as_given_keeps_the_order_of_rows() -> None:
    lessons = Single.model_validate({"of": "x", "order": "as_given"}).schedule(world(("x",), 7), seed=5)
    assert [x.trace_id for x in lessons] == [f"x/{i}" for i in range(7)]
    assert {x.stage for x in lessons} == {"single"}


def test_variants_of_a_study_differ_by_one_field() -> None:
    rows = world()
    whole = Stages.model_validate(PAPER).schedule(rows, seed=0)
    first, second = whole[:40], whole[40:]
    assert Stages.model_validate({**PAPER, "only": ["implicit"]}).schedule(rows, 0) == first
    assert Stages.model_validate({**PAPER, "only": ["explicit"]}).schedule(rows, 0) == second
    assert Stages.model_validate({**PAPER, "arrange": "reversed"}).schedule(rows, 0) == second + first
    union = Stages.model_validate({**PAPER, "arrange": "union"}).schedule(rows, 0)
    assert {x.stage for x in union} == {"union"}
    assert sorted(x.trace_id for x in union) == sorted(x.trace_id for x in whole)
    assert {(x.trace_id, x.target) for x in union} == {(x.trace_id, x.target) for x in whole}
    head = {x.trace_id for x in union[:40]}
    assert head & {x.trace_id for x in first}
    assert head & {x.trace_id for x in second}


def test_a_level_that_nobody_has_is_named_with_the_levels_present() -> None:
    rows = [row("instruct", i, 1 + i % 3) for i in range(9)] + [row("no_think", 1, None)]
    with pytest.raises(UserError, match=r"stage 'implicit'.*'no_think'.*level 5; levels present: none \(and traces without"):
        Stages.model_validate(PAPER).schedule(rows, 0)
    with pytest.raises(UserError, match=r"levels 7 to 9; levels present: 1, 2, 3\."):
        Single.model_validate({"of": "instruct", "levels": [7, 9]}).schedule(rows, 0)


def test_an_output_that_nobody_made_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'instrukt'.*did you mean 'instruct'"):
        Single.model_validate({"of": "instrukt"}).schedule(world(), 0)


def test_unknown_levels_are_dropped_or_taken_as_said() -> None:
    rows = [row("x", 1, 5), row("x", 2, None), row("x", 3, 1)]
    share = {"from": "x", "levels": 5}
    for word, expected in (("drop", ["x/1"]), ("take", ["x/1", "x/2"])):
        part = Stages.model_validate({"stages": [{"name": "s", "take": [{**share, "unknown_level": word}]}]})
        assert sorted(x.trace_id for x in part.schedule(rows, 0)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"only": ["implict"]},
        {"stages": [PAPER["stages"][0], PAPER["stages"][0]]},
        {"stages": []},
        {"stages": [{"name": "s", "take": [{"from": "x", "levels": [4, 1]}]}]},
    ],
)
def test_nonsense_does_not_validate(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Stages.model_validate({**PAPER, **change})


def test_inputs_are_found_and_fields_survive_a_round_trip() -> None:
    part = Stages.model_validate(PAPER)
    assert set(inputs_of(part)) == {"instruct", "no_think", "no_rethink"}
    spec = part.as_dict()
    assert spec.pop("kind") == "stages"
    assert spec["stages"][0]["take"][0]["from"] == "instruct"
    assert Stages.model_validate(spec) == part
    assert inputs_of(Single.model_validate({"of": "x"})) == ("x",)
