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
    assert main([*command, "--budget", "0.0003"]) == 1
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
