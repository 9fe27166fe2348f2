"""Calls per second and client CPU of our whole path (pool, parsing, durable journal, traces) beside a raw aiohttp loop.

    python benchmarks/http_teacher.py --pairs 5 --calls 2000

Both ask the same scripted server (a process of its own) the same questions with the same number of calls in flight, turn
about; the raw loop posts, reads and decodes the JSON, nothing else. Medians over the pairs of the ratio within each pair, so
that a busy machine disturbs both. With the ``openai`` package installed its client at its default transport is measured too.
The last line is JSON. Exit code 1 where a claim of docs/teachers.md does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

from stillwise.arrows import Graders, Paradigm, Progress, Tools
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from stillwise.records import Problem, Sampling
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.draw import draw
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal
from stillwise.sample.paradigms import Think

PROFILES = {
    "fixed": ["--latency", "0.2"],
    "tail": ["--latency", "0.2", "--tail", "0.02"],
    # Answers so soon that the client is the limit: what the openai package is compared by.
    "quick": ["--latency", "0.05"],
}
SAMPLING = Sampling(max_tokens=512)
MIN_RATE, MAX_CPU, MIN_SDK = 0.9, 1.3, 3.0
SDK_PAIRS = 3


@dataclass(frozen=True)
class Took:
    """One measurement."""

    seconds: float
    cpu_s: float
    calls: int

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def cpu_per_1000(self) -> float:
        """CPU-seconds of this process for a thousand calls."""
        return 1000 * self.cpu_s / self.calls


def timed(work: Callable[[], int]) -> Took:
    """Wall clock and CPU of this process, all threads."""
    began, cpu = time.perf_counter(), time.process_time()
    calls = work()
    return Took(time.perf_counter() - began, time.process_time() - cpu, calls)


def body(question: str, seed: int) -> dict[str, Any]:
    """The call that the raw loop sends: the knobs that ours sends."""
    knobs = {"temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p, "max_tokens": SAMPLING.max_tokens, "seed": seed}
    return {"model": "scripted", "messages": [{"role": "user", "content": question}], **knobs}


def raw(url: str, questions: Sequence[str], in_flight: int) -> int:
    """A plain aiohttp loop: as many workers as calls may be in flight."""
    import aiohttp

    async def main() -> int:
        todo, done = iter(enumerate(questions)), 0

        async def worker(session: aiohttp.ClientSession) -> None:
            nonlocal done
            for seed, question in todo:
                async with session.post(f"{url}/chat/completions", json=body(question, seed)) as answer:
                    found = json.loads(await answer.read())
                done += bool(found["choices"])

        connector, timeout = aiohttp.TCPConnector(limit=in_flight), aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(worker(session) for _ in range(in_flight)))
        return done

    return asyncio.run(main())


def sdk(url: str, questions: Sequence[str], in_flight: int) -> int:
    """The openai client with its default transport."""
    import openai

    async def main() -> int:
        gate, done = asyncio.Semaphore(in_flight), 0
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

            async def one(seed: int, question: str) -> None:
                nonlocal done
                async with gate:
                    found = await client.chat.completions.create(**body(question, seed))
                done += bool(found.choices)

            await asyncio.gather(*(one(seed, question) for seed, question in enumerate(questions)))
        return done

    return asyncio.run(main())


@dataclass(frozen=True)
class Opened:
    """Opens a model that is open already."""

    model: HttpModel

    def __call__(self) -> HttpModel:
        return self.model

    def __hash__(self) -> int:
        return id(self.model)


def ours(model: HttpModel, problems: Sequence[Problem], folder: Path) -> int:
    """Everything that a run does with an answer, up to its trace."""
    paradigm: Paradigm = Think(instruction="")
    journal = Journal(Path(tempfile.mkdtemp(dir=folder)) / "journal.sqlite")
    caller = JournalledCaller(step="s", opener=Opened(model), executor=Local(), journal=journal)
    tools = Tools(
        step="s", seed=0, callers={"t": caller}, graders=cast(Graders, None), progress=lambda *_: cast(Progress, None)
    )
    traces = list(draw(problems, paradigm, "t", SAMPLING, 0, tools))
    journal.close()
    return sum(bool(trace.text) for trace in traces)


class Bench:
    """One server and one model of ours, for one profile and one number of calls in flight."""

    def __init__(self, profile: str, in_flight: int, padding: int, folder: Path) -> None:
        command = [sys.executable, "-m", "stillwise.models.scripted_server", *PROFILES[profile], "--padding", str(padding)]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.server.stdout is not None
        self.url = f"http://127.0.0.1:{json.loads(self.server.stdout.readline())['port']}/v1"
        self.in_flight, self.folder, self.serial = in_flight, folder, 0
        self.model = HttpModel(Teacher(endpoints=(self.url,), model="scripted", in_flight=in_flight), "ours")

    def questions(self, count: int) -> list[str]:
        """Questions that nobody asked before."""
        self.serial += 1
        return [f"What is {i} + {self.serial}?" for i in range(count)]

    def beside_sdk(self, count: int) -> tuple[Took, Took]:
        """The openai client, then ours, on the same questions."""
        return self.pair(count, False, sdk)

    def pair(self, count: int, ours_first: bool, other: Callable[[str, Sequence[str], int], int] = raw) -> tuple[Took, Took]:
        """One measurement of each, on the same questions."""
        questions = self.questions(count)
        problems = [Problem.of(question, None) for question in questions]
        runs: list[Callable[[], Took]] = [
            lambda: timed(lambda: other(self.url, questions, self.in_flight)),
            lambda: timed(lambda: ours(self.model, problems, self.folder)),
        ]
        if ours_first:
            second, first = runs[1](), runs[0]()
            return first, second
        return runs[0](), runs[1]()

    def close(self) -> None:
        """End the server and the model."""
        self.model.close()
        self.server.kill()
        self.server.communicate()


def measured(args: argparse.Namespace, profile: str, in_flight: int) -> dict[str, Any]:
    """The figures of one profile at one number of calls in flight."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        bench = Bench(profile, in_flight, args.padding, Path(folder))
        try:
            bench.pair(in_flight * 2, False)  # connections, imports and the server's probe
            pairs = [bench.pair(args.calls, bool(n % 2)) for n in range(args.pairs)]
            row: dict[str, Any] = {
                "profile": profile,
                "in_flight": in_flight,
                "raw_per_s": round(median(first.rate for first, _ in pairs), 1),
                "ours_per_s": round(median(second.rate for _, second in pairs), 1),
                "rate_ratio": round(median(second.rate / first.rate for first, second in pairs), 3),
                "rate_ratios": [round(second.rate / first.rate, 3) for first, second in pairs],
                "raw_cpu_s_per_1000": round(median(first.cpu_per_1000 for first, _ in pairs), 3),
                "ours_cpu_s_per_1000": round(median(second.cpu_per_1000 for _, second in pairs), 3),
                "cpu_ratio": round(median(second.cpu_per_1000 / first.cpu_per_1000 for first, second in pairs), 3),
                "cpu_ratios": [round(second.cpu_per_1000 / first.cpu_per_1000, 3) for first, second in pairs],
            }
            if args.sdk and importlib.util.find_spec("openai"):
                others = [bench.beside_sdk(args.calls) for _ in range(SDK_PAIRS)]
                row |= {
                    "sdk_per_s": round(median(theirs.rate for theirs, _ in others), 1),
                    "times_sdk": round(median(mine.rate / theirs.rate for theirs, mine in others), 2),
                }
        finally:
            bench.close()
    print(f"{profile:>6} {in_flight:>4} in flight: " + "  ".join(f"{k} {v}" for k, v in row.items() if k[0] != "p"), flush=True)
    return row


