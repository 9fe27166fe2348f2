"""What a run adds for its report: cost, lengths, the sample of traces; and the report made again from the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillwise.cli import main
from stillwise.recipe.api import Recipe
from stillwise.records import Trace
from stillwise.runtime import tables
from tests.conftest import Toy

MADE_AGAIN = ("report.html", "tables.md", "tables.json")


def left(toy: Toy, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A toy run's metrics and its sample."""
    Recipe.load(toy.recipe, binding=str(toy.binding)).run(out, threads=1, progress="quiet")
    return json.loads((out / "metrics.json").read_text()), json.loads((out / "browse.json").read_text())


def test_a_run_counts_its_cost_and_samples_its_traces(toy: Toy, tmp_path: Path) -> None:
    metrics, browse = left(toy, tmp_path / "run")
    traces = tables.read(tmp_path / "run" / "traces" / "traces.parquet", Trace)
    assert metrics["cost"]["traces"]["tokens"] == sum(trace.num_tokens or 0 for trace in traces)
    assert metrics["order"]["cost"] == ["traces", "after", "distilled"]
    assert metrics["cost"]["distilled"]["training_steps"] > 0
    counted = metrics["lengths"]["traces"]
    assert sum(counted["correct"]) + sum(counted["wrong"]) + counted["unknown"] == len(traces)
    measured = metrics["evaluation"]["after"]["benchmarks"]["same"]["samples"]
    assert browse["shown"] == browse["of"] == len(traces) + measured
    assert {trace["in"] for trace in browse["traces"]} == {"traces", "after: same"}


def test_the_report_made_again_has_the_same_bytes(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    left(toy, out)
    before = {name: (out / name).read_bytes() for name in MADE_AGAIN}
    for name in MADE_AGAIN:
        (out / name).unlink()
    assert main(["report", str(out)]) == 0
    assert str(out / "report.html") in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in MADE_AGAIN} == before


def test_two_runs_sample_alike(toy: Toy, tmp_path: Path) -> None:
    left(toy, tmp_path / "a")
    left(toy, tmp_path / "b")
    for name in ("browse.json", *MADE_AGAIN):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize("damage", ["{", "[]", '{"traces": [{"problem": "x"}], "problems": {}}'])
def test_a_damaged_sample_is_named(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    out = tmp_path / "run"
    left(toy, out)
    (out / "browse.json").write_text(damage)
    assert main(["report", str(out)]) != 0
    assert "browse.json is damaged" in capsys.readouterr().err


def test_without_a_sample_the_report_has_no_browser(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "run"
    left(toy, out)
    assert 'id="browser"' in (out / "report.html").read_text()
    (out / "browse.json").unlink()
    assert main(["report", str(out)]) == 0
    assert 'id="browser"' not in (out / "report.html").read_text()


def test_imported_traces_can_be_read_in_the_report(tmp_path: Path) -> None:
    rows = [
        {"problem": f"{n} + 1?", "answer": str(n + 1), "thinking": "Add.", "content": f"\\boxed{{{n + 1}}}"} for n in range(4)
    ]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(tmp_path / "old.jsonl"), "--verify", "--out", str(tmp_path / "out")]) == 0
    browse = json.loads((tmp_path / "out" / "browse.json").read_text())
    assert (browse["shown"], browse["of"]) == (4, 4)
    assert {(trace["outcome"], trace["thinking"].strip()) for trace in browse["traces"]} == {("correct", "Add.")}
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert b'id="browser"' in page
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == page
