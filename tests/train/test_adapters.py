"""A student trained by a low-rank adapter: its base untouched, its folder good for every later step, merged or not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Request, Tools
from stillwise.errors import UserError
from stillwise.models.transformers import TransformersModel
from stillwise.models.weights import folder_digest
from stillwise.records import Sampling
from stillwise.train.fields import Lora
from stillwise.train.folder import load_model
from stillwise.train.losses.preference import DPO
from stillwise.train.pairwise import Pairwise
from stillwise.train.sft import SFT
from stillwise.train.white_box import WhiteBox
from tests.train.conftest import sums

pytest.importorskip("peft")
ONE: dict[str, Any] = {"batch_tokens": 100_000, "learning_rate": 1e-2, "warmup_ratio": 0, "steps": 6}
SMALL = Lora(rank=4, alpha=8)


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def logits(folder: Path) -> Any:
    import torch

    model = load_model(folder, None).eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 25)[None]).logits


def greedy(folder: Path) -> list[str]:
    model = TransformersModel(str(folder), threads=1, batch_tokens=4096)
    asks = [Request(ask=Ask(user=f"What is {i}?"), sampling=Sampling(temperature=0, max_tokens=12)) for i in range(3)]
    return [completion.text for completion in model.generate(asks)]


@pytest.mark.usefixtures("threads")
def test_an_adapter_alone_and_merged_are_the_same_student(student: Path, tmp_path: Path, tools: Tools) -> None:
    import torch

    before = files(student)
    found = SFT(adapter=SMALL, **ONE).train(sums(6), student, tmp_path / "apart", tools)
    SFT(adapter=SMALL.model_copy(update={"merge": True}), **ONE).train(sums(6), student, tmp_path / "merged", tools)
    SFT(adapter=SMALL, **ONE).train(sums(6), student, tmp_path / "again", tools)
    assert found["last_loss"] < found["first_loss"]
    assert files(student) == before
    assert files(tmp_path / "again") == files(tmp_path / "apart")
    assert (tmp_path / "apart" / "adapter_model.safetensors").stat().st_size < (student / "model.safetensors").stat().st_size
    assert not (tmp_path / "apart" / "model.safetensors").exists()
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert torch.allclose(logits(tmp_path / "apart"), logits(tmp_path / "merged"), atol=1e-5)
    assert not torch.allclose(logits(tmp_path / "apart"), logits(student), atol=1e-2)
    assert greedy(tmp_path / "apart") == greedy(tmp_path / "merged")


@pytest.mark.usefixtures("threads")
def test_later_stages_go_on_with_either(student: Path, tmp_path: Path, tools: Tools) -> None:
    import torch

    SFT(adapter=SMALL, **ONE).train(sums(6), student, tmp_path / "one", tools)
    pairs = [replace(e, rejected=e.assistant + " no") for e in sums(4)]
    Pairwise(adapter=SMALL, objective=DPO(), **ONE).train(pairs, tmp_path / "one", tmp_path / "two", tools)
    held = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert held["base_model_name_or_path"] == str(student), "one adapter on the first base, not one on another"
    assert not torch.allclose(logits(tmp_path / "one"), logits(tmp_path / "two"), atol=1e-3)
    taught = replace(tools, folders={"reasoner": tmp_path / "one"})
    kd = WhiteBox(share=1.0, **{**ONE, "steps": 1}).train(sums(4), tmp_path / "one", tmp_path / "whole", taught)
    assert kd["first_loss"] == pytest.approx(0, abs=1e-5), (
        "all weights of the student, its adapter among them, are the teacher's"
    )
    assert (tmp_path / "whole" / "model.safetensors").is_file()


@pytest.mark.usefixtures("threads")
def test_a_losss_value_does_not_depend_on_the_adapter_before_it_has_learnt(student: Path, tmp_path: Path, tools: Tools) -> None:
    plain = SFT(**ONE).train(sums(6), student, tmp_path / "plain", tools)
    settings: dict[str, Any] = {**ONE, "gradient_checkpointing": True}
    mine = SFT(adapter=SMALL, **settings).train(sums(6), student, tmp_path / "mine", tools)
    assert mine["first_loss"] == pytest.approx(plain["first_loss"], abs=1e-5)


def test_an_adapters_identity_is_its_bases_too(make_student: Callable[..., Path], tmp_path: Path, tools: Tools) -> None:
    base = make_student()
    SFT(adapter=SMALL, **{**ONE, "steps": 1}).train(sums(3), base, tmp_path / "out", tools)
    before = folder_digest(tmp_path / "out")
    shutil.copyfile(make_student(initializer_range=0.1) / "model.safetensors", base / "model.safetensors")
    assert folder_digest(tmp_path / "out") != before
    shutil.rmtree(base)
    with pytest.raises(UserError, match="which are not there"):
        TransformersModel(str(tmp_path / "out"), threads=1, batch_tokens=4096)


def test_what_cannot_be_adapted_is_refused(student: Path, tmp_path: Path, tools: Tools) -> None:
    SFT(adapter=SMALL, **{**ONE, "steps": 1}).train(sums(3), student, tmp_path / "one", tools)
    for folder, adapter, message in (
        (student, Lora(targets=("no_such_layer",)), "no_such_layer"),
        (student, Lora(targets=("q_proj", "lm_head")), "output layer"),
        (tmp_path / "one", Lora(rank=8), "rank 4 and alpha 8, and this step wants rank 8"),
    ):
        with pytest.raises(UserError, match=message):
            SFT(adapter=adapter, **ONE).train(sums(3), folder, tmp_path / "out", tools)
        assert not (tmp_path / "out").exists()
