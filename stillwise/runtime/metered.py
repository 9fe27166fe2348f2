"""Progress of steps that ask models: tokens and money so far, and at the end if what is left is like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stillwise.arrows import Progress
from stillwise.models.http_spec import NANO
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.spending import Spending

Opener = Callable[[str, int], Progress]


def metered(opener: Opener, callers: Sequence[JournalledCaller]) -> Opener:
    """Opens bars that also show what these callers spent; the same opener where there are none."""
    return (lambda label, total: MeteredBar(opener(label, total), total, callers)) if callers else opener


@dataclass
class MeteredBar:
    """Implements ``arrows.Progress`` round another, adding figures."""

    bar: Progress
    total: int
    callers: Sequence[JournalledCaller]
    done: int = 0
    _before: list[int] = field(init=False)
    """Answers that each caller had given before this bar."""

    def __post_init__(self) -> None:
        self._before = [caller.spent.heard if caller.spent else 0 for caller in self.callers]

    def advance(self, done: int = 1, **figures: float) -> None:
        """Count items done, with what they cost."""
        self.done += done
        self.bar.advance(done, **{**figures, **self._figures()})

    def _figures(self) -> dict[str, float]:
        held = [
            (caller.spent, self._coming(caller.spent, before))
            for caller, before in zip(self.callers, self._before, strict=True)
            if caller.spent and caller.spent.totals["answered"]
        ]
        if not held:
            return {}
        tokens = sum(spent.tokens for spent, _ in held)
        more = sum(spent.tokens / spent.totals["answered"] * coming for spent, coming in held)
        return {"tokens": tokens, "tokens_at_end": round(tokens + more), **_money(held)}

    def _coming(self, spent: Spending, before: int) -> float:
        """Answers that the items left will take, as many each as those that are done took."""
        return max(0, self.total - self.done) * (spent.heard - before) / self.done if self.done else 0.0


def _money(held: Sequence[tuple[Spending, float]]) -> dict[str, float]:
    """The whole run's money, which the budget caps, and what this step will still add."""
    priced = [(spent, coming) for spent, coming in held if spent.price is not None]
    if not priced:
        return {}
    paid = priced[0][0].purse.paid_nano
    more = sum(spent.nano / spent.totals["answered"] * coming for spent, coming in priced)
    return {"cost": paid / float(NANO), "cost_at_end": (paid + more) / float(NANO)}
