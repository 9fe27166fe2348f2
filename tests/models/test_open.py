"""Bindings: every scheme opens its back end or says what is wrong with the word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stillwise import micro
from stillwise.errors import UserError
from stillwise.models.open import open_model
from stillwise.models.weights import check_folder, folder_digest, is_hub_id


@pytest.mark.parametrize("prefix", ["", "transformers:"])
def test_a_path_opens_the_local_back_end(prefix: str, tiny_folder: Path) -> None:
    assert open_model(f"{prefix}{tiny_folder}", threads=1).name == f"transformers:{tiny_folder}"


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("transformer:x/y", "no back end is called 'transformer'; did you mean 'transformers'"),
        ("micro:resoner", "no micro model is called 'resoner'; did you mean 'reasoner'"),
        ("vllm:Qwen/Qwen3-8B", "needs the extra 'vllm': pip install"),
        ("https://host/v1", "write its served name after"),
        ("scripted:", "nothing stands after 'scripted:'"),
        ("transformers:./nowhere", "model folder nowhere does not exist"),
    ],
)
def test_a_wrong_binding_is_explained(binding: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(binding, threads=1)


def test_an_id_that_cannot_be_fetched_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"neither a folder here nor could it be fetched from the hub"):
        open_model("nobody/no-such-model-here", threads=1)


@pytest.mark.parametrize(
    "name",
    [
        *("generation_config.json", "config.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
        *("chat_template.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "tokenizer.model"),
        *("model.safetensors", "additional_chat_templates/tool_use.jinja"),
    ],
)
def test_every_file_that_changes_answers_is_in_the_digest(name: str, tmp_path: Path) -> None:
    digests = []
    for text in ("a", "bb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        digests.append(folder_digest(tmp_path))
    (tmp_path / "README.md").write_text("no answer depends on it")
    assert len(set(digests)) == 2
    assert folder_digest(tmp_path) == digests[1]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"\xff" * 16, lambda data: b"", lambda data: data[:100]]
)
def test_damaged_weights_are_refused_before_anything_is_loaded(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = Path(shutil.copytree(micro.path("student"), tmp_path / "tutor"))
    check_folder(folder)
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"tutor: model.safetensors is damaged"):
        check_folder(folder)


def test_a_folder_without_tokenizer_or_template_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(micro.path("student"), tmp_path / "tutor"))
    check_folder(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text('{"chat_template": null}')
    with pytest.raises(UserError, match="tutor has no chat template"):
        check_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json .* and no chat template"):
        check_folder(folder)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not JSON"):
        check_folder(folder)
    with pytest.raises(UserError, match="did you mean 'tutor'"):
        check_folder(tmp_path / "tuttor")


def test_a_path_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    assert is_hub_id("owner/name")
    assert not any(map(is_hub_id, ("models/name", "./name", "name", "/owner/name", "~/name")))


def test_a_name_that_no_shipped_model_has_is_explained() -> None:
    with pytest.raises(UserError, match="no micro model is called 'studnet'; did you mean 'student'"):
        micro.path("studnet")
