"""One protocol for what a teacher says about rows, and what ties it to the model that said it.

Dimensions: S supervised positions of all rows in their order, K kept ids, H the teacher's hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stillwise.errors import StillwiseError, UserError
from stillwise.models.pieces import vocabulary_size
from stillwise.models.weights import folder_digest
from stillwise.records import digest
from stillwise.train import folder, processes
from stillwise.train.losses.divergence import log_probs
from stillwise.train.losses.head import BLOCK_ELEMENTS, Head, slices
from stillwise.train.losses.mix import Hidden
from stillwise.train.losses.topk import TopK, top_k
from stillwise.train.packing import (
    ATTENTION,
    HEAD_TOLERANCE,
    Pack,
    check_isolation,
    head_error,
    hidden_states,
    register_attention,
)
from stillwise.train.render import Row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where signals come from: signals of one origin never pass for another's."""

    tokenizer: str
    """Digest of every id's token and of the special ones."""
    template: str
    """Digest of the chat template that rendered the rows."""
    revision: str
    """The teacher's revision: a digest of its weights, tokenizer and template, or a server's word for it."""
    vocab: int
    """Ids of the tokenizer; rows of the teacher's head beyond them are padding."""
    temperature: float = 1.0
    """At which the log-probabilities were taken; a training applies its own to raw ones, so anything but 1 is refused."""

    @property
    def identity(self) -> str:
        """A digest of all of it."""
        return digest(asdict(self))


class TeacherSignal(Protocol):
    """A teacher's word on rows: a live model, a server's log-probabilities, or a cache."""

    @property
    def origin(self) -> Origin:
        """What the signals are tied to."""

    def signals(self, rows: Sequence[Row]) -> Hidden | TopK:
        """About every supervised position of these rows, in order: each says what comes next there."""


def tokenizer_digest(tokenizer: Any) -> str:
    """Of every id's token and of the special ones: equal sizes do not mean equal tokenizers."""
    return digest(sorted(tokenizer.get_vocab().items()), sorted(tokenizer.all_special_tokens))


def template_digest(tokenizer: Any) -> str:
    """Of the chat template."""
    return digest(tokenizer.chat_template)


def origin_of(teacher: Path, student: Any) -> Origin:
    """The origin of a local teacher's signals on rows of this student's tokenizer; refused where the two tokenizers differ."""
    check_tokenizers(teacher, student)
    return Origin(
        tokenizer=tokenizer_digest(student),
        template=template_digest(student),
        revision=folder_digest(teacher),
        vocab=vocabulary_size(student),
    )


def check_tokenizers(teacher: Path, student: Any) -> None:
    """Refuses a teacher whose token ids mean other text than the student's."""
    own = folder.load_tokenizer(teacher)
    if tokenizer_digest(own) != tokenizer_digest(student):
        raise UserError(
            f"the teacher {teacher} and the student have different tokenizers ({len(own)} and {len(student)} tokens): the same "
            "ids mean different text to them; use a teacher of the student's family, or set across: {kind: alm} on the trainer"
        )


class Live:
    """Signals of a local model, computed as they are asked for: whole distributions, or the top k."""

    def __init__(self, teacher: Path, student: Any, k: int | None = None) -> None:
        """``student`` is the student's tokenizer; ``k`` None gives hidden states with the head."""
        self.origin = origin_of(teacher, student)
        self.k = k
        register_attention()
        self.model = _frozen(folder.load_model(teacher, None)).to(processes.device())
        self.packed = bool(getattr(self.model, "_supports_attention_backend", False))
        if self.packed:
            self.model.set_attn_implementation(ATTENTION)
        self.head = Head.of(self.model, self.origin.vocab).detached()
        self.checked = False

    def signals(self, rows: Sequence[Row]) -> Hidden | TopK:
        """Hidden states (S, H) with the head, or the top k, without gradient."""
        import torch

        with torch.no_grad():
            hidden_SH = self._hidden(rows)
            if self.k is None:
                return Hidden(hidden_SH, self.head)
            targets_S = torch.tensor([token for row in rows for token in row.ids[row.start :]], device=hidden_SH.device)
            return _top_of(hidden_SH, self.head, self.k, targets_S)

    def _hidden(self, rows: Sequence[Row]) -> Tensor:
        import torch

        if self.packed and not self.checked:
            check_isolation(self.model, rows[:2])
        if not self.checked:
            check_head(self.model, rows[0], self.origin.vocab)
            self.checked = True
        groups = [rows] if self.packed else [[row] for row in rows]
        return torch.cat([hidden_states(self.model, Pack.of(group, self.model.device)) for group in groups])


