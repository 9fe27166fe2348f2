"""Roles are checked before any work, and what stands behind a binding decides its identity."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stillwise import micro
from stillwise.errors import UserError
from stillwise.models.weights import folder_digest
from stillwise.recipe.roles import check_bindings, identity, local_folder, student_path

ID = "owner/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, offline, in a folder without a subfolder ``owner``."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def fetched(hub: Path, revision: str) -> Path:
    """A revision of the model as the hub's client leaves it in its cache."""
    repository = hub / "models--owner--model"
    folder = Path(shutil.copytree(micro.path("student"), repository / "snapshots" / revision))
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(revision)
    return folder


def faults(**bound: str) -> str:
    with pytest.raises(UserError) as caught:
        check_bindings(["teacher", "student"], bound)
    return str(caught.value)


def test_the_faults_of_all_roles_come_in_one_error(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    bound = {
        "a": "vllm:Qwen/Qwen3-8B",
        "b": "https://host/v1",
        "c": "vlm:x/y",
        "d": f"scripted:{tmp_path / 'none.jsonl'}",
        "e": str(bare),
        "f": "micro:nope",
        "g": str(tmp_path / "bore"),
        "fine": "micro:student",
    }
    with pytest.raises(UserError) as caught:
        check_bindings([*bound, "unbound"], bound)
    lines = str(caught.value).splitlines()
    assert lines[0] == "8 fault(s) in the roles"
    for role, words in {
        "a": "needs the extra 'vllm': pip install",
        "b": "which model? write its served name",
        "c": "no back end is called 'vlm'; did you mean 'vllm'",
        "d": "none.jsonl does not exist",
        "e": "bare has no config.json",
        "f": "no micro model is called 'nope'; known: base,",
        "g": "bore does not exist",
        "unbound": "no model",
    }.items():
        assert any(line.startswith(f"  role {role!r}") and words in line for line in lines), role


def test_good_bindings_pass_and_roles_that_nobody_needs_are_not_looked_at(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"question": "1?", "answer": "1"}\n')
    check_bindings(["teacher"], {"teacher": f"scripted:{script}", "other": "vllm:x"})
    script.write_text("no row\n")
    with pytest.raises(UserError, match=r"script\.jsonl:1: not a JSON object"):
        check_bindings(["teacher"], {"teacher": f"scripted:{script}"})


def test_a_shard_that_is_missing_is_found_before_any_work(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(micro.path("student"), tmp_path / "model"))
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-2.safetensors"}}')
    assert "lacks 1 weight shard" in faults(teacher="micro:reasoner", student=str(folder))


def test_end_tokens_are_part_of_the_identity(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(micro.path("student"), tmp_path / "model"))
    before = identity(str(folder))
    assert before == identity(f"transformers:{folder}") == identity("micro:student") == folder_digest(folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    assert identity(str(folder)) != before


def test_a_hub_id_is_its_local_copy(hub: Path) -> None:
    unknown = identity(ID)
    assert local_folder(ID) is None
    assert student_path(ID) == Path(ID)
    first = fetched(hub, "a" * 40)
    check_bindings(["student"], {"student": ID})
    assert local_folder(ID) == student_path(ID) == first
    known = identity(ID)
    assert unknown != known == identity(str(first))
    (fetched(hub, "b" * 40) / "generation_config.json").write_text("{}")
    assert identity(ID) not in (unknown, known), "new weights under the same id are another model"


def test_a_hub_id_that_cannot_be_had_is_refused_after_what_costs_nothing(hub: Path) -> None:
    assert "could it be fetched" in faults(teacher="micro:reasoner", student=ID)
    assert "could it be fetched" not in faults(teacher="micro:nope", student=ID)
