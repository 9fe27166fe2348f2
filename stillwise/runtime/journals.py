"""Which journal a run has: SQLite for one machine; segments, with a writer of their own, once a cluster has worked on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from stillwise.arrows import Completion
from stillwise.errors import StillwiseError
from stillwise.runtime import cluster
from stillwise.runtime.files import folder_size
from stillwise.runtime.journal import CallJournal, Journal, counts_of
from stillwise.runtime.segment_journal import HANDOVER_S, SegmentJournal, counts_of_segments
from stillwise.runtime.where import on_cluster

SQLITE, SEGMENTS = "journal.sqlite", "journal"
IMPORTED = ".imported"
MAX_LOSSES = 3
SCANNED_BYTES = 1 << 30
"""Segments up to this size are read for their counts where this machine has no index of them."""


def open_journal(work: Path, on: str, elsewhere: str | None = None) -> CallJournal:
    """The journal of a run's work folder, or of an address ``elsewhere``; what another kind of run journalled is in it."""
    place = elsewhere or str((work / SEGMENTS).resolve())
    if on_cluster(on):
        return ActorJournal(place, str((work / SQLITE).resolve()))
    if elsewhere or (work / SEGMENTS).is_dir():
        return opened(place, str(work / SQLITE))
    return Journal(work / SQLITE)


def opened(place: str, sqlite: str) -> SegmentJournal:
    """The segments at a place, with what a journal of one machine beside them held."""
    journal, path = SegmentJournal(place, handover_s=HANDOVER_S), Path(sqlite)
    with ExitStack() as stack:
        stack.callback(journal.close)
        if path.is_file():
            journal.import_sqlite(path)
            path.replace(path.with_name(path.name + IMPORTED))
        stack.pop_all()
    return journal


def held(work: Path) -> dict[str, int]:
    """Answers held for a run, by step; nothing is written and no writer is disturbed."""
    counts = dict(counts_of(work / SQLITE))
    folder = work / SEGMENTS
    if folder.is_dir() and folder_size(folder) <= SCANNED_BYTES:
        for step, count in counts_of_segments(str(folder)).items():
            counts[step] = counts.get(step, 0) + count
    return counts


class _Keeper:
    """The one writer of a cluster's journal; what it returns is durable."""

    def __init__(self) -> None:
        self._journal: SegmentJournal | None = None

    def open(self, place: str, sqlite: str) -> None:
        """Becomes the writer."""
        with cluster.portable_errors():
            self._journal = opened(place, sqlite)

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        """One method of the journal."""
        with cluster.portable_errors():
            return getattr(self._journal, name)(*args)


@dataclass
class ActorJournal:
    """Implements ``journal.CallJournal`` by asking an actor; a lost one is followed by another, and asked again."""

    place: str
    sqlite: str
    _keeper: Any = None
    _losses: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        ray = cluster.require_ray()
        here = ray.get_runtime_context().get_node_id()
        # Beside the driver, for a folder may be on its machine only; any other where that has no room.
        near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        self._keeper = ray.remote(_Keeper).options(num_cpus=0, scheduling_strategy=near).remote()
        cluster.value_of(self._keeper.open.remote(self.place, self.sqlite))

    def _ask(self, name: str, *args: Any) -> Any:
        while True:
            try:
                return cluster.value_of(self._keeper.call.remote(name, args))
            except cluster.losses() as err:
                self._losses += 1
                if self._losses > MAX_LOSSES:
                    raise StillwiseError(f"the journal's writer was lost {self._losses} times; the last time: {err}") from err
                self._start()

    def get(self, key: str) -> list[Completion] | None:
        """The completions of a batch, or None if it was never finished."""
        found: list[Completion] | None = self._ask("get", key)
        return found

    def put(self, key: str, step: str, answers: Sequence[Completion]) -> None:
        """Store a finished batch; durable before the call returns."""
        self._ask("put", key, step, list(answers))

    def answers(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The raw bodies of those keys that are known."""
        found: dict[bytes, bytes] = self._ask("answers", list(keys))
        return found

    def add(self, step: str, answers: Sequence[tuple[bytes, bytes]], ledger: Mapping[str, int]) -> None:
        """Store raw bodies by key and add to the ledger, once, however often the writer is lost meanwhile."""
        self._ask("add", step, list(answers), dict(ledger), uuid4().hex)

    def note(self, step: str, served: Mapping[str, str]) -> None:
        """Remember how a server did what a step asked of it."""
        self._ask("note", step, dict(served))

    def served(self) -> dict[str, dict[str, list[str]]]:
        """How servers did what was asked of them."""
        found: dict[str, dict[str, list[str]]] = self._ask("served")
        return found

    def settle(self, waited: bool = False) -> None:
        """Nothing is left to do: what was acknowledged is durable."""

    def ledger(self) -> dict[str, dict[str, int]]:
        """What was sent, came back, was lost and was paid, by step."""
        found: dict[str, dict[str, int]] = self._ask("ledger")
        return found

    def counts(self) -> dict[str, int]:
        """Answers held, by step."""
        found: dict[str, int] = self._ask("counts")
        return found

    def close(self) -> None:
        """Ends the writer."""
        ray = cluster.require_ray()
        if self._keeper is not None and ray.is_initialized():
            self._ask("close")
            ray.kill(self._keeper)
        self._keeper = None
