"""Is ``stillwise`` instant? ``--help`` and ``check`` beside what importing pydantic takes, interleaved.

    .venv/bin/python benchmarks/startup.py [--runs 15]

All are fresh processes of the same interpreter with warm bytecode. Importing pydantic means importing the names that the
package uses: a bare ``import pydantic`` (printed too) only prepares them. The allowance is that time plus a tenth of a
second; the ratio is the slower command's time over the allowance, the median over rounds. Ends with one line of JSON.
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
from pathlib import Path

ALLOWED_S = 0.1
COMMANDS = {
    "bare": ["-c", "import pydantic"],
    "pydantic": ["-c", "from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError"],
    "help": ["-m", "stillwise.cli", "--help"],
    "check": ["-m", "stillwise.cli", "check", "curriculum"],
}


def timed_s(arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds from start to end of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def rounds_s(runs: int) -> list[dict[str, float]]:
    """Seconds of each command, one of each in turn, after a first one that writes the bytecode."""
    with tempfile.TemporaryDirectory() as cache:
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, "PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": str(Path(__file__).parents[1])}
        for arguments in COMMANDS.values():
            timed_s(arguments, environment)
        return [{name: timed_s(arguments, environment) for name, arguments in COMMANDS.items()} for _ in range(runs)]


def main() -> None:
    """Print the medians and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    rounds = rounds_s(max(3, parser.parse_args().runs))
    for name in COMMANDS:
        print(f"{name:10}{statistics.median(times[name] for times in rounds) * 1000:8.0f} ms")
    ratio = statistics.median(max(times["help"], times["check"]) / (times["pydantic"] + ALLOWED_S) for times in rounds)
    print(json.dumps({"name": "startup", "ratio": round(ratio, 3), "target": 1.0, "ok": ratio <= 1.0}))


if __name__ == "__main__":
    main()
