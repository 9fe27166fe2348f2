"""Existing traces stand for a sampler: matched by id or question, judged anew, and part of the fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.errors import UserError
from stillwise.problems.per_level import PerLevel
from stillwise.problems.recorded import Recorded, RecordedProblems
from stillwise.recipe.api import Recipe
from stillwise.records import Failure, Problem
from tests.conftest import Toy


def trace_file(toy: Toy, wrong: int = 0, gap: str = " ") -> Path:
    """A thought for every problem of the toy; the first ``wrong`` of them end in a wrong answer."""
    rows = [json.loads(line) for line in toy.problems.read_text().splitlines()]
    lines = []
    for place, row in enumerate(rows):
        said = "0" if place < wrong else row["answer"]
        thinking = (
            f"First I add the tens of both of the two numbers.\n\nThen I add the ones of both, which gives {row['answer']}."
        )
        question = row["question"].replace(" ", gap, 1)
        lines.append({**row, "question": question, "thinking": thinking, "content": f"\\boxed{{{said}}}"})
    path = toy.folder / "traces.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def titration(toy: Toy) -> Path:
    path = toy.folder / "titration.yaml"
    path.write_text(
        "paper: {title: Toy}\nabout: titration\nroles: [teacher, reasoner]\nsteps:\n"
        "  - sample: {as: think, by: reasoner, paradigm: think}\n"
        "  - probe: {as: titrated, by: teacher, tokenizer: teacher, max_tokens: 64,"
        " paradigm: {kind: instruct, instruction: ''}}\n"
    )
    return path


def test_a_titration_of_imported_traces_end_to_end(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "imported", tmp_path / "run"
    assert main(["import", str(trace_file(toy, wrong=1)), "--out", str(folder)]) == 0
    words = ["run", str(titration(toy)), "--traces", f"think={folder}", "--role", f"teacher=scripted:{toy.script}"]
    assert main([*words, "--out", str(out), "--quiet", "--threads", "1"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["problems"]["problems"]["n"] == 8, "the problems are those of the traces"
    assert "recorded" in (out / "recipe.yaml").read_text()
    (section,) = metrics["titration"].values()
    found = section["groups"]["low"]
    assert (found["n"], found["solved"], found["censored"]) == (7, 6, {"never_solved": 1}), "a wrong trace is no scaffold"
    assert found["context_ratio"]["value"] < 1
    assert section["tokenizer"] == "teacher"
    assert sorted(path.name for path in (out / "findings").iterdir()) == ["titrated.parquet"]


def test_other_traces_are_other_work(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(titration(toy)), tmp_path / "run"

    def fresh(wrong: int) -> tuple[str, ...]:
        traces, roles = {"think": str(trace_file(toy, wrong))}, {"teacher": f"scripted:{toy.script}"}
        return recipe.run(out, roles=roles, traces=traces, threads=1, progress="quiet").fresh

    assert fresh(0) == ("think", "titrated")
    assert fresh(0) == ()
    assert fresh(1) == ("think", "titrated")


def test_recorded_traces_find_their_problem_by_its_words(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe.load(titration(toy), binding=str(toy.binding))
    result = recipe.run(
        tmp_path / "run", threads=1, progress="quiet", traces={"think": str(trace_file(toy, gap="\n"))}, until="think"
    )
    assert result.metrics["sampling"]["think"]["solved"] == 8
    assert "problems" not in result.metrics["failures"]


def test_what_is_no_trace_is_said(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(titration(toy)), "--role", f"teacher=scripted:{toy.script}", "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*words, "--traces", "think=missing.jsonl"]) == 2
    assert "missing.jsonl does not exist" in capsys.readouterr().err
    assert main([*words, "--traces", f"thnk={trace_file(toy)}"]) == 2
    assert "did you mean 'think'" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"holds no problems\.parquet"):
        Recorded(path=str(toy.folder)).outside()
    bare = toy.folder / "bare.jsonl"
    bare.write_text('{"question": "Why?", "thinking": "a", "content": "b"}\n')
    (failure,) = RecordedProblems(path=str(bare)).problems()
    assert isinstance(failure, Failure)
    assert failure.reason == "no_answer"


def test_equally_many_problems_of_each_level() -> None:
    source = PerLevel.model_validate({"of": {"kind": "micro", "family": "chain_sum", "per_level": 6}, "num": 2})
    chosen = [item for item in source.problems() if isinstance(item, Problem)]
    assert sorted(problem.level or 0 for problem in chosen) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert chosen == list(source.problems())
