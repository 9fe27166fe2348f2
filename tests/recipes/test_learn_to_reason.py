"""Learn-to-Reason: each round's teacher is asked about that round's mistakes only, and its right corrections are learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stillwise.arrows import Lesson
from stillwise.recipe.api import Recipe
from stillwise.recipe.work import LESSONS
from stillwise.records import Outcome, Trace
from stillwise.runtime import tables
from stillwise.runtime.tables import Judged

BINDING = """\
roles: {instructor: "micro:reasoner", tutor: "micro:writer", student: "micro:student"}
problems: {kind: micro, family: chain_sum, per_level: 3}
benchmarks: {held: {source: {kind: micro, family: chain_sum, split: heldout, per_level: 1}}}
set:
  sample.paradigm.instruction: ""
  sample.max_tokens: 256
  sample.tries: 2
  train.instruction: ""
  train.epochs: 1
  train.learning_rate: 1.0e-3
  train.max_length: 512
  evaluate.instruction: ""
  evaluate.max_tokens: 16
  rounds.times: 2
"""


def read(out: Path, step: str, table: str, kind: type[Any]) -> list[Any]:
    return tables.read(next((out / "work" / step.replace("/", ".")).glob(f"*/{table}")), kind)


def test_each_round_corrects_its_own_mistakes_and_learns_all_corrections_so_far(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(BINDING)
    result = Recipe.load("learn-to-reason", binding=str(tmp_path / "toy.yaml")).run(
        tmp_path / "run", threads=1, progress="quiet"
    )
    right: set[str] = set()
    for number in (1, 2):
        exam = read(tmp_path / "run", f"exam/{number}", "verdicts.parquet", Judged)
        wrong = {row.trace_id for row in exam if row.verdict.outcome is Outcome.INCORRECT}
        corrected = read(tmp_path / "run", f"feedback/{number}", "traces.parquet", Trace)
        assert wrong
        assert {trace.parent for trace in corrected} == wrong, "every mistake of this round, and nothing else, was put to it"
        judged = read(tmp_path / "run", f"feedback/{number}", "verdicts.parquet", Judged)
        right |= {row.trace_id for row in judged if row.verdict.outcome is Outcome.CORRECT}
        learnt = {lesson.trace_id for lesson in read(tmp_path / "run", f"lessons/{number}", LESSONS, Lesson)}
        assert right <= learnt
        assert not learnt & wrong
        assert result.metrics["training"][f"learner/{number}"][0]["rows"] > 0
    stages = list((tmp_path / "run" / "work").glob("learner.*.single/*/done.json"))
    assert len(stages) == 2
