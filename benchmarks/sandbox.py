"""What does isolation cost? A program in a new sandbox beside the same program in a plain ``python -I``, interleaved.

    .venv/bin/python benchmarks/sandbox.py [--runs 40]

Both are timed from the call to the result of a program that does nothing, with warm bytecode: process, namespaces, file tree,
limits, nonce and report on one side; process start and end on the other. Also printed: the time until the program's first
statement, and what one more run costs in a sandbox that is there already. The ratio is the median over rounds of sandbox over
plain. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

TARGET = 2.0
CLOCK = "import time; print(time.monotonic())"


def timed_s(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def plain(source: str) -> bytes:
    """The output of a plain interpreter."""
    done = subprocess.run([sys.executable, "-I", "-c", source], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return done.stdout


def measured(runs: int) -> list[dict[str, float]]:
    """Seconds of each measure, one of each in turn, after a first one that writes the bytecode."""
    from stillwise.runtime.sandbox import Job, Program, Sandbox, Session, Status

    sandbox = Sandbox()
    tier = sandbox.tier()
    print(f"tier {tier}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")

    def sandboxed(source: str = "pass") -> bytes:
        ran = sandbox.run(source)
        assert ran.status is Status.PASSED, ran
        return ran.stdout

    def first_statement_s(run: Callable[[str], bytes]) -> float:
        start = time.monotonic()
        return float(run(CLOCK)) - start

    held = Session.of(sandbox, Program(source="pass"), judged=False)
    measures: dict[str, Callable[[], float]] = {
        "plain": lambda: timed_s(lambda: plain("pass")),
        "sandbox": lambda: timed_s(sandboxed),
        "plain_first": lambda: first_statement_s(plain),
        "sandbox_first": lambda: first_statement_s(sandboxed),
        "next_run": lambda: timed_s(lambda: held.run(Job())),
    }
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(runs + 2)]
    held.close()
    return rounds[2:]


def with_warm_bytecode() -> None:
    """Starts this script again with a bytecode folder of its own, whatever the environment says of writing bytecode."""
    with tempfile.TemporaryDirectory() as cache:
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(command, env={**kept, "PYTHONPYCACHEPREFIX": cache}).returncode)


def main() -> None:
    """Print the medians and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    if sys.pycache_prefix is None:
        with_warm_bytecode()
    rounds = measured(max(3, arguments.runs))
    for name in rounds[0]:
        print(f"{name:14}{statistics.median(times[name] for times in rounds) * 1000:8.1f} ms")
    ratio = statistics.median(times["sandbox"] / times["plain"] for times in rounds)
    first = statistics.median(times["sandbox_first"] / times["plain_first"] for times in rounds)
    print(f"until the first statement: ratio {first:.2f}")
    print(json.dumps({"name": "sandbox", "ratio": round(ratio, 3), "target": TARGET, "ok": ratio <= TARGET}))


if __name__ == "__main__":
    main()
