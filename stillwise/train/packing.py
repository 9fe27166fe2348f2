"""Rows packed end to end into one sequence, each seeing only itself at its own positions, and the loss over such a pack.

Attention runs row by row over slices of the packed sequence: exact by construction, and the work grows with the sum of
squared row lengths instead of the square of their sum. Everything else in the network works on the packed tokens at once.

Dimensions: T packed tokens, L tokens of one row, H heads, D head width, S supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from random import Random
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stillwise.errors import StillwiseError, UserError
from stillwise.records import derive_seed
from stillwise.train.fields import RowOrder
from stillwise.train.losses.cross_entropy import cross_entropy as chunked
from stillwise.train.losses.head import CHUNK_ELEMENTS, Head
from stillwise.train.render import Row

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = "stillwise_packed"
"""The name under which the row-by-row attention is registered with transformers."""
PROBE_TOKENS = 48
HEAD_TOLERANCE = 1e-3
FULL_ELEMENTS = CHUNK_ELEMENTS
"""More logits than these are not made in full."""
_PLAIN: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def epoch_order(count: int, epoch: int, order: RowOrder, seed: int) -> list[int]:
    """Positions of the rows in the order in which this epoch visits them."""
    positions = list(range(count))
    if order == "shuffled":
        Random(derive_seed(seed, "epoch", epoch)).shuffle(positions)
    return positions


def filled(lengths: Sequence[int], positions: Iterable[int], budget: int) -> Iterator[tuple[int, ...]]:
    """The positions in order, cut into groups of at most ``budget`` tokens; a longer row stands alone."""
    group: list[int] = []
    used = 0
    for position in positions:
        if group and used + lengths[position] > budget:
            yield tuple(group)
            group, used = [], 0
        group.append(position)
        used += lengths[position]
    if group:
        yield tuple(group)


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows in one forward pass: packed ids and positions, row bounds, and the supervised positions with their weights."""

    input_ids_1T: Tensor
    position_ids_1T: Tensor
    bounds: tuple[tuple[int, int], ...]
    keep_S: Tensor
    """Positions whose logits predict a supervised token: one before that token."""
    targets_S: Tensor
    weights_S: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], device: Any = "cpu") -> Pack:
        """The pack of these rows, in this order."""
        import torch

        offsets = [0, *accumulate(len(row.ids) for row in rows)]
        learnt = [range(o + row.start, o + len(row.ids)) for o, row in zip(offsets, rows, strict=False)]
        ids_T = torch.tensor([token for row in rows for token in row.ids], device=device)
        places_S = torch.tensor([place for places in learnt for place in places], device=device)
        return cls(
            input_ids_1T=ids_T[None],
            position_ids_1T=torch.tensor([[t for row in rows for t in range(len(row.ids))]], device=device),
            bounds=tuple(pairwise(offsets)),
            keep_S=places_S - 1,
            targets_S=ids_T[places_S],
            weights_S=torch.tensor([weight for row in rows for weight in row.token_weights], device=device),
        )

    def inputs(self) -> dict[str, Any]:
        """The arguments of the model's forward pass: no attention mask and no cache, or rows would see each other."""
        return {
            "input_ids": self.input_ids_1T,
            "position_ids": self.position_ids_1T,
            "row_bounds": self.bounds,
            "use_cache": False,
        }


