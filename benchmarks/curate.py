"""Rows per second from a file of traces to the selected ones: read, dedupe, decontaminate, re-sample, select.

The other side is the same chain as it is usually written: ``datasets.map`` with a regular expression for words, datasketch's
MinHash and LSH for the questions, a Python set of the benchmarks' n-grams for questions and traces, then a draw by domain and
level and the shortest correct trace of each problem. It leaves out what it would need to match on wrapped short questions
(boilerplate) and to check a pair, and keeps the first of each group. Each run is a process of its own; runs alternate; times
exclude imports. Planted duplicates and leaks give recall and precision. Ends with one line of JSON.

    .venv/bin/python -m benchmarks.curate --data DIR [--rows 100000] [--rounds 3] [--flat 10000 1000000]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.curate_rows import benchmarks, write
from stillwise.problems.buffers import Texts, mixed
from stillwise.problems.clusters import Clusters
from stillwise.problems.decontaminate import Decontaminate, Leaks
from stillwise.problems.dedupe import Dedupe, Near
from stillwise.problems.leaks import Index
from stillwise.problems.perturb import PERTURBATIONS
from stillwise.problems.resample import Cell, Resample, Share, allocate, exact_total
from stillwise.problems.sketch import SAMPLE, Bands, boilerplate, sketch
from stillwise.problems.words import tokenise
from stillwise.records import Problem

Held = Mapping[str, Sequence[Problem]]
TARGET = 5.0
BATCH = 500
BASE_MB, BYTES_PER_ROW = 500, 64
LEAST = 0.99
MIX = Resample(mix=(Share(domain="maths", share=6), Share(domain="science", share=1), Share(domain="other", share=3)))
NUM_PERM, THRESHOLD, NGRAM = 48, 0.8, 8
"""Of the other side: as many hashes as ours, which favours it; its users take 128."""


def batches(path: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=BATCH, columns=columns)


def phrases_of(path: Path, count: int) -> Any:
    """Boilerplate of a sample of the questions: every so many batches."""
    every = max(1, count // SAMPLE)
    held = (batch.column(0).to_pylist() for i, batch in enumerate(batches(path, ["question"])) if i % every == 0)
    return boilerplate(tokenise(Texts.of(question for batch in held for question in batch)), Dedupe().common)


def ours(path: Path, out: Path, held: Held) -> tuple[Any, Any]:
    """Writes the selected rows; returns which rows were found to be duplicates, and which leaks."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    count = pq.read_metadata(path).num_rows
    phrases, index = phrases_of(path, count), Index(held, Leaks().match(40))
    in_traces = Index(held, Leaks().match(0))
    owner, leak = np.empty(count, np.int32), np.zeros(count, bool)
    level, domain, length, correct = (np.empty(count, kind) for kind in (np.int8, np.int8, np.int32, bool))
    names: list[str] = []
    answers: list[Any] = []
    at, last, questions = 0, -1, 0
    with Clusters(THRESHOLD, Bands().bands, Near().longer) as clusters:
        for batch in batches(path, ["problem", "question", "answer", "level", "domain", "trace", "correct", "num_tokens"]):
            here = slice(at, at + len(batch))
            problem = batch.column("problem").to_numpy()
            first = np.diff(problem, prepend=last) != 0
            owner[here] = questions - 1 + np.cumsum(first)
            asked = Texts.of_arrow(batch.column("question").filter(pa.array(first)))
            tokens = tokenise(asked)
            clusters.add(sketch(tokens, Bands(), phrases))
            bad = np.zeros(len(asked) + 1, bool)
            bad[[found.text for found in index.leaks(asked, tokens)]] = True
            leak[here] |= first & bad[np.cumsum(first) - 1]
            traces = Texts.of_arrow(batch.column("trace"))
            leak[at + np.array([found.text for found in in_traces.leaks(traces, tokenise(traces))], int)] = True
            coded = pc.dictionary_encode(batch.column("domain"))
            names += [name for name in coded.dictionary.to_pylist() if name not in names]
            domain[here] = np.array([names.index(name) for name in coded.dictionary.to_pylist()])[coded.indices.to_numpy()]
            level[here], length[here] = batch.column("level").to_numpy(), batch.column("num_tokens").to_numpy()
            correct[here] = batch.column("correct").to_numpy(zero_copy_only=False)
            numeric = pc.cast(batch.column("answer").filter(pa.array(first)), pa.float64())
            answers.append(numeric.to_numpy(zero_copy_only=False))
            at, last, questions = at + len(batch), int(problem[-1]), questions + len(asked)
        answer = np.concatenate(answers)
        leader = clusters.components(~np.isnan(answer), lambda a, b: bool(answer[a] == answer[b]))
    duplicate = leader[owner] != owner
    usable = np.flatnonzero(~duplicate & ~leak & correct)
    kept = selected(usable, (domain, level, names), owner, length)
    with pq.ParquetWriter(out, pq.read_schema(path), compression="zstd", compression_level=1) as file:
        for number, batch in enumerate(batches(path, list(pq.read_schema(path).names))):
            file.write_batch(batch.filter(pa.array(kept[number * BATCH : number * BATCH + len(batch)])))
    return duplicate, leak


