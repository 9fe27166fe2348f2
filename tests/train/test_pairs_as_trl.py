"""Every loss of TRL's DPO trainer, by TRL's own code and by ours, on the same pairs, student and reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest

from stillwise.arrows import Preference
from stillwise.train.losses.joint import Blend, ChosenNLL
from stillwise.train.losses.preference import DPO, OF_THE_GAP, DPOVariant, FDivergence
from stillwise.train.packing import ATTENTION, Pack, register_attention
from stillwise.train.pairwise import PairCost, _units
from stillwise.train.render import Row
from tests.train.conftest import make_model, make_tokenizer
from tests.train.test_pairwise import pairs

CASES: list[tuple[Preference, dict[str, Any]]] = [
    *((DPO(variant=v), {"loss_types": [v]}) for v in get_args(DPOVariant) if v != "exo_pair"),
    *(
        (DPO(variant=v, label_smoothing=0.1), {"loss_types": [v], "label_smoothing": 0.1})
        for v in ("exo_pair", "robust", "aot", "aot_unpaired")
    ),
    *(
        (DPO(variant=v, divergence=d, alpha=0.3), {"loss_types": [v], "f_divergence_type": d, "f_alpha_divergence_coef": 0.3})
        for v in sorted(OF_THE_GAP - {"exo_pair"})
        for d in get_args(FDivergence)
    ),
    *(
        (DPO(variant=v, tail=0.4, beta=0.3), {"loss_types": [v], "ld_alpha": 0.4, "beta": 0.3})
        for v in ("sigmoid", "ipo", "aot")
    ),
    (DPO(weighted=True), {"use_weighting": True}),
    (Blend(), {"loss_types": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}),
    (ChosenNLL(), {"loss_types": ["sft"]}),
]


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    """Four pairs; the chosen answers are cut to one length, for TRL pools all tokens of its `sft` and we each answer's."""
    units, _ = _units(pairs(4), make_tokenizer(), 10_000)
    length = min(chosen.num_learnt for chosen, _ in units)
    cut = [(Row(chosen.id, chosen.ids[: chosen.start + length], chosen.start), rejected) for chosen, rejected in units]
    return tuple(row for unit in cut for row in unit)


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """A student and the reference that it has left a little."""
    import torch

    register_attention()
    student, reference = (make_model(vocab_size=261, initializer_range=0.2).eval() for _ in range(2))
    noise = torch.Generator().manual_seed(3)
    for value in student.parameters():
        value.data.add_(torch.randn(value.shape, generator=noise), alpha=0.02)
    for model in (student, reference):
        model.set_attn_implementation(ATTENTION)
    return student, reference


@pytest.fixture(scope="module")
def theirs(models: tuple[Any, Any], rows: Sequence[Row], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """The loss by TRL's trainer with these settings, and its gradients."""
    import copy

    import torch
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    given: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False}
    # Asked for here, so that the trainer's head computes what it weighs pairs by; each case says whether it does.
    config = DPOConfig(output_dir=str(tmp_path_factory.mktemp("trl")), use_weighting=True, disable_dropout=False, **given)
    data = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    student, reference = (copy.deepcopy(model) for model in models)
    for model in (student, reference):
        model.set_attn_implementation("sdpa")
    trainer = DPOTrainer(student, reference, config, train_dataset=data, processing_class=make_tokenizer())
    usual = {name: getattr(trainer, name) for name in ("loss_types", "loss_weights", "f_divergence_type", "ld_alpha", "beta")}
    usual |= {"label_smoothing": 0.0, "use_weighting": False, "f_alpha_divergence_coef": 0.5}

    def loss(settings: dict[str, Any]) -> Any:
        held = {**usual, **settings}
        held["loss_weights"] = settings.get("loss_weights", [1.0] * len(held["loss_types"]))
        for name, value in held.items():
            setattr(trainer, name, value)
        value = trainer._compute_loss(student, padded(rows), False)
        return value, torch.autograd.grad(value, list(student.parameters()))

    return loss


def padded(rows: Sequence[Row]) -> dict[str, Any]:
    """TRL's batch: all chosen rows, then all rejected ones, padded on the right."""
    import torch

    ordered = [*rows[::2], *rows[1::2]]
    width = max(len(row.ids) for row in ordered)
    return {
        "input_ids": torch.tensor([[*row.ids, *[256] * (width - len(row.ids))] for row in ordered]),
        "attention_mask": torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in ordered]),
        "completion_mask": torch.tensor(
            [[0] * row.start + [1] * row.num_learnt + [0] * (width - len(row.ids)) for row in ordered]
        ),
    }


@pytest.mark.usefixtures("threads")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("objective", "settings"), CASES, ids=[str(settings) for _, settings in CASES])
def test_losses_and_gradients_are_trls(
    objective: Preference, settings: dict[str, Any], theirs: Any, models: tuple[Any, Any], rows: Sequence[Row]
) -> None:
    import torch

    student, reference = models
    cost = PairCost(objective=objective, vocab=261, certain="certainty" in objective.reads)
    cost.reference.update({name: tuple(held) for name, held in cost.at_rest(reference, [rows]).items()})
    total, _ = cost.total(student, rows, pack := Pack.of(rows))
    mine = total / cost.weight(rows, pack)
    value, gradients = theirs(settings)
    assert float(mine.detach()) == pytest.approx(float(value.detach()), rel=1e-4)
    for own, other in zip(torch.autograd.grad(mine, list(student.parameters())), gradients, strict=True):
        assert torch.allclose(own, other, atol=1e-4 * max(1.0, float(other.abs().max())))
