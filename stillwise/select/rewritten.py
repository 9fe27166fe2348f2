"""Preference pairs of a rewriting and the trace that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Contender, Pair, Pairer
from stillwise.parts import Input
from stillwise.records import Outcome
from stillwise.select.pairs import SMALL_MARGIN, Mined, apart, made, mined


class OverParent(Pairer):
    """A correct rewriting over the correct trace that it was rewritten from: pruned over full, say (arXiv 2505.18440, §3).

    A rewriting with its parent's text is no pair.
    """

    kind: ClassVar[str] = "over_parent"
    original: Input
    """The output that holds the traces as they were."""
    rewritten: Input
    """The output that holds their rewritings."""
    prefer: Literal["rewritten", "original"] = "rewritten"
    """Which of the two is chosen."""
    per_problem: int = Field(default=1, ge=1)
    """Pairs of a problem at most."""
    beta: float = Field(default=0.1, gt=0)
    """The pairs' strength in DPO's loss."""

    def pair(self, contenders: Sequence[Contender]) -> Mined:
        """Pairs by problem; a failure for each problem without one, that says what it lacks."""
        return mined(self.kind, contenders, self._of_problem)

    def _of_problem(self, held: Sequence[Contender]) -> list[Pair] | str:
        right = [c for c in held if c.outcome == Outcome.CORRECT]
        parents = {c.trace_id: c for c in right if c.output == self.original}
        couples = [(c, parents[c.parent]) for c in right if c.output == self.rewritten and c.parent in parents]
        if not couples:
            return "no_rewriting"
        ordered = couples if self.prefer == "rewritten" else [(b, a) for a, b in couples]
        return [made(a, b, "rewritten", self.beta, SMALL_MARGIN) for a, b in apart(ordered, self.per_problem)] or "unchanged"
