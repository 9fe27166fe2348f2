"""The step words ``curate`` and ``filter`` in a run: later steps see what they left, and what went is told with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stillwise.errors import UserError
from stillwise.recipe.api import Recipe
from stillwise.records import Failure, Problem, Trace
from stillwise.runtime import tables

ASKED = "A bakery sells 12 loaves every hour and opens for 9 hours on a market day. How many loaves is that?"
SUMS = tuple(f"Nora has {a} red pens and {a + 2} blue ones. How many pens does she have in all?" for a in range(3, 11))
RECIPE = """
paper: {title: Toy}
about: curates, samples, filters
roles: [teacher]
steps:
  - curate: {as: once, kind: dedupe}
  - curate: {as: clean, kind: decontaminate}
  - curate: {as: few, kind: resample, total: 5}
  - sample: {as: traces, by: teacher, paradigm: {kind: instruct, instruction: ''}, tries: 1, max_tokens: 64}
  - filter: {as: kept, kind: decontaminate_traces}
  - select: {as: first, kind: first_correct, from: kept}
"""


def lines(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Eight sums, a copy of the first in other letters, a wrapped benchmark question; one answer restates the benchmark."""
    questions = [*SUMS, SUMS[0].upper(), f"Please answer this. {ASKED}"]
    problems = lines(tmp_path / "p.jsonl", [{"question": q, "answer": "1", "level": 1} for q in questions])
    bench = lines(tmp_path / "b.jsonl", [{"question": ASKED, "answer": "108"}])
    answers = [{"question": q, "answer": f"As in: {ASKED} \\boxed{{1}}" if q == SUMS[1] else "\\boxed{1}"} for q in questions]
    script = lines(tmp_path / "t.jsonl", answers)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "bound.yaml").write_text(
        f"roles: {{teacher: 'scripted:{script}'}}\nproblems: {{kind: file, path: '{problems}'}}\n"
        f"benchmarks: {{bread: {{source: {{kind: file, path: '{bench}'}}}}}}\n"
    )
    return Recipe.load(tmp_path / "toy.yaml", binding=str(tmp_path / "bound.yaml"), set={"few.total": 8})


def test_what_a_curator_drops_is_not_sampled(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = recipe.run(out, threads=1, progress="quiet").metrics
    assert [p.question for p in tables.read(out / "problems.parquet", Problem)] == list(SUMS)
    assert len(tables.read(out / "traces" / "traces.parquet", Trace)) == 8
    assert metrics["failures"]["once"] == {"duplicate": 1}
    assert metrics["failures"]["clean"] == {"leak:bread": 1}
    assert metrics["failures"]["kept"] == {"leak:bread": 1}
    assert metrics["selection"]["first"]["kept"] == 7
    assert metrics["curation"]["clean"]["figures"]["by_benchmark"]["bread"] == {
        "questions": 1,
        "questions_found": 1,
        "items": 1,
    }
    assert metrics["curation"]["few"]["figures"]["came"] == 8
    (leak,) = tables.read(out / "failures" / "kept.parquet", Failure)
    assert ASKED.rstrip("?") in leak.detail


def test_a_second_run_finds_everything_and_a_change_redoes_what_follows(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe.run(out, threads=1, progress="quiet")
    assert recipe.run(out, threads=1, progress="quiet").fresh == ()
    fewer = Recipe.load(tmp_path / "toy.yaml", binding=str(tmp_path / "bound.yaml"))
    assert fewer.run(out, threads=1, progress="quiet").fresh == ("few", "traces", "kept", "first")
    assert len(tables.read(out / "problems.parquet", Problem)) == 5


def test_a_curator_that_leaves_nothing_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"question": ASKED, "answer": "108"}) + "\n")
    with pytest.raises(UserError, match="nothing is left of 1 problems"):
        recipe.run(tmp_path / "run", threads=1, progress="quiet")
