"""Journalled access to one role's model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from stillwise.arrows import Ask, Completion, OnBatch, Request
from stillwise.models.model import Model
from stillwise.records import digest
from stillwise.runtime.executor import Executor, Opener
from stillwise.runtime.journal import Journal


@dataclass(frozen=True)
class Generate:
    """Runs one planned batch on the worker that holds the model."""

    opener: Opener

    def __call__(self, batch: tuple[Request, ...], executor: Executor) -> list[Completion]:
        return executor.hold(self.opener).generate(batch)


@dataclass(frozen=True)
class JournalledCaller:
    """Implements ``arrows.Caller``: batches already in the journal are read, the others generated and committed."""

    step: str
    opener: Opener
    executor: Executor
    journal: Journal

    @cached_property
    def _model(self) -> Model:
        return self.executor.hold(self.opener)

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

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request; each batch is durable before ``on_batch`` hears of it."""
        answers: dict[int, Completion] = {}
        for places, batch in self._batches(requests):
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
