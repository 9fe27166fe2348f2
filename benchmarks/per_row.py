"""What a row costs outside the models: CPU seconds and bytes for each stage of a run, and what that makes of millions of rows.

Traces are words of this project's own pages, so that they compress about as prose does, with a boxed answer; ``--words`` is
their length. Every stage is what a run calls: asking a scripted model (plan, journal), the journal of one machine and the
segments of a cluster, grading, decontamination of traces, deduplication of problems, tables. CPU time counts, that of worker
processes included; disks and networks are not in it.

    python benchmarks/per_row.py --rows 1600 --words 3000
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stillwise.arrows import Ask, Completion, Request, Tools
from stillwise.models.scripted import ScriptedModel
from stillwise.problems.decontaminate import DecontaminateTraces
from stillwise.problems.dedupe import Dedupe
from stillwise.records import Finish, Problem, Sampling, Trace, thinking_spans
from stillwise.runtime import tables
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.draw import verdicts
from stillwise.runtime.executor import Local
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.journal import Journal
from stillwise.runtime.segment_journal import SegmentJournal
from stillwise.verify.dispatch import ByAnswerKind

PAGES = Path(__file__).resolve().parents[1] / "docs"
FLATNESS = 1.25
"""What a row may cost more among four times as many."""
TOKENS_A_WORD = 1.35


@dataclass
class Costs:
    """Measured figures by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measured(self, stage: str, rows: int) -> Iterator[None]:
        """CPU milliseconds for each row of what runs inside."""
        before = cpu_s()
        yield
        self.seconds[stage] = (cpu_s() - before) / rows


@dataclass(frozen=True)
class Open:
    """Opens one model."""

    model: ScriptedModel

    def __call__(self) -> ScriptedModel:
        return self.model

    def __hash__(self) -> int:
        return id(self.model)


def cpu_s() -> float:
    """CPU seconds of this process and of those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def vocabulary() -> list[str]:
    """Words of the project's pages, as often as they stand there."""
    return [word for page in sorted(PAGES.rglob("*.md")) for word in page.read_text(encoding="utf-8").split()]


def problems_of(rows: int, words: list[str], drawn: random.Random) -> list[Problem]:
    """Questions of about 60 words with numbers as answers."""
    return [Problem.of(" ".join(drawn.choices(words, k=60)) + f" {n}?", str(n)) for n in range(rows)]


def answer_of(number: int, length: int, words: list[str], drawn: random.Random) -> str:
    """A thought of so many words, and a boxed answer: right three times of four, every other one as an expression."""
    right = number if number % 4 else number + 1
    said = f"\\frac{{{2 * right}}}{{2}}" if number % 2 else str(right)
    return f"<think>\n{' '.join(drawn.choices(words, k=length))}\n</think>\nSo \\boxed{{{said}}}."


def completion(text: str) -> Completion:
    """The text as a model's answer."""
    count = int(len(text.split()) * TOKENS_A_WORD)
    ids = tuple(hash((place, count)) % 150_000 for place in range(count))
    return Completion(prompt="p" * 300, text=text, num_prompt_tokens=90, num_tokens=count, finish=Finish.STOP, token_ids=ids)


def memory_of(make: Callable[[], object]) -> int:
    """Bytes of what is made, as long as it is held."""
    tracemalloc.start()
    made = make()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return held


def trace_of(problem: Problem, text: str) -> Trace:
    """The text as a trace."""
    return Trace(
        id=f"t{problem.id}",
        problem_id=problem.id,
        role="reasoner",
        model="m" * 16,
        paradigm="think",
        prompt="p" * 300,
        text=text,
        spans=thinking_spans(text),
        num_tokens=int(len(text.split()) * TOKENS_A_WORD),
    )


def measure(rows: int, length: int, folder: Path) -> Costs:
    """All stages on so many rows."""
    drawn, words, costs = random.Random(0), vocabulary(), Costs()
    held = problems_of(rows, words, drawn)
    texts = [answer_of(n, length, words, drawn) for n in range(rows)]
    traces = [trace_of(problem, text) for problem, text in zip(held, texts, strict=True)]
    _journals(costs, [completion(text) for text in texts], folder)
    _calls(costs, held, texts, folder)
    _grading(costs, held, traces)
    with costs.measured("decontaminate a trace", rows):
        DecontaminateTraces().filter({p.id: p for p in held}, traces, {"bench": problems_of(500, words, drawn)})
    with costs.measured("deduplicate a problem", rows):
        Dedupe().curate(held, {}, 0)
    with costs.measured("write a trace's table", rows):
        tables.write(folder / "traces.parquet", traces, Trace)
    with costs.measured("read it again", rows):
        tables.read(folder / "traces.parquet", Trace)
    costs.bytes["a trace held in memory"] = memory_of(lambda: tables.read(folder / "traces.parquet", Trace)) / rows
    costs.bytes["a trace's text"] = sum(len(text.encode()) for text in texts) / rows
    costs.bytes["its table"] = (folder / "traces.parquet").stat().st_size / rows
    return costs


