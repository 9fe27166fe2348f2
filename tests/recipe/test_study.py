"""A study trains each student with each seed on the same traces, and says what is wrong with its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.errors import RecipeError, UserError
from stillwise.recipe.study import read_study, run_study
from tests.conftest import Toy


def study(toy: Toy, **changes: str) -> Path:
    text = f"""\
about: toy students
binding: {toy.binding}
reference: Both
seeds: 2
set: {{evaluate.samples: 1}}
students:
  Both: {{recipe: {toy.recipe}}}
  Easy only: {{recipe: {toy.recipe}, set: {{lessons.only: [easy]}}}}
  Easy, matched: {{recipe: {toy.recipe}, set: {{lessons.only: [easy]}}, matched_to: Both}}
"""
    for old, new in changes.items():
        text = text.replace(old, new)
    path = toy.folder / "study.yaml"
    path.write_text(text)
    return path


def test_students_share_traces_and_differ_in_seed(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "study"
    table = out / "missing" / "dir" / "x.md"
    found = run_study(str(study(toy)), out, threads=1, progress="quiet", table=table)
    assert table.read_text() == found.markdown
    assert len(list((out / "work" / "traces").iterdir())) == 1, "the teacher is asked once for all"
    assert len(list((out / "work" / "after").iterdir())) == 6, "three students, two seeds"
    assert {name: len(runs) for name, runs in found.metrics.items()} == {"Both": 2, "Easy only": 2, "Easy, matched": 2}
    assert "Easy only" in found.markdown
    assert json.loads((out / "study.json").read_text()).keys() == found.metrics.keys()


def test_matched_students_take_the_references_steps(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "study"
    run_study(str(study(toy)), out, seeds=1, threads=1, progress="quiet")
    steps = [json.loads(p.read_text())["facts"]["steps"] for p in sorted((out / "work" / "distilled.easy").glob("*/done.json"))]
    hard = [json.loads(p.read_text())["facts"]["steps"] for p in (out / "work" / "distilled.hard").glob("*/done.json")]
    assert max(steps) == min(steps) + sum(hard)


def test_faults_of_a_study(toy: Toy) -> None:
    with pytest.raises(RecipeError, match="did you mean 'Both'"):
        read_study(study(toy, **{"reference: Both": "reference: Bot"}))
    with pytest.raises(RecipeError, match="no earlier student is called"):
        read_study(study(toy, **{"matched_to: Both": "matched_to: Hard"}))


def test_a_table_that_cannot_be_written_is_refused_before_the_run(toy: Toy, tmp_path: Path) -> None:
    out, file = tmp_path / "study", tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="cannot write in"):
        run_study(str(study(toy)), out, table=file / "dir" / "x.md")
    with pytest.raises(UserError, match="is a folder"):
        run_study(str(study(toy)), out, table=tmp_path)
    with pytest.raises(UserError, match="at least 1"):
        run_study(str(study(toy)), out, seeds=0)
    assert not out.exists()


def test_a_student_may_have_problems_and_models_of_its_own(toy: Toy, tmp_path: Path) -> None:
    fewer = toy.folder / "fewer.jsonl"
    fewer.write_text("".join(toy.problems.read_text().splitlines(keepends=True)[:4]))
    line = f"  Fewer: {{recipe: {toy.recipe}, problems: {{kind: file, path: '{fewer}'}}, roles: {{student: 'micro:base'}}}}\n"
    path = study(toy, **{"seeds: 2": "seeds: 1\nshow: [tokens_by_level]"})
    path.write_text(path.read_text() + line)
    out = tmp_path / "study"
    found = run_study(str(path), out, threads=1, progress="quiet")
    asked = [json.loads(p.read_text())["facts"]["traces"] for p in (out / "work" / "traces").glob("*/done.json")]
    assert len(asked) == 2
    assert min(asked) < max(asked)
    revisions = {name: runs[0]["revision"] for name, runs in found.metrics.items()}
    assert revisions["Fewer"] != revisions["Both"]
    assert "## same: tokens per answer by level" in found.markdown
