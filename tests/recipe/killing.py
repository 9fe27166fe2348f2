"""Kills a run with SIGKILL at given shares of its length, finishes it, and prints the digests of what both left.

A process of its own: it imports the heavy packages once and forks a child for each run, so that a test of many kills does
not pay for many imports. Usage: killing.py RECIPE BINDING FOLDER SHARE…
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from stillwise.cli import main

COMPARED = ("metrics.json", "recipe.yaml", "student/model.safetensors", "problems.parquet")


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


def digests(out: Path) -> dict[str, str]:
    """The sha256 of each compared file, traces included."""
    names = [*COMPARED, *sorted(str(p.relative_to(out)) for p in out.glob("traces/*.parquet"))]
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


def killed_and_resumed(arguments: list[str], out: Path, after_s: float) -> dict[str, object]:
    """Start, kill after so many seconds, start again: was it really killed, and what is left at the end."""
    pid = child([*arguments, "--out", str(out)])
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code, _ = finished([*arguments, "--out", str(out)])
    return {"killed": os.WIFSIGNALED(status), "code": code, "digests": digests(out)}


def preload() -> None:
    """Import what every child needs; no tensor is made before the forks."""
    import torch
    import transformers.trainer  # noqa: F401

    torch.set_num_threads(1)


def run(recipe: str, binding: str, folder: Path, shares: list[float]) -> dict[str, object]:
    """The reference run and every killed one."""
    preload()
    arguments = ["run", recipe, "--binding", binding, "--threads", "1", "--quiet"]
    code, length_s = finished([*arguments, "--out", str(folder / "whole")])
    killed = [killed_and_resumed(arguments, folder / f"kill{i}", share * length_s) for i, share in enumerate(shares)]
    return {"code": code, "digests": digests(folder / "whole"), "killed": killed}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), [float(share) for share in sys.argv[4:]])))
