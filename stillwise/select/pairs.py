"""Preference pairs mined from traces that exist: right over wrong, CogPO's three gaps, short over long.

A trace that was cut off, timed out or could not be judged is no wrong one; a pair of equal texts is no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from stillwise.arrows import Contender, Pair, Pairer
from stillwise.parts import Input
from stillwise.records import Failure, Outcome

SMALL_MARGIN = 0.5
"""Of two correct traces one of which suits the student better; right over wrong has margin 1."""
Mined = tuple[list[Pair], list[Failure]]


class RightWrong(Pairer):
    """Correct traces over incorrect ones of the same problem."""

    kind: ClassVar[str] = "right_wrong"
    chosen: Input | None = None
    """The output that the correct traces come from; None: the step's input."""
    rejected: Input | None = None
    """The output that the incorrect traces come from (a student's own attempts, say); None: the one of the chosen."""
    otherwise: Input | None = None
    """The output that the incorrect traces come from where a problem has none in ``rejected``."""
    per_problem: int = Field(default=1, ge=1)
    """Pairs of a problem at most; no trace stands in two of them."""
    match: Literal["first", "length"] = "first"
    """``first`` takes traces in the order in which they were sampled, ``length`` the pairs whose lengths are nearest first."""
    within: float | None = Field(default=None, ge=0)
    """Lengths (in tokens) may differ by this share of the longer one at most."""
    beta: float = Field(default=0.1, gt=0)
    """The pairs' strength in DPO's loss."""

    @model_validator(mode="after")
    def _both(self) -> RightWrong:
        if self.rejected is not None and self.chosen is None:
            raise ValueError("rejected names an output, so chosen must name one too")
        if self.otherwise is not None and self.rejected is None:
            raise ValueError("otherwise stands in for rejected, which names no output")
        return self

    def pair(self, contenders: Sequence[Contender]) -> Mined:
        """Pairs by problem; a failure for each problem without one, that says what it lacks."""
        return mined(self.kind, contenders, self._of_problem)

    def _of_problem(self, held: Sequence[Contender]) -> list[Pair] | str:
        right = [c for c in held if c.outcome == Outcome.CORRECT and self.chosen in (None, c.output)]
        source = self.rejected or self.chosen
        all_wrong = [c for c in held if c.outcome == Outcome.INCORRECT]
        wrong = [c for c in all_wrong if source in (None, c.output)] or [c for c in all_wrong if self.otherwise == c.output]
        if not right or not wrong:
            return "no_correct" if not right else "no_incorrect"
        couples = [(a, b) for a in right for b in wrong if self.within is None or _distance(a, b) <= self.within]
        if self.match == "length":
            couples.sort(key=lambda couple: _distance(*couple))
        taken = list(apart(couples, self.per_problem))
        return [made(a, b, "right_wrong", self.beta, 1.0) for a, b in taken] or "no_match"


class CogPO(Pairer):
    """Pairs of three gaps from original traces and their rewritings (cognitive preference alignment, arXiv 2504.09802).

    An original that was rewritten was found unsuitable for the student (too easy or too hard). Small gap: a correct rewriting
    over its own correct original. Medium: an unsuitable but correct original over an incorrect trace. Large: a correct
    rewriting over an incorrect trace.
    """

    kind: ClassVar[str] = "cogpo"
    original: Input
    """The output that holds the traces as they were sampled."""
    rewritten: Input
    """The output that holds their rewritings."""
    beta_small: float = Field(default=0.05, gt=0)
    """Strength of pairs of the small gap. The three values are ours: the smaller the gap, the weaker the pair."""
    beta_medium: float = Field(default=0.1, gt=0)
    """Strength of pairs of the medium gap."""
    beta_large: float = Field(default=0.2, gt=0)
    """Strength of pairs of the large gap."""
    per_gap: int = Field(default=1, ge=1)
    """Pairs of each gap at most, for each problem."""

    def pair(self, contenders: Sequence[Contender]) -> Mined:
        """Pairs by problem, small gap first; a failure for each problem without any."""
        return mined(self.kind, contenders, self._of_problem)

    def _of_problem(self, held: Sequence[Contender]) -> list[Pair] | str:
        originals = {c.trace_id: c for c in held if c.output == self.original}
        # A medium trace came back as it was: it is nobody's rewriting.
        changed = [c for c in held if c.output == self.rewritten and c.trace_id not in originals]
        rewritings = [c for c in changed if c.outcome == Outcome.CORRECT]
        wrong = [c for c in held if c.outcome == Outcome.INCORRECT and c.output in (self.original, self.rewritten)]
        rewritten_ids = {c.parent for c in changed}
        unsuitable = [c for name, c in originals.items() if name in rewritten_ids and c.outcome == Outcome.CORRECT]
        small = [(c, own) for c in rewritings if (own := originals.get(c.parent or "")) and own.outcome == Outcome.CORRECT]
        found: list[Pair] = []
        for gap, couples, beta in (
            ("small", small, self.beta_small),
            ("medium", [(a, b) for a in unsuitable for b in wrong], self.beta_medium),
            ("large", [(a, b) for a in rewritings for b in wrong], self.beta_large),
        ):
            margin = SMALL_MARGIN if gap == "small" else 1.0
            found += [made(a, b, gap, beta, margin) for a, b in apart(couples, self.per_gap)]
        return found or "no_pair"


