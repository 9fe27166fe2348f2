"""A real Ray cluster of several nodes on this machine, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillwise.runtime.files import file_digest, folder_files

STORE_BYTES = 80_000_000
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""Where its usual port is taken, Ray leaves the socket open with which it looked for another one."""


@contextmanager
def cluster(workers: int, cpus: int = 1) -> Iterator[Any]:
    """A head without CPUs and some worker nodes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers would otherwise give way to everything else on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(workers):
            made.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
        yield made
    finally:
        made.shutdown()


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """A ``stillwise`` command of its own process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "stillwise.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def finished(arguments: list[str]) -> None:
    """Runs a command to its end; its output stands in the error where it fails."""
    process = started(arguments)
    said, _ = process.communicate()
    assert process.returncode == 0, said


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 600.0) -> None:
    """Returns when something is so; fails where the process ends or the time is over before."""
    end = time.monotonic() + limit_s
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.05)


def published(out: Path) -> dict[str, str]:
    """The sha256 of every file that a user looks for."""
    paths = [path for path in folder_files(out) if path.relative_to(out).parts[0] not in ("work", "logs")]
    return {str(path.relative_to(out)): file_digest(path) for path in paths}
