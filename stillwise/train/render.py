"""Examples as token ids: the student's own template around the question, the target as it is, and the token that ends a turn.

Prompt and target are tokenised apart and joined, so the boundary is where generation will meet it: a prompt is tokenised
alone then too. Nothing after the end token is learnt (templates add a newline there that no model has to produce).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillwise.arrows import Example
from stillwise.errors import UserError
from stillwise.models.opening import split_opened
from stillwise.records import THINK_CLOSE, THINK_OPEN, thinking_spans
from stillwise.train.fields import SpanWeights

_ANSWER = "The answer is four."


@dataclass(frozen=True, slots=True)
class Row:
    """One example as the student sees it: ``ids[start:]`` is learnt, each token with this weight."""

    id: str
    ids: tuple[int, ...]
    start: int
    weight: float = 1.0
    weights: tuple[float, ...] = ()
    """Of each token from ``start`` on, before ``weight``; empty: all alike."""

    @property
    def num_learnt(self) -> int:
        """Supervised tokens, the end token included."""
        return len(self.ids) - self.start

    @property
    def num_weighted(self) -> int:
        """Those of the supervised tokens that have a weight."""
        return sum(weight > 0 for weight in self.weights) if self.weights else self.num_learnt

    @property
    def token_weights(self) -> list[float]:
        """The weight of each supervised token."""
        return [weight * self.weight for weight in self.weights] or [self.weight] * self.num_learnt


@dataclass(frozen=True, slots=True)
class Rendered:
    """What there is to train on, and why the rest dropped out (example id to reason)."""

    rows: tuple[Row, ...]
    dropped: dict[str, str]
    cut: tuple[str, ...] = ()
    """Ids of rows that were too long and of which the beginning is trained on, because that was asked for."""


def end_token(tokenizer: Any) -> int:
    """The id of the token that ends the assistant's turn in the template, or the tokenizer's end of sequence.

    A base model's end of sequence may differ from what its template writes; a student that learnt the wrong one never stops.
    """
    turn = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": _ANSWER}]
    tail = tokenizer.apply_chat_template(turn, tokenize=False).rpartition(_ANSWER)[2]
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    found = next((token for token in ids[:2] if token in special), tokenizer.eos_token_id)
    if found is None:
        raise UserError(
            "the student's template ends no turn and its tokenizer has no end-of-sequence token; it could never stop"
        )
    return int(found)


def continuation(opened: str, target: str) -> str | None:
    """What the student has to write after its template opened this much of the answer; None if the two contradict.

    A thought that the template opens is continued, its tag not repeated; a bare solution after an open thought closes it first.
    """
    if THINK_OPEN not in opened:
        return target
    thought = target.lstrip().startswith(THINK_OPEN)
    if THINK_CLOSE in opened:
        return None if thought else target
    if not thought:
        return f"{THINK_CLOSE}\n\n{target}"
    spaces = opened.partition(THINK_OPEN)[2]
    return target.lstrip().removeprefix(THINK_OPEN).removeprefix(spaces)


def weighed(rendered: Rendered, examples: Sequence[Example], tokenizer: Any, spans: SpanWeights) -> Rendered:
    """The rows with these weights by span, and ``no_weight`` for rows of which nothing would be learnt.

    A token belongs to the span in which it begins.
    """
    if spans.even:
        return rendered
    if not tokenizer.is_fast:
        raise UserError("span_weights need a tokenizer that tells where its tokens stand (tokenizer.json); this one does not")
    held = {example.id: example for example in examples}
    rows = [_weighed(row, held[row.id], tokenizer, spans) for row in rendered.rows]
    dropped = {row.id: "no_weight" for row in rows if not row.num_weighted}
    return Rendered(rows=tuple(row for row in rows if row.num_weighted), dropped={**rendered.dropped, **dropped})


def _weighed(row: Row, example: Example, tokenizer: Any, spans: SpanWeights) -> Row:
    _, target = _texts(example, tokenizer)
    solution = sum(span.end - span.start for span in thinking_spans(example.assistant) if span.kind == "solution")
    begins = len(target or "") - solution
    places = tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    answer = [spans.thinking if place < begins else spans.solution for place, _ in places]
    weights = (*answer, spans.solution if solution else spans.thinking)
    if row.weights:
        weights = tuple(weight * own for weight, own in zip(weights, row.weights, strict=True))
    if not spans.prompt:
        return replace(row, weights=weights)
    return replace(row, start=1, weights=(*[spans.prompt] * (row.start - 1), *weights))


def render(examples: Sequence[Example], tokenizer: Any, max_length: int) -> Rendered:
    """Rows in the order of the examples. Dropped, never cut: ``too_long``, ``empty_target``, ``several_thoughts``,
    ``template_closes_thought``, ``end_token_inside``, ``no_weight`` (no token begins in what is learnt)."""
    if not examples:
        return Rendered(rows=(), dropped={})
    end = end_token(tokenizer)
    texts = [_texts(example, tokenizer) for example in examples]
    prompts = tokenizer([prompt for prompt, _ in texts], add_special_tokens=False)["input_ids"]
    targets = tokenizer([target or "" for _, target in texts], add_special_tokens=False)["input_ids"]
    rows: list[Row] = []
    dropped: dict[str, str] = {}
    for example, (_, text), prompt, target in zip(examples, texts, prompts, targets, strict=True):
        ids = (*prompt, *target, end)
        reason = _fault(example, text) or ("end_token_inside" if end in target else "")
        if not reason and len(ids) > max_length:
            reason = "too_long"
        if reason:
            dropped[example.id] = reason
        else:
            learnt = _within(example, text or "", tokenizer)
            rows.append(Row(id=example.id, ids=ids, start=len(prompt), weight=example.weight, weights=learnt))
    dropped.update({row.id: "no_weight" for row in rows if not row.num_weighted})
    return Rendered(rows=tuple(row for row in rows if row.num_weighted), dropped=dropped)


def _within(example: Example, target: str, tokenizer: Any) -> tuple[float, ...]:
    """1 for each token that begins inside a learnt range, else 0; the end token goes with the text's end. () for all alike."""
    if not example.learnt:
        return ()
    if not tokenizer.is_fast:
        raise UserError(
            "learning spans needs a tokenizer that tells where its tokens stand (tokenizer.json); this one does not"
        )
    # A template may begin or close the thought itself; the target ends like the example's text in any case.
    shift = len(target) - len(example.assistant)
    ranges = [(span.start + shift, span.end + shift) for span in example.learnt]
    places = tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    inside = [float(any(start <= place < end for start, end in ranges)) for place, _ in places]
    return (*inside, float(any(end >= len(target) for _, end in ranges)))


def _texts(example: Example, tokenizer: Any) -> tuple[str, str | None]:
    turn = [{"role": "user", "content": example.user}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return rendered, continuation(split_opened(rendered)[1], example.assistant)


def _fault(example: Example, continued: str | None) -> str:
    if not example.assistant.strip():
        return "empty_target"
    if continued is None:
        return "template_closes_thought"
    if example.assistant.count(THINK_OPEN) > 1:
        return "several_thoughts"
    return ""