def row_attention(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    """Causal attention inside each row of a packed sequence: (1, H, T, D) to (1, T, H, D), and no weights.

    Raises where the call could mix rows: without ``row_bounds``, with a mask, with a batch, or with a cache.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    bounds: Sequence[tuple[int, int]] | None = options.get("row_bounds")
    if bounds is None:
        raise StillwiseError("packed attention was called without row bounds: rows would see each other")
    _check_call(query, key, attention_mask, options, bounds)
    lengths = [end - begin for begin, end in bounds]
    window, parts = options.get("sliding_window"), []
    tensors: tuple[Any, ...] = (query, key, value)
    # One split each: slicing row by row would fill a gradient of the whole pack's size for every row.
    for length, query_1HLD, key_1HLD, value_1HLD in zip(lengths, *(x.split(lengths, dim=2) for x in tensors), strict=True):
        out_1HLD = scaled_dot_product_attention(
            query_1HLD,
            key_1HLD,
            value_1HLD,
            attn_mask=_window_mask(length, window, query.device),
            is_causal=window is None or window >= length,
            dropout_p=float(options.get("dropout") or 0.0),
            scale=options.get("scaling"),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(out_1HLD.transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _check_call(query: Tensor, key: Tensor, mask: Tensor | None, options: Mapping[str, Any], bounds: Any) -> None:
    unsupported = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if unsupported:
        raise UserError(f"packed attention has no {unsupported[0]!r}, which this student uses; set packing: false")
    if mask is not None or query.shape[0] != 1:
        raise StillwiseError("packed attention takes one packed sequence and no mask: rows would see each other")
    if not query.shape[2] == key.shape[2] == bounds[-1][1]:
        raise StillwiseError("packed attention was called with a cache or with bounds of another sequence")


def _window_mask(length: int, window: int | None, device: Any) -> Tensor | None:
    import torch

    if window is None or window >= length:
        return None
    steps = torch.arange(length, device=device)
    distance = steps[:, None] - steps[None, :]
    return (distance >= 0) & (distance < window)


def register_attention() -> None:
    """Makes the attention known to transformers under its name; harmless when repeated."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, row_attention)


def bare(model: Any) -> Any:
    """The causal language model itself: with adapters it stands inside, its layers already holding them."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def supervised_logits(model: Any, pack: Pack) -> Tensor:
    """Logits (S, V) of the supervised positions only: the others are never multiplied by the output matrix."""
    model, inputs = bare(model), pack.inputs()
    if model.config._attn_implementation != ATTENTION:
        if len(pack.bounds) > 1:
            raise StillwiseError(f"rows are packed under {model.config._attn_implementation!r}: they would see each other")
        del inputs["row_bounds"]
    # Not by calling the model: it may be called already, by a wrapper that gathers its shards round that call.
    logits_1SV: Tensor = model.forward(**inputs, logits_to_keep=pack.keep_S).logits
    if logits_1SV.shape[1] != len(pack.keep_S):
        raise UserError("this student's architecture cannot restrict its logits to chosen positions and cannot be trained here")
    return logits_1SV[0]


def hidden_states(model: Any, pack: Pack) -> Tensor:
    """Last hidden states (S, H) of a pack's supervised positions: what the head reads."""
    model, inputs = bare(model), pack.inputs()
    if model.config._attn_implementation != ATTENTION:
        if len(pack.bounds) > 1:
            raise StillwiseError(f"rows are packed under {model.config._attn_implementation!r}: they would see each other")
        del inputs["row_bounds"]
    states_1TH: Tensor = model.base_model(**inputs).last_hidden_state
    return states_1TH[0, pack.keep_S]


def head_error(model: Any, ids: Sequence[int], vocab: int | None = None) -> float:
    """The largest difference between the model's logits on these tokens and its output layer on its last hidden states.

    Relative to the largest logit where that is above 1.
    """
    import torch

    probe = Pack.of([Row(id="probe", ids=tuple(ids[:PROBE_TOKENS]), start=1)], model.device)
    training = model.training
    model.eval()
    with torch.no_grad():
        head = Head.of(model, vocab)
        mine = head.logits(hidden_states(model, probe).to(head.weight_VH.dtype)).float()
        exact = supervised_logits(model, probe)[:, : head.width].float()
    model.train(training)
    return float((mine - exact).abs().max()) / max(1.0, float(exact.abs().max()))


def loss_sum(model: Any, pack: Pack, vocab: int | None = None) -> Tensor:
    """Weighted sum of the cross-entropies of the supervised tokens, in nats, computed in float32.

    Ids from ``vocab`` on are padding of the head and never seen; None keeps all rows. Logits that would take more than a
    chunk's memory are never made in full, if the model's head is a plain one.
    """
    from torch.nn.functional import cross_entropy

    layer = model.get_output_embeddings()
    if layer is not None and len(pack.keep_S) * len(layer.weight) > FULL_ELEMENTS and _is_plain(model, pack):
        return chunked(hidden_states(model, pack), Head.of(model, vocab), pack.targets_S, pack.weights_S)[0]
    logits_SV = supervised_logits(model, pack)
    if vocab is not None and vocab < logits_SV.shape[1]:
        logits_SV = logits_SV[:, :vocab]
    losses_S = cross_entropy(logits_SV.float(), pack.targets_S, reduction="none")
    summed: Tensor = (losses_S * pack.weights_S).sum()
    return summed


def _is_plain(model: Any, pack: Pack) -> bool:
    """Whether the model's logits are its output layer's; tried once for each model, on the first tokens of a pack."""
    model = bare(model)
    if model not in _PLAIN:
        _PLAIN[model] = head_error(model, pack.input_ids_1T[0, :PROBE_TOKENS].tolist()) <= HEAD_TOLERANCE
    return _PLAIN[model]


def isolation_error(model: Any, rows: Sequence[Row]) -> float:
    """The largest difference of any logit of these rows packed together and alone under the model's ordinary attention."""
    import torch

    clipped = [Row(id=row.id, ids=row.ids[:PROBE_TOKENS], start=1) for row in rows]
    training, model_training = model.config._attn_implementation, model.training
    model.eval()
    with torch.no_grad():
        packed = supervised_logits(model, Pack.of(clipped, model.device))
        model.set_attn_implementation("eager")
        alone = [model(input_ids=torch.tensor([row.ids], device=model.device)).logits[0, :-1] for row in clipped]
        model.set_attn_implementation(training)
    model.train(model_training)
    return float((packed - torch.cat(alone)).abs().max())


def check_isolation(model: Any, rows: Sequence[Row], tolerance: float = 1e-3) -> None:
    """Refuses an architecture whose packed rows differ from the same rows alone (recurrent layers, other position schemes)."""
    error = isolation_error(model, rows)
    if not error <= tolerance:
        raise UserError(
            f"packed rows see each other in this student ({model.config.model_type}: logits differ by {error:.2g}); "
            "set packing: false on the trainer"
        )
