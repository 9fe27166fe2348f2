"""Kills a run with SIGKILL at given shares of its length, finishes it, and prints what each run left.

One more run is killed while it publishes. A process of its own: it imports the heavy packages once and forks a child for
each run, so that a test of many kills does not pay for many imports. Usage: killing.py RECIPE BINDING FOLDER SHARE…
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from stillwise.cli import main
from stillwise.runtime.files import file_digest, folder_files

PUBLISHING = (".student.part", "student")
POLL_S = 0.0005


def child(arguments: list[str]) -> int:
    """Fork a run; returns its process id."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(arguments))
    return pid


def finished(arguments: list[str]) -> tuple[int, float]:
    """Exit code and seconds of a run that nobody disturbs."""
    began = time.monotonic()
    _, status = os.waitpid(child(arguments), 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - began


def left(out: Path) -> dict[str, object]:
    """The sha256 of every published file, the journal's keys, and what should have been tidied away."""
    # TensorBoard's event files hold the time of day in their names and records.
    published = [path for path in folder_files(out) if path.relative_to(out).parts[0] not in ("work", "logs")]
    with closing(sqlite3.connect(out / "work" / "journal.sqlite")) as journal:
        keys = [key for (key,) in journal.execute("SELECT key FROM batches ORDER BY key")]
    return {
        "digests": {str(path.relative_to(out)): file_digest(path) for path in published},
        "keys": keys,
        "stale": sorted(path.name for path in out.glob(".student.*")),
    }


def killed_and_resumed(arguments: list[str], out: Path, wait: Callable[[], None]) -> dict[str, object]:
    """Start, kill after ``wait``, start again: was it really killed, and what is left at the end."""
    pid = child([*arguments, "--out", str(out)])
    wait()
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    unpublished = not (out / "metrics.json").exists()
    code, _ = finished([*arguments, "--out", str(out)])
    return {"killed": os.WIFSIGNALED(status), "unpublished": unpublished, "code": code, **left(out)}


def until_published(out: Path, limit_s: float) -> None:
    """Return as soon as the student begins to appear in the run's folder, or when the time is over."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not any((out / name).exists() for name in PUBLISHING):
        time.sleep(POLL_S)


def preload() -> None:
    """Import what every child needs; no tensor is made before the forks."""
    import torch
    import transformers.trainer  # noqa: F401

    torch.set_num_threads(1)


def run(recipe: str, binding: str, folder: Path, shares: list[float]) -> dict[str, object]:
    """The reference run, every killed one, and the one that is killed while it publishes."""
    preload()
    arguments = ["run", recipe, "--binding", binding, "--threads", "1", "--quiet"]
    code, _ = finished([*arguments, "--out", str(folder / "whole")])
    # The first run also reads what the others find in the page cache: the second one's length is theirs.
    _, length_s = finished([*arguments, "--out", str(folder / "again")])
    waits = [partial(time.sleep, share * length_s) for share in shares]
    killed = [killed_and_resumed(arguments, folder / f"kill{i}", wait) for i, wait in enumerate(waits)]
    late = folder / "late"
    publishing = killed_and_resumed(arguments, late, partial(until_published, late, 10 * length_s))
    return {"code": code, **left(folder / "whole"), "killed": killed, "publishing": publishing}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), [float(share) for share in sys.argv[4:]])))
