"""What calls cost: counted as they go, shown in the bar, capped by a budget, kept in the journal's ledger."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from decimal import Decimal

from stillwise.arrows import Completion
from stillwise.models.http_spec import NANO, Price

PAID = "nano"
"""The ledger's name for money, in billionths of the currency."""
NAMES = ("sent", "resolved", "unknown", "throttled", "retried", "lost", "answered", "prompt_tokens", "completion_tokens", PAID)


@dataclass
class Purse:
    """One run's budget; what is paid and what is set aside for calls on the way may not exceed it."""

    budget_nano: int | None = None
    paid_nano: int = 0
    aside_nano: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Each role has a thread that sends, and the step's own counts hours."""

    @classmethod
    def of(cls, budget: Decimal | None, paid_nano: int) -> Purse:
        """A purse from which so much was paid already, in earlier runs of the same folder."""
        return cls(None if budget is None else int(budget * NANO), paid_nano)

    def set_aside(self, nano: int) -> bool:
        """Sets so much aside; False, and nothing is, where the budget has no room for it."""
        with self._lock:
            full = self.budget_nano is not None and (
                self.paid_nano + self.aside_nano + nano > self.budget_nano or self.paid_nano >= self.budget_nano
            )
            self.aside_nano += 0 if full else nano
            return not full

    def pay(self, nano: int, aside: int = 0) -> None:
        """So much is paid, and no longer is ``aside`` set aside for it."""
        with self._lock:
            self.paid_nano += nano
            self.aside_nano -= aside


@dataclass
class Spending:
    """Implements ``models.model.Meter`` for one caller.

    One thread counts and another reads: every number has one writer, and the names never change, so no lock is needed.
    """

    price: Price | None
    purse: Purse
    exhausted: bool = False
    """A call was held back because it could cost more than is left."""
    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    heard: int = 0
    """Answers that were handed on, those from the journal included."""
    _held_nano: int = 0
    _taken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))

    def _most(self, prompt_tokens: int, max_tokens: int) -> int:
        return self.price.tokens_nano(prompt_tokens, max_tokens) if self.price else 0

    def may(self, prompt_tokens: int, max_tokens: int) -> bool:
        """Whether the budget has room for the dearest outcome of one more call; then it is set aside."""
        if self.purse.budget_nano is not None:
            self.exhausted = not self.purse.set_aside(self._most(prompt_tokens, max_tokens))
        return not self.exhausted

    def spent(self, prompt_tokens: int, max_tokens: int, completion: Completion | None) -> None:
        """One call is over; None for a call without an answer."""
        if completion is not None:
            self.made(completion)
        if self.purse.budget_nano is not None:
            self.purse.pay(0, aside=self._most(prompt_tokens, max_tokens))

    def made(self, completion: Completion) -> None:
        """An answer that no journal held."""
        self.totals["answered"] += 1
        self.billed(completion.num_prompt_tokens, completion.num_tokens)

    def billed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """So many tokens are billed, whether they are an answer or not."""
        self.totals["prompt_tokens"] += prompt_tokens
        self.totals["completion_tokens"] += completion_tokens
        if self.price is not None:
            nano = self.price.tokens_nano(prompt_tokens, completion_tokens)
            self.totals[PAID] += nano
            self.purse.pay(nano)

    def count(self, name: str, by: int = 1) -> None:
        """Count exchanges."""
        self.totals[name] += by

    def held(self, endpoint_seconds: float) -> None:
        """Endpoints were held for so long."""
        if self.price is not None and self.price.gpu_hour:
            nano = self.price.time_nano(endpoint_seconds)
            self._held_nano += nano
            self.purse.pay(nano)

    def taken(self) -> dict[str, int]:
        """What came to the ledger since the last call."""
        now = dict(self.totals)
        now[PAID] += self._held_nano
        new = {name: amount - self._taken[name] for name, amount in now.items()}
        self._taken = now
        return new

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.totals["prompt_tokens"] + self.totals["completion_tokens"]

    @property
    def nano(self) -> int:
        """Paid, by tokens and by hours."""
        return self.totals[PAID] + self._held_nano