def selected(usable: Any, cells: tuple[Any, Any, list[str]], owner: Any, length: Any) -> Any:
    """The shortest usable row of each problem, of the problems that the mix takes; as a mask over all rows."""
    import numpy as np

    domain, level, names = cells
    shortest = usable[np.lexsort((length[usable], owner[usable]))]
    shortest = shortest[np.diff(owner[shortest], prepend=-1) != 0]
    code = domain[shortest].astype(np.int64) * 100 + level[shortest]
    codes, inverse, counts = np.unique(code, return_inverse=True, return_counts=True)
    by_cell: dict[Cell, int] = {(names[c // 100], c % 100): n for c, n in zip(codes.tolist(), counts.tolist(), strict=True)}
    weights = MIX.weights(by_cell)
    taken = allocate(by_cell, weights, exact_total(by_cell, weights))
    drawn = np.lexsort((mixed(owner[shortest].astype(np.uint64)), inverse))
    rank = np.arange(len(drawn)) - np.concatenate([[0], np.cumsum(counts)[:-1]])[inverse[drawn]]
    most = np.array([taken[names[c // 100], c % 100] for c in codes.tolist()])
    mask = np.zeros(len(owner), bool)
    mask[shortest[drawn[rank < most[inverse[drawn]]]]] = True
    return mask


_WORD = re.compile(r"\w+")


def usual(path: Path, out: Path, held: Held) -> tuple[Any, Any]:
    """The same chain with datasets.map, datasketch and a Python set of n-grams."""
    import numpy as np
    from datasets import load_dataset
    from datasketch import MinHash, MinHashLSH

    cache = str(out.parent / "cache")
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=cache)
    grams = {
        " ".join(words[i : i + NGRAM])
        for problems in held.values()
        for problem in problems
        for words in [_WORD.findall(problem.question.lower())]
        for i in range(len(words) - NGRAM + 1)
    }
    shared = Counter(
        gram
        for problems in held.values()
        for problem in problems
        for gram in {" ".join(w[i : i + NGRAM]) for w in [_WORD.findall(problem.question.lower())] for i in range(len(w))}
    )
    grams = {gram for gram in grams if shared[gram] <= 2}

    def sketched(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        hashes, leaks = [], []
        for question, trace in zip(batch["question"], batch["trace"], strict=True):
            words = _WORD.findall(question.lower())
            sketch_of = MinHash(NUM_PERM)
            sketch_of.update_batch([" ".join(words[i : i + 3]).encode() for i in range(max(1, len(words) - 2))])
            hashes.append(sketch_of.hashvalues.astype(np.uint64).tobytes())
            thought = _WORD.findall(trace.lower())
            leaks.append(any(" ".join(w[i : i + NGRAM]) in grams for w in (words, thought) for i in range(len(w) - NGRAM + 1)))
        return {"hashes": hashes, "leak": leaks}

    rows = rows.map(sketched, batched=True, batch_size=1000)
    lsh, of_problem = MinHashLSH(threshold=THRESHOLD, num_perm=NUM_PERM), dict[int, int]()
    for problem, packed in zip(rows["problem"], rows["hashes"], strict=True):
        if problem not in of_problem:
            found = MinHash(NUM_PERM, hashvalues=np.frombuffer(packed, np.uint64), scheme=MinHash(NUM_PERM).scheme)
            near = lsh.query(found)
            of_problem[problem] = min((of_problem[other] for other in near), default=problem)
            lsh.insert(problem, found)
    duplicate = np.array([of_problem[problem] != problem for problem in rows["problem"]])
    leak = np.array(rows["leak"])
    best: dict[int, tuple[int, int]] = {}
    columns = (rows["problem"], rows["correct"], rows["num_tokens"])
    for i, (problem, correct, tokens) in enumerate(zip(*columns, strict=True)):
        if correct and not duplicate[i] and not leak[i] and (problem not in best or tokens < best[problem][1]):
            best[problem] = (i, tokens)
    cells: dict[Cell, list[int]] = {}
    names, levels = list(rows["domain"]), list(rows["level"])
    for i, _ in best.values():
        cells.setdefault((names[i], levels[i]), []).append(i)
    weights = MIX.weights({cell: len(held) for cell, held in cells.items()})
    available = {cell: len(held) for cell, held in cells.items()}
    taken = allocate(available, weights, exact_total(available, weights))
    chosen = sorted(i for cell, held in cells.items() for i in Random(0).sample(held, taken[cell]))
    rows.select(chosen).remove_columns(["hashes", "leak"]).to_parquet(str(out))
    return duplicate, leak


SIDES: dict[str, Callable[[Path, Path, Held], tuple[Any, Any]]] = {"stillwise": ours, "usual": usual}


def one_run(side: str, path: Path, data: Path | None) -> dict[str, Any]:
    """Seconds, peak memory, recall and precision of one side, measured in this process."""
    import pyarrow.parquet as pq

    warm(side)
    held = benchmarks(data)
    with tempfile.TemporaryDirectory() as scratch:
        wall, cpu = time.perf_counter(), time.process_time()
        duplicate, leak = SIDES[side](path, Path(scratch) / "out.parquet", held)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        kept = pq.read_metadata(Path(scratch) / "out.parquet").num_rows
    peak_mb = _peak_mb()
    truth = pq.read_table(path, columns=["truth"]).column(0).to_pylist()
    found = {"rows": len(truth), "kept": kept, "wall_s": wall, "cpu_s": cpu, "peak_mb": peak_mb}
    return found | quality("duplicate", duplicate, truth) | quality("leak", leak, truth)


def warm(side: str) -> None:
    """Imports are nobody's rows per second."""
    import numpy  # noqa: F401
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401
    from rapidfuzz.distance import LCSseq  # noqa: F401

    if side == "usual":
        import datasets
        import datasketch  # noqa: F401

        datasets.disable_progress_bars()


def quality(what: str, found: Any, truth: list[str]) -> dict[str, Any]:
    """Recall by perturbation, and precision; a copy of a leak may be reported as either."""
    wanted = ("duplicate",) if what == "duplicate" else ("leak", "trace_leak")
    hits: Counter[str] = Counter(kind for kind, hit in zip(truth, found, strict=True) if hit)
    total = Counter(truth)
    recall = {kind: hits[kind] / total[kind] for kind in sorted(total) if kind.startswith(wanted)}
    # Two planted leaks of one question are duplicates too.
    right = sum(count for kind, count in hits.items() if kind.startswith(("duplicate", "leak", "trace_leak")))
    return {f"{what}_recall": recall, f"{what}_precision": right / max(1, hits.total())}


def in_a_process(side: str, path: Path, data: Path | None) -> dict[str, Any]:
    """One run in a fresh process with one thread."""
    words = [sys.executable, "-m", "benchmarks.curate", "--one", side, "--file", str(path)]
    words += ["--data", str(data)] if data else []
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rate = result["rows"] / result["wall_s"]
    print(
        f"{side:<10}{result['rows']:>9,} rows {rate:>9,.0f} rows/s {result['rows'] / result['cpu_s']:>9,.0f} rows/CPU-s",
        end=" ",
    )
    print(f"{result['peak_mb']:>7,.0f} MB, {result['kept']:,} kept", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with gsm8k_train, gsm8k_test, math_train_7474 and math500 (.jsonl)")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flat", type=int, nargs="*", default=[10_000], help="other sizes, ours only (1000000 takes a while)")
    parser.add_argument(
        "--recall", action="store_true", help="only the shares of planted leaks that are found, by perturbation"
    )
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.recall:
        recall_table(args.data)
        return
    if args.one:
        print(json.dumps(one_run(args.one, args.file, args.data)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = made(Path(scratch), args.rows, args.data)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(args.rounds):
            for side in SIDES:
                runs[side].append(in_a_process(side, path, args.data))
        others = [in_a_process("stillwise", made(Path(scratch), size, args.data), args.data) for size in args.flat]
    report(runs, others)


def recall_table(data: Path | None) -> None:
    """How many questions of each benchmark a perturbation changes, percent of them found, and percent with siblings counted."""
    held = benchmarks(data)
    for name, problems in held.items():
        print(name)
        for how, perturb in PERTURBATIONS.items():
            made = [perturb(problem.question, Random(i)) for i, problem in enumerate(problems)]
            same = [question == problem.question for question, problem in zip(made, problems, strict=True)]
            planted = [Problem.of(q, None) for q, old in zip(made, same, strict=True) if how == "verbatim" or not old]
            shares = [found_of(planted, problems, name, siblings) for siblings in (False, True)] if planted else []
            print(f"  {how:<12}{len(planted):>6} " + " ".join(f"{share:.1f}" for share in shares), flush=True)


def found_of(planted: Sequence[Problem], problems: Sequence[Problem], name: str, siblings: bool) -> float:
    """Percent of the planted problems that go."""
    part = Decontaminate(leaks=Leaks(siblings=siblings))
    gone = {failure.item for failure in part.curate(planted, {name: problems}, 0).dropped}
    return 100 * sum(problem.id in gone for problem in planted) / len(planted)


def _peak_mb() -> float:
    """The most memory that this process held. ``ru_maxrss`` would count what the parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def made(folder: Path, count: int, data: Path | None) -> Path:
    path = folder / f"{count}.parquet"
    start = time.perf_counter()
    write(path, count, data, benchmarks(data))
    print(f"{count:,} rows written in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e6:.0f} MB", flush=True)
    return path


def report(runs: dict[str, list[dict[str, Any]]], others: list[dict[str, Any]]) -> None:
    """Medians, qualities, and the line that a script reads."""
    rate = {side: statistics.median(run["rows"] / run["wall_s"] for run in held) for side, held in runs.items()}
    cpu = {side: statistics.median(run["rows"] / run["cpu_s"] for run in held) for side, held in runs.items()}
    mine = runs["stillwise"][0]
    for side, held in runs.items():
        print(side, {key: value for key, value in held[0].items() if "recall" in key or "precision" in key})
    allowed = BASE_MB + BYTES_PER_ROW * mine["rows"] / 2**20
    per_row = {run["rows"]: round(1e6 * run["cpu_s"] / run["rows"], 1) for run in [mine, *others]}
    memory_ok = all(r["peak_mb"] <= BASE_MB + BYTES_PER_ROW * r["rows"] / 2**20 for r in [*runs["stillwise"], *others])
    recalls = [value for what in ("duplicate", "leak") for value in mine[f"{what}_recall"].values()]
    precisions = [mine[f"{what}_precision"] for what in ("duplicate", "leak")]
    ratio = statistics.median(
        (a["rows"] / a["wall_s"]) / (b["rows"] / b["wall_s"]) for a, b in zip(runs["stillwise"], runs["usual"], strict=True)
    )
    good = min(recalls) >= LEAST and min(precisions) >= LEAST
    growth = max(per_row[size] for size in per_row) / per_row[min(per_row)]
    print(
        json.dumps(
            {
                "name": "curate",
                "ratio": round(ratio, 2),
                "target": TARGET,
                "ok": ratio >= TARGET and memory_ok and good and growth <= 1.25,
                "cpu_time_ratio": round(cpu["stillwise"] / cpu["usual"], 2),
                "rows_per_s": {side: round(value) for side, value in rate.items()},
                "peak_mb": round(max(run["peak_mb"] for run in runs["stillwise"])),
                "allowed_mb": round(allowed),
                "least_recall": round(min(recalls), 4),
                "least_precision": round(min(precisions), 4),
                "cpu_us_per_row": per_row,
            }
        )
    )


if __name__ == "__main__":
    main()
