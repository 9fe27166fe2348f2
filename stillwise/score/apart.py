"""How different the correct traces of a problem are from each other, by edit distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Scorer, Tools, Verifier
from stillwise.records import Outcome, Problem, Score, Trace
from stillwise.runtime.draw import verdicts


class Apart(Scorer):
    """The place of each correct trace in farthest-first order: 0 and 1 are the two farthest apart, then always the next.

    The first P places are P traces that are as different as a greedy choice finds them (DED, step 4): each next trace is the
    one whose nearest chosen trace is farthest. Distances are Levenshtein's over characters, divided by the longer text, so that
    long traces are not favoured for their length. Ties go to the lower trace id: the order of the traces does not matter.
    """

    kind: ClassVar[str] = "apart"
    normalised: bool = True
    """Whether distances are divided by the longer text's length."""
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """Who decides which traces are correct; the others have no place."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One place for each trace; None for a trace that is not correct."""
        found = verdicts(self.verify, [problem] * len(traces), traces, tools)
        right = [t for t, verdict in zip(traces, found, strict=True) if verdict.outcome is Outcome.CORRECT]
        places = {trace.id: place for place, trace in enumerate(farthest_first(right, self.normalised))}
        return [self._placed(places.get(trace.id), len(right)) for trace in traces]

    def _placed(self, place: int | None, count: int) -> Score:
        if place is None:
            return Score(name=self.kind, value=None, detail="not correct")
        return Score(name=self.kind, value=float(place), detail=f"{place + 1} of {count}")


def distance(a: str, b: str, normalised: bool) -> float:
    """The Levenshtein distance of two texts, over the longer one's length where asked for."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_distance(a, b) if normalised else float(Levenshtein.distance(a, b))


def farthest_first(traces: Sequence[Trace], normalised: bool) -> list[Trace]:
    """The traces in greedy order: the two farthest apart, then each time the one that is farthest from all before it."""
    rest = sorted(traces, key=lambda trace: trace.id)
    apart = {(a.id, b.id): distance(a.text, b.text, normalised) for i, a in enumerate(rest) for b in rest[i + 1 :]}
    apart |= {(b, a): value for (a, b), value in apart.items()}
    # Before anything is chosen, a trace stands as far as its farthest fellow: the best of these begins the widest pair.
    nearest = {t.id: max((apart[t.id, other.id] for other in rest if other is not t), default=0.0) for t in rest}
    order: list[Trace] = []
    while rest:
        chosen = max(rest, key=lambda trace: nearest[trace.id])
        rest = [trace for trace in rest if trace is not chosen]
        nearest = {t.id: min([apart[t.id, chosen.id], *([nearest[t.id]] if order else [])]) for t in rest}
        order.append(chosen)
    return order
