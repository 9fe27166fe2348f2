"""A run whose machine is lost goes on elsewhere from its store: finished steps are fetched, nothing is asked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stillwise.cli import main
from stillwise.errors import UserError
from stillwise.models.remote import filesystem
from stillwise.models.weights import model_folder
from stillwise.problems.resolve import resolve
from stillwise.recipe.api import Recipe
from stillwise.runtime import storage
from stillwise.runtime.files import file_digest, folder_files
from stillwise.runtime.segment_journal import counts_of_segments
from tests.conftest import Toy

MICRO = Path(__file__).parents[2] / "stillwise" / "micro" / "models" / "student"


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STILLWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "SETTLE_S", 0.01)
    return f"memory://{uuid4().hex}/run"


def published(out: Path) -> dict[str, str]:
    paths = [path for path in folder_files(out) if path.relative_to(out).parts[0] not in ("work", "logs")]
    return {str(path.relative_to(out)): file_digest(path) for path in paths}


def uploaded(address: str) -> dict[str, bytes]:
    fs, root = filesystem(address)
    return {path[len(root) + 1 :]: fs.cat_file(path) for path in fs.find(root)}


def test_a_run_goes_on_from_its_store_on_another_machine(toy: Toy, tmp_path: Path, address: str) -> None:
    recipe = Recipe.load(toy.recipe, binding=str(toy.binding))
    settings: dict[str, Any] = {"threads": 1, "progress": "quiet"}
    recipe.run(tmp_path / "plain", **settings)
    first = recipe.run(tmp_path / "first", store=address, until="distilled", **settings)
    assert first.fresh == ("traces", "kept", "lessons", "distilled")
    asked = counts_of_segments(f"{address}/journal")
    second = recipe.run(tmp_path / "second", store=address, **settings)
    assert second.fresh == ("after",)
    assert published(tmp_path / "second") == published(tmp_path / "plain")
    after = counts_of_segments(f"{address}/journal")
    assert {step: after[step] for step in asked} == asked
    files = uploaded(address)
    assert files["metrics.json"] == (tmp_path / "plain" / "metrics.json").read_bytes()
    assert not any(name.startswith("work/") and "/." in name for name in files)


def test_a_step_that_was_copied_in_part_is_made_again(toy: Toy, tmp_path: Path, address: str) -> None:
    recipe = Recipe.load(toy.recipe, binding=str(toy.binding))
    recipe.run(tmp_path / "first", store=address, until="kept", threads=1, progress="quiet")
    fs, root = filesystem(address)
    (manifest,) = fs.glob(f"{root}/work/kept/*/done.json")
    fs.rm_file(manifest)
    second = recipe.run(tmp_path / "second", store=address, until="kept", threads=1, progress="quiet")
    assert second.fresh == ("kept",)
    assert fs.exists(manifest)


def test_models_and_problems_are_fetched_from_addresses_once(toy: Toy, tmp_path: Path, address: str) -> None:
    fs, root = filesystem(address)
    fs.makedirs(root, exist_ok=True)
    fs.put(str(MICRO), f"{root}/model", recursive=True)
    fs.put_file(str(toy.problems), f"{root}/problems.jsonl")
    folder = model_folder(f"{address}/model")
    assert file_digest(folder / "model.safetensors") == file_digest(MICRO / "model.safetensors")
    assert model_folder(f"{address}/model") == folder
    assert len(list(resolve(f"{address}/problems.jsonl").problems())) == 8
    fs.pipe_file(f"{root}/model/config.json", b"{}")
    assert model_folder(f"{address}/model") != folder, "what has changed is fetched again"
    with pytest.raises(UserError, match="does not exist"):
        model_folder(f"{address}/nothing")


def test_an_unknown_protocol_is_a_users_fault(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(toy.command(tmp_path / "out", "--store", "nowhere://bucket/run")) == 2
    assert "nowhere" in capsys.readouterr().err
