"""What a user types: flags, faults with exit code 2, imports, measuring one model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stillwise.cli import build_parser, main
from stillwise.recipe import listing, load
from stillwise.recipe.load import recipe_folder
from tests.conftest import Toy


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "check", "plan", "list", "report", "evaluate", "import", "status", "gc", "study"):
        with pytest.raises(SystemExit) as done:
            build_parser().parse_args([command, "--help"])
        assert done.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_columns_of_ones_own_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"ask": f"{a} + {a}?", "gold": str(2 * a)} for a in range(40)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = ["plan", "curriculum", "--micro", "--problems", str(path), "--column", "answer=gold"]
    assert main([*plan, "--column", "question=ask"]) == 0
    printed = capsys.readouterr().out
    kept, held = re.search(r"^problems: (\d+)$", printed, re.M), re.search(r"^measured on: heldout (\d+)$", printed, re.M)
    assert kept
    assert held
    assert int(kept[1]) + int(held[1]) == 40
    assert int(held[1]) > 0
    assert "did you mean 'ask'" in failing([*plan, "--column", "question=aks"], capsys)
    assert "did you mean 'question'" in failing([*plan, "--column", "questio=ask"], capsys)


def test_flags_of_the_wrong_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert "needs the form" in failing(["plan", "curriculum", "--micro", "--role", "reasoner"], capsys)
    assert "needs the form" in failing(["plan", "curriculum", "--micro", "--set", "tries"], capsys)
    assert "did you mean 'curriculum'" in failing(["plan", "curicculum"], capsys)
    assert "did you mean 'instructor'" in failing(["plan", "curriculum", "--micro", "--role", "instuctor=micro:base"], capsys)
    assert "of how many problems?" in failing(["plan", "curriculum"], capsys)
    unknown = failing(["plan", "curriculum", "--binding", "nosuch"], capsys)
    assert "known: micro, paper" in unknown
    assert "no plug-in module" in failing(["plan", "curriculum", "--micro", "--plugin", "no_such_module"], capsys)


def test_listing_names_recipes_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "single-think-solution" in capsys.readouterr().out
    assert main(["list", "--parts"]) == 0
    assert "no_rethink" in capsys.readouterr().out


def test_recipes_are_listed_with_family_cost_and_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"evaluation": name, "benchmark": "sums", "pass_at_1": {"value": value}}
        for name, value in (("before", 0.25), ("after", 0.5))
    ]
    (tmp_path / "results.json").write_text(json.dumps({"curriculum": {"rows": rows, "date": "2026-01-02"}}))
    for name in ("curriculum.yaml", "paradigm_probe.yaml"):
        (tmp_path / name).write_bytes((recipe_folder() / name).read_bytes())
    (tmp_path / "bindings").symlink_to(recipe_folder() / "bindings")
    for module in (load, listing):
        monkeypatch.setattr(module, "recipe_folder", lambda: tmp_path)
    assert main(["list", "recipes"]) == 0
    head, curriculum, probe = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["recipe", "family"]
    assert curriculum.split()[:2] == ["curriculum", "sft"]
    assert "120,000 calls at most" in curriculum
    assert "sums 25 -> 50 % (2026-01-02)" in curriculum
    assert probe.split()[1] == "probe"
    assert "not measured" in probe


def test_measuring_one_model(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m"
    arguments = ["evaluate", f"scripted:{toy.script}", "--problems", str(toy.problems), "--samples", "2", "--instruction", ""]
    assert main([*arguments, "--out", str(out), "--quiet"]) == 0
    found = json.loads((out / "metrics.json").read_text())["evaluation"]["measured"]["benchmarks"]
    assert next(iter(found.values()))["pass_at_1"]["value"] == 0.875
    assert "level 2" in capsys.readouterr().out


def test_imported_traces_are_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"problem": "1 + 1?", "answer": "2", "thinking": "Wait, but one and one.", "content": "\\boxed{2}"},
        {"problem": "2 + 2?", "answer": "4", "thinking": "Hmm.", "content": "\\boxed{5}"},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(path), "--verify", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "correct: 1" in printed
    assert "incorrect: 1" in printed
    assert "wait: 1" in printed
    assert "does not exist" in failing(["import", str(tmp_path / "no.jsonl"), "--out", str(tmp_path / "o2")], capsys)


def test_status_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run folder" in failing(["status", str(tmp_path)], capsys)
    assert "holds no metrics.json" in failing(["report", str(tmp_path)], capsys)


def test_numbers_out_of_range_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["study", "table1", "--seeds", "0", "--out", "x"], ["plan", "curriculum", "--throughput", "0"]):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert done.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err


def test_columns_need_problems_and_a_binding_counts_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "which is not given" in failing(["plan", "curriculum", "--micro", "--column", "question=ask"], capsys)
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"{a} + {a}?", "answer": str(2 * a)}) + "\n" for a in range(30)))
    assert main(["plan", "curriculum", "--binding", "paper", "--problems", str(path), "--benchmark", f"own={path}"]) == 0
    printed = capsys.readouterr().out
    assert "problems: 30" in printed
    assert "measured on: own 30" in printed


def test_plan_counts_what_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("train", 13), ("test", 5)):
        rows = [{"question": f"{n} + {count}?", "answer": str(n + count)} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = ["plan", "curriculum", "--binding", "paper"]
    given = ["--problems", str(tmp_path / "train.jsonl"), "--benchmark", f"mine={tmp_path / 'test.jsonl'}"]
    assert main([*plan, *given]) == 0
    printed = capsys.readouterr().out
    assert "problems: 13\n" in printed
    assert "measured on: mine 5\n" in printed
    for command in (plan, ["run", *plan[1:], "--out", str(tmp_path / "out")]):
        assert "--problems, which is not given" in failing([*command, "--column", "question=ask"], capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "table1", "--out", "o", "--seeds", "-1"],
        ["study", "table1", "--out", "o", "--seeds", "0"],
        ["run", "curriculum", "--out", "o", "--threads", "-1"],
        ["plan", "curriculum", "--throughput", "0"],
        ["plan", "curriculum", "--throughput", "nan"],
        ["evaluate", "m", "--problems", "p", "--out", "o", "--samples", "0"],
        ["evaluate", "m", "--problems", "p", "--out", "o", "--samples", "many"],
    ],
)
def test_numbers_that_mean_nothing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert f"argument {arguments[-2]}: {arguments[-1]!r} is not a" in capsys.readouterr().err


def test_no_threads_means_all_cores() -> None:
    assert build_parser().parse_args(["run", "curriculum", "--out", "o", "--threads", "0"]).threads == 0