def holds(row: dict[str, Any]) -> bool:
    """Whether the claims hold: the SDK's where the client is the limit, those on the raw loop where the server is."""
    if row["profile"] == "quick":
        return bool(row["in_flight"] < 256 or row.get("times_sdk", MIN_SDK) >= MIN_SDK)
    return bool(row["rate_ratio"] >= MIN_RATE and row["cpu_ratio"] <= MAX_CPU)


def main() -> int:
    """Measure and report."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--pairs", type=int, default=5)
    flags.add_argument("--calls", type=int, default=2000)
    flags.add_argument("--padding", type=int, default=0, help="bytes added to each answer")
    flags.add_argument("--in-flight", type=int, nargs="+", default=[64, 256])
    flags.add_argument("--profile", nargs="+", default=list(PROFILES), choices=list(PROFILES))
    flags.add_argument("--no-sdk", dest="sdk", action="store_false")
    flags.add_argument("--folder", type=Path, help="where the journals go (default: the temporary folder)")
    args = flags.parse_args()
    if args.sdk and not importlib.util.find_spec("openai"):
        print("the openai package is not installed: its row is skipped (pip install 'stillwise[bench]')")
    rows = [measured(args, profile, in_flight) for profile in args.profile for in_flight in args.in_flight]
    ok = all(holds(row) for row in rows)
    about = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    least = min((row["rate_ratio"] for row in rows if row["profile"] != "quick"), default=None)
    said = {"name": "http_teacher", "ratio": least, "target": MIN_RATE, "ok": ok, "calls": args.calls, "pairs": args.pairs}
    print(json.dumps({**said, **about, "rows": rows}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
