"""A run's student is quantised and measured beside the one that it was made from."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.recipe.benchmarks import read_benchmarks
from stillwise.recipe.load import load
from stillwise.records import Problem
from stillwise.runtime import tables
from tests.conftest import Toy

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("once") / "run"


@pytest.fixture
def run(toy: Toy, once: Path, tmp_path: Path) -> Path:
    """A copy of one finished run."""
    if not once.exists():
        assert main(toy.command(once)) == 0
    return Path(shutil.copytree(once, tmp_path / "run"))


def test_a_run_keeps_the_problems_that_it_measured_on(run: Path) -> None:
    kept = read_benchmarks(run)
    assert kept
    for name, held in kept.items():
        problems = list(held.source.problems())
        assert problems == tables.read(run / "benchmarks" / f"{name}.parquet", Problem), "with every field"
        measured = json.loads((run / "metrics.json").read_text())["evaluation"]["after"]["per_problem"][name]
        assert {p.id for p in problems if isinstance(p, Problem)} == {key for level in measured.values() for key in level}


@pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed: pip install 'stillwise[compress]'")
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_the_smaller_student_stands_in_the_same_table(run: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((run / "metrics.json").read_text())
    assert main(["compress", str(run), "--to", form, "--threads", "1", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert f"after-{form}, tokens" in said
    after = json.loads((run / "metrics.json").read_text())
    small, whole = (after["evaluation"][name] for name in (f"after-{form}", "after"))
    assert whole == before["evaluation"]["after"]
    assert small["revision"] != whole["revision"]
    assert small["per_problem"].keys() == whole["per_problem"].keys()
    rows = [row for row in after["comparison"] if row["to"] == f"after-{form}"]
    assert rows
    assert all(row["unpaired"] == 0 for row in rows), "the same problems"
    assert f"after-{form}" in (run / "report.html").read_text()
    sizes = [
        sum(p.stat().st_size for p in folder.glob("*.safetensors")) for folder in (run / "student", run / "compressed" / form)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    assert main(["compress", str(run), "--to", form, "--threads", "1", "--quiet"]) == 0
    assert json.loads((run / "metrics.json").read_text()) == after, "found again, not measured twice"


@pytest.mark.skipif(HAS_TORCHAO, reason="torchao is installed")
def test_a_missing_quantiser_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), "--quiet"]) == 2
    assert "stillwise[compress]" in capsys.readouterr().err
    assert not (run / "compressed" / "int8").exists()


def test_a_missing_converter_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run), "--to", "gguf", "--quiet"]) == 2
    assert "LLAMA_CPP" in capsys.readouterr().err
    assert list((run / "compressed").iterdir()) == []


def test_the_converter_of_llama_cpp_is_used_where_it_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys, pathlib\npathlib.Path(sys.argv[3]).write_bytes(b'GGUF' + sys.argv[1].encode())\n")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    assert main(["compress", str(run), "--to", "gguf", "--quiet"]) == 0
    assert (run / "compressed" / "gguf" / "student.gguf").read_bytes() == b"GGUF" + os.fsencode(run / "student")
    assert "llama-server" in capsys.readouterr().out
    assert load(run / "recipe.yaml").method.steps


def test_another_student_is_compressed_anew(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys, pathlib\nwith open(sys.argv[0] + '.log', 'a') as log: log.write('.')\n")
    script.write_text(script.read_text() + "pathlib.Path(sys.argv[3]).write_bytes(b'GGUF')\n")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    log = tmp_path / "convert_hf_to_gguf.py.log"
    for changed, converted in ((False, 1), (False, 1), (True, 2), (False, 2)):
        if changed:
            config = run / "student" / "generation_config.json"
            config.write_text(json.dumps({"eos_token_id": 1}))
        assert main(["compress", str(run), "--to", "gguf", "--quiet"]) == 0
        assert len(log.read_text()) == converted


def test_a_folder_that_is_no_run_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", str(run / "student")]) == 2
    assert "nothing says what to measure" in capsys.readouterr().err
