"""The shipped checkpoints: ordinary folders, small, with the tokenizer and template that everything relies on."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from stillwise import micro
from stillwise.errors import UserError
from stillwise.micro.sampler import RETHINK, WordBan, sample
from stillwise.micro.solutions import EMPTY_THOUGHT

TEXTS = (
    "Wait, 12 + 7 = 19.\n",
    "naïve Ω ≈ 東京 🙂 e\u0301\t\r\n  x",
    "<think>\nHmm, \n</think>\n\nThe answer is \\boxed{-96}.",
)


def test_names_have_folders_and_others_do_not() -> None:
    assert all(micro.path(name).is_dir() for name in micro.MODELS)
    with pytest.raises(UserError, match="no micro model"):
        micro.path("giant")


def test_all_folders_stay_under_twelve_megabytes() -> None:
    assert sum(file.stat().st_size for name in micro.MODELS for file in micro.path(name).iterdir()) <= 12_000_000


@pytest.mark.parametrize("name", micro.MODELS)
def test_weights_are_bf16_safetensors_of_qwen3(name: str) -> None:
    folder = micro.path(name)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    raw = (folder / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    assert {entry["dtype"] for key, entry in header.items() if key != "__metadata__"} == {"BF16"}


@pytest.mark.parametrize("name", micro.SOLVERS)
def test_tokenizer_and_template(name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(micro.path(name))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    for mark in ("<think>", "</think>"):
        assert len(tokenizer.encode(mark)) == 1
        assert tokenizer.decode(tokenizer.encode(mark), skip_special_tokens=True) == mark
    assert len(tokenizer.encode("1234567890")) == 10
    turns = [{"role": "user", "content": "1 + 1 ="}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\n1 + 1 =<|im_end|>\n<|im_start|>assistant\n"
    turns.append({"role": "assistant", "content": "2"})
    found = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    kept = [token for token, keep in zip(found["input_ids"], found["assistant_masks"], strict=True) if keep]
    assert tokenizer.decode(kept) == "2<|im_end|>"
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"


@pytest.mark.parametrize("name", micro.SOLVERS)
def test_the_folder_loads_and_answers(name: str) -> None:
    from tokenizers import Tokenizer

    from stillwise.micro.build import load
    from stillwise.micro.corpus import prompt

    folder: Path = micro.path(name)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    question = prompt("State the final answer to the following arithmetic problem: 3 + 4 =")
    prefilled = f"<think>\n{EMPTY_THOUGHT}\n</think>\n\n" if name == "reasoner" else ""
    made = sample(load(folder), tokenizer, [question + prefilled], seed=0, temperature=0, max_tokens=60)[0]
    assert made.finished
    assert "\\boxed{" in made.text


def test_a_ban_forbids_whole_words_only() -> None:
    ban = WordBan(["Wait, ", "but", "ter", " ", "W", "ait", "rebut "], frozenset(RETHINK))
    assert ban.mask_V("").tolist() == [True, False, False, False, False, False, False]
    assert ban.mask_V("but").tolist() == [False, False, False, True, False, False, False]
    assert ban.after("but", 2) == "butter"
    assert ban.after("w", 5) == "wait"
