"""Tiny students with random weights: three architectures, one tokenizer of single bytes, a ChatML template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Example, Tools

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}


def make_tokenizer(template: str | None = CHATML, eos: str = "<|im_end|>") -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.chat_template = template
    return tokenizer


def make_model(architecture: str = "qwen3", **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": 264, "eos_token_id": 258, "pad_token_id": 256, **changes}
    if architecture == "qwen3":
        sizes = {"head_dim": 8, **sizes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes)).float()


@pytest.fixture(scope="session")
def make_student(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(architecture: str = "qwen3", template: str | None = CHATML, eos: str = "<|im_end|>", **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("student")
        make_model(architecture, **changes).save_pretrained(str(folder))
        make_tokenizer(template, eos).save_pretrained(str(folder))
        return folder

    return make


@pytest.fixture(scope="session")
def student(make_student: Callable[..., Path]) -> Path:
    return make_student()


def without_padding(student: Path, out: Path) -> Path:
    """The same student, the rows of its head that stand for no token cut off."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(student))
    model.resize_token_embeddings(len(make_tokenizer()))
    model.save_pretrained(str(out))
    make_tokenizer().save_pretrained(str(out))
    return out


class Heard:
    """A progress bar that remembers."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.figures: list[dict[str, float]] = []

    def advance(self, done: int = 1, **figures: float) -> None:
        self.done += done
        self.figures.append(figures)


class NoGraders:
    def verify(self, verifier: Any, pairs: Any) -> list[Any]:
        raise AssertionError("training grades nothing")


@pytest.fixture
def bars() -> list[Heard]:
    return []


@pytest.fixture
def tools(bars: list[Heard]) -> Tools:
    def progress(label: str, total: int) -> Heard:
        bars.append(Heard(label, total))
        return bars[-1]

    return Tools(step="train", seed=7, callers={}, graders=NoGraders(), progress=progress)


def sums(count: int, thought: bool = False) -> list[Example]:
    """Small sums of different lengths as examples."""
    out = []
    for i in range(count):
        body = " ".join(f"{i}+{j}={i + j}." for j in range(1 + i % 5))
        text = f"<think>\n{body}\n</think>\n\n{i}" if thought else f"{body} So {i}."
        out.append(Example(id=f"e{i}", user=f"What is {i}?", assistant=text))
    return out


@pytest.fixture
def threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
