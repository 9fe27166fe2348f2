"""Journalled access to one role's model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import orjson

from stillwise.arrows import Ask, Completion, Likely, OnBatch, Request
from stillwise.errors import BudgetReached, UserError
from stillwise.models.model import Bunch, Model, StreamModel
from stillwise.records import digest
from stillwise.runtime.executor import Executor, Opener
from stillwise.runtime.journal import CallJournal
from stillwise.runtime.spending import Purse, Spending

REPLAYED_AT_ONCE = 256


@dataclass(frozen=True)
class Generate:
    """Runs one planned batch on the worker that holds the model."""

    opener: Opener[Model]

    def __call__(self, batch: tuple[Request, ...], executor: Executor) -> list[Completion]:
        model: Model = executor.hold(self.opener)
        return model.generate(batch)


@dataclass(frozen=True)
class JournalledCaller:
    """Implements ``arrows.Caller``: what is already in the journal is read, the rest generated and committed."""

    step: str
    opener: Opener[Model]
    executor: Executor
    journal: CallJournal
    purse: Purse = field(default_factory=Purse)

    @cached_property
    def _model(self) -> Model:
        return self.executor.hold(self.opener)

    @cached_property
    def _spending(self) -> Spending:
        teacher = getattr(self._model, "teacher", None)
        return Spending(teacher.price if teacher else None, self.purse)

    @property
    def revision(self) -> str:
        """The model's revision."""
        return self._model.revision

    def render(self, ask: Ask) -> tuple[str, str]:
        """The rendered prompt and what the template opens of the answer."""
        return self._model.render(ask)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's tokenizer."""
        return self._model.count_tokens(text)

    def figures(self, left: int) -> Mapping[str, float]:
        """What was spent, for the progress bar."""
        return self._spending.figures(left)

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of given answers (computed anew each time). Raises UserError where the model gives none."""
        if not isinstance(self._model, Likely):
            raise UserError(f"{self._model.name} gives no log-probabilities of given answers; bind a transformers: model")
        return self._model.logprobs(ask, answers)

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request; each batch is durable before ``on_batch`` hears of it."""
        answers: dict[int, Completion] = {}
        model = self._model
        found = self._single(model, requests) if isinstance(model, StreamModel) else self._batches(requests)
        for places, batch in found:
            answers.update(zip(places, batch, strict=True))
            on_batch(places, batch)
        return [answers[i] for i in range(len(requests))]

    def _batches(self, requests: Sequence[Request]) -> Iterator[tuple[tuple[int, ...], list[Completion]]]:
        plan = self._model.plan(requests) if requests else []
        keys = {places: self._key([requests[i] for i in places]) for places in plan}
        todo = []
        for places in plan:
            known = self.journal.get(keys[places])
            if known is None:
                todo.append(places)
            else:
                yield places, known
        shards = [tuple(requests[i] for i in places) for places in todo]
        for done in self.executor.map(Generate(self.opener), shards):
            places = todo[done.index]
            self.journal.put(keys[places], self.step, done.value)
            yield places, done.value

    def _key(self, batch: Sequence[Request]) -> str:
        return digest(self._model.revision, [asdict(request) for request in batch])

    def _single(self, model: StreamModel, requests: Sequence[Request]) -> Iterator[tuple[tuple[int, ...], list[Completion]]]:
        """Known answers first, then the others as they come; equal requests are asked once."""
        keys = [request_key(model.revision, request) for request in requests]
        places_of: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places_of.setdefault(key, []).append(place)
        todo = []
        for some in _chunks(list(places_of), REPLAYED_AT_ONCE):
            known = self.journal.answers(some)
            todo += [places_of[key][0] for key in some if key not in known]
            read = {key: model.read(requests[places_of[key][0]], raw) for key, raw in known.items()}
            replayed = [(place, answer) for key, answer in read.items() for place in places_of[key]]
            if replayed:
                yield tuple(place for place, _ in replayed), [answer for _, answer in replayed]
        yield from self._asked(model, requests, keys, places_of, todo)

    def _asked(
        self,
        model: StreamModel,
        requests: Sequence[Request],
        keys: Sequence[bytes],
        places_of: Mapping[bytes, Sequence[int]],
        todo: Sequence[int],
    ) -> Iterator[tuple[tuple[int, ...], list[Completion]]]:
        spending, missing, noted = self._spending, len(todo), False

        def keep(bunch: Bunch) -> None:
            nonlocal noted
            if not noted:
                # Before the answers: a run that is killed between the two must not find answers without their note.
                self.journal.note(self.step, _served(model, [requests[place] for place in todo]))
                noted = True
            self.journal.add(self.step, [(keys[a.place], a.raw) for a in bunch if a.raw], spending.taken())

        try:
            for bunch in model.stream(((place, requests[place]) for place in todo), spending, keep):
                self.journal.settle(waited=bool(bunch))
                if not bunch:
                    continue
                missing -= len(bunch)
                heard = [(place, a.completion) for a in bunch for place in places_of[keys[a.place]]]
                yield tuple(place for place, _ in heard), [answer for _, answer in heard]
        finally:
            self.journal.add(self.step, [], spending.taken())
            self.journal.settle()
        if missing and spending.exhausted:
            raise BudgetReached(
                f"step {self.step!r}: the budget has no room for another call; {missing} of {len(requests)} answers are "
                "missing, the others are kept: repeat the command with a larger --budget"
            )


def _served(model: StreamModel, requests: Sequence[Request]) -> dict[str, str]:
    """How the model's server does what these requests ask beyond a plain answer; nothing for other models."""
    dialect = getattr(model, "dialect", None)
    if dialect is None:
        return {}
    asked = {"ban": any(r.ask.ban is not None for r in requests), "prefill": any(r.ask.prefill for r in requests)}
    return {name: dialect.notes[name] for name, wanted in asked.items() if wanted and name in dialect.notes}


def request_key(revision: str, request: Request) -> bytes:
    """What decides an answer, as half a sha256: the model's revision, the ask, every sampling field, the seed."""
    ask, sampling = request.ask, request.sampling
    ban = None if ask.ban is None else (ask.ban.words, ask.ban.scope, ask.ban.mode)
    drawn = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens, sampling.stop)
    return hashlib.sha256(orjson.dumps([revision, ask.user, ask.prefill, ban, drawn, request.seed])).digest()[:16]


def _chunks(items: list[bytes], size: int) -> Iterator[list[bytes]]:
    return (items[start : start + size] for start in range(0, len(items), size))
