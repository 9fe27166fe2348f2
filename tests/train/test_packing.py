from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stillwise.errors import StillwiseError, UserError
from stillwise.train import packing
from stillwise.train.packing import (
    ATTENTION,
    Pack,
    check_isolation,
    epoch_order,
    filled,
    isolation_error,
    loss_sum,
    register_attention,
    supervised_logits,
)
from stillwise.train.render import Row
from tests.train.conftest import make_model

ARCHITECTURES = ("qwen3", "qwen2", "llama")


def row(name: str, length: int, start: int = 2, weight: float = 1.0) -> Row:
    ids = tuple((7 * i * i + 31 * length + ord(name)) % 250 for i in range(length))
    return Row(id=name, ids=ids, start=start, weight=weight)


ROWS = [row("a", 9), row("b", 3), row("c", 17, start=5), row("d", 9)]


@pytest.fixture(scope="module")
def packed() -> Callable[..., Any]:
    register_attention()

    def build(architecture: str, **changes: Any) -> Any:
        model = make_model(architecture, **changes).eval()
        model.set_attn_implementation(ATTENTION)
        return model

    return build


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_packed_row_has_the_logits_of_the_row_alone(packed: Callable[..., Any], architecture: str) -> None:
    import torch

    model = packed(architecture)
    with torch.no_grad():
        logits = supervised_logits(model, Pack.of(ROWS))
        model.set_attn_implementation("eager")
        alone = [model(torch.tensor([r.ids])).logits[0, r.start - 1 : -1] for r in ROWS]
    assert torch.allclose(logits, torch.cat(alone), atol=1e-5)


def test_sliding_windows_are_honoured(packed: Callable[..., Any]) -> None:
    model = packed("mistral", sliding_window=5)
    assert isolation_error(model, ROWS) < 1e-5


@pytest.mark.parametrize("trap", ["mask", "positions"])
def test_the_traps_of_ordinary_packing_are_real(packed: Callable[..., Any], trap: str) -> None:
    import torch

    model = packed("qwen3")
    pack = Pack.of(ROWS)
    right = supervised_logits(model, pack).detach()
    changes = {
        "mask": {"attention_mask": torch.ones_like(pack.input_ids_1T)},
        "positions": {"position_ids": torch.arange(pack.input_ids_1T.shape[1])[None]},
    }
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        kept = model(**pack.inputs()).logits[0, pack.keep_S]
        wrong = model(**{**pack.inputs(), **changes[trap]}).logits[0, pack.keep_S]
    assert (kept - right).abs().max() < 1e-5
    assert (wrong - right).abs().max() > 1e-3


def test_a_mask_a_batch_and_a_cache_are_refused(packed: Callable[..., Any]) -> None:
    import torch

    model = packed("qwen3")
    pack = Pack.of(ROWS)
    two = pack.input_ids_1T.repeat(2, 1)
    with pytest.raises(StillwiseError, match="one packed sequence"):
        model(**{**pack.inputs(), "input_ids": two})
    with pytest.raises(StillwiseError, match="bounds of another sequence"):
        model(**{**pack.inputs(), "row_bounds": ((0, 5),)})
    with pytest.raises(StillwiseError, match="without row bounds"):
        model(**{**pack.inputs(), "row_bounds": None})
    length = pack.input_ids_1T.shape[1]
    with pytest.raises(StillwiseError, match="no mask"):
        model(**{**pack.inputs(), "attention_mask": torch.ones(1, 1, length, length, dtype=torch.bool)})


def shifting_model() -> Any:
    """A real model that mixes each token with the one before it, as recurrent and convolving layers do."""
    from transformers import Qwen3ForCausalLM

    class Shifting(Qwen3ForCausalLM):
        def forward(self, input_ids: Any, **options: Any) -> Any:
            embedded = self.get_input_embeddings()(input_ids)
            mixed = embedded + embedded.roll(1, dims=1)
            mixed[:, 0] = embedded[:, 0]
            return super().forward(inputs_embeds=mixed, **options)

    return Shifting(make_model("qwen3").config).eval()


