"""Memory and CPU of many rows: problems through sample, verify and select, answered by a scripted server.

    python benchmarks/rows.py --rows 1000 10000 100000
    python benchmarks/rows.py --rows 10000 --words 2000

Each size runs in a process of its own: a warm-up of a hundred rows, then the rows. Growth is the peak of the resident memory
over what the process held after the warm-up; the cost of a row is the process's CPU time over the rows. Everything that a run
does is part of it: problems are read, answers journalled, graded and written, rows selected, metrics and report made. The last
line is JSON. Exit code 1 where memory grows by more than 200 MB, or a row costs more than 1.1 times what it costs at the
smallest size. ``--words`` is how long the thoughts are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_MB, MOST_RATIO = 200.0, 1.1
WORDS = 60
RECIPE = """
paper: {title: rows}
about: problems through sample, verify and select
roles: [teacher]
steps:
  - sample: {as: drawn, by: teacher, kind: all, tries: 1, max_tokens: 512, paradigm: {kind: think, instruction: ""}}
  - verify: {as: verified, from: drawn}
  - select: {as: kept, from: verified, kind: first_correct}
"""


@dataclass
class Watch:
    """The resident memory of this process, looked at every few milliseconds."""

    peak_mb: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak_mb = max(self.peak_mb, resident_mb())


def resident_mb() -> float:
    """The resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def problems(path: Path, count: int, serial: int) -> Path:
    """So many different sums."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            a, b = 1000 * serial + i, i % 97
            row = {"question": f"What is {a} + {b}?", "answer": str(a + b), "level": i % 5 + 1}
            file.write(json.dumps(row) + "\n")
    return path


def run(folder: Path, url: str, count: int, serial: int, words: int = WORDS) -> dict[str, Any]:
    """One run of the recipe; its metrics."""
    from stillwise.problems.resolve import resolve
    from stillwise.recipe.api import Recipe

    (folder / "rows.yaml").write_text(RECIPE.replace("max_tokens: 512", f"max_tokens: {max(512, words + 100)}"))
    source = resolve(str(problems(folder / f"{serial}.jsonl", count, serial)))
    recipe = Recipe.load(folder / "rows.yaml")
    teacher = f"{url}#scripted?in_flight=128"
    result = recipe.run(folder / f"run-{serial}", roles={"teacher": teacher}, problems=source, threads=1, progress="quiet")
    return result.metrics


def child(count: int, url: str, words: int) -> None:
    """Measure one size in this process and print it as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, url, 100, 7, words)
        base, cpu, began = resident_mb(), time.process_time(), time.perf_counter()
        with Watch() as watch:
            metrics = run(folder, url, count, 3, words)
        spent, took = time.process_time() - cpu, time.perf_counter() - began
        kept = metrics["selection"]["kept"]["kept"]
    row = {"rows": count, "kept": kept, "base_mb": round(base, 1), "growth_mb": round(watch.peak_mb - base, 1)}
    print(json.dumps({**row, "cpu_us_per_row": round(1e6 * spent / count, 1), "rows_per_s": round(count / took, 1)}))


def measured(count: int, words: int) -> dict[str, Any]:
    """One size against a server of its own."""
    command = [sys.executable, "-m", "stillwise.models.scripted_server", "--knows", "0.8", "--latency", "0.02"]
    server = subprocess.Popen([*command, "--words", str(words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        here = [sys.executable, __file__, "--child", str(count), "--url", f"http://127.0.0.1:{port}/v1", "--words", str(words)]
        done = subprocess.run(here, check=True, capture_output=True, text=True)
    finally:
        server.kill()
        server.communicate()
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def main() -> int:
    """Measure and report."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    flags.add_argument("--words", type=int, default=WORDS)
    flags.add_argument("--child", type=int, help=argparse.SUPPRESS)
    flags.add_argument("--url", help=argparse.SUPPRESS)
    args = flags.parse_args()
    if args.child:
        child(args.child, args.url, args.words)
        return 0
    rows = [measured(count, args.words) for count in args.rows]
    growth = max(row["growth_mb"] for row in rows)
    ratio = max(row["cpu_us_per_row"] for row in rows) / rows[0]["cpu_us_per_row"]
    ok = growth < MOST_MB and ratio <= MOST_RATIO
    about = {
        "name": "rows",
        "words": args.words,
        "growth_mb": growth,
        "target_mb": MOST_MB,
        "ratio": round(ratio, 3),
        "target": MOST_RATIO,
    }
    print(json.dumps({**about, "ok": ok, "cpus": os.cpu_count(), "load": os.getloadavg()[0], "rows": rows}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
