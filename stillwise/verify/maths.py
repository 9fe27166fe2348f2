"""Mathematical answers: read and compared here by kind, exactly and at many digits; Math-Verify where that cannot tell."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Self

from pydantic import Field

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace, Verdict
from stillwise.verify.answers import Found, comparable, decided, in_prose, is_bare, undecided
from stillwise.verify.policy import FractionPolicy, Mode, OrderPolicy, PercentPolicy, Policy, UnitPolicy, declared


class Maths(Verifier):
    r"""Whether the answer equals the reference: as text, as an exact number, by kind at sixty digits, else by Math-Verify.

    ``quick`` is bounded in all it does. ``verify`` may take for ever where Math-Verify must decide: call it through a grader
    pool, which kills. A problem may declare its own kind, tolerance and policies (``stillwise.verify.policy.declared``).
    """

    kind: ClassVar[str] = "maths"
    revision: ClassVar[int] = 3
    mode: Mode = "precision"
    """precision (rejection sampling): exact, anchored, both directions. recall (evaluation): lenient where notation differs."""
    anchored_only: bool | None = None
    r"""Accept only an answer that the model marked (``\boxed{}``, an "answer is" line). Unset: in precision, not in recall."""
    percent: PercentPolicy | None = None
    """One side has a percent sign. sign: 28% = 28; value: 28% = 0.28; either; strict: both or none. Unset: sign in precision,
    either in recall."""
    units: UnitPolicy = "agree"
    """agree: a unit may be missing, two different ones differ; strict: both or none; ignore."""
    order: OrderPolicy = "brackets"
    """brackets: (1, 2) is ordered, {1, 2} and a bare 1, 2 are not; ordered: bare lists too; unordered: nothing is."""
    fractions: FractionPolicy = "any"
    """reduced: a fraction that is not in lowest terms equals only itself."""
    relative_tolerance: float = Field(default=0.0, ge=0)
    """A number may be off by this share of the larger one; 0 is exact."""
    absolute_tolerance: float = Field(default=0.0, ge=0)
    """A number may be off by this much (OlympiadBench's ``error``); 0 is exact."""
    float_rounding: int = 6
    """Places to which a number that is written as a decimal is compared with another (Math-Verify's default)."""
    rounded_reference: bool = False
    """A decimal reference stands for every exact answer that rounds to it: 33.3 for 100/3."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """CORRECT, INCORRECT, or UNDECIDED with the reason (no answer, an unreadable reference)."""
        from stillwise.verify.symbolic import symbolically_same, version

        known = self._known(problem, trace)
        if isinstance(known, Verdict):
            return known
        right, remark = symbolically_same(problem.answer or "", known.text, self._policy(problem))
        return undecided(known, version(), remark or "") if right is None else decided(right, known, version(), remark)

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict where the reader here can tell: nearly always."""
        known = self._known(problem, trace)
        return known if isinstance(known, Verdict) else None

    def _known(self, problem: Problem, trace: Trace) -> Verdict | Found:
        """The verdict where the reader here can tell, else the answer that it could not compare."""
        # Here, so that a recipe is checked without loading the reader.
        from stillwise.verify.compare import VERSION, same

        found = comparable(problem, trace, self._anchored, VERSION)
        if isinstance(found, Verdict):
            return found
        reference, policy = problem.answer or "", self._policy(problem)
        right = same(reference, found.text, policy)
        if (
            not right
            and found.rule in ("answer_line", "answer_tag")
            and (value := in_prose(found.text))
            and not is_bare(found.text)
        ):
            found = Found(found.rule, value)
            right = same(reference, value, policy)
        return found if right is None else decided(right, found, VERSION)

    def alike(self, problem: Problem, trace: Trace) -> str | None:
        """Reference, declaration and answer: pairs that agree in them have one verdict."""
        found = comparable(problem, trace, self._anchored, "")
        return (
            None
            if isinstance(found, Verdict)
            else "\0".join((problem.answer or "", problem.scorer or "", found.rule, found.text))
        )

    def warm(self) -> None:
        """Loads sympy, Math-Verify and its grammar."""
        from stillwise.verify.symbolic import parsed

        parsed("x + 1")

    def __copy__(self) -> Self:
        # A copy may change fields (``model_copy(update=…)``), so it makes its own policy.
        copied = super().__copy__()
        for name in ("_anchored", "_base_policy"):
            copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def _anchored(self) -> bool:
        return self.mode == "precision" if self.anchored_only is None else self.anchored_only

    def _policy(self, problem: Problem) -> Policy:
        return declared(problem, self._base_policy)

    @cached_property
    def _base_policy(self) -> Policy:
        return Policy(
            mode=self.mode,
            percent=self.percent or ("sign" if self.mode == "precision" else "either"),
            units=self.units,
            order=self.order,
            fractions=self.fractions,
            relative_tolerance=self.relative_tolerance,
            absolute_tolerance=self.absolute_tolerance,
            float_rounding=self.float_rounding,
            rounded_reference=self.rounded_reference,
        )
