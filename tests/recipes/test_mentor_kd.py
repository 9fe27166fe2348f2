"""Mentor-KD: a mentor that the recipe trained answers and gives soft labels; only right rationales reach the student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Lesson
from stillwise.recipe.api import Recipe
from stillwise.recipe.work import LESSONS
from stillwise.records import Outcome, Trace
from stillwise.runtime import tables
from stillwise.runtime.files import file_digest
from stillwise.runtime.tables import Judged

TOY: dict[str, Any] = {
    "sample.max_tokens": 256,
    "sample.tries": 2,
    "train.epochs": 1,
    "evaluate.max_tokens": 16,
    "evaluate.samples": 1,
}


@dataclass(frozen=True)
class Ran:
    out: Path
    fresh: tuple[str, ...]

    def read(self, step: str, table: str, kind: type[Any]) -> list[Any]:
        """A step's table."""
        return tables.read(next((self.out / "work" / step).glob(f"*/{table}")), kind)

    def weights(self, step: str) -> str:
        """A digest of a training's weights."""
        return file_digest(next((self.out / "work").glob(f"{step}.single/*/student/model.safetensors")))


def ran(out: Path, **more: Any) -> Ran:
    binding = out.parent / "toy.yaml"
    binding.write_text(
        "roles: {reasoner: 'micro:reasoner', mentor: 'micro:base', student: 'micro:student'}\n"
        "problems: {kind: micro, family: chain_sum, per_level: 3}\n"
        "benchmarks: {held: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 1}}}\n"
        "set: {sample.paradigm.instruction: '', train.instruction: '', evaluate.instruction: '', train.learning_rate: 1.0e-3}\n"
    )
    recipe = Recipe.load("mentor-kd", binding=str(binding), set={**TOY, **more})
    return Ran(out, recipe.run(out, threads=1, progress="quiet").fresh)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(tmp_path_factory.mktemp("mentor") / "run")


def test_only_right_rationales_of_teacher_and_mentor_reach_the_student(whole: Ran) -> None:
    right: set[str] = set()
    makers: dict[str, str] = {}
    for step in ("taught", "added"):
        right |= {
            row.trace_id for row in whole.read(step, "verdicts.parquet", Judged) if row.verdict.outcome is Outcome.CORRECT
        }
        makers |= {trace.id: trace.role for trace in whole.read(step, "traces.parquet", Trace)}
    assert right != set(makers), "somebody was wrong now and then, or this test shows nothing"
    learnt = {lesson.trace_id for lesson in whole.read("lessons", LESSONS, Lesson)}
    assert learnt == right
    assert {makers[trace] for trace in learnt} == {"reasoner", "tutored"}


def test_the_mentor_stays_as_it_is_while_the_student_learns_and_decides_what_it_learns(whole: Ran) -> None:
    mentor, student = whole.weights("tutored"), whole.weights("distilled")
    again = ran(whole.out, **{"distilled.share": 0.0})
    assert again.fresh == ("distilled", "after"), "the mentor and what it wrote were found as they were"
    assert {file_digest(path) for path in (whole.out / "work").glob("tutored.single/*/student/model.safetensors")} == {mentor}
    students = {file_digest(path) for path in (whole.out / "work").glob("distilled.single/*/student/model.safetensors")}
    assert len(students) == 2, "without its share the mentor's distributions would not matter"
    assert student in students


def test_another_mentor_makes_another_student(whole: Ran) -> None:
    assert ran(whole.out, **{"tutored.learning_rate": 2.0e-3}).fresh[0] == "tutored"
