"""A pool of killable processes for verifiers: a hostile answer costs its own time limit and nothing else.

A thread or an alarm cannot stop a symbolic computation that hangs; killing its process does. What a verifier decides at once
(``Verifier.quick``) never leaves this process, so sums cost no worker at all.
"""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Self

from stillwise.arrows import Verifier
from stillwise.errors import StillwiseError
from stillwise.records import Outcome, Problem, Trace, Verdict
from stillwise.runtime.grader_worker import HEADER

Pair = tuple[Problem, Trace]

START_LIMIT_S = 120.0
"""Time to start and to load the verifier's packages, on a busy machine too."""
EXIT_GRACE_S = 5.0
MAX_CHUNK = 32
MAX_KNOWN = 100_000
_GRADER = "pool@1"
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""What a worker sees of the environment: no keys or tokens."""
_BOOT = (
    "import json, sys; path, timeout_s, memory = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from stillwise.runtime.grader_worker import main; main(timeout_s, memory)"
)


@dataclass
class GraderPool:
    """Runs verifiers in worker processes, started when first needed and ended by ``close`` (or at exit)."""

    workers: int = 2
    timeout_s: float = 5.0
    """CPU seconds for one item; a busy machine does not change the verdict."""
    memory: int = 2 << 30
    """Bytes of address space for one worker."""
    _running: list[_Worker] = field(default_factory=list, init=False, repr=False)
    _known: dict[tuple[str, str], Verdict] = field(default_factory=dict, init=False, repr=False)
    """Verdicts by (the verifier's fingerprint, the pair's key): a second sample with the same answer costs nothing."""

    def __post_init__(self) -> None:
        weakref.finalize(self, _end_all, self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, whatever they are doing; the pool may be used again."""
        _end_all(self._running)

    def verify(self, verifier: Verifier, pairs: Sequence[Pair]) -> list[Verdict]:
        """Verdicts in the order of the pairs: TIMED_OUT past an item's limit, FAILED where the worker died of it.

        Raises StillwiseError where workers cannot start at all.
        """
        verdicts = [verifier.quick(problem, trace) for problem, trace in pairs]
        maker = verifier.fingerprint
        keys = {i: (maker, verifier.alike(*pairs[i]) or "") for i, verdict in enumerate(verdicts) if verdict is None}
        first = {key: i for i, key in reversed(keys.items()) if key not in self._known}
        todo = [i for i, key in keys.items() if key not in self._known and (key[1] == "" or first[key] == i)]
        found = self._graded(verifier, pairs, todo)
        for i, key in keys.items():
            verdicts[i] = found.get(i) or self._known.get(key) or found[first[key]]
        self._keep({keys[i]: verdict for i, verdict in found.items()})
        return [verdict for verdict in verdicts if verdict is not None]

    def _keep(self, found: dict[tuple[str, str], Verdict]) -> None:
        """Remembers what would come out again; a worker's death may have another cause, so it is tried anew."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known.update({key: verdict for key, verdict in found.items() if key[1] and verdict.outcome is not Outcome.FAILED})

    def _graded(self, verifier: Verifier, pairs: Sequence[Pair], todo: list[int]) -> dict[int, Verdict]:
        job = _Job(verifier, pairs, deque(_chunks(todo, self.workers)))
        try:
            while job.queue or any(worker.waiting for worker in self._running):
                self._assign(job)
                self._listen(job)
        except BaseException:
            self.close()
            raise
        return job.verdicts

    def _assign(self, job: _Job) -> None:
        """Gives each idle worker a chunk; starts workers as long as chunks are left."""
        idle = [worker for worker in self._running if not worker.waiting]
        while job.queue and (idle or len(self._running) < self.workers):
            if not idle:
                self._running.append(_Worker.start(self.timeout_s, self.memory))
                idle = [self._running[-1]]
            idle.pop().assign(job, job.queue.popleft())

    def _listen(self, job: _Job) -> None:
        """Takes what has come in, until the next deadline; ends workers that are past theirs."""
        busy = [worker for worker in self._running if worker.waiting]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.replies, selectors.EVENT_READ, worker)
            until = min((worker.deadline for worker in busy), default=0.0)
            ready = [key.data for key, _ in selector.select(max(0.0, until - time.monotonic()))]
        for worker in busy:
            late = worker not in ready and time.monotonic() > worker.deadline
            if late or (worker in ready and not worker.take(job)):
                self._bury(worker, job, late)

    def _bury(self, worker: _Worker, job: _Job, late: bool) -> None:
        """The item that a worker died of gets its verdict, those behind it go back into the queue."""
        self._running.remove(worker)
        code, words = worker.end(0.0 if late else EXIT_GRACE_S)
        if not worker.ready:
            job.failed_starts += 1
            if job.failed_starts > 1:
                raise StillwiseError(f"a grader's worker process cannot start: {words or f'exit code {code}'}")
            job.queue.appendleft(list(worker.waiting))
            return
        spent = late or code in (-signal.SIGPROF, -signal.SIGXCPU)
        job.verdicts[worker.waiting.popleft()] = _timed_out(self.timeout_s) if spent else _failed(code, words)
        if worker.waiting:
            job.queue.appendleft(list(worker.waiting))


@dataclass
class _Job:
    """One call of ``verify``."""

    verifier: Verifier
    pairs: Sequence[Pair]
    queue: deque[list[int]]
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    failed_starts: int = 0


@dataclass(eq=False)
class _Worker:
    """One process, and the positions of its chunk that have no verdict yet: the first is being worked on."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    item_limit_s: float
    waiting: deque[int] = field(default_factory=deque)
    ready: bool = False
    deadline: float = 0.0
    _partial: bytes = b""

    @classmethod
    def start(cls, timeout_s: float, memory: int) -> Self:
        # A session of its own: Ctrl-C reaches the parent only, which then ends its workers.
        log = tempfile.TemporaryFile()  # noqa: SIM115 — closed by end()
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps([sys.path, timeout_s, memory])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**environment, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        return cls(process=process, log=log, item_limit_s=4 * timeout_s + 5)

    @property
    def replies(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def assign(self, job: _Job, chunk: Sequence[int]) -> None:
        self.waiting.extend(chunk)
        self.ready = False
        self.deadline = time.monotonic() + START_LIMIT_S
        message = pickle.dumps((job.verifier, [job.pairs[i] for i in chunk]))
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(HEADER.pack(len(message)) + message)
            self.process.stdin.flush()
        except BrokenPipeError:
            self.deadline = 0.0

    def take(self, job: _Job) -> bool:
        """Stores the verdicts that have come in; False where the process has ended."""
        data = os.read(self.replies.fileno(), 1 << 16)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for message in map(json.loads, lines):
            self.deadline = time.monotonic() + self.item_limit_s
            if "ready" in message:
                self.ready = True
            else:
                job.verdicts[self.waiting.popleft()] = _verdict(message)
        return bool(data)

    def end(self, grace_s: float = 0.0) -> tuple[int, str]:
        """Kills the process if it still runs; its exit code and the last line that it wrote to its error output."""
        try:
            # A process that has closed its output may still be on its way out: its own exit code tells why.
            self.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            _close(pipe)
        self.log.seek(0)
        lines = self.log.read(1 << 20).decode(errors="replace").strip().splitlines()
        self.log.close()
        return code, lines[-1] if lines else ""


def _close(pipe: IO[bytes] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        pass


def _end_all(running: list[_Worker]) -> None:
    while running:
        running.pop().end()


def _chunks(todo: list[int], workers: int) -> list[list[int]]:
    size = max(1, min(MAX_CHUNK, len(todo) // (4 * workers)))
    return [todo[i : i + size] for i in range(0, len(todo), size)]


def _verdict(message: dict[str, Any]) -> Verdict:
    return Verdict(**{**message, "outcome": Outcome(message["outcome"])})


def _timed_out(timeout_s: float) -> Verdict:
    return Verdict(outcome=Outcome.TIMED_OUT, grader=_GRADER, detail=f"over {timeout_s:g} CPU seconds")


def _failed(code: int, words: str) -> Verdict:
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Verdict(outcome=Outcome.FAILED, grader=_GRADER, detail=f"the worker died ({name}) {words}".rstrip()[:500])
