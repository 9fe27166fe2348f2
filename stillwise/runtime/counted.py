"""What a step asked of each role, answered anew or from the journal: what the step costs whoever runs it alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stillwise.arrows import Ask, Completion, Likely, OnBatch, Ordered, Request
from stillwise.errors import UserError
from stillwise.runtime.around import Around

T = TypeVar("T")


@dataclass
class Waited:
    """How long answers that no journal held were waited for."""

    seconds: float = 0.0
    tokens: int = 0
    """Written in that time."""

    def over(self, found: Iterator[T], written: Callable[[T], int]) -> Iterator[T]:
        """The same items; only the time until each comes is counted, not what is done with it."""
        while True:
            began = time.monotonic()
            item = next(found, None)
            self.seconds += time.monotonic() - began
            if item is None:
                return
            self.tokens += written(item)
            yield item


@dataclass
class Tally:
    """Answers, tokens read, tokens written and tokens scored, by role."""

    roles: dict[str, dict[str, int]] = field(default_factory=dict)
    waits: dict[str, list[Waited]] = field(default_factory=dict)

    def waited(self) -> dict[str, dict[str, float]]:
        """Seconds and tokens of answers made anew, by role; roles that the journal answered for are left out."""
        found = {
            role: {"seconds": sum(one.seconds for one in held), "tokens": sum(one.tokens for one in held)}
            for role, held in self.waits.items()
        }
        return {role: each for role, each in found.items() if each["tokens"]}

    def add(self, role: str, **amounts: int) -> None:
        """Counts more of a role."""
        held = self.roles.setdefault(role, {"answers": 0, "read": 0, "written": 0, "scored": 0})
        for name, amount in amounts.items():
            held[name] += amount


@dataclass(frozen=True)
class Counted(Around):
    """Implements ``arrows.Caller`` round another, counting."""

    role: str
    tally: Tally

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of given answers. Raises UserError where the model gives none."""
        if not isinstance(self.inner, Likely):
            raise UserError(f"{self.role} gives no log-probabilities of given answers; bind a transformers: model")
        found = self.inner.logprobs(ask, answers)
        read = self.inner.count_tokens(self.inner.render(ask)[0]) * len(answers)
        self.tally.add(self.role, answers=len(answers), read=read, scored=sum(map(len, found)))
        return found

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request."""
        found = self.inner.complete(requests, on_batch)
        for answer in found:
            self._count(answer)
        return found

    def each(
        self, count: int, request: Callable[[int], Request], on_batch: OnBatch, order: Sequence[int] = ()
    ) -> Iterator[Completion]:
        """One completion for each request, in order; all at once from a caller that cannot do better."""
        if isinstance(self.inner, Ordered):
            found = self.inner.each(count, request, on_batch, order)
        else:
            found = iter(self.inner.complete([request(place) for place in range(count)], on_batch))
        for answer in found:
            self._count(answer)
            yield answer

    def _count(self, answer: Completion) -> None:
        self.tally.add(self.role, answers=1, read=answer.num_prompt_tokens or 0, written=answer.num_tokens or 0)
