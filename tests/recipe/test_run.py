"""A toy run end to end: outputs, resume, what a change redoes, and every user's mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.errors import CorruptOutput
from stillwise.recipe.api import Recipe
from stillwise.records import Trace
from stillwise.runtime import tables
from stillwise.runtime.store import RunFolder
from tests.conftest import Toy


def test_a_run_leaves_all_that_a_user_looks_for(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(toy.command(out)) == 0
    printed = capsys.readouterr().out
    assert f"report: {out / 'report.html'}" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["sampling"]["traces"]["solved"] == 7
    assert metrics["selection"]["kept"]["dropped"] == {"no_correct:traces": 1}
    assert [stage["stage"] for stage in metrics["training"]["distilled"]] == ["easy", "hard"]
    assert metrics["evaluation"]["after"]["benchmarks"]["same"]["problems"] == 8
    assert (out / "student" / "model.safetensors").is_file()
    traces = tables.read(out / "traces" / "traces.parquet", Trace)
    assert len(traces) == 9, "eight first tries and one second try of the unsolved problem"
    assert all(trace.history for trace in traces)


def test_a_second_run_does_nothing_and_a_change_redoes_what_depends_on_it(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(toy.recipe, binding=str(toy.binding)), tmp_path / "run"
    first = recipe.run(out, threads=1, progress="quiet")
    before = (out / "metrics.json").read_bytes()
    assert recipe.run(out, threads=1, progress="quiet").fresh == ()
    assert (out / "metrics.json").read_bytes() == before
    changed = Recipe.load(toy.recipe, binding=str(toy.binding), set={"train.epochs": 2})
    assert changed.run(out, threads=1, progress="quiet").fresh == ("distilled", "after")
    assert first.fresh == ("traces", "kept", "lessons", "distilled", "after")


def test_two_runs_give_equal_bytes(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe.load(toy.recipe, binding=str(toy.binding))
    for name in ("a", "b"):
        recipe.run(tmp_path / name, threads=1, progress="quiet")
    for file in ("metrics.json", "recipe.yaml", "traces/traces.parquet", "student/model.safetensors", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_damaged_shard_is_named_and_not_reused(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(toy.recipe, binding=str(toy.binding)), tmp_path / "run"
    recipe.run(out, threads=1, progress="quiet", until="traces")
    shard = next((out / "work" / "traces").glob("*/traces.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptOutput, match=r"traces\.parquet is not as it was written"):
        recipe.run(out, threads=1, progress="quiet")


def test_a_second_process_is_refused(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    with RunFolder(out).locked():
        assert main(toy.command(out)) == 2
    assert "is in use by process" in capsys.readouterr().err
    assert not (out / "metrics.json").exists()


def refused(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The message of a run that is refused before any work."""
    out = tmp_path / "run"
    assert main(toy.command(out, *more)) == 2
    assert not (out / "metrics.json").exists()
    return capsys.readouterr().err


