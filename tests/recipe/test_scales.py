"""A study of scales runs one recipe with several sets of models, and its one report holds a panel for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillwise.cli import main
from stillwise.errors import RecipeError, UserError
from stillwise.recipe.scales import read_scales
from stillwise.recipe.study import run_study
from tests.conftest import Toy

PROBE = """\
paper: {title: Toy}
about: two ways of asking
roles: [teacher, sibling]
steps:
  - sample: {as: think, kind: all, by: teacher, paradigm: {kind: think, instruction: ""}, tries: 2, max_tokens: 64}
  - sample: {as: instruct, kind: all, by: sibling, paradigm: {kind: instruct, instruction: ""}, tries: 2, max_tokens: 64}
"""


def study(toy: Toy) -> Path:
    worse = toy.folder / "worse.jsonl"
    rows = [json.loads(line) for line in toy.script.read_text().splitlines()]
    worse.write_text("".join(json.dumps({**row, "answer": row["answer"].replace("{1", "{2")}) + "\n" for row in rows))
    (toy.folder / "probe.yaml").write_text(PROBE)
    path = toy.folder / "figure.yaml"
    path.write_text(
        f"about: two scales\nrecipe: {toy.folder / 'probe.yaml'}\nbinding: {toy.binding}\nset: {{sample.tries: 1}}\nscales:\n"
        f"  small: {{roles: {{sibling: 'scripted:{worse}'}}}}\n"
        f"  large: {{roles: {{sibling: 'scripted:{toy.script}'}}, set: {{instruct.tries: 3}}}}\n"
    )
    return path


def test_each_scale_is_a_panel_of_one_report(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, path = tmp_path / "figure", study(toy)
    assert main(["check", str(path)]) == 0
    assert "a study of 2 scales" in capsys.readouterr().out
    assert main(["study", str(path), "--out", str(out), "--threads", "1", "--quiet"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["order"]["paradigms"] == ["small", "large"]
    samples = {
        scale: {name: one["measurement"]["samples"] for name, one in section["conditions"].items()}
        for scale, section in metrics["paradigms"].items()
    }
    assert samples == {"small": {"think": 8, "instruct": 8}, "large": {"think": 8, "instruct": 24}}
    whole = {scale: section["contrasts"][0]["pass_at_1"]["value"] for scale, section in metrics["paradigms"].items()}
    assert whole["large"] == 0
    assert whole["small"] > 0, "think of the teacher minus instruct of the worse sibling"
    page = (out / "report.html").read_text()
    assert "small" in page
    assert "large" in page
    assert "## small: pass@1 in % and tokens" in (out / "study.md").read_text()
    assert (out / "small" / "report.html").is_file()
    assert main(["report", str(out)]) == 0


def test_a_second_run_finds_every_scale(toy: Toy, tmp_path: Path) -> None:
    out, path = tmp_path / "figure", study(toy)
    first = run_study(str(path), out, threads=1, progress="quiet", table=tmp_path / "table.md")
    before = (out / "metrics.json").read_bytes()
    assert run_study(str(path), out, threads=1, progress="quiet").markdown == first.markdown
    assert (out / "metrics.json").read_bytes() == before
    assert (tmp_path / "table.md").read_text() == first.markdown


def test_faults_of_a_study_of_scales(toy: Toy, tmp_path: Path) -> None:
    path, out = study(toy), tmp_path / "figure"
    with pytest.raises(UserError, match="trains nobody"):
        run_study(str(path), out, seeds=2)
    good = path.read_text()
    path.write_text(good.replace("sibling: 'scripted:", "sibling: 'scriptd:"))
    with pytest.raises(UserError, match="no back end is called 'scriptd'"):
        run_study(str(path), out, threads=1, progress="quiet")
    assert not out.exists(), "nothing runs before every scale's models are known"
    path.write_text(good.replace("  large:", "  a/b:").replace("roles: {sibling", "rols: {sibling"))
    with pytest.raises(RecipeError) as raised:
        read_scales(path)
    assert "cannot be a name" in str(raised.value)
    assert "unknown key 'rols'" in str(raised.value)
