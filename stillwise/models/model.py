"""The model protocol: a plan of fixed batches, and one call that runs a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stillwise.arrows import Ask, Completion, Request


class Model(Protocol):
    """A language model that answers requests in fixed batches.

    The unit of local generation is a fixed batch: floating-point results move with batch composition, so a batch is
    planned from the requests alone, journalled and repeated whole.
    """

    @property
    def name(self) -> str:
        """The binding as the user wrote it, for tables."""

    @property
    def revision(self) -> str:
        """A digest of everything that changes answers: weights, tokenizer, template, back end, dtype, threads."""

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Positions of the requests, grouped into batches; a pure function of the requests."""

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt string that the template gives, and what it opens of the answer (``<think>`` or nothing)."""

    def count_tokens(self, text: str) -> int:
        """How many tokens the model's tokenizer makes of a text (no special tokens added)."""


Bunch = Sequence["Arrived"]
"""Answers that came since the last look, in the order in which they came."""


Keep = Callable[[Bunch], None]
"""Makes answers durable; called from another thread than the one that reads the stream."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of one request of a stream: an answer with its raw body, or a completion that only says why there is none."""

    place: int
    completion: Completion
    raw: bytes = b""
    """The body as it came; empty where nothing did."""


@runtime_checkable
class StreamModel(Model, Protocol):
    """A model that answers requests one by one, in any order, many at once: what a server is."""

    def stream(self, requests: Iterable[tuple[int, Request] | None], meter: Meter, keep: Keep) -> Iterator[Bunch]:
        """Answers as they come, each kept before it comes out; an empty bunch where none came for a while.

        Requests are taken a few at a time. None among them is a pause: an empty bunch comes out before more are taken.
        Leaving early ends all calls.
        """

    def read(self, request: Request, raw: bytes) -> Completion:
        """The answer in a raw body that was kept; the same bytes give the same answer."""


class Meter(Protocol):
    """Counts what a stream spends, and says when no further call may begin. Called from the thread that sends."""

    def may(self, prompt_tokens: int, max_tokens: int) -> bool:
        """Whether a call of at most so many tokens may begin now."""

    def spent(self, prompt_tokens: int, max_tokens: int, completion: Completion | None) -> None:
        """A call that was let in has come to its end; None where nobody knows what it cost."""

    def billed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """So many tokens are billed for a reply that holds no answer."""

    def count(self, name: str, by: int = 1) -> None:
        """Count exchanges: sent, resolved, unknown, throttled, retried, lost."""

    def held(self, endpoint_seconds: float) -> None:
        """Endpoints were held for so long in all."""


def keep_nothing(bunch: Bunch) -> None:
    """For answers that nobody needs again."""


class FreeMeter:
    """Lets everything through and only counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def may(self, prompt_tokens: int, max_tokens: int) -> bool:
        """Always."""
        return True

    def spent(self, prompt_tokens: int, max_tokens: int, completion: Completion | None) -> None:
        """Nothing is paid."""

    def billed(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Nothing is paid."""

    def count(self, name: str, by: int = 1) -> None:
        """Add to the count."""
        self.counts[name] = self.counts.get(name, 0) + by

    def held(self, endpoint_seconds: float) -> None:
        """Nothing is paid."""
