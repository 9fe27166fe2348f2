"""Other problems for some steps: which step is about which, what a change redoes, and what is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.arrows import Row
from stillwise.errors import StepError, UserError
from stillwise.problems.elsewhere import Elsewhere, HardFor, Own
from stillwise.problems.gym import Micro
from stillwise.recipe.api import Recipe
from stillwise.records import Failure, Problem, Trace
from stillwise.runtime import tables
from tests.conftest import RECIPE, Toy

POSED = """\
  - pose: {as: sums, kind: elsewhere, sources: [{kind: micro, family: basic_arithmetic, per_level: 1}]}
  - sample: {as: others, by: student, kind: all, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 8}
  - select: {as: whole, kind: every, cut_off: take, from: others}
  - curriculum: {as: warming, kind: single, from: whole}
  - train: {as: warm, from: warming, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512, max_length: 256, instruction: ""}
  - pose: {as: back, kind: own}
  - curate: {as: five, kind: resample, total: 5}
  - sample: {as: again, by: warm, kind: all, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 8}
"""


def problems_of(out: Path, step: str) -> set[str]:
    return {trace.problem_id for trace in tables.read(out / "traces" / f"{step}.parquet", Trace)}


def test_steps_are_about_what_was_posed_last(toy: Toy, tmp_path: Path) -> None:
    path, out = tmp_path / "posed.yaml", tmp_path / "run"
    path.write_text(RECIPE + POSED)
    recipe = Recipe.load(path, binding=str(toy.binding))
    bounds = {bound.step: bound.requests for bound in recipe.plan().bounds}
    assert (bounds["traces"], bounds["others"], bounds["again"]) == (16, 5, 5)
    result = recipe.run(out, threads=1, progress="quiet")
    own, others, again = (problems_of(out, step) for step in ("traces", "others", "again"))
    assert (len(own), len(others), len(again)) == (8, 5, 5)
    assert again < own
    assert not others & own
    assert result.metrics["sampling"]["others"]["n"] == 5
    assert result.metrics["sampling"]["traces"]["n"] == 8
    assert result.metrics["problems"]["problems"]["n"] == 13, "those of all steps"
    assert result.metrics["training"]["warm"][0]["rows"] > 0
    assert recipe.run(out, threads=1, progress="quiet").fresh == ()
    path.write_text((RECIPE + POSED).replace("per_level: 1}", "per_level: 2}"))
    fresh = Recipe.load(path, binding=str(toy.binding)).run(out, threads=1, progress="quiet").fresh
    assert fresh[:2] == ("sums", "others")
    assert "traces" not in fresh


def test_a_problem_that_comes_twice_counts_once_and_the_own_are_as_they_were() -> None:
    source = Micro(family="chain_sum", per_level=2)
    once = [item for item in source.problems() if isinstance(item, Problem)]
    assert list(Elsewhere(sources=(source, source)).pose((), (), ())) == once
    assert list(Own().pose(once, (), ())) == once


def test_no_problem_at_all_is_a_clear_error(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text('{"question": "", "answer": "1"}\n')
    path = tmp_path / "posed.yaml"
    path.write_text(
        RECIPE + f"  - pose: {{as: none, kind: elsewhere, sources: [{{kind: file, path: '{tmp_path / 'none.jsonl'}'}}]}}\n"
    )
    with pytest.raises((UserError, StepError), match=r"no usable problem|no row"):
        Recipe.load(path, binding=str(toy.binding)).run(tmp_path / "run", threads=1, progress="quiet")


def tried(problem: Problem, *outcomes: str) -> list[Row]:
    return [
        Row(
            trace_id=f"{problem.id}{number}",
            problem_id=problem.id,
            output="tries",
            level=None,
            outcome=outcome,
            num_tokens=1,
            sample_index=number,
        )
        for number, outcome in enumerate(outcomes)
    ]


def test_what_a_model_solves_by_itself_goes() -> None:
    once, never, half, unknown = (Problem.of(f"{number}?", "1") for number in range(4))
    now = [once, never, half, unknown]
    rows = [
        *tried(once, "correct", "incorrect", "incorrect", "incorrect"),
        *tried(never, "incorrect", "truncated", "undecided"),
        *tried(half, "correct", "incorrect"),
        *tried(unknown, "undecided"),
    ]
    posed = list(HardFor(attempts="tries").pose((), now, rows))
    assert [item for item in posed if isinstance(item, Problem)] == [never, unknown]
    assert [(item.item, item.detail) for item in posed if isinstance(item, Failure)] == [
        (once.id, "1 of 4"),
        (half.id, "1 of 2"),
    ]
    kept = HardFor(attempts="tries", solved_at_most=0.25).pose((), now, rows)
    assert [item for item in kept if isinstance(item, Problem)] == [once, never, unknown]