def _frozen(model: Any) -> Any:
    """Out of training mode for good: no dropout, no gradient."""
    return model.eval().requires_grad_(False)


def check_head(model: Any, row: Row, vocab: int) -> None:
    """Refuses an architecture whose logits are more than its output layer, scaled and capped, on its last hidden states."""
    error = head_error(model, row.ids, vocab)
    if not error <= HEAD_TOLERANCE:
        raise UserError(
            f"this {model.config.model_type} model does more between hidden states and logits than is known here "
            f"(logits differ by {error:.2g}); it can be trained by sft, not by a loss on distributions"
        )


def _top_of(hidden_SH: Tensor, head: Head, k: int, targets_S: Tensor) -> TopK:
    import torch

    full = head.in_full()
    parts = [
        top_k(log_probs(full.logits(hidden_SH[part])), k, targets_S[part])
        for part in slices(len(hidden_SH), max(1, 4 * BLOCK_ELEMENTS // full.width))
    ]
    return TopK(
        ids_NK=torch.cat([part.ids_NK for part in parts]),
        logprobs_NK=torch.cat([part.logprobs_NK for part in parts]),
        log_tail_N=torch.cat([part.log_tail_N for part in parts]),
        sampled_N=torch.cat([part.sampled_N for part in parts if part.sampled_N is not None]),
    )


Scored = Sequence[Sequence[tuple[int, float]]]
"""For each token of a row but the first: the likeliest ids at its place with their raw log-probabilities, and its own."""


class Served:
    """Signals of a server that scores token ids: top-k log-probabilities of every prompt token."""

    def __init__(self, origin: Origin, score: Callable[[Sequence[int], int], Scored], k: int, workers: int = 1) -> None:
        """``score`` sends a row's ids and k to the server; log-probabilities have to be raw (before any temperature).

        ``workers`` rows are asked for at once.
        """
        self.origin, self.score, self.k, self.workers = origin, score, k, workers

    def signals(self, rows: Sequence[Row]) -> TopK:
        """The top k (S, K); the tail is what is missing to 1."""
        import torch

        from stillwise.train.losses.topk import log1mexp

        with ThreadPoolExecutor(max_workers=min(self.workers, len(rows))) as pool:
            found = [pair for places in pool.map(self._places, rows) for pair in places]
        logprobs_NK = torch.tensor([[logprob for _, logprob in place[: self.k]] for place, _ in found])
        return TopK(
            ids_NK=torch.tensor([[token for token, _ in place[: self.k]] for place, _ in found]),
            logprobs_NK=logprobs_NK,
            log_tail_N=log1mexp(logprobs_NK.logsumexp(-1)),
            sampled_N=torch.tensor([dict(place)[token] for place, token in found]),
        )

    def _places(self, row: Row) -> list[tuple[list[tuple[int, float]], int]]:
        """The likeliest ids of each supervised place, likeliest first, and the token that really stands there."""
        scored = self.score(row.ids, self.k)
        if len(scored) != len(row.ids) - 1:
            raise StillwiseError(f"row {row.id}: the server scored {len(scored)} of {len(row.ids) - 1} tokens")
        places = [sorted(place, key=lambda one: -one[1]) for place in scored[row.start - 1 :]]
        tokens = row.ids[row.start :]
        if any(len(place) < self.k or token not in dict(place) for place, token in zip(places, tokens, strict=True)):
            raise StillwiseError(
                f"row {row.id}: the server gave fewer than {self.k} log-probabilities, or not the row's own token"
            )
        return list(zip(places, tokens, strict=True))
