"""Bindings: every scheme opens its back end or says what is wrong with the word."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.errors import UserError
from stillwise.models.open import open_model


@pytest.mark.parametrize("prefix", ["", "transformers:"])
def test_a_path_opens_the_local_back_end(prefix: str, tiny_folder: Path) -> None:
    assert open_model(f"{prefix}{tiny_folder}", threads=1).name == f"transformers:{tiny_folder}"


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("transformer:x/y", "no back end is called 'transformer'; did you mean 'transformers'"),
        ("micro:resoner", "no micro model is called 'resoner'; did you mean 'reasoner'"),
        ("vllm:Qwen/Qwen3-8B", "the vllm back end is not available yet"),
        ("https://host/v1", "the https back end is not available yet"),
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
