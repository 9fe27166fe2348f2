"""Journalled access to one role's model."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import orjson

from stillwise.arrows import Ask, Completion, Likely, OnBatch, Request
from stillwise.errors import BudgetReached, UserError
from stillwise.models.model import Bunch, Model, StreamModel
from stillwise.records import digest
from stillwise.runtime.counted import Waited
from stillwise.runtime.executor import Executor, Opener
from stillwise.runtime.journal import CallJournal
from stillwise.runtime.spending import Purse, Spending

REPLAYED_AT_ONCE = 64
"""Raw answers that are read from the journal together: with log-probabilities each may be megabytes."""
KEPT_AHEAD, KEPT_BYTES = 4096, 4_000_000
"""Answers of a server that wait for their turn, and their text; those beyond are read again from the journal when it comes."""
PLANNED_AT_ONCE = 8192
"""Requests whose fixed batches a model in this process plans together."""
Requests = Iterator[tuple[int, Request] | None]
"""Requests with their places, and pauses."""


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
    waited: Waited = field(default_factory=Waited)

    @cached_property
    def _model(self) -> Model:
        return self.executor.hold(self.opener)

    @cached_property
    def spending(self) -> Spending:
        """What calls of this step cost."""
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

    @property
    def together(self) -> int:
        """So many samples of one question are worth asking for at once."""
        teacher = getattr(self._model, "teacher", None)
        return teacher.n if teacher else 1

    @property
    def spent(self) -> Spending | None:
        """The same, for the progress bar; None before the first call: nobody opens a model to be told nothing."""
        return self.__dict__.get("spending")

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of given answers (computed anew each time). Raises UserError where the model gives none."""
        if not isinstance(self._model, Likely):
            raise UserError(f"{self._model.name} gives no log-probabilities of given answers; bind a transformers: model")
        return self._model.logprobs(ask, answers)

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request; each batch is durable before ``on_batch`` hears of it."""
        if isinstance(self._model, StreamModel):
            return list(self.each(len(requests), requests.__getitem__, on_batch))
        answers: dict[int, Completion] = {}
        for places, batch in self._batches(requests):
            answers.update(zip(places, batch, strict=True))
            self.spending.heard += len(batch)
            on_batch(places, batch)
        return [answers[i] for i in range(len(requests))]

    def each(
        self, count: int, request: Callable[[int], Request], on_batch: OnBatch, order: Sequence[int] = ()
    ) -> Iterator[Completion]:
        """One completion for each request, in order; of a server's answers that come long before their turn only keys are held.

        A model in this process gets its fixed batches from so many requests at a time.
        """
        if isinstance(self._model, StreamModel):
            yield from Streamed(self, self._model, order or range(count), request).answers(on_batch)
            return
        for start in range(0, count, PLANNED_AT_ONCE):
            some = [request(place) for place in range(start, min(count, start + PLANNED_AT_ONCE))]
            yield from self.complete(some, lambda places, batch, start=start: on_batch([start + p for p in places], batch))  # type: ignore[misc]

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
        made = self.executor.map(Generate(self.opener), shards)
        for done in self.waited.over(made, lambda done: sum(answer.num_tokens for answer in done.value)):
            places = todo[done.index]
            self.journal.put(keys[places], self.step, done.value)
            for answer in done.value:
                self.spending.made(answer)
            yield places, done.value

    def _key(self, batch: Sequence[Request]) -> str:
        return digest(self._model.revision, [_decides(request) for request in batch])

    def asked(self, model: StreamModel, requests: Requests, keys: Mapping[int, bytes], kinds: set[str]) -> Iterator[Bunch]:
        """A server's answers in bunches, durable under their places' keys; the journal notes how the kinds were served."""
        spending, noted = self.spending, set[str]()

        def keep(bunch: Bunch) -> None:
            if kinds - noted:
                # Before the answers: a run that is killed between the two must not find answers without their note.
                noted.update(kinds)
                self.journal.note(self.step, _served(model, noted))
            self.journal.add(self.step, [(keys[a.place], a.raw) for a in bunch if a.raw], spending.taken())

        try:
            bunches = iter(model.stream(requests, spending, keep))
            for bunch in self.waited.over(bunches, lambda bunch: sum(a.completion.num_tokens or 0 for a in bunch)):
                self.journal.settle(waited=bool(bunch))
                yield bunch
        finally:
            self.journal.add(self.step, [], spending.taken())
            self.journal.settle()


@dataclass
class Streamed:
    """One job's answers of a server: known ones are read, the others asked for once each, all handed out in order."""

    caller: JournalledCaller
    model: StreamModel
    order: Sequence[int]
    """All places, as they are asked."""
    request: Callable[[int], Request]
    keys: dict[int, bytes] = field(default_factory=dict)
    """Of the places whose turn has not come."""
    kinds: set[str] = field(default_factory=set)
    """What was asked for beyond a plain answer."""
    _open: dict[bytes, list[int]] = field(default_factory=dict)
    """The places of each key that is being asked for: equal requests are asked once."""
    _read: deque[tuple[int, Completion]] = field(default_factory=deque)
    """Answers from the journal that nobody heard of yet."""
    _ready: dict[int, Completion] = field(default_factory=dict)
    _size: int = 0
    """Of the text of those that are ready."""
    _let_go: set[int] = field(default_factory=set)
    _turn: int = 0

    def answers(self, on_batch: OnBatch) -> Iterator[Completion]:
        """One completion for each request, in order. Raises BudgetReached where the budget has no room for all."""
        for bunch in self.caller.asked(self.model, self._wanted(), self.keys, self.kinds):
            for pairs in (self._replayed(), self._heard(bunch)):
                yield from self._handed(pairs, on_batch)
        yield from self._handed(self._replayed(), on_batch)
        count = len(self.order)
        missing = count - self._turn - len(self._ready) - len(self._let_go)
        if missing and self.caller.spending.exhausted:
            raise BudgetReached(
                f"step {self.caller.step!r}: the budget has no room for another call; {missing} of {count} answers are "
                "missing, the others are kept: repeat the command with a larger --budget"
            )

    def _wanted(self) -> Iterator[tuple[int, Request] | None]:
        """What the journal does not hold; a pause wherever it held something."""
        for start in range(0, len(self.order), REPLAYED_AT_ONCE):
            places = self.order[start : start + REPLAYED_AT_ONCE]
            requests = [self.request(place) for place in places]
            keys = [request_key(self.model.revision, request) for request in requests]
            self.keys.update(zip(places, keys, strict=True))
            known = self.caller.journal.answers(list(dict.fromkeys(key for key in keys if key not in self._open)))
            new: list[tuple[int, Request]] = []
            for place, request, key in zip(places, requests, keys, strict=True):
                if key in known:
                    self._read.append((place, self.model.read(request, known[key])))
                elif key in self._open:
                    self._open[key].append(place)
                else:
                    self._open[key] = [place]
                    self.kinds |= _kinds(request)
                    new.append((place, request))
            yield from new
            if self._read:
                yield None

    def _replayed(self) -> list[tuple[int, Completion]]:
        return [self._read.popleft() for _ in range(len(self._read))]

    def _heard(self, bunch: Bunch) -> list[tuple[int, Completion]]:
        return [(place, a.completion) for a in bunch for place in self._open.pop(self.keys[a.place])]

    def _handed(self, pairs: Sequence[tuple[int, Completion]], on_batch: OnBatch) -> Iterator[Completion]:
        """What may be handed out now that these have come."""
        if not pairs:
            return
        self.caller.spending.heard += len(pairs)
        on_batch([place for place, _ in pairs], [answer for _, answer in pairs])
        for place, answer in pairs:
            # A failure stands in no journal.
            if answer.failure or (len(self._ready) < KEPT_AHEAD and self._size < KEPT_BYTES):
                self._keep(place, answer)
            else:
                self._let_go.add(place)
        while self._turn in self._ready or self._read_again():
            answer = self._ready.pop(self._turn)
            self._size -= len(answer.text)
            yield answer
            del self.keys[self._turn]
            self._turn += 1

    def _keep(self, place: int, answer: Completion) -> None:
        self._ready[place] = answer
        self._size += len(answer.text)

    def _read_again(self) -> bool:
        """Brings back the next answers that were let go; whether the next one is among them."""
        if self._turn not in self._let_go:
            return False
        places = [p for p in range(self._turn, self._turn + REPLAYED_AT_ONCE) if p in self._let_go]
        known = self.caller.journal.answers([self.keys[place] for place in places])
        for place in places:
            self._keep(place, self.model.read(self.request(place), known[self.keys[place]]))
        self._let_go.difference_update(places)
        return True


