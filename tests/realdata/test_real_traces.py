"""Published traces of open models become records; the maths ones verify; doubt and length differ by paradigm as reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stillwise.problems.import_traces import import_files
from stillwise.records import Outcome, Problem, Trace
from stillwise.runtime import tables
from stillwise.runtime.graders import GraderPool
from stillwise.score.rethink import rethink_rates
from stillwise.verify.dispatch import ByAnswerKind
from stillwise.verify.maths import Maths
from tools import real_traces

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]


def imported(out: Path, *paths: Path) -> dict[str, Any]:
    with GraderPool() as pool:
        return import_files(list(paths), out, verify=partial(pool.verify, ByAnswerKind()), measure=rethink_rates)


@pytest.mark.parametrize("name", ["traces_deepseek_r1_math_5.jsonl", "traces_ollama_math_5.jsonl"])
def test_mathematical_traces_verify(name: str, real: Real, tmp_path: Path) -> None:
    summary = imported(tmp_path, real(name))
    assert (summary["problems"], summary["traces"], summary["failures"]) == (5, 5, {})
    assert summary["by_paradigm"]["think"]["verdicts"] == {"correct": 5}
    assert summary["by_paradigm"]["think"]["rules"] == {"boxed": 5}
    traces = tables.read(tmp_path / "traces.parquet", Trace)
    assert all(trace.span("thinking") and "\\boxed{" in (trace.span("solution") or "") for trace in traces)


def test_thinking_and_its_paired_file_without(real: Real, tmp_path: Path) -> None:
    names = ("traces_qwen3_30b_think_riddles.jsonl", "traces_qwen3_30b_nothink_riddles.jsonl")
    summary = imported(tmp_path, *map(real, names))
    assert (summary["problems"], summary["traces"], summary["failures"]) == (52, 312, {})
    think, plain = summary["by_paradigm"]["think"], summary["by_paradigm"]["no_think"]
    assert (think["traces"], plain["traces"]) == (156, 156)
    assert think["rethink_per_1000_words"] > 3 * plain["rethink_per_1000_words"]
    assert think["mean_length"] > 5 * plain["mean_length"]
    assert think["length_unit"] == "words"
    per_problem = Counter(trace.problem_id for trace in tables.read(tmp_path / "traces.parquet", Trace))
    assert set(per_problem.values()) == {6}


def test_qwq_riddles(real: Real, tmp_path: Path) -> None:
    summary = imported(tmp_path, real("traces_qwq32b_riddles.jsonl"))
    assert (summary["traces"], summary["by_paradigm"]["think"]["traces"]) == (106, 106)
    assert summary["by_paradigm"]["think"]["verdicts"] == {}


def test_eight_answers_to_each_of_a_hundred_problems(real: Real, tmp_path: Path) -> None:
    summary = imported(tmp_path, real("math_cot_100x8.jsonl"))["by_paradigm"]["no_think"]
    assert summary["traces"] == 800
    assert summary["mean_source_score"] == pytest.approx(0.91)
    assert summary["agrees_with_source"]["same"] >= 0.99 * summary["agrees_with_source"]["n"]
    assert summary["verdicts"]["correct"] >= 725


def test_a_perturbed_reference_refuses_real_traces(real: Real, tmp_path: Path) -> None:
    imported(tmp_path, real("traces_deepseek_r1_math_5.jsonl"))
    problems = {p.id: p for p in tables.read(tmp_path / "problems.parquet", Problem)}
    for trace in tables.read(tmp_path / "traces.parquet", Trace):
        other = Problem.of("q", f"1{problems[trace.problem_id].answer}")
        assert Maths().verify(other, trace).outcome is Outcome.INCORRECT


def test_answers_that_must_not_act(real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    rows = [json.loads(line) for line in real("grader_cases.jsonl").read_text().splitlines()]
    hostile = [row for row in rows if row["tier"] == "security"]
    assert len(hostile) == 3
    pairs = [
        (
            Problem.of(row["id"], str(row["gold"])),
            Trace(id="t", problem_id="p", role="r", model="m", paradigm="p", prompt="", text=f"\\boxed{{{row['pred']}}}"),
        )
        for row in hostile
    ]
    with GraderPool(timeout_s=2) as pool:
        found = pool.verify(Maths(), pairs)
    assert not any(row["expected"] for row in hostile)
    assert all(verdict.outcome is not Outcome.CORRECT for verdict in found)
    assert not list(tmp_path.iterdir())


def test_the_page_of_what_was_found_is_what_is_found(real: Real) -> None:
    data = real("traces_qwq32b_riddles.jsonl").parent
    page = Path(__file__).parents[2] / "docs" / "real-traces.md"
    assert page.read_text(encoding="utf8") == real_traces.written(real_traces.read(data), data)