def test_an_architecture_whose_rows_see_each_other_is_refused(packed: Callable[..., Any]) -> None:
    check_isolation(packed("qwen3"), ROWS[:2])
    shifting = shifting_model()
    shifting.set_attn_implementation(ATTENTION)
    with pytest.raises(UserError, match=r"packed rows see each other in this student \(qwen3.*packing: false"):
        check_isolation(shifting, ROWS[:2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradient_equal_those_of_the_plain_model_row_by_row(packed: Callable[..., Any], architecture: str) -> None:
    import torch

    model = packed(architecture)
    loss_sum(model, Pack.of(ROWS)).backward()
    packed_grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.set_attn_implementation("sdpa")
    plain = torch.tensor(0.0)
    for r in ROWS:
        labels = torch.tensor([[-100] * r.start + list(r.ids[r.start :])])
        loss = model(torch.tensor([r.ids]), labels=labels).loss * r.num_learnt
        loss.backward()
        plain += loss.detach()
    model.set_attn_implementation(ATTENTION)
    assert torch.isclose(loss_sum(model, Pack.of(ROWS)), plain, rtol=1e-5)
    for mine, parameter in zip(packed_grads, model.parameters(), strict=True):
        assert torch.allclose(mine, parameter.grad, atol=1e-4)


def test_weights_scale_a_rows_tokens(packed: Callable[..., Any]) -> None:
    model = packed("qwen3")
    first, second = loss_sum(model, Pack.of(ROWS[:1])), loss_sum(model, Pack.of(ROWS[1:2]))
    heavy = Row(id="b", ids=ROWS[1].ids, start=ROWS[1].start, weight=3.0)
    assert float(loss_sum(model, Pack.of([ROWS[0], heavy])).detach()) == pytest.approx(
        float((first + 3 * second).detach()), rel=1e-5
    )


def test_groups_keep_the_order_and_the_budget() -> None:
    lengths = [5, 4, 9, 30, 1, 1]
    assert list(filled(lengths, range(6), 10)) == [(0, 1), (2,), (3,), (4, 5)]
    assert list(filled(lengths, [5, 3, 0], 100)) == [(5, 3, 0)]
    assert list(filled([], [], 10)) == []


def test_epochs_shuffle_differently_but_repeatably() -> None:
    assert epoch_order(9, 1, "as_given", 3) == list(range(9))
    first, second = epoch_order(50, 0, "shuffled", 3), epoch_order(50, 1, "shuffled", 3)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == epoch_order(50, 0, "shuffled", 3)
    assert first != epoch_order(50, 0, "shuffled", 4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_large_vocabularies_are_never_made_into_full_logits(
    packed: Callable[..., Any], architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = packed(architecture)
    whole = loss_sum(model, Pack.of(ROWS))
    grads = torch.autograd.grad(whole, list(model.parameters()))
    monkeypatch.setattr(packing, "FULL_ELEMENTS", 100)
    assert packing.head_error(model, ROWS[2].ids) < 1e-5
    monkeypatch.setattr(packing, "supervised_logits", lambda model, pack: pytest.fail("full logits"))
    packing._PLAIN[model] = True
    mine = loss_sum(model, Pack.of(ROWS))
    assert torch.isclose(mine, whole, rtol=1e-6)
    for a, b in zip(torch.autograd.grad(mine, list(model.parameters())), grads, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_head_that_does_more_keeps_its_full_logits(packed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    class Shifted(Qwen3ForCausalLM):
        def forward(self, *args: Any, **options: Any) -> Any:
            out = super().forward(*args, **options)
            out.logits = 1.5 * out.logits + out.logits.roll(1, -1)
            return out

    model = Shifted(packed("qwen3").config).eval()
    model.set_attn_implementation(ATTENTION)
    whole = loss_sum(model, Pack.of(ROWS))
    monkeypatch.setattr(packing, "FULL_ELEMENTS", 100)
    assert torch.equal(loss_sum(model, Pack.of(ROWS)), whole)
