"""What calls cost: counted as they go, shown in the bar, capped by a budget, kept in the journal's ledger."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from stillwise.arrows import Completion
from stillwise.models.http_spec import NANO, Price

PAID = "nano"
"""The ledger's name for money, in billionths of the currency."""


@dataclass
class Purse:
    """One run's budget; what is paid and what is set aside for calls on the way may not exceed it."""

    budget_nano: int | None = None
    paid_nano: int = 0
    aside_nano: int = 0

    @classmethod
    def of(cls, budget: Decimal | None, paid_nano: int) -> Purse:
        """A purse from which so much was paid already, in earlier runs of the same folder."""
        return cls(None if budget is None else int(budget * NANO), paid_nano)


@dataclass
class Spending:
    """Implements ``models.model.Meter`` for one caller; called from the loop's thread and the caller's."""

    price: Price | None
    purse: Purse
    answered: int = 0
    exhausted: bool = False
    """A call was held back because it could cost more than is left."""
    _counts: dict[str, int] = field(default_factory=dict)
    _nano: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _most(self, prompt_tokens: int, max_tokens: int) -> int:
        # Prompt tokens are only guessed before the server has counted them.
        return self.price.tokens_nano(2 * prompt_tokens, max_tokens) if self.price else 0

    def may(self, prompt_tokens: int, max_tokens: int) -> bool:
        """Whether the budget has room for the dearest outcome of one more call; then it is set aside."""
        most = self._most(prompt_tokens, max_tokens)
        with self._lock:
            purse = self.purse
            fits = purse.budget_nano is None or purse.paid_nano + purse.aside_nano + most <= purse.budget_nano
            if purse.budget_nano is not None and purse.paid_nano >= purse.budget_nano:
                fits = False
            self.exhausted = not fits
            purse.aside_nano += most if fits else 0
        return fits

    def spent(self, prompt_tokens: int, max_tokens: int, completion: Completion | None) -> None:
        """One call is over. Where nobody knows its cost, all that was set aside counts as paid."""
        most = self._most(prompt_tokens, max_tokens)
        with self._lock:
            self.purse.aside_nano -= most
            if completion is None:
                return
            nano = self.price.tokens_nano(completion.num_prompt_tokens, completion.num_tokens) if self.price else 0
            self._pay(nano)
            self.answered += 1
            self._add("answered", 1)
            self._add("prompt_tokens", completion.num_prompt_tokens)
            self._add("completion_tokens", completion.num_tokens)

    def _pay(self, nano: int) -> None:
        self.purse.paid_nano += nano
        self._nano += nano
        self._add(PAID, nano)

    def _add(self, name: str, by: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + by

    def count(self, name: str, by: int = 1) -> None:
        """Count exchanges."""
        with self._lock:
            self._add(name, by)

    def held(self, endpoint_seconds: float) -> None:
        """Endpoints were held for so long."""
        if self.price is not None and self.price.gpu_hour:
            with self._lock:
                self._pay(self.price.time_nano(endpoint_seconds))

    def taken(self) -> dict[str, int]:
        """What came to the ledger since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def figures(self, left: int) -> Mapping[str, float]:
        """Cost so far and projected to the end, where there is a price."""
        if self.price is None or not self.answered:
            return {}
        each = self._nano / self.answered
        return {
            "cost": float(self.purse.paid_nano / NANO),
            "cost_at_end": float((self.purse.paid_nano + Decimal(each * left)) / NANO),
        }
