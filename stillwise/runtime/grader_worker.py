"""The process that runs a verifier on untrusted answers. It may die at any item; the pool that started it draws the verdict.

Speaks on its standard pipes: chunks come in as an eight-byte length and a pickle, verdicts go out as one JSON line each.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

from stillwise.arrows import Verifier
from stillwise.records import Problem, Trace

HEADER = struct.Struct(">Q")
Chunk = tuple[Verifier, list[tuple[Problem, Trace]]]
_MAX_FILE_BYTES = 1 << 20


def main(timeout_s: float, memory: int) -> None:
    """Serves chunks until the input ends; ``timeout_s`` is CPU time for one item, ``memory`` bytes of address space."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    for verifier, pairs in _chunks(sys.stdin.buffer):
        verifier.warm()
        _reply(replies, {"ready": True})
        for problem, trace in pairs:
            _allow(timeout_s)
            verdict = verifier.verify(problem, trace)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _reply(replies, asdict(verdict))


def _allow(seconds: float) -> None:
    """CPU time for one check, from now on. The kernel ends the process when it is spent: no Python code can outlast that.

    The timer is exact but a library could reset it. RLIMIT_CPU counts whole seconds of the process's whole life, so its soft
    limit moves up with every check: to what is used, and this check's time, and one second of rounding.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds) + 1)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (soft, hard))


def _chunks(requests: IO[bytes]) -> Iterator[Chunk]:
    while header := requests.read(HEADER.size):
        yield pickle.loads(requests.read(HEADER.unpack(header)[0]))  # noqa: S301 — the pool's own bytes, over a private pipe


def _reply(replies: IO[bytes], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()