def _kinds(request: Request) -> set[str]:
    """What a request asks of a server beyond a plain answer."""
    ask = request.ask
    asked = {"ban": ask.ban is not None, "prefill": bool(ask.prefill), "schema": bool(ask.schema), "n": True}
    return {name for name, wanted in asked.items() if wanted}


def _served(model: StreamModel, kinds: Collection[str]) -> dict[str, str]:
    """How the model's server does what is asked of it; nothing for other models."""
    dialect = getattr(model, "dialect", None)
    return {name: dialect.notes[name] for name in sorted(kinds) if name in dialect.notes} if dialect else {}


def request_key(revision: str, request: Request) -> bytes:
    """What decides an answer, as half a sha256: the model's revision, the ask, every sampling field, the seed."""
    ask, sampling = request.ask, request.sampling
    ban = None if ask.ban is None else (ask.ban.words, ask.ban.scope, ask.ban.mode)
    drawn = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens, sampling.stop)
    shape = [ask.schema] if ask.schema else []
    return hashlib.sha256(orjson.dumps([revision, ask.user, ask.prefill, ban, drawn, request.seed, *shape])).digest()[:16]


def _decides(request: Request) -> dict[str, Any]:
    """A request without its schema, which a model in this process does not read."""
    fields = asdict(request)
    del fields["ask"]["schema"]
    return fields
