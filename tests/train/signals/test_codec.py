"""Records of fixed size: small enough, exact where they promise it, near everywhere else."""

from __future__ import annotations

from typing import Any

import pytest

from stillwise.train.losses.divergence import ForwardKL, ReverseKL, log_probs
from stillwise.train.losses.topk import TopK, on_support, top_k
from stillwise.train.signals.codec import NUM_EXACT, Codec, Kept

VOCAB = 151_936


def teacher_logits(rows: int, vocab: int, scale: float, seed: int) -> Any:
    """Heavy-tailed logits, as language models have them."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    wild = torch.randn(rows, vocab, generator=draw)
    return wild * wild.abs() * scale


def kept(logprobs: Any, k: int) -> tuple[Kept, TopK]:
    top = top_k(logprobs, k, logprobs.argmin(-1))
    assert top.sampled_N is not None
    arrays = (top.ids_NK, top.logprobs_NK, top.log_tail_N, logprobs.argmin(-1), top.sampled_N)
    return Kept(*(array.numpy() for array in arrays)), top


def test_a_token_of_a_large_vocabulary_takes_less_than_two_hundred_bytes() -> None:
    assert Codec(k=64, vocab=VOCAB).num_bytes == 196


@pytest.mark.parametrize(("k", "vocab"), [(64, VOCAB), (64, 100), (100, 100), (1, 2), (5, 7), (16, 300), (17, 4096)])
def test_ids_tails_and_the_likeliest_come_back_exactly(k: int, vocab: int) -> None:
    import numpy as np

    codec = Codec(k=k, vocab=vocab)
    given, top = kept(log_probs(teacher_logits(6, vocab, 1.5, k)), k)
    records = codec.encode(given)
    assert records.shape == (6, codec.num_bytes)
    back = codec.decode(records)
    order = np.argsort(given.ids_NK, axis=1)
    assert (back.ids_NK == np.take_along_axis(given.ids_NK, order, 1)).all()
    exact = min(NUM_EXACT, k)
    half = top.logprobs_NK.half().float().numpy()
    for row in range(6):
        found = dict(zip(back.ids_NK[row].tolist(), back.logprobs_NK[row].tolist(), strict=True))
        for rank, token in enumerate(given.ids_NK[row].tolist()):
            if rank < exact:
                assert found[token] == half[row, rank]
            else:
                assert found[token] == pytest.approx(float(top.logprobs_NK[row, rank]), abs=0.35)
    assert (back.sampled_N == given.sampled_N).all()
    assert (back.log_tail_N == given.log_tail_N.astype(np.float16)).all()
    assert (back.sampled_logprobs_N == given.sampled_logprobs_N.astype(np.float16)).all()


@pytest.mark.parametrize("scale", [0.7, 1.5, 3.0])
def test_the_divergence_from_a_record_is_that_of_the_top_k(scale: float) -> None:
    import torch

    codec = Codec(k=64, vocab=VOCAB)
    logits = teacher_logits(30, VOCAB, scale, 1)
    given, top = kept(log_probs(logits), 64)
    back = codec.decode(codec.encode(given))
    again = TopK(*(torch.from_numpy(a) for a in (back.ids_NK, back.logprobs_NK, back.log_tail_N)))
    student = logits + 1.5 * torch.randn(30, VOCAB, generator=torch.Generator().manual_seed(2))
    for divergence in (ForwardKL(), ReverseKL()):
        for temperature in (1.0, 2.0):
            exact = divergence.per_token(*on_support(top, student, "tail_bucket", temperature))
            near = divergence.per_token(*on_support(again, student, "tail_bucket", temperature))
            if divergence == ForwardKL() and temperature == 1.0:
                assert (exact - near).abs().mean() < 1e-3
                assert (exact - near).abs().max() < 3e-3
            assert float((exact - near).mean()) == pytest.approx(0, abs=1e-3)


def test_equal_log_probabilities_and_one_certain_token() -> None:
    import torch

    codec = Codec(k=20, vocab=50)
    flat, _ = kept(torch.full((2, 50), 0.02).log(), 20)
    assert abs(codec.decode(codec.encode(flat)).logprobs_NK - flat.logprobs_NK).max() < 2e-3
    sharp = torch.full((1, 50), -30.0)
    sharp[0, 7] = 0.0
    back = codec.decode(codec.encode(kept(log_probs(sharp), 20)[0]))
    assert back.logprobs_NK[0, list(back.ids_NK[0]).index(7)] == pytest.approx(0, abs=1e-3)
    assert back.logprobs_NK.min() == pytest.approx(-30, abs=0.1)
