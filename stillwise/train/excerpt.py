"""What of each row is trained on: weights by span, a share of its tokens, and nothing before or after what is learnt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stillwise.arrows import Example
from stillwise.train.fields import KeepFrom, Supervised
from stillwise.train.render import Rendered, Row, render, weighed


def supervised(part: Supervised, max_length: int, examples: Sequence[Example], tokenizer: Any) -> Rendered:
    """The rows of these examples; dropped are those that ``render`` drops, ``too_long`` ones by what is kept of them."""
    rendered = weighed(render(examples, tokenizer, sys.maxsize), examples, tokenizer, part.span_weights)
    rows = [trimmed(kept(row, part.keep, part.keep_from)) for row in rendered.rows]
    cut: tuple[str, ...] = ()
    if part.too_long == "cut":
        cut = tuple(row.id for row in rows if len(row.ids) > max_length > row.start)
        rows = [_cut(row, max_length) if row.id in cut else row for row in rows]
    dropped = {row.id: "too_long" for row in rows if len(row.ids) > max_length}
    dropped.update({row.id: "no_weight" for row in rows if row.num_weighted < 1})
    rows = [row for row in rows if row.id not in dropped]
    return Rendered(rows=tuple(rows), dropped={**rendered.dropped, **dropped}, cut=cut)


def _cut(row: Row, length: int) -> Row:
    return replace(row, ids=row.ids[:length], weights=row.weights[: length - row.start])


def kept(row: Row, share: float, place: KeepFrom) -> Row:
    """The row with floor(share * length) of its tokens, one at least: its beginning, its middle or its end.

    The others are gone from the forward pass too (Distilling the Essence, arXiv 2512.21002: lead-span proportion). A first
    token is never learnt, for nothing precedes it.
    """
    length = len(row.ids)
    count = max(1, int(share * length))
    if count == length:
        return row
    begin = {"start": 0, "middle": (length - count) // 2, "end": length - count}[place]
    weights = [0.0] * row.start + [*(row.weights or [1.0] * row.num_learnt)]
    start = min(count, max(1, row.start - begin))
    return replace(row, ids=row.ids[begin : begin + count], start=start, weights=tuple(weights[begin + start : begin + count]))


def trimmed(row: Row) -> Row:
    """The row without tokens after the last one that has a weight, and learnt from the first such token on: equal losses."""
    places = [place for place, weight in enumerate(row.weights) if weight]
    if not places:
        return row
    first, last = places[0], places[-1] + 1
    return replace(row, ids=row.ids[: row.start + last], start=row.start + first, weights=row.weights[first:last])
