"""Is the work shared? Calls per second of one pool over two replicas beside the same pool over one, interleaved.

    .venv/bin/python benchmarks/replicas.py [--rounds 3] [--calls 384]

Scripted servers, each a process of its own that answers at most 32 calls at once, after 0.8 seconds each: what two bear is
twice what one bears, and what the client adds is to be small beside it. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from stillwise.arrows import Ask, Request
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from stillwise.records import Sampling

TARGET = 1.8
AT_ONCE, LATENCY_S = 32, 0.8


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server that answers so many at once."""
    flags = ["--at-once", str(AT_ONCE), "--latency", str(LATENCY_S)]
    command = [sys.executable, "-m", "stillwise.models.scripted_server", *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/v1"
        finally:
            process.kill()


def rate(urls: Sequence[str], calls: int) -> float:
    """Calls per second of a pool that has asked its servers what they honour."""
    sampling = Sampling(max_tokens=64)
    asked = [Request(ask=Ask(user=f"What is {n} + 1?"), sampling=sampling, seed=n) for n in range(calls)]
    model = HttpModel(Teacher(endpoints=tuple(urls), model="scripted", in_flight=AT_ONCE), "pool")
    try:
        model.generate(asked[:1])
        began = time.monotonic()
        failed = [answer.failure for answer in model.generate(asked) if answer.failure]
        assert not failed, failed[0]
        return calls / (time.monotonic() - began)
    finally:
        model.close()


def main() -> int:
    """Measure and report."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--calls", type=int, default=12 * AT_ONCE)
    args = flags.parse_args()
    with ExitStack() as stack:
        urls = [stack.enter_context(serving()) for _ in range(2)]
        pairs = [(rate(urls[:1], args.calls), rate(urls, args.calls)) for _ in range(args.rounds)]
    for one, two in pairs:
        print(f"one replica {one:.1f} calls/s, two {two:.1f} calls/s: {two / one:.2f} times")
    ratio = median(two / one for one, two in pairs)
    ok = ratio >= TARGET
    print(json.dumps({"name": "replicas", "ratio": round(ratio, 2), "target": TARGET, "ok": ok, "load": os.getloadavg()[0]}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
