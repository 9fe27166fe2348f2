"""Losses from hidden states and a head in chunks equal those of full logits, values and gradients, however they are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stillwise.errors import StillwiseError
from stillwise.records import Span
from stillwise.train.losses import head as head_module
from stillwise.train.losses.cross_entropy import cross_entropy, span_weights, supervised, token_logprobs
from stillwise.train.losses.divergence import JSD, AdaptiveKL, ForwardKL, log_probs
from stillwise.train.losses.head import Head
from stillwise.train.losses.mix import Hidden, Matching, divergence_sum, mixed_of
from stillwise.train.losses.topk import top_k
from tests.train.conftest import make_model

N, H, V = 23, 6, 31


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "BLOCK_ELEMENTS", 3 * V)


def tensors(seed: int = 0, rows: int = V, dtype: str = "float64") -> dict[str, Any]:
    import torch

    draw = torch.Generator().manual_seed(seed)

    def make(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(getattr(torch, dtype))

    return {
        "hidden": make(N, H).requires_grad_(),
        "weight": make(rows, H).requires_grad_(),
        "bias": make(rows).requires_grad_(),
        "teacher": Hidden(make(N, H + 2), Head(make(rows, H + 2))),
        "targets": torch.randint(V, (N,), generator=draw),
        "weights": torch.rand(N, generator=draw, dtype=torch.float64).to(getattr(torch, dtype)),
    }


def gradients(loss: Any, t: dict[str, Any]) -> list[Any]:
    import torch

    return list(torch.autograd.grad(loss, [t["hidden"], t["weight"], t["bias"]]))


SHAPES = [{}, {"scale": 0.5}, {"softcap": 3.0}, {"scale": 2.0, "softcap": 5.0}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunk", [1, 5, N, None])
def test_every_chunk_size_gives_the_full_logits_values_and_gradients(shape: dict[str, Any], chunk: int | None) -> None:
    import torch

    t = tensors()
    head = Head(t["weight"], t["bias"], **shape)
    logits = head.logits(t["hidden"])
    matching = Matching(divergence=JSD(beta=0.3), temperature=2.0, square=True)
    log_p = log_probs(t["teacher"].head.logits(t["teacher"].hidden_NH), 2.0)
    whole = (t["weights"] * 4 * JSD(beta=0.3).per_token(log_p, log_probs(logits, 2.0))).sum()
    mine, each = divergence_sum(t["hidden"], head, t["teacher"], matching, t["weights"], chunk)
    assert torch.isclose(mine, whole)
    assert torch.isclose((each * t["weights"]).sum(), whole)
    assert not each.requires_grad
    for a, b in zip(gradients(3 * mine, t), gradients(3 * whole, t), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_top_k_teachers_too(chunk: int | None) -> None:
    import torch

    t = tensors(1)
    head = Head(t["weight"], t["bias"])
    top = top_k(log_probs(t["teacher"].head.logits(t["teacher"].hidden_NH)), 4)
    matching = Matching(divergence=AdaptiveKL())
    base, _ = divergence_sum(t["hidden"], head, top, matching, t["weights"], 2)
    mine, _ = divergence_sum(t["hidden"], head, top, matching, t["weights"], chunk)
    assert torch.isclose(mine, base)
    for a, b in zip(gradients(mine, t), gradients(base, t), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 4, None])
def test_cross_entropy_and_token_logprobs_are_torchs(chunk: int | None) -> None:
    import torch
    from torch.nn.functional import cross_entropy as plain

    t = tensors(2)
    head = Head(t["weight"], t["bias"])

    def full() -> Any:
        return plain(head.logits(t["hidden"]), t["targets"], reduction="none")

    mine, each = cross_entropy(t["hidden"], head, t["targets"], t["weights"], chunk)
    assert torch.allclose(each, full().detach())
    for a, b in zip(gradients(mine, t), gradients((full() * t["weights"]).sum(), t), strict=True):
        assert torch.allclose(a, b, atol=1e-9)
    # A loss that is not linear in the log-probabilities: its weights are known only in the backward pass.
    again = token_logprobs(t["hidden"], head, t["targets"], chunk)
    for a, b in zip(gradients((again**2).sum(), t), gradients((full() ** 2).sum(), t), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_autograd_agrees_with_float64_finite_differences() -> None:
    import torch

    t = tensors(3)
    matching = Matching(divergence=ForwardKL(), temperature=0.7)

    def mixed(hidden: Any, weight: Any, bias: Any) -> Any:
        loss = mixed_of(t["targets"], t["teacher"], matching)
        both = torch.stack([0.3 * t["weights"], 0.7 * t["weights"]], dim=-1)
        return head_module.weighted_sum(hidden, Head(weight, bias), loss, both, 4)[0]

    def log_likelihood(hidden: Any, weight: Any, bias: Any) -> Any:
        return token_logprobs(hidden, Head(weight, bias), t["targets"], 4)

    inputs = (t["hidden"], t["weight"], t["bias"])
    grads = torch.autograd.grad(mixed(*inputs), inputs)
    for i, grad in enumerate(grads):
        for place in range(0, grad.numel(), 3):
            step = torch.zeros(grad.numel(), dtype=torch.float64)
            step[place] = 1e-6
            moved = [
                [x.detach() + sign * step.view_as(grad) if i == j else x for j, x in enumerate(inputs)] for sign in (1, -1)
            ]
            slope = (mixed(*moved[0]) - mixed(*moved[1])).detach() / 2e-6
            assert torch.isclose(grad.flatten()[place], slope, atol=1e-7)
    assert torch.autograd.gradcheck(log_likelihood, inputs)


def test_micro_batches_add_up() -> None:
    import torch

    t = tensors(4)
    head, matching = Head(t["weight"], t["bias"]), Matching(divergence=ForwardKL())
    whole = gradients(divergence_sum(t["hidden"], head, t["teacher"], matching, t["weights"])[0], t)
    for cut in (1, 9):
        parts = [
            divergence_sum(
                t["hidden"][s], head, Hidden(t["teacher"].hidden_NH[s], t["teacher"].head), matching, t["weights"][s]
            )
            for s in (slice(0, cut), slice(cut, N))
        ]
        for a, b in zip(gradients(sum(part for part, _ in parts), t), whole, strict=True):
            assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("source", ["hidden", "top_k", "cross_entropy"])
def test_padding_of_the_vocabulary_is_never_seen(source: str) -> None:
    import torch

    def loss(t: dict[str, Any], weight: Any, bias: Any, teacher_head: Head, vocab: int | None) -> Any:
        head = Head(weight, bias, vocab=vocab)
        teacher: Any = Hidden(t["teacher"].hidden_NH, teacher_head)
        if source == "cross_entropy":
            return cross_entropy(t["hidden"], head, t["targets"], t["weights"])[0]
        if source == "top_k":
            teacher = top_k(log_probs(teacher_head.logits(teacher.hidden_NH)), 5)
        return divergence_sum(t["hidden"], head, teacher, Matching(divergence=ForwardKL()), t["weights"])[0]

    t = tensors(5)
    plain = loss(t, t["weight"], t["bias"], t["teacher"].head, None)
    # The student's matrix has 4 rows of padding, the teacher's 9, with logits that would swamp everything.
    wide = torch.cat([t["weight"], torch.full((4, H), 50.0, dtype=torch.float64)])
    wide_bias = torch.cat([t["bias"], torch.full((4,), 1e3, dtype=torch.float64)])
    other = torch.cat([t["teacher"].head.weight_VH, torch.full((9, H + 2), 50.0, dtype=torch.float64)])
    padded = loss(t, wide, wide_bias, Head(other, vocab=V), V)
    assert torch.isclose(plain, padded)
    for a, b in zip(gradients(padded, t), gradients(plain, t), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_half_precision_is_computed_in_float32() -> None:
    import torch

    t = tensors(6, dtype="bfloat16")
    exact = cross_entropy(t["hidden"].double(), Head(t["weight"].double(), t["bias"].double()), t["targets"], t["weights"])[1]
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            total, each = cross_entropy(t["hidden"], Head(t["weight"], t["bias"]), t["targets"], t["weights"])
        assert each.dtype == torch.float32
        assert (each.double() - exact).abs().max() < 1e-5
        assert {g.dtype for g in gradients(total, t)} == {torch.bfloat16}


def test_a_frozen_head_costs_no_gradient_and_nothing_is_handed_out_twice() -> None:
    t = tensors(7)
    frozen = Head(t["weight"].detach(), t["bias"].detach())
    total, _ = cross_entropy(t["hidden"], frozen, t["targets"], t["weights"])
    total.backward(retain_graph=True)
    assert t["hidden"].grad is not None
    with pytest.raises(StillwiseError, match="once"):
        total.backward()


def test_no_tokens_make_nothing() -> None:
    t = tensors(8)
    total, each = cross_entropy(t["hidden"][:0], Head(t["weight"], t["bias"]), t["targets"][:0], t["weights"][:0])
    assert float(total.detach()) == 0
    assert len(each) == 0
    assert all(float(g.abs().sum()) == 0 for g in gradients(total, t))


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("qwen3", {}),
        ("llama", {"tie_word_embeddings": False}),
        ("gemma2", {"final_logit_softcapping": 3.0, "head_dim": 8}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 4.0}),
    ],
)
def test_a_models_head_gives_its_own_logits(architecture: str, changes: dict[str, Any]) -> None:
    import torch

    model = make_model(architecture, **changes).eval()
    ids = torch.arange(12)[None]
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        assert torch.allclose(Head.of(model).logits(hidden), model(input_ids=ids).logits[0], atol=1e-5)


def test_memory_holds_one_chunk_of_logits_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    raw: Callable[..., Any] = Head.raw

    def watched(self: Head, hidden_CH: Any) -> Any:
        out = raw(self, hidden_CH)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(Head, "raw", watched)
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", 5 * V)
    t = tensors(9)
    divergence_sum(t["hidden"], Head(t["weight"]), t["teacher"], Matching(divergence=ForwardKL()), t["weights"])
    assert max(sizes) == 5 * V
    assert len(sizes) == 2 * -(-N // 5)


def test_weights_by_span() -> None:
    text = "<think>ab</think>cd"
    offsets = [(0, 7), (7, 9), (9, 17), (17, 18), (18, 19)]
    spans = [Span(kind="thinking", start=7, end=9), Span(kind="solution", start=17, end=19), Span(kind="chunk", start=7, end=8)]
    assert span_weights(offsets, spans, {"thinking": 0.5, "solution": 2.0}) == [1.0, 0.5, 1.0, 2.0, 2.0]
    assert span_weights(offsets, spans, {"solution": 0.0}, default=1.5) == [1.5, 1.5, 1.5, 0.0, 0.0]
    assert span_weights(offsets, spans, {"thinking": 0.5, "chunk": 3.0}) == [1.0, 3.0, 1.0, 1.0, 1.0]
    assert span_weights([(i, i + 1) for i in range(len(text))], spans, {"thinking": 0.0})[6:10] == [1.0, 0.0, 0.0, 1.0]


def padded(rows: list[list[int]], starts: list[int], left: int, right: int) -> tuple[Any, Any, Any, Any]:
    """Ids, attention mask, positions and labels of a batch that is padded on both sides."""
    import torch

    width = max(map(len, rows)) + left + right
    ids, mask = torch.full((len(rows), width), 256), torch.zeros(len(rows), width, dtype=torch.long)
    labels, positions = torch.full((len(rows), width), -100), torch.zeros(len(rows), width, dtype=torch.long)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        begin = width - right - len(row) if left else 0
        ids[i, begin : begin + len(row)] = torch.tensor(row)
        mask[i, begin : begin + len(row)] = 1
        positions[i, begin : begin + len(row)] = torch.arange(len(row))
        labels[i, begin + start : begin + len(row)] = torch.tensor(row[start:])
    return ids, mask, positions, labels


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 9), (3, 0), (17, 0), (2, 5)])
def test_side_and_amount_of_padding_change_nothing_and_every_target_is_seen_once(left: int, right: int) -> None:
    import torch

    rows, starts = [[5, 6, 7, 8, 258], [9, 10, 258], [11, 12, 13, 14, 15, 16, 258]], [2, 1, 4]
    model = make_model("qwen3").eval()
    ids, mask, positions, labels = padded(rows, starts, left, right)
    hidden_BTH = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
    hidden_NH, targets_N = supervised(hidden_BTH, labels)
    assert targets_N.tolist() == [token for row, start in zip(rows, starts, strict=True) for token in row[start:]]
    total, each = cross_entropy(hidden_NH, Head.of(model), targets_N, torch.ones(len(targets_N)))
    alone = [
        model(input_ids=torch.tensor([row])).logits[0, start - 1 : -1].log_softmax(-1)[range(len(row) - start), row[start:]]
        for row, start in zip(rows, starts, strict=True)
    ]
    assert torch.allclose(each, -torch.cat(alone), atol=1e-5)
    total.backward()
    (grad,) = [p.grad for name, p in model.named_parameters() if name.endswith("norm.weight") and "layers" not in name]
    bare = make_model("qwen3").eval()
    nll = [
        bare(input_ids=torch.tensor([row]), labels=torch.tensor([[-100] * start + row[start:]])).loss * (len(row) - start)
        for row, start in zip(rows, starts, strict=True)
    ]
    torch.stack(nll).sum().backward()
    (plain,) = [p.grad for name, p in bare.named_parameters() if name.endswith("norm.weight") and "layers" not in name]
    assert torch.allclose(grad, plain, atol=1e-4)
