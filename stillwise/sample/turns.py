"""Two models that answer in turns: one asks the next question, the other answers it, until the closing question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Ask, Caller, Completion, Composer, OnBatch, Request
from stillwise.parts import Role
from stillwise.records import THINK_CLOSE, THINK_OPEN, Finish, derive_seed
from stillwise.runtime.dialogue import ANSWER, CLOSING, END, QUESTION


class InTurns(Composer):
    """A question generator and a solver that continue one dialogue by turns (Socratic CoT, arXiv 2212.00193, §3).

    Each sees the problem and all turns so far, the solver also the question at hand; none sees what comes later. The dialogue
    ends with the answer to the closing question. One that runs out of turns or tokens before is truncated.
    """

    kind: ClassVar[str] = "in_turns"
    asker: Role
    """The role that writes questions."""
    solver: Role
    """The role that answers them."""
    closing: str = CLOSING
    """The question after whose answer the dialogue is over; the asker learnt to ask it last."""
    max_turns: int = Field(default=12, ge=1)
    """Questions at most."""

    @property
    def calls(self) -> int:
        """Two models, each once in every turn."""
        return 2 * self.max_turns

    def compose(self, callers: Mapping[str, Caller], measured: Mapping[str, float]) -> Caller:
        """The pair as one model."""
        return Dialogue(callers[self.asker], callers[self.solver], self.closing.strip(), self.max_turns)


@dataclass
class _Talk:
    """One dialogue while it is held."""

    place: int
    request: Request
    text: str = ""
    first: Completion | None = None
    num_tokens: int = 0

    def turn(self, mark: str, number: int) -> Request:
        """What the next speaker is asked: to continue the dialogue by one line, with what is left of the tokens."""
        sampling = replace(self.request.sampling, max_tokens=self.request.sampling.max_tokens - self.num_tokens, stop=(END,))
        ask = replace(self.request.ask, prefill=self.request.ask.prefill + self.text + mark)
        return Request(ask=ask, sampling=sampling, seed=derive_seed(self.request.seed, mark, number))

    def hear(self, mark: str, said: Completion) -> None:
        """Adds a line; the first speaker's completion is kept for what it says of the prompt."""
        self.first = self.first or said
        self.text += mark + said.text.rstrip() + END
        self.num_tokens += said.num_tokens

    def ended(self, finish: Finish) -> Completion:
        """The whole dialogue as one answer."""
        assert self.first is not None
        return replace(
            self.first, text=self.text, num_tokens=self.num_tokens, num_thinking_tokens=None, token_ids=None, finish=finish
        )


@dataclass(frozen=True)
class Dialogue:
    """Implements ``arrows.Caller`` with two callers."""

    asker: Caller
    solver: Caller
    closing: str
    max_turns: int

    @property
    def revision(self) -> str:
        """Both models' revisions."""
        return f"{self.asker.revision}+{self.solver.revision}"

    def render(self, ask: Ask) -> tuple[str, str]:
        """The asker's rendering."""
        return self.asker.render(ask)

    def count_tokens(self, text: str) -> int:
        """The solver's count."""
        return self.solver.count_tokens(text)

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One dialogue for each request; all that are open are asked together, a speaker at a time."""
        done: dict[int, Completion] = {}
        open_ = [_Talk(place, request, text=self._start(request)) for place, request in enumerate(requests)]
        for number in range(self.max_turns):
            closed: set[int] = set()
            for mark, speaker in ((QUESTION, self.asker), (ANSWER, self.solver)):
                said = (
                    speaker.complete([talk.turn(mark, number) for talk in open_], lambda places, answers: None) if open_ else []
                )
                ended = {talk.place: end for talk, line in zip(open_, said, strict=True) if (end := _heard(talk, mark, line))}
                if mark == QUESTION:
                    closed = {t.place for t, line in zip(open_, said, strict=True) if line.text.strip() == self.closing}
                else:
                    ended |= {t.place: t.ended(Finish.STOP) for t in open_ if t.place in closed and t.place not in ended}
                open_ = [talk for talk in open_ if talk.place not in ended]
                _hand(ended, done, on_batch)
        _hand({talk.place: talk.ended(Finish.LENGTH) for talk in open_}, done, on_batch)
        return [done[place] for place in range(len(requests))]

    def _start(self, request: Request) -> str:
        """A template that opens a thought has it closed first: a dialogue is no thought."""
        opened = self.asker.render(request.ask)[1]
        return f"{THINK_CLOSE}\n\n" if THINK_OPEN in opened and THINK_CLOSE not in opened else ""


def _heard(talk: _Talk, mark: str, said: Completion) -> Completion | None:
    """Adds a line to a dialogue; what ends it at once: no usable answer, or no tokens left."""
    if said.failure:
        return said
    talk.hear(mark, said)
    cut = said.finish is Finish.LENGTH or talk.num_tokens >= talk.request.sampling.max_tokens
    return talk.ended(Finish.LENGTH) if cut else None


def _hand(ended: Mapping[int, Completion], done: dict[int, Completion], on_batch: OnBatch) -> None:
    done.update(ended)
    if ended:
        on_batch(list(ended), list(ended.values()))
