"""Divergences: closed forms on three tokens, gradients against finite differences, limits, bounds and traps."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter

from stillwise.arrows import Divergence
from stillwise.parts import builtin_catalogue
from stillwise.train.losses.divergence import (
    JSD,
    TVD,
    AdaptiveKL,
    ForwardKL,
    ReverseKL,
    ReverseSkewedKL,
    SkewedKL,
    log_probs,
)
from stillwise.train.losses.mix import Matching
from stillwise.train.losses.topk import Support, TopK, log1mexp, on_support, tempered, top_k

P, Q = (0.7, 0.2, 0.1), (0.25, 0.25, 0.5)
KINDS: tuple[Divergence, ...] = (
    ForwardKL(),
    ReverseKL(),
    JSD(),
    JSD(beta=0.1, rescale=True),
    SkewedKL(),
    ReverseSkewedKL(),
    AdaptiveKL(),
    TVD(),
)
SUPPORTS: tuple[Support, ...] = ("tail_bucket", "partial", "renormalised_teacher", "renormalised_both")


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("divergence", KINDS, ids=lambda d: f"{d.kind}{getattr(d, 'rescale', '') and '_rescaled'}")


def kl(p: Any, q: Any) -> float:
    return sum((float(a * math.log(a / b)) for a, b in zip(p, q, strict=True) if a), 0.0)


def blend(p: Any, q: Any, share: float) -> list[float]:
    return [share * a + (1 - share) * b for a, b in zip(p, q, strict=True)]


def logs(*values: float) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float64).log()


def random_logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Any:
    import torch

    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_divergence_of_the_catalogue_is_tested() -> None:
    assert {d.kind for d in KINDS} == set(builtin_catalogue().of_arrow(Divergence))


def test_closed_forms_on_three_tokens() -> None:
    half, slim = blend(P, Q, 0.5), blend(P, Q, 0.1)
    # AdaptiveKL: the head is the first token alone (0.7 >= 0.5); gaps 0.45 of 0.9.
    expected = {
        ForwardKL(): 0.7 * math.log(2.8) + 0.2 * math.log(0.8) + 0.1 * math.log(0.2),
        ReverseKL(): 0.25 * math.log(0.25 / 0.7) + 0.25 * math.log(1.25) + 0.5 * math.log(5),
        JSD(): 0.5 * kl(P, half) + 0.5 * kl(Q, half),
        JSD(beta=0.1): 0.1 * kl(P, slim) + 0.9 * kl(Q, slim),
        JSD(beta=0.1, rescale=True): (0.1 * kl(P, slim) + 0.9 * kl(Q, slim)) / 0.09,
        SkewedKL(): kl(P, slim),
        ReverseSkewedKL(): kl(Q, blend(Q, P, 0.1)),
        AdaptiveKL(): 0.5 * kl(P, Q) + 0.5 * kl(Q, P),
        TVD(): 0.45,
    }
    for divergence, value in expected.items():
        assert float(divergence.per_token(logs(*P), logs(*Q))) == pytest.approx(value, abs=1e-12), divergence.kind


def test_the_head_of_adaptive_kl_is_the_smallest_prefix_that_reaches_mu() -> None:
    p, q = (0.3, 0.3, 0.25, 0.15), (0.1, 0.4, 0.4, 0.1)
    # Sorted by p, ties by id: 0.3 falls short of 0.5, 0.6 reaches it; gaps 0.2 and 0.1 in the head, 0.15 and 0.05 beyond.
    share = float(AdaptiveKL().head_share(logs(*p), logs(*q)))
    assert share == pytest.approx(0.3 / 0.5, abs=1e-9)
    assert float(AdaptiveKL().head_share(logs(*p), logs(*p))) == pytest.approx(0.5)


@each()
@pytest.mark.parametrize("support", [None, *SUPPORTS])
def test_gradients_are_those_of_finite_differences(divergence: Divergence, support: Support | None) -> None:
    import torch

    teacher, student = random_logits(3, 7, seed=1), random_logits(3, 7, seed=2).requires_grad_()
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    if isinstance(divergence, AdaptiveKL):
        share = frozen_share(divergence, teacher, student.detach(), support)

    def loss(z: Any) -> Any:
        log_p, log_q = measures(teacher, z, support, 1.5)
        if isinstance(divergence, AdaptiveKL):
            value = share * ForwardKL().per_token(log_p, log_q) + (1 - share) * ReverseKL().per_token(log_p, log_q)
        else:
            value = divergence.per_token(log_p, log_q)
        return (weights * value).sum()

    assert torch.autograd.gradcheck(loss, (student,), atol=1e-6)
    log_p, log_q = measures(teacher, student, support, 1.5)
    (grad,) = torch.autograd.grad((weights * divergence.per_token(log_p, log_q)).sum(), student)
    (plain,) = torch.autograd.grad(loss(student), student)
    assert torch.allclose(grad, plain, atol=1e-12)


def frozen_share(divergence: AdaptiveKL, teacher: Any, student: Any, support: Support | None) -> Any:
    return divergence.head_share(*measures(teacher, student, support, 1.5))


def measures(teacher: Any, student: Any, support: Support | None, temperature: float) -> Any:
    if support is None:
        return log_probs(teacher, temperature), log_probs(student, temperature)
    return on_support(top_k(log_probs(teacher), 3), student, support, temperature)


@each()
def test_never_negative_and_nothing_between_equals(divergence: Divergence) -> None:
    import torch

    for seed in range(20):
        teacher, student = random_logits(50, 11, seed=seed, scale=1 + seed), random_logits(50, 11, seed=seed + 100)
        p, q = log_probs(teacher.float()), log_probs(student.float())
        assert divergence.per_token(p, q).min() >= -1e-6
        assert divergence.per_token(p, p).abs().max() <= 1e-6
        top = on_support(top_k(p, 4), student.float(), "tail_bucket")
        assert divergence.per_token(*top).min() >= -2e-6
        assert torch.isfinite(divergence.per_token(*top)).all()


def test_limits_in_beta() -> None:
    p, q = log_probs(random_logits(9, 13, seed=3)), log_probs(random_logits(9, 13, seed=4))
    forward, reverse = ForwardKL().per_token(p, q), ReverseKL().per_token(p, q)
    for beta, limit in ((1e-6, forward), (1 - 1e-6, reverse)):
        assert JSD(beta=beta).per_token(p, q).max() < 1e-4
        assert (JSD(beta=beta, rescale=True).per_token(p, q) - limit).abs().max() < 1e-3
    assert (SkewedKL(alpha=1e-9).per_token(p, q) - forward).abs().max() < 1e-5
    assert (ReverseSkewedKL(alpha=1e-9).per_token(p, q) - reverse).abs().max() < 1e-5
    assert (JSD().per_token(p, q) - JSD().per_token(q, p)).abs().max() < 1e-12


def test_masked_logits_make_no_nan() -> None:
    import torch

    teacher = torch.tensor([[1.0, 2.0, -torch.inf]])
    student = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    for divergence in KINDS:
        value = divergence.per_token(log_probs(teacher, masked=True), log_probs(student)).sum()
        (grad,) = torch.autograd.grad(value, student)
        assert torch.isfinite(value), divergence.kind
        assert torch.isfinite(grad).all(), divergence.kind


def test_the_tail_bucket_never_exceeds_the_whole_divergence() -> None:
    teacher, student = random_logits(200, 40, seed=5), random_logits(200, 40, seed=6)
    whole = ForwardKL().per_token(log_probs(teacher), log_probs(student))
    last = whole.new_zeros(())
    for k in (1, 5, 20, 39):
        value = ForwardKL().per_token(*on_support(top_k(log_probs(teacher), k), student, "tail_bucket"))
        assert (value <= whole + 1e-5).all()
        assert value.mean() >= last
        last = value.mean()
    assert (value - whole).abs().max() < 1e-3


def test_the_other_three_supports_are_what_their_names_say() -> None:
    import torch

    student = logs(*Q)
    top = TopK(torch.tensor([0]), logs(0.7), logs(0.3)[0])
    values = {s: float(ForwardKL().per_token(*on_support(top, student, s))) for s in SUPPORTS}
    assert values["partial"] == pytest.approx(0.7 * math.log(0.7 / 0.25))
    assert values["renormalised_teacher"] == pytest.approx(-math.log(0.25))
    assert values["renormalised_both"] == pytest.approx(0.0)
    assert values["tail_bucket"] == pytest.approx(0.7 * math.log(0.7 / 0.25) + 0.3 * math.log(0.3 / 0.75), abs=1e-6)
    negative = on_support(TopK(torch.tensor([2]), logs(0.1), logs(0.9)[0]), student, "partial")
    assert ForwardKL().per_token(*negative) < 0


def test_temperature_on_the_top_k_is_exact_where_the_tail_is_flat() -> None:
    import torch

    probabilities = torch.tensor([0.5, 0.2, *[0.06] * 5], dtype=torch.float64)
    for temperature in (0.5, 1.0, 2.0):
        exact = top_k(log_probs(probabilities.log(), temperature), 2)
        mine = tempered(top_k(probabilities.log(), 2), temperature, 7)
        assert torch.allclose(mine.logprobs_NK, exact.logprobs_NK)
        assert torch.allclose(mine.log_tail_N, exact.log_tail_N)


def test_log1mexp_is_exact_at_both_ends() -> None:
    import torch

    x = torch.tensor([-1e-5, -0.1, -0.6931, -0.7, -5.0, -80.0], dtype=torch.float32)
    exact = torch.log(-torch.expm1(x.double()))
    assert torch.allclose(log1mexp(x).double(), exact, atol=1e-6)
    assert float(log1mexp(torch.tensor(0.0))) == pytest.approx(math.log(1e-6), rel=1e-3)


def test_temperature_squared_is_explicit() -> None:
    assert Matching(divergence=ForwardKL(), temperature=2.0).factor == 1.0
    assert Matching(divergence=ForwardKL(), temperature=2.0, square=True).factor == 4.0


def test_divergences_are_named_in_recipes() -> None:
    adapter: TypeAdapter[Divergence] = TypeAdapter(Divergence)
    assert adapter.validate_python({"kind": "jsd", "beta": 0.2}) == JSD(beta=0.2)
    assert adapter.validate_python("tvd") == TVD()
