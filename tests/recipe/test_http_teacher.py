"""A recipe whose teacher is a server: budget, resume, and everything in the run's folder but the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from stillwise.cli import main
from tests.conftest import Toy
from tests.models.serving import Scripted, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving("--key", "s3cret") as found:
        yield found


def test_a_budget_stops_a_run_and_a_larger_one_goes_on(
    toy: Toy, server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "s3cret")
    teacher = f"teacher={server.url}#scripted?key_env=TEACHER_KEY&price=1/1&in_flight=2"
    out = tmp_path / "run"
    command = toy.command(out, "--role", teacher, "--until", "traces")
    assert main([*command, "--budget", "0.0012"]) == 1
    assert "larger --budget" in capsys.readouterr().err
    before = len(server.seen()["answered"])
    assert 0 < before < 16
    assert main([*command, "--budget", "1"]) == 0
    seen = server.seen()
    assert len(seen["answered"]) == 16
    assert max(seen["answered"].values()) == 1
    assert main(command) == 0
    assert server.seen()["exchanges"] == seen["exchanges"]
    texts = [path for path in out.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in path.read_bytes() for path in texts)
    spent = json.loads((out / "metrics.json").read_text())["spent"]["traces"]
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    assert (spent["roles"], spent["answers"], spent["unknown"]) == (["teacher"], 16, 0)
    assert Decimal(spent["money"]) == Decimal(tokens) / 1_000_000
    assert f"cost {spent['money']}" in (out / "report.html").read_text()


def test_a_budget_is_an_amount(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(toy.command(tmp_path / "run", "--budget", "lots"))
    assert "not an amount above 0" in capsys.readouterr().err


def test_metrics_and_report_say_how_a_ban_was_served(toy: Toy, tmp_path: Path) -> None:
    toy.recipe.write_text(toy.recipe.read_text().replace("kind: instruct, instruction", "kind: no_rethink, instruction"))
    out = tmp_path / "run"
    with serving() as server:
        command = toy.command(
            out, "--role", f"teacher={server.url}#scripted", "--set", "max_failure_rate=1", "--until", "traces"
        )
        assert main(command) == 0
    how = "approximate: bad_words in their usual spellings, every output scanned"
    assert json.loads((out / "metrics.json").read_text())["served"] == {"traces": {"ban": [how]}}
    assert how in (out / "report.html").read_text()


STEPS = """
paper: {title: figures}
about: every arrow that asks a teacher
roles: [teacher]
max_failure_rate: 1
steps:
  - sample: {as: drawn, by: teacher, kind: all, tries: 1, max_tokens: 200, paradigm: {kind: think, instruction: ""}}
  - verify: {as: checked, from: drawn, kind: judge, by: teacher}
  - score: {as: marks, from: drawn, kind: judged, rubric: verbosity, by: teacher}
  - rewrite: {as: shorter, from: checked, kind: by_difficulty, by: teacher}
"""


def test_every_step_that_asks_shows_tokens_and_money(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, problems = tmp_path / "steps.yaml", tmp_path / "problems.jsonl"
    recipe.write_text(STEPS)
    problems.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(30)))
    with serving("--knows", "1") as server:
        role = f"teacher={server.url}#scripted?price=1/1"
        command = ["run", str(recipe), "--problems", str(problems), "--role", role, "--out", str(tmp_path / "run")]
        assert main([*command, "--threads", "1"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "tokens at end" in line and "cost at end" in line]
    assert {line.split(":")[0].split()[0] for line in lines} == {"drawn", "checked", "marks", "shorter"}