def test_missing_and_empty_problems(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(toy, tmp_path, capsys, "--problems", str(toy.folder / "problem.jsonl"))
    assert "problem.jsonl" in message
    assert "problems.jsonl" in message, "the nearest file is named"
    empty = toy.folder / "empty.jsonl"
    empty.write_text("")
    assert "empty.jsonl" in refused(toy, tmp_path, capsys, "--problems", str(empty))


def test_a_problem_without_an_answer_is_counted(toy: Toy, tmp_path: Path) -> None:
    with toy.problems.open("a") as file:
        file.write(json.dumps({"question": "What is nothing?", "level": 1}) + "\n")
    recipe = Recipe.load(toy.recipe, binding=str(toy.binding))
    metrics = recipe.run(tmp_path / "run", threads=1, progress="quiet", until="traces").metrics
    assert metrics["failures"]["problems"] == {"no_answer": 1}


def test_a_level_that_nobody_has(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.recipe.write_text(toy.recipe.read_text().replace("levels: 2", "levels: 5"))
    message = refused(toy, tmp_path, capsys)
    assert "level 5" in message
    assert "levels present: 1, 2" in message


def test_unbound_roles_and_bad_model_folders(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = toy.folder / "bare"
    bare.mkdir()
    assert "no config.json" in refused(toy, tmp_path, capsys, "--student", str(bare))
    (bare / "config.json").write_text("{}")
    (bare / "pytorch_model.bin").write_bytes(b"x")
    assert "no *.safetensors" in refused(toy, tmp_path, capsys, "--student", str(bare))
    (bare / "model.safetensors").write_bytes(b"x")
    assert "model.safetensors is damaged" in refused(toy, tmp_path, capsys, "--student", str(bare))
    (bare / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert "no chat template" in refused(toy, tmp_path, capsys, "--student", str(bare))
    toy.binding.write_text(toy.binding.read_text().replace("teacher:", "techer:"))
    assert "role 'teacher' has no model" in refused(toy, tmp_path, capsys)


def test_check_prints_faults_and_exits_with_2(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(toy.recipe)]) == 0
    toy.recipe.write_text(toy.recipe.read_text().replace("tries:", "trys:"))
    assert main(["check", str(toy.recipe), "curriculum"]) == 2
    captured = capsys.readouterr()
    assert "did you mean 'tries'?" in captured.err
    assert "curriculum: 10 steps, no faults" in captured.out


def test_status_and_gc(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    Recipe.load(toy.recipe, binding=str(toy.binding)).run(out, threads=1, progress="quiet")
    changed = Recipe.load(toy.recipe, binding=str(toy.binding), set={"sample.tries": 1})
    changed.run(out, threads=1, progress="quiet", until="traces")
    assert main(["status", str(out)]) == 0
    assert "not finished" in capsys.readouterr().out
    assert main(["gc", str(out), "--dry-run"]) == 0
    assert "nothing to remove" in capsys.readouterr().out, "a run that stopped early gives nothing up"
    changed.run(out, threads=1, progress="quiet")
    assert main(["status", str(out)]) == 0
    assert "not finished" not in capsys.readouterr().out
    assert main(["gc", str(out), "--dry-run"]) == 0
    assert "would remove" in capsys.readouterr().out
    assert len(list((out / "work" / "traces").iterdir())) == 2
    assert main(["gc", str(out)]) == 0
    assert len(list((out / "work" / "traces").iterdir())) == 1
    assert main(["report", str(out)]) == 0


def test_nothing_of_the_users_is_overwritten(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = toy.recipe.read_bytes()
    assert main(toy.command(toy.folder)) == 2
    assert "not a run's" in capsys.readouterr().err
    assert toy.recipe.read_bytes() == before
    out = tmp_path / "run"
    assert main(toy.command(out)) == 0
    metrics = (out / "metrics.json").read_bytes()
    assert main(["evaluate", f"scripted:{toy.script}", "--problems", str(toy.problems), "--out", str(out), "--quiet"]) == 2
    assert "measure into another folder" in capsys.readouterr().err
    assert main(toy.command(out, "--student", str(out / "student"))) == 2
    assert "would replace" in capsys.readouterr().err
    assert (out / "metrics.json").read_bytes() == metrics


def test_another_level_of_a_problem_is_other_work(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(toy.recipe, binding=str(toy.binding)), tmp_path / "run"
    recipe.run(out, threads=1, progress="quiet", until="kept")
    toy.problems.write_text(toy.problems.read_text().replace('"level": 1', '"level": 2', 1))
    assert "kept" in recipe.run(out, threads=1, progress="quiet", until="kept").fresh


def test_a_damaged_student_is_named(toy: Toy, tmp_path: Path) -> None:
    recipe, out = Recipe.load(toy.recipe, binding=str(toy.binding)), tmp_path / "run"
    recipe.run(out, threads=1, progress="quiet", until="distilled")
    weights = next((out / "work").glob("distilled.hard/*/student/model.safetensors"))
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptOutput, match=r"model\.safetensors is not as it was written"):
        recipe.run(out, threads=1, progress="quiet")


def test_an_unknown_last_step_is_refused(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'traces'" in refused(toy, tmp_path, capsys, "--until", "trace")


def test_traces_are_scored(toy: Toy, tmp_path: Path) -> None:
    score = "  - score: {as: words, kind: rethink_words, from: traces}\n  - select"
    toy.recipe.write_text(toy.recipe.read_text().replace("  - select", score))
    recipe, out = Recipe.load(toy.recipe, binding=str(toy.binding)), tmp_path / "run"
    assert "words" in recipe.run(out, threads=1, progress="quiet", until="words").fresh
    assert len(list((out / "work" / "words").glob("*/scores.parquet"))) == 1
