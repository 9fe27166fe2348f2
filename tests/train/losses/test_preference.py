"""Preference and regression losses: closed forms, TRL's formulas, gradients, and what must not depend on how a step is cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from stillwise.arrows import Preference, Regression
from stillwise.errors import StillwiseError, UserError
from stillwise.parts import builtin_catalogue
from stillwise.train.losses.joint import Blend, ChosenNLL, WithSFT
from stillwise.train.losses.preference import DPO, KTO, ORPO, REDI, SORTED, DPOVariant, FDivergence, Pairs, SimPO, scored
from stillwise.train.losses.regression import MSE, Huber, SoftBCE, Standard, bradley_terry

LOSSES: tuple[Preference, ...] = (
    *(DPO(variant=v, label_smoothing=0.1) for v in get_args(DPOVariant) if v not in SORTED),
    *(DPO(divergence=d) for d in get_args(FDivergence)),
    DPO(weighted=True, tail=0.4),
    ORPO(),
    SimPO(),
    REDI(),
    REDI(damping=0.5),
    KTO(),
    WithSFT(of=ORPO()),
    ChosenNLL(),
    Blend(of=(ORPO(), ChosenNLL()), weights=(0.5, 2.0)),
)


def pairs(chosen: Any = (-4.0, -9.0), rejected: Any = (-6.0, -5.0), **changes: Any) -> Pairs:
    import torch

    def tensor(values: Any) -> Any:
        return torch.as_tensor(values, dtype=torch.float64)

    count = len(tensor(chosen))
    given = {
        "chosen_B": chosen,
        "rejected_B": rejected,
        "chosen_tokens_B": [4.0] * count,
        "rejected_tokens_B": [10.0] * count,
        "reference_chosen_B": [-5.0] * count,
        "reference_rejected_B": [-5.5] * count,
        "certainty_B": [0.3] * count,
        "point": 0.25,
        **changes,
    }
    return Pairs(**{name: tensor(value) for name, value in given.items() if value is not None})


def tailed() -> Pairs:
    """One pair, whose rejected answer has six tokens more than the chosen one."""
    return replace(pairs([-4.0], [-6.0]), tail=pairs([0.0], [-3.0], reference_chosen_B=[0.0], reference_rejected_B=[-2.0]))


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_every_preference_and_regression_of_the_catalogue_is_tested() -> None:
    assert {loss.kind for loss in LOSSES} == set(builtin_catalogue().of_arrow(Preference))
    assert set(builtin_catalogue().of_arrow(Regression)) == {"mse", "huber", "soft_bce"}


def test_closed_forms_of_one_pair() -> None:
    one = pairs([-4.0], [-6.0])
    # Ratios to the reference: +1 and -0.5; per token: 0.25 and -0.05; mean log-probabilities: -1 and -0.6.
    log_odds = (-1 - math.log(1 - math.exp(-1))) - (-0.6 - math.log(1 - math.exp(-0.6)))
    expected: dict[Preference, float] = {
        DPO(): -math.log(sigma(0.15)),
        DPO(label_smoothing=0.2): -0.8 * math.log(sigma(0.15)) - 0.2 * math.log(sigma(-0.15)),
        DPO(variant="robust", label_smoothing=0.2): (-0.8 * math.log(sigma(0.15)) + 0.2 * math.log(sigma(-0.15))) / 0.6,
        DPO(variant="ipo"): (0.3 - 5) ** 2,
        DPO(variant="hinge"): 0.85,
        DPO(variant="sigmoid_norm"): -math.log(sigma(0.03)),
        DPO(variant="nca_pair"): -math.log(sigma(0.1)) - 0.5 * math.log(sigma(-0.1)) - 0.5 * math.log(sigma(0.05)),
        DPO(variant="bco_pair"): -math.log(sigma(0.1)) - math.log(sigma(0.05)),
        DPO(variant="sppo_hard"): (1 - 5) ** 2 + (-0.5 + 5) ** 2,
        DPO(variant="apo_zero"): 1 - sigma(0.1) + sigma(-0.05),
        DPO(variant="apo_down"): sigma(0.1) + 1 - sigma(0.15),
        ORPO(): 1 - 0.1 * math.log(sigma(log_odds)),
        SimPO(): -math.log(sigma(2 * (-1 + 0.6) - 1)),
        REDI(): 1 + 0.8 * -0.6,
        REDI(damping=0.5): 1 + 0.8 * math.exp(-0.3) * -0.6,
        KTO(): 1 - sigma(0.1 * (1 - 0.25)) + 1 - sigma(-0.1 * (-0.5 - 0.25)),
        ChosenNLL(): 1.0,
        Blend(): -0.8 * math.log(sigma(0.15)) - 0.2 * math.log(sigma(0.1)) - 0.2 * math.log(sigma(0.05)) + 1.0,
        DPO(weighted=True): -0.3 * math.log(sigma(0.15)),
        DPO(divergence="forward_kl"): -math.log(sigma(0.1 * (math.exp(0.5) - math.exp(-1)))),
        DPO(divergence="js_divergence"): -math.log(sigma(0.1 * (math.log(sigma(1)) - math.log(sigma(-0.5))))),
        DPO(divergence="alpha_divergence", alpha=1.0): -math.log(sigma(0.15)),
        DPO(divergence="alpha_divergence"): -math.log(sigma(0.1 * 2 * (math.exp(0.25) - math.exp(-0.5)))),
        DPO(variant="discopop", tau=0.1): -math.log(sigma(0.15)) * (1 - sigma(1.5)) + math.exp(-0.15) * sigma(1.5),
        # Of one pair there is nothing to sort.
        DPO(variant="aot"): -math.log(sigma(0.15)),
        DPO(variant="aot_unpaired"): -math.log(sigma(0.15)),
    }
    for loss, value in expected.items():
        assert float(loss.per_pair(one)) == pytest.approx(value, abs=1e-9), loss
    right = DPO(variant="exo_pair", label_smoothing=0.1)
    p = sigma(0.15)
    assert float(right.per_pair(one)) == pytest.approx(p * math.log(p / 0.9) + (1 - p) * math.log((1 - p) / 0.1))
    share = sigma(0.15 / 0.05)
    disco = -math.log(sigma(0.15)) * (1 - share) + math.exp(-0.15) * share
    assert float(DPO(variant="discopop").per_pair(one)) == pytest.approx(disco)


def test_tokens_beyond_the_shorter_answer_count_less() -> None:
    # Their log-ratio, -1, is part of the rejected answer's, -0.5.
    for share, gap in ((1.0, 1.5), (0.4, 1 + 0.5 - 0.6), (0.0, 1 - 0.5)):
        assert float(DPO(tail=share).per_pair(tailed())) == pytest.approx(-math.log(sigma(0.1 * gap)))


def test_sorted_log_ratios_are_compared_rank_by_rank_however_a_step_is_cut() -> None:
    import torch

    draw = torch.Generator().manual_seed(5)
    sides = [-10 * torch.rand(6, generator=draw, dtype=torch.float64) for _ in range(4)]
    for variant in ("aot", "aot_unpaired"):
        loss = DPO(variant=variant, label_smoothing=0.1)
        found = []
        for cut in ([slice(0, 6)], [slice(0, 1), slice(1, 4), slice(4, 6)]):
            win, lose = (side.clone().requires_grad_() for side in sides[:2])
            step = pairs(win.detach(), lose.detach(), reference_chosen_B=sides[2], reference_rejected_B=sides[3])
            total = torch.zeros((), dtype=torch.float64)
            for part in cut:
                held = pairs(
                    sides[0][part], sides[1][part], reference_chosen_B=sides[2][part], reference_rejected_B=sides[3][part]
                )
                held = replace(held, chosen_B=win[part], rejected_B=lose[part], step=step, places_B=torch.arange(6)[part])
                total = total + loss.per_pair(held).sum()
            one, other = (win - lose, sides[2] - sides[3]) if variant == "aot" else (win - sides[2], lose - sides[3])
            gaps = 0.1 * (one.sort().values - other.sort().values)
            plain = -(0.9 * torch.nn.functional.logsigmoid(gaps) + 0.1 * torch.nn.functional.logsigmoid(-gaps)).sum()
            assert torch.isclose(total, plain)
            for mine, theirs in zip(
                torch.autograd.grad(total, (win, lose)), torch.autograd.grad(plain, (win, lose)), strict=True
            ):
                assert torch.allclose(mine, theirs)
            found.append(float(total.detach()))
        assert found[0] == pytest.approx(found[1])


def test_divergences_meet_where_they_should() -> None:
    import torch

    ratios = torch.linspace(-2, 2, 9, dtype=torch.float64)
    for divergence in get_args(FDivergence):
        assert float(scored(torch.zeros(1, dtype=torch.float64), divergence, 0.5)) == 0, "f'(1) = 0"
        assert bool((scored(ratios, divergence, 0.5).diff() > 0).all())
    assert torch.allclose(scored(ratios, "alpha_divergence", 1.001), ratios, atol=5e-3), "alpha 1 is the reverse KL"
    assert torch.allclose(scored(ratios, "alpha_divergence", 0.0), scored(ratios, "forward_kl", 0.5)), "and 0 the forward KL"
    assert torch.isfinite(scored(torch.tensor([-1e4, 1e4]), "alpha_divergence", 2.0)).all()


def test_combinations_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="divergence reverse_kl alone"):
        DPO(variant="apo_zero", divergence="forward_kl")
    with pytest.raises(ValueError, match="sorts answers"):
        DPO(variant="aot", weighted=True)
    with pytest.raises(ValueError, match="2 weights for 3 losses"):
        Blend(weights=(1.0, 2.0))
    assert Blend().beta == 0.1
    with pytest.raises(UserError, match="several"):
        _ = Blend(of=(DPO(), SimPO()), weights=(1, 1)).beta
    for loss in (KTO(), DPO(weighted=True)):
        with pytest.raises(StillwiseError, match="needs"):
            loss.per_pair(pairs(point=None, certainty_B=None))


def test_a_pairs_own_beta_goes_before_the_fields() -> None:
    import torch

    both = pairs(beta_B=[0.1, 0.5])
    mine = DPO(beta=9.0).per_pair(both)
    alone = [float(DPO(beta=b).per_pair(pairs())[i]) for i, b in enumerate((0.1, 0.5))]
    assert torch.allclose(mine, torch.tensor(alone, dtype=torch.float64))
    assert float(mine[0]) < float(mine[1])


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradients_are_those_of_finite_differences(loss: Preference) -> None:
    import torch

    draw = torch.Generator().manual_seed(3)
    chosen, rejected = ((-10 * torch.rand(5, generator=draw, dtype=torch.float64) - 0.5).requires_grad_() for _ in range(2))
    point = torch.tensor(0.2, dtype=torch.float64)
    factor = (0.5 * rejected.detach() / 10).exp()

    def value(win: Any, lose: Any) -> Any:
        given = {f.name: getattr(pairs([0.0] * 5, [0.0] * 5), f.name) for f in fields(Pairs)}
        held = Pairs(**{**given, "chosen_B": win, "rejected_B": lose, "point": point})
        if isinstance(loss, REDI) and loss.damping:
            return -held.chosen_mean_B + 0.8 * factor * held.rejected_mean_B
        return loss.per_pair(held)

    assert torch.autograd.gradcheck(value, (chosen, rejected))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_pairs_do_not_know_each_other(loss: Preference) -> None:
    import torch

    point = torch.tensor(0.1, dtype=torch.float64)
    both = loss.per_pair(pairs(point=point))
    for i, (win, lose) in enumerate(((-4.0, -6.0), (-9.0, -5.0))):
        assert torch.isclose(loss.per_pair(pairs([win], [lose], point=point))[0], both[i])


def test_a_missing_reference_is_refused() -> None:
    bare = pairs(reference_chosen_B=None, reference_rejected_B=None)
    for loss in LOSSES:
        if loss.needs_reference:
            with pytest.raises(StillwiseError, match="reference"):
                loss.per_pair(bare)
        else:
            assert len(loss.per_pair(bare)) == 2


def test_a_loss_with_sft_adds_the_mean_nll_of_the_chosen_answer() -> None:
    one = pairs([-4.0], [-6.0])
    alone = float(DPO(beta=0.4).per_pair(one)[0])
    assert float(WithSFT(of=DPO(beta=0.4)).per_pair(one)[0]) == pytest.approx(alone + 0.3 * 1.0)
    assert WithSFT(of=DPO(beta=0.4)).beta == 0.4
    assert WithSFT(of=ORPO()).beta is None
    with pytest.raises(StillwiseError, match="reference"):
        WithSFT().per_pair(pairs(reference_chosen_B=None, reference_rejected_B=None))


def test_orpo_of_three_tokens_is_its_closed_form_and_raises_the_chosen_answer() -> None:
    import torch

    chosen = torch.tensor([-0.3 - 0.2 - 0.7], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-1.1 - 0.4 - 0.9], dtype=torch.float64)
    three = torch.tensor([3.0], dtype=torch.float64)
    loss = ORPO(weight=1.0).per_pair(
        Pairs(chosen_B=chosen, rejected_B=rejected, chosen_tokens_B=three, rejected_tokens_B=three)
    )
    p, q = math.exp(-0.4), math.exp(-0.8)
    assert float(loss.detach()) == pytest.approx(0.4 - math.log(sigma(math.log(p / (1 - p)) - math.log(q / (1 - q)))))
    (slope,) = torch.autograd.grad(loss.sum(), chosen)
    assert float(slope) < 0


def test_orpo_stays_finite_where_text_is_certain() -> None:
    import torch

    chosen = torch.tensor([-1e-9, 0.0], dtype=torch.float32, requires_grad=True)
    value = ORPO().per_pair(pairs([0.0, 0.0], [-5.0, 0.0], chosen_B=chosen))
    (grad,) = torch.autograd.grad(value.sum(), chosen)
    assert torch.isfinite(value).all()
    assert torch.isfinite(grad).all()


def test_redi_pushes_less_than_it_pulls() -> None:
    import torch

    chosen = torch.tensor([-4.0], requires_grad=True)
    rejected = torch.tensor([-6.0], requires_grad=True)
    value = -chosen / 4 + 0.8 * rejected / 10
    given: dict[str, Any] = {"chosen_tokens_B": torch.tensor([4.0]), "rejected_tokens_B": torch.tensor([10.0])}
    mine = REDI().per_pair(Pairs(chosen_B=chosen, rejected_B=rejected, **given))
    assert torch.equal(mine, value)
    slopes = torch.autograd.grad(mine.sum(), (chosen, rejected))
    assert [float(slope) for slope in slopes] == pytest.approx([-0.25, 0.08])


def _slopes(loss: Preference, chosen: Sequence[float], rejected: Sequence[float], **given: Any) -> list[float]:
    """d loss / d log-probability of each chosen, then of each rejected answer."""
    import torch

    held = pairs(chosen, rejected, **given)
    win, lose = held.chosen_B.clone().requires_grad_(), held.rejected_B.clone().requires_grad_()
    value = loss.per_pair(replace(held, chosen_B=win, rejected_B=lose)).sum()
    return [float(slope) for grad in torch.autograd.grad(value, (win, lose)) for slope in grad]


def test_redi_without_negatives_is_sft_and_its_push_is_linear_in_alpha() -> None:
    chosen, rejected = [-4.0, -9.0], [-6.0, -5.0]
    slopes = {alpha: _slopes(REDI(alpha=alpha), chosen, rejected) for alpha in (0.0, 0.25, 0.5, 1.0)}
    tokens = pairs(chosen, rejected).chosen_tokens_B
    assert slopes[0.0] == pytest.approx([*(-1 / float(n) for n in tokens), 0.0, 0.0]), "the mean NLL of the right traces"
    for alpha, found in slopes.items():
        assert found == pytest.approx([a + alpha * (b - a) for a, b in zip(slopes[0.0], slopes[1.0], strict=True)])


def test_symmetric_redi_pushes_where_dpo_of_a_vanishing_beta_does() -> None:
    import torch

    chosen, rejected = [-4.0, -9.0], [-6.0, -5.0]
    ones = torch.ones(2, dtype=torch.float64)
    even = {"chosen_tokens_B": 7 * ones, "rejected_tokens_B": 7 * ones}
    mine = torch.tensor(_slopes(REDI(alpha=1.0), chosen, rejected, **even))
    dpo = torch.tensor(_slopes(DPO(beta=1e-6), chosen, rejected, **even))
    assert float(torch.nn.functional.cosine_similarity(mine, dpo, dim=0)) == pytest.approx(1, abs=1e-6)


def test_regression_closed_forms_and_gradients() -> None:
    import torch

    outputs = torch.tensor([0.5, 3.0, -1.0], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1.0, 0.0, 0.25], dtype=torch.float64)
    assert MSE().per_item(outputs, targets).tolist() == pytest.approx([0.25, 9.0, 1.5625])
    assert Huber(delta=2.0).per_item(outputs, targets).tolist() == pytest.approx([0.125, 4.0, 0.78125])
    soft = [-math.log(sigma(0.5)), -math.log(sigma(-3)), -0.25 * math.log(sigma(-1)) - 0.75 * math.log(sigma(1))]
    assert SoftBCE().per_item(outputs, targets).tolist() == pytest.approx(soft)
    assert bradley_terry(outputs, targets, 0.5)[1].item() == pytest.approx(-math.log(sigma(2.5)))
    for loss in (MSE(), Huber(), SoftBCE()):
        assert torch.autograd.gradcheck(loss.per_item, (outputs, targets))
    logit = torch.tensor([0.7], dtype=torch.float64).logit().requires_grad_()
    (grad,) = torch.autograd.grad(SoftBCE().per_item(logit, torch.tensor([0.7], dtype=torch.float64)), logit)
    assert float(grad) == pytest.approx(0, abs=1e-12)


def test_standard_units_and_back() -> None:
    import torch

    unit = Standard.of([1.0, 3.0])
    assert unit == Standard(2.0, 1.0)
    assert Standard.of([4.0, 4.0]) == Standard(4.0, 1.0)
    values = torch.tensor([7.0, 9.0])
    assert torch.equal(unit.outward(unit.inward(values)), values)