class LengthContrast(Pairer):
    """Of two traces with the same outcome the shorter one over the longer one (or the other way round)."""

    kind: ClassVar[str] = "length_contrast"
    prefer: Literal["shorter", "longer"] = "shorter"
    """Which of the two is chosen."""
    outcome: Literal["correct", "incorrect"] = "correct"
    """Both are correct; ``incorrect`` pairs wrong with wrong, for those who ask for it."""
    least_margin: float = Field(default=0.2, ge=0, lt=1)
    """Lengths must differ by this share of the longer one, and by one token at least unless ``zero_margin``."""
    zero_margin: bool = False
    """Whether pairs of equal length (of other texts) count too."""
    per_problem: int = Field(default=1, ge=1)
    """Pairs of a problem at most, the widest first; no trace stands in two of them."""
    beta: float = Field(default=0.1, gt=0)
    """The pairs' strength in DPO's loss."""

    def pair(self, contenders: Sequence[Contender]) -> Mined:
        """Pairs by problem; a failure for each problem without one, that says what it lacks."""
        return mined(self.kind, contenders, self._of_problem)

    def _of_problem(self, held: Sequence[Contender]) -> list[Pair] | str:
        same = [c for c in held if c.outcome == self.outcome and c.num_tokens is not None]
        if len(same) < 2:
            return f"fewer_than_two_{self.outcome}"
        couples = [(a, b) for a in same for b in same if (a.num_tokens or 0, a.trace_id) < (b.num_tokens or 0, b.trace_id)]
        wide = [(a, b) for a, b in couples if self._wide(length_gap(b, a) or 0.0)]
        wide.sort(key=lambda couple: -(length_gap(couple[1], couple[0]) or 0.0))
        taken = list(apart(wide, self.per_problem))
        if self.prefer == "longer":
            return [made(b, a, "length", self.beta, length_gap(b, a) or 0.0) for a, b in taken] or "no_margin"
        return [made(a, b, "length", self.beta, length_gap(b, a) or 0.0) for a, b in taken] or "no_margin"

    def _wide(self, gap: float) -> bool:
        return gap >= self.least_margin and (gap > 0 or self.zero_margin)


def mined(step: str, contenders: Sequence[Contender], of_problem: Callable[[Sequence[Contender]], list[Pair] | str]) -> Mined:
    """The pairs of each problem in order of first appearance, and a failure with its reason where there are none."""
    groups: dict[str, list[Contender]] = {}
    for contender in contenders:
        groups.setdefault(contender.problem_id, []).append(contender)
    pairs: list[Pair] = []
    failures: list[Failure] = []
    for problem, held in groups.items():
        found = of_problem(sorted(held, key=lambda c: c.sample_index))
        if isinstance(found, str):
            failures.append(Failure(step=step, item=problem, reason=found))
        else:
            pairs += found
    return pairs, failures


def apart(couples: Sequence[tuple[Contender, Contender]], most: int) -> Iterator[tuple[Contender, Contender]]:
    """The first couples that share no trace and whose texts differ."""
    used: set[str] = set()
    for a, b in couples:
        if len(used) < 2 * most and a.text_digest != b.text_digest and not used & {a.trace_id, b.trace_id}:
            used |= {a.trace_id, b.trace_id}
            yield a, b


def length_gap(a: Contender, b: Contender) -> float | None:
    """By what share of the longer one ``a`` is longer than ``b`` (negative: shorter); None where a length is not known."""
    if a.num_tokens is None or b.num_tokens is None:
        return None
    return (a.num_tokens - b.num_tokens) / max(1, a.num_tokens, b.num_tokens)


def _distance(a: Contender, b: Contender) -> float:
    """How far two lengths are apart; an unknown one is as far as can be."""
    gap = length_gap(a, b)
    return 1.0 if gap is None else abs(gap)


def made(a: Contender, b: Contender, gap: str, beta: float, margin: float) -> Pair:
    """``a`` over ``b``."""
    return Pair(problem_id=a.problem_id, chosen=a.trace_id, rejected=b.trace_id, gap=gap, beta=beta, margin=margin)
