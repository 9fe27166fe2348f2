"""Scores of an earlier step in a selection, a curriculum and a rewriting; and what the report says is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.arrows import Lesson
from stillwise.cli import main
from stillwise.errors import RecipeError
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import load
from stillwise.recipe.run import Result
from stillwise.records import Trace
from stillwise.runtime import tables
from tests.conftest import Toy

STEPS = """\
paper: {title: Toy}
about: scores decide what is learnt, and in which order
roles: [teacher, student]
steps:
  - sample: {as: traces, by: teacher, paradigm: {kind: instruct, instruction: ""}, tries: 1, max_tokens: 64}
  - score: {as: marks, kind: MARKED}
  - select: {as: kept, kind: all_correct, of: [traces]}
  - curriculum:
      as: lessons
      stages: [{name: all, take: [{from: traces, where: {WHERE}}], order: hard_to_easy, by: marks}]
  - train: {as: distilled, epochs: 1, learning_rate: 1.0e-3, batch_tokens: 512, max_length: 256, instruction: ""}
  - evaluate: {as: after, model: distilled, samples: 1, max_tokens: 24, instruction: ""}
"""


def recipe(toy: Toy, kind: str = "length, unit: characters", where: str = "marks: [0, 99]") -> Path:
    path = toy.folder / "scored.yaml"
    path.write_text(STEPS.replace("MARKED", kind).replace("{WHERE}", "{" + where + "}"))
    return path


def until_lessons(toy: Toy, path: Path, out: Path) -> Result:
    found = Recipe.load(path, binding=str(toy.binding))
    return found.run(out, until="lessons", threads=1, progress="quiet")


def learnt(result: Result) -> list[int]:
    """Characters of the lessons' traces, in the order of the lessons."""
    lengths = {trace.id: len(trace.text) for trace in tables.read(result.out / "traces" / "traces.parquet", Trace)}
    newest = max(result.out.glob("work/lessons/*/lessons.parquet"), key=lambda path: path.stat().st_mtime_ns)
    return [lengths[lesson.trace_id] for lesson in tables.read(newest, Lesson)]


def test_a_curriculum_takes_and_orders_by_a_scoring_step(toy: Toy, tmp_path: Path) -> None:
    everything = until_lessons(toy, recipe(toy), tmp_path / "run")
    order = learnt(everything)
    assert len(order) == 7
    assert order == sorted(order, reverse=True)
    assert min(order) < max(order)
    long = until_lessons(toy, recipe(toy, where=f"marks: [{max(order)}, null]"), tmp_path / "run")
    assert set(learnt(long)) == {max(order)}
    rows = {row["step"]: row for row in long.metrics["survival"]["stages"]}
    assert [rows[name]["kept_traces"] for name in ("traces", "marks", "kept")] == [7, 8, 7]
    assert rows["lessons"]["kept_problems"] == len(learnt(long))


def test_changing_the_scorer_makes_the_lessons_again_and_nothing_before_it(toy: Toy, tmp_path: Path) -> None:
    until_lessons(toy, recipe(toy), tmp_path / "run")
    again = until_lessons(toy, recipe(toy, "length, unit: words"), tmp_path / "run")
    assert set(again.fresh) == {"marks", "lessons"}


def test_naming_traces_where_scores_belong_is_a_fault_with_the_nearest_step(toy: Toy) -> None:
    with pytest.raises(RecipeError, match="'traces' makes traces, not scores"):
        load(recipe(toy, where="traces: [0, 1]"), toy.binding)
    with pytest.raises(RecipeError, match="no earlier step is called 'mark'; did you mean 'marks'"):
        load(recipe(toy, where="mark: [0, 1]"), toy.binding)


def test_the_plan_counts_it(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe(toy)), "--binding", str(toy.binding)]) == 0
    assert "score length" in capsys.readouterr().out
