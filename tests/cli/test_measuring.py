"""evaluate --benchmarks, --protocol, --data; compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillwise.cli import main


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with small copies of two benchmarks, and scripts of a good and a poor model."""
    folder = tmp_path / "copies"
    folder.mkdir()
    aime: list[dict[str, Any]] = [{"problem": f"What is {n} + {n}?", "answer": f"{2 * n:03d}"} for n in range(6)]
    math: list[dict[str, Any]] = [
        {"problem": f"What is {n} - 1?", "answer": str(n - 1), "level": 1 + n % 2} for n in range(10, 18)
    ]
    for name, rows in (("aime24", aime), ("math500", math)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, wrong in (("good", ()), ("poor", range(1, 99))):
        answers = [(row["problem"], int(row["answer"])) for row in [*aime, *math]]
        said = [
            {"question": q, "answer": f"<think>\nsum up\n</think>\n\\boxed{{{n + (i in wrong)}}}"}
            for i, (q, n) in enumerate(answers)
        ]
        (folder / f"{name}.script.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    return folder


def evaluated(data: Path, model: str, out: Path, *rest: str) -> dict[str, Any]:
    arguments = ["evaluate", f"scripted:{data / model}.script.jsonl", "--benchmarks", "math500,aime24", "--data", str(data)]
    assert main([*arguments, *rest, "--out", str(out), "--quiet", "--threads", "1"]) == 0
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def test_benchmarks_by_name_and_protocol(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(data, "good", tmp_path / "m", "--protocol", "curriculum", "--max-tokens", "50")
    held = found["evaluation"]["measured"]["benchmarks"]
    assert {name: (one["problems"], one["samples"]) for name, one in held.items()} == {"aime24": (6, 192), "math500": (8, 64)}
    assert all(one["pass_at_1"]["value"] == 1.0 for one in held.values())
    assert held["math500"]["tokens"]["thinking"]["mean"]["value"] == 4
    assert held["math500"]["tokens"]["answer"]["mean"]["value"] == 2
    departures = " ".join(found["recipe"]["departures"])
    assert "standard error over problems" in departures
    assert "max_tokens is 50 by flag" in departures
    printed = capsys.readouterr().out
    assert printed.index("pass@1 on math500") < printed.index("pass@1 on aime24"), "the order of the flag, not the alphabet"


def test_compared_runs_say_what_is_shown(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("good", "poor"):
        evaluated(data, model, tmp_path / model, "--samples", "2")
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "good"), str(tmp_path / "poor"), "--out", str(tmp_path / "c")]) == 0
    printed = capsys.readouterr().out
    assert "math500: poor is lower than good" in printed
    assert (tmp_path / "c" / "comparison.md").read_text() == printed
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert [row["benchmark"] for row in found["rows"] if row["level"] is None][:3] == ["math500", "aime24", "average"]
    assert main(["compare", str(tmp_path / "good"), str(tmp_path / "good") + ":measured", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert {row["verdict"] for row in same["rows"]} == {"no difference shown"}


def test_runs_that_cannot_be_compared(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(data, "good", tmp_path / "good", "--samples", "1", "--temperature", "0")
    assert found["recipe"]["departures"] == []
    greedy = evaluated(data, "good", tmp_path / "greedy", "--samples", "2", "--temperature", "0")
    assert "temperature 0 is greedy" in greedy["recipe"]["departures"][0]
    assert "at least two" in failing(["compare", str(tmp_path / "good")], capsys)
    assert "holds no metrics.json" in failing(["compare", str(tmp_path / "good"), str(data)], capsys)
    wrong = [str(tmp_path / "good"), f"{tmp_path / 'good'}:after"]
    assert "has no evaluation 'after'" in failing(["compare", *wrong], capsys)


def test_faults_of_benchmarks_are_found_before_any_work(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["evaluate", f"scripted:{data / 'good'}.script.jsonl", "--out", str(tmp_path / "m"), "--quiet"]
    assert "did you mean 'math500'" in failing([*base, "--benchmarks", "math50"], capsys)
    assert "did you mean 'curriculum'" in failing([*base, "--benchmarks", "math500", "--protocol", "curiculum"], capsys)
    assert "holds no copy of gsm8k" in failing([*base, "--benchmarks", "gsm8k", "--data", str(data)], capsys)
    assert "names one twice" in failing([*base, "--benchmarks", "aime24,aime24", "--data", str(data)], capsys)
    assert "belongs to --benchmarks" in failing([*base, "--problems", "x.jsonl", "--protocol", "curriculum"], capsys)
    assert "names none" in failing([*base, "--benchmarks", ","], capsys)
    assert not (tmp_path / "m").exists()


def test_a_file_of_ones_own_and_problems_made_on_the_spot(data: Path, tmp_path: Path) -> None:
    from stillwise.recipe.measure import on_benchmarks

    names = [f"math500={data / 'math500.jsonl'}", "gym:chain_sum:7", f"mine={data / 'aime24.jsonl'}", "micro:chain_sum:heldout"]
    request = on_benchmarks("micro:student", names, "distilqwen", None, {"temperature": 0.0})
    sets = request.benchmarks
    assert list(sets) == ["math500", "gym-chain_sum-7", "mine", "micro-chain_sum-heldout"]
    assert {name: one.samples for name, one in sets.items()} == dict.fromkeys(sets, 8)
    assert len(list(sets["gym-chain_sum-7"].source.problems())) == 7
    assert (request.fields["max_tokens"], request.fields["temperature"]) == (32768, 0.0)
    assert on_benchmarks("m", ["aime24"], None, None, {}).benchmarks["aime24"].samples is None


def test_the_listing_of_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--benchmarks"]) == 0
    assert "livecodebench_v2" in capsys.readouterr().out


def test_the_best_of_n_by_a_score(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(data, "good", tmp_path / "m", "--samples", "2", "--best-by", "rethink_words")
    best = found["evaluation"]["measured"]["benchmarks"]["aime24"]["best_of_n"]
    assert {name: (one["value"], one["n"]) for name, one in best.items()} == {
        "rethink_words": (1.0, 6),
        "rethink_words (lowest)": (1.0, 6),
    }
    base = ["evaluate", f"scripted:{data / 'good'}.script.jsonl", "--problems", str(data / "math500.jsonl")]
    assert "no Scorer is called 'rethink'" in failing([*base, "--best-by", "rethink", "--out", str(tmp_path / "n")], capsys)


def test_imported_traces_are_measured_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, wrong in (("old", 8), ("new", 0)):
        rows = [
            {"problem": f"{n} + 1?", "answer": str(n + 1), "thinking": "Add.", "content": f"\\boxed{{{n + 1 + (n < wrong)}}}"}
            for n in range(20)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(["import", str(tmp_path / f"{name}.jsonl"), "--verify", "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name / "report.html").is_file()
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    assert "imported: new is higher than old, +40.0" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "new")]) == 0
