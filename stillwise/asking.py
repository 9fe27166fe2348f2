"""What is said to models and comes back, and what answers: requests, completions, and callers of a role's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from stillwise.records import Finish, Sampling

BanScope = Literal["generation", "thought"]
BanMode = Literal["words", "token_ban"]
Truncated = Literal["keep", "continue", "resample"]
"""``keep`` leaves the answer truncated (its own outcome, never wrong); the others ask once more with a larger budget."""


INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""Appended to every question by default; the paper does not print its prompt, this is the sentence of its models' cards."""


def user_message(question: str, instruction: str) -> str:
    """The user's turn: the question, and the instruction on a line of its own where there is one."""
    return f"{question}\n{instruction}" if instruction else question


class Progress(Protocol):
    """One long step's progress; the runtime shows rate, time left and running figures."""

    def advance(self, done: int = 1, **figures: float) -> None:
        """Count items done; figures (accuracy, loss, tokens) are shown beside the bar, latest value wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """Words that generation may not complete."""

    words: tuple[str, ...]
    scope: BanScope = "generation"
    mode: BanMode = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How a paradigm puts a problem to a model: the user's message, the start of the answer, the banned words."""

    user: str
    prefill: str = ""
    ban: Ban | None = None
    schema: str = ""
    """A JSON schema, as text, of the whole answer after its thought; "" for none. Enforced where a server can and noted where
    not: whoever asks says the form in words too, and reads strictly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer to generate."""

    ask: Ask
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    """The request's own stream of random numbers; equal requests in an equal batch give equal bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came back. ``text`` excludes the prompt and the prefilled part."""

    prompt: str
    """The prompt as rendered by the model's template, the prefilled part excluded."""
    text: str
    num_prompt_tokens: int
    num_tokens: int
    """Tokens as generated, the end-of-sequence token included."""
    finish: Finish
    opened: str = ""
    """What the template itself put at the start of the answer (``<think>\\n`` in R1-style templates); belongs to the text."""
    num_thinking_tokens: int | None = None
    """Of ``num_tokens``, those up to the close of the thought (its tag included); None where token ids are not known."""
    token_ids: tuple[int, ...] | None = None
    raw: dict[str, Any] | None = None
    """The server's answer as it came, where there is one."""
    failure: str = ""
    """A short word to count by where no usable answer came (banned_word, timed_out, refused, …); empty where one did."""
    detail: str = ""
    """What is known of the failure."""


OnBatch = Callable[[Sequence[int], Sequence[Completion]], None]
"""Called with positions and completions of one finished batch."""


class Caller(Protocol):
    """Journalled access to one role's model: what was paid for once is never computed again."""

    @property
    def revision(self) -> str:
        """The model's revision, for the traces."""

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """Completions in the order of the requests; ``on_batch`` hears of each batch as soon as it is known."""

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt as the model's template renders it, and what the template opens of the answer."""

    def count_tokens(self, text: str) -> int:
        """How many tokens the model's tokenizer makes of a text (no special tokens added)."""


@runtime_checkable
class Ordered(Protocol):
    """A caller that gives answers in order without holding all of them."""

    def each(
        self, count: int, request: Callable[[int], Request], on_batch: OnBatch, order: Sequence[int] = ()
    ) -> Iterator[Completion]:
        """One completion for each of ``count`` requests, in order; ``request`` makes each when its time comes (perhaps again).

        ``on_batch`` hears of answers as soon as they are known and durable, in any order, each before its turn. ``order`` is
        all places in the order in which a server is best asked, where that is not the order of the answers.
        """


@runtime_checkable
class Together(Protocol):
    """A caller whose model gives several samples of one question for less when they are asked for at once."""

    @property
    def together(self) -> int:
        """So many; 1 for no such gain."""


@runtime_checkable
class Likely(Protocol):
    """A model, or a caller of one, that says how probable a given answer is."""

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """For each answer the log-probabilities of its tokens after the prompt, in nats; () for one that does not fit.

        An answer is the assistant's whole text, with what the template opens of it; the ask's prefill is not added.
        """
