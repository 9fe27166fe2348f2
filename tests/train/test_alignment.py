"""Byte alignment, fuzzed over random BPE pairs, and the losses that stand on it."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from stillwise.errors import StillwiseError, UserError
from stillwise.train.alignment import Group, aligned, byte_of_character, byte_table, token_bytes
from stillwise.train.losses.cross_tokenizer import alm, group_sums, uld
from tests.train.conftest import make_tokenizer

TEXTS = (
    "What is 17 + 25? It is 42.",
    "naïve café — ½ of 10 € is 5 €",
    "日本語のテキスト\n\twith tabs  and   spaces",
    "emoji 👩‍👩‍👧 and a flag 🇩🇪 end",
)


def random_bpe(seed: int) -> Any:
    """A byte-level BPE tokenizer with merges drawn from the texts at random: pieces of words and of characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    rng = Random(seed)
    vocab = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    level = {byte: character for character, byte in byte_of_character().items()}
    merges: list[tuple[str, str]] = []
    for _ in range(80):
        text = "".join(level[byte] for byte in rng.choice(TEXTS).encode())
        at = rng.randrange(len(text) - 6)
        first, second = text[at : at + rng.randint(1, 3)], ""
        second = text[at + len(first) : at + len(first) + rng.randint(1, 3)]
        if first in vocab and second in vocab and first + second not in vocab:
            merges.append((first, second))
            vocab[first + second] = len(vocab)
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core)


def test_groups_partition_both_sides_and_never_end_early() -> None:
    tokenizers = [random_bpe(seed) for seed in range(10)]
    rng = Random(1)
    longest = 0
    for one in tokenizers:
        for other in tokenizers:
            text = "".join(rng.choice("".join(TEXTS)) for _ in range(20)) + rng.choice(TEXTS)
            ours, theirs = (token_bytes(byte_table(t), t(text)["input_ids"]) for t in (one, other))
            assert b"".join(ours) == b"".join(theirs) == text.encode()
            groups = aligned(ours, theirs)
            assert [n for g in groups for n in range(*g.ours)] == list(range(len(ours)))
            assert [n for g in groups for n in range(*g.theirs)] == list(range(len(theirs)))
            for g in groups:
                mine, yours = ours[slice(*g.ours)], theirs[slice(*g.theirs)]
                assert b"".join(mine) == b"".join(yours) != b""
                inner = {len(b"".join(mine[:n])) for n in range(1, len(mine))}
                assert not inner & {len(b"".join(yours[:n])) for n in range(1, len(yours))}
                longest = max(longest, len(mine) + len(yours))
            if one is other:
                assert all(g.ours == g.theirs == (i, i + 1) for i, g in enumerate(groups))
    assert longest > 3, "the tokenizers were too much alike to test anything"


def test_a_small_case_by_hand() -> None:
    found = aligned([b"a", b"bc", b"d", b"ef"], [b"ab", b"c", b"de", b"f"])
    assert found == [Group((0, 2), (0, 2)), Group((2, 4), (2, 4))]
    assert aligned([b"ab", b"", b"c"], [b"a", b"b", b"c"]) == [Group((0, 2), (0, 2)), Group((2, 3), (2, 3))]
    assert aligned([], []) == []
    with pytest.raises(StillwiseError, match="from byte 1"):
        aligned([b"ab"], [b"ac"])


def test_tokens_have_the_bytes_that_they_stand_for() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<｜begin▁of▁sentence｜>"]})
    text = "<｜begin▁of▁sentence｜><|im_start|>é<think>\n½</think>"
    assert b"".join(token_bytes(byte_table(tokenizer), tokenizer(text)["input_ids"])) == text.encode()
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={"▁a": 0, "<0xC3>": 1, "<0xA9>": 2}, merges=[]))
    )
    assert token_bytes(byte_table(pieces), [0, 1, 2]) == [b" a", b"\xc3", b"\xa9"]
    with pytest.raises(UserError, match="token id 3 is not"):
        token_bytes(byte_table(pieces), [0, 3])


def test_sorted_probabilities_of_different_vocabularies() -> None:
    import torch

    p, q = torch.tensor([[0.7, 0.2, 0.1]]).double(), torch.tensor([[0.1, 0.5, 0.0001, 0.3999]]).double()
    assert float(uld(p.log(), q.log())) == pytest.approx(0.2 + 0.1999 + 0 + 0.0001)
    assert float(uld(p.log(), p.log()[:, [2, 0, 1]])) == 0
    assert float(uld(p.log(), torch.cat([p, torch.zeros(1, 2).double()], -1).clamp(min=1e-300).log())) == pytest.approx(0)
    student = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: uld(p.log().expand(3, 3), z.log_softmax(-1)), (student,))


def test_likelihoods_of_chunks_match_where_they_agree() -> None:
    import torch

    teacher = torch.tensor([-7.3], dtype=torch.float64)
    grid = torch.linspace(-30, -0.01, 4000, dtype=torch.float64)
    values = alm(teacher, grid)
    assert float(grid[values.argmin()]) == pytest.approx(-7.3, abs=0.01)
    assert values.min() >= 0
    assert float(alm(teacher, teacher)) == 0
    p, q = math.exp(-0.073 - 1e-6), math.exp(-0.2 - 1e-6)
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert float(alm(teacher, torch.tensor([-20.0], dtype=torch.float64))) == pytest.approx(expected)
    student = torch.tensor([-3.0, 0.0, -80.0], dtype=torch.float64, requires_grad=True)
    assert torch.isfinite(alm(torch.zeros(3, dtype=torch.float64), student)).all()
    held = torch.tensor([-3.0, -0.5, -80.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: alm(teacher, z), (held,))


def test_equal_text_has_equal_likelihood_however_it_is_grouped() -> None:
    import torch

    logprobs = torch.tensor([-1.0, -2.0, -3.0, -4.0])
    assert group_sums(logprobs, [(0, 2), (2, 3), (3, 4)]).tolist() == [-3, -3, -4]
    for wrong in ([(0, 2), (3, 4)], [(0, 2), (2, 3)], [(1, 4)]):
        with pytest.raises(StillwiseError, match="partition"):
            group_sums(logprobs, wrong)