def _journals(costs: Costs, answers: list[Completion], folder: Path) -> None:
    batches = [answers[i : i + 100] for i in range(0, len(answers), 100)]
    plain = Journal(folder / "journal.sqlite")
    with costs.measured("journal an answer (one machine)", len(answers)):
        for number, batch in enumerate(batches):
            plain.put(str(number), "s", batch)
    plain.close()
    segments = SegmentJournal(str(folder / "segments"), folder / "index.sqlite")
    with costs.measured("journal an answer (segments)", len(answers)):
        for number, batch in enumerate(batches):
            segments.put(str(number), "s", batch)
    segments.close()
    costs.bytes["its place in the journal"] = sum(p.stat().st_size for p in (folder / "segments").glob("*.seg")) / len(answers)
    costs.bytes["its share of the index"] = (folder / "index.sqlite").stat().st_size / len(answers)
    with costs.measured("replay an answer", len(answers)):
        again = SegmentJournal(str(folder / "segments"), folder / "index.sqlite")
        for number in range(len(batches)):
            again.get(str(number))
        again.close()


def _calls(costs: Costs, held: list[Problem], texts: list[str], folder: Path) -> None:
    said = {problem.question: text for problem, text in zip(held, texts, strict=True)}
    model = ScriptedModel(lambda request: said[request.ask.user], name="s", batch_size=256)
    journal = Journal(folder / "calls.sqlite")
    caller = JournalledCaller(step="s", opener=Open(model), executor=Local(), journal=journal)
    requests = [Request(ask=Ask(user=p.question), sampling=Sampling(max_tokens=1 << 20), seed=n) for n, p in enumerate(held)]
    with costs.measured("plan, ask and journal (driver)", len(held)):
        caller.complete(requests, lambda *_: None)
    journal.close()


def _grading(costs: Costs, held: list[Problem], traces: list[Trace]) -> None:
    before = cpu_s()
    with GraderPool(workers=1) as pool:
        tools = Tools(step="s", seed=0, callers={}, graders=pool, progress=lambda *_: _Silent())
        verdicts(ByAnswerKind(), held, traces, tools)
    costs.seconds["grade a trace"] = (cpu_s() - before) / len(held)


class _Silent:
    def advance(self, done: int = 1, **figures: float) -> None:
        """Nothing."""


def table(costs: Costs, millions: float) -> list[str]:
    """A line for each stage: a row's cost, and core hours or gigabytes of so many million rows."""
    rows = millions * 1e6
    times = [f"{name:<36}{s * 1e3:>10.3f} ms{s * rows / 3600:>12,.1f} core hours" for name, s in costs.seconds.items()]
    sizes = [f"{name:<36}{b:>10,.0f} B {b * rows / 1e9:>12,.1f} GB" for name, b in costs.bytes.items()]
    return [f"{'':<36}{'one row':>13}{f'{millions:g} million':>23}", *times, *sizes]


DRIVER = ("journal an answer (segments)", "plan, ask and journal (driver)", "write a trace's table", "read it again")
"""What no worker does."""


def assumed(costs: Costs, millions: float, args: argparse.Namespace) -> list[str]:
    """What the models take, at rates that were given and not measured, and how many replicas one driver keeps up with."""
    tokens = args.words * TOKENS_A_WORD
    hours = millions * 1e6 * tokens / args.tokens_per_s / 3600
    training = millions * 1e6 * args.trained * tokens / args.train_tokens_per_s / 3600
    driver = sum(costs.seconds[name] for name in DRIVER)
    rate = 1 / driver
    in_all = millions * 1e6 * driver / 3600
    return [
        f"assumed: {args.tokens_per_s:,.0f} tokens/s a replica, {args.replicas} replicas; {args.train_tokens_per_s:,.0f} "
        f"trained tokens/s a GPU, {args.gpus} GPUs, {args.trained:.0%} of the answers trained on once",
        f"{millions:g} million answers of {tokens:,.0f} tokens: {hours:,.0f} replica hours to generate, "
        f"{hours / args.replicas:,.1f} h; {training:,.0f} GPU hours to train, {training / args.gpus:,.1f} h",
        f"one driver: {driver * 1e3:.2f} ms a row, {rate:,.0f} rows/s, as fast as "
        f"{rate * tokens / args.tokens_per_s:,.0f} replicas; {in_all:,.1f} h in all",
    ]


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the tables, and whether a row costs the same among more rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--words", type=int, default=3000)
    parser.add_argument("--millions", type=float, nargs="*", default=[2.0, 40.0])
    parser.add_argument("--tokens-per-s", type=float, default=5000.0, help="generated by one replica (assumed)")
    parser.add_argument("--replicas", type=int, default=16)
    parser.add_argument("--train-tokens-per-s", type=float, default=5000.0, help="trained by one GPU (assumed)")
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--trained", type=float, default=0.25, help="share of the answers that is trained on")
    args = parser.parse_args(argv)
    found = [_measured(rows, args.words) for rows in (args.rows // 4, args.rows)]
    for millions in args.millions:
        print("\n".join([*table(found[1], millions), *assumed(found[1], millions, args)]), end="\n\n")
    # The first, smaller measurement also warms up imports and caches: it can only be dearer than it should be.
    ratio = sum(found[1].seconds.values()) / sum(found[0].seconds.values())
    line = {"name": "per_row", "ratio": round(ratio, 3), "target": FLATNESS, "ok": ratio <= FLATNESS}
    print(json.dumps({**line, "ms": _rounded(found[1].seconds, 1e3), "bytes": _rounded(found[1].bytes, 1.0)}))
    return 0 if ratio <= FLATNESS else 1


def _measured(rows: int, words: int) -> Costs:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        costs = measure(rows, words, Path(folder))
        print(f"measured in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return costs


def _rounded(values: dict[str, float], factor: float) -> dict[str, float]:
    return {name: round(value * factor, 4) for name, value in values.items()}


if __name__ == "__main__":
    raise SystemExit(main())
