"""The slow-thinking processor on fifteen problems: who is rewritten, what is verified, and which stage learns what."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from stillwise.arrows import Lesson
from stillwise.recipe.api import Recipe
from stillwise.recipe.load import find_binding
from stillwise.recipe.run import Result
from stillwise.records import Outcome, Trace
from stillwise.runtime import tables
from stillwise.runtime.tables import Judged, Scored

SIZES = {"evaluate.samples": 1, "evaluate.max_tokens": 8, "cots.temperatures": [0.6, 1.2]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("slow")
    own = yaml.safe_load(find_binding("slow_thinking", "micro").read_text(encoding="utf8"))
    own["problems"]["per_level"] = 3
    own["benchmarks"] = {"chain_sum": {"source": {"kind": "micro", "family": "chain_sum", "split": "heldout", "per_level": 1}}}
    (folder / "toy.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    recipe = Recipe.load("distilqwen/slow_thinking", binding=str(folder / "toy.yaml"), set=SIZES)
    return recipe.run(folder / "run", until="lessons", threads=1, progress="quiet")


def traces(run: Result, step: str) -> dict[str, Trace]:
    return {trace.id: trace for trace in tables.read(run.out / "traces" / f"{step}.parquet", Trace)}


def outcomes(run: Result, step: str) -> dict[str, Outcome]:
    return {row.trace_id: row.verdict.outcome for row in tables.read(run.out / "verdicts" / f"{step}.parquet", Judged)}


def labels(run: Result, step: str) -> dict[str, float | None]:
    [path] = run.out.glob(f"work/{step}/*/scores.parquet")
    return {row.trace_id: row.score.value for row in tables.read(path, Scored)}


def lessons(run: Result) -> dict[str, list[str]]:
    [path] = run.out.glob("work/lessons/*/lessons.parquet")
    found: dict[str, list[str]] = {}
    for lesson in tables.read(path, Lesson):
        found.setdefault(lesson.stage, []).append(lesson.trace_id)
    return found


def test_easy_and_hard_traces_are_rewritten_and_medium_ones_are_not(run: Result) -> None:
    before, fitted = labels(run, "labels"), traces(run, "fitted")
    edits = {(before[trace.parent or trace.id], trace.edit) for trace in fitted.values()}
    assert edits <= {(0.0, "extended"), (1.0, None), (2.0, "simplified")}
    assert len(edits) > 1
    assert set(before) == set(traces(run, "cots"))
    assert set(labels(run, "relabels")) == set(fitted)


def test_what_was_rewritten_is_verified_and_what_was_not_has_no_verdict(run: Result) -> None:
    judged = outcomes(run, "fitted")
    assert set(judged) == {name for name, trace in traces(run, "fitted").items() if trace.edit}


def test_the_medium_stage_sees_native_and_verified_ones_three_times_and_the_harder_one_right_originals(run: Result) -> None:
    stages, before, judged = lessons(run), labels(run, "labels"), outcomes(run, "fitted")
    assert next(iter(stages)) == "medium"
    fitted = traces(run, "fitted")
    wanted = {name for name, trace in fitted.items() if trace.edit is None or judged[name] is Outcome.CORRECT}
    assert Counter(stages["medium"]) == dict.fromkeys(wanted, 3)
    original = outcomes(run, "cots")
    hard = {name for name, label in before.items() if label == 2 and original[name] is Outcome.CORRECT}
    assert Counter(stages.get("harder", [])) == dict.fromkeys(hard, 1)


def test_the_report_says_what_is_left_and_how_labels_moved(run: Result) -> None:
    rows = {(row["step"], row["does"]): row for row in run.metrics["survival"]["stages"]}
    assert rows["lessons", "stage medium"]["kept_traces"] == len(set(lessons(run)["medium"]))
    moved = run.metrics["labels"]["fitted"]
    assert sum(count for counts in moved.values() for count in counts.values()) == len(traces(run, "fitted"))
    assert "What is left after each step" in (run.out / "tables.md").read_text()
