"""Rows for ``benchmarks/curate.py``: real and micro problems multiplied, with planted duplicates and leaks, as Parquet.

Real problems (GSM8K and MATH training sets from ``--data``; without it the micro world alone) are multiplied by other numbers
and names, each with a trace of some hundred words; micro problems carry traces of the micro reasoner's kind. Planted: copies of
earlier rows' questions (verbatim, wrapped, numbered, set in other ways) under a new problem, and questions of the benchmarks
in the question or inside the trace.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from stillwise.micro import families, solutions
from stillwise.problems.perturb import PERTURBATIONS, numbers, renamed
from stillwise.records import Problem

PLANTED = ("verbatim", "delimiters", "numbered", "separators", "fractions", "raised", "digits", *["wrapper"] * 3)
"""Wrapped ones oftener: a wrapper is boilerplate only where a share of the questions has it, and there are five."""
MICRO_SHARE, DUPLICATES, LEAKS, TRACE_LEAKS, SECOND_SAMPLES = 0.3, 0.05, 0.02, 0.01, 0.2
ALIKE = 60
LEAST_WORDS = 7
MICRO_LEVELS = (2, 3, 4, 5)
COLUMNS = ("problem", "question", "answer", "level", "domain", "trace", "correct", "num_tokens", "truth")


@dataclass(frozen=True)
class Seed:
    """A question, its worked solution, level and domain, to be multiplied."""

    question: str
    solution: str
    level: int
    domain: str


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf8")]


def benchmarks(data: Path | None) -> dict[str, list[Problem]]:
    """The problem sets that nothing may leak from."""
    held: dict[str, list[Problem]] = {}
    if data:
        held["gsm8k"] = [Problem.of(row["question"], None) for row in read(data / "gsm8k_test.jsonl")]
        held["math500"] = [Problem.of(row["problem"], None) for row in read(data / "math500.jsonl")]
    micro = [families.generate("chain_sum", level, 100, 9, "held_out") for level in MICRO_LEVELS]
    held["micro"] = [Problem.of(made.question, made.answer) for made in itertools.chain(*micro)]
    return held


def numbers_of(question: str) -> tuple[str, ...]:
    return tuple(sorted(re.findall(r"\d+", question)))


def unlike(found: Sequence[Seed], others: Sequence[str]) -> Iterator[Seed]:
    """The seeds that resemble no earlier one and no other question of the same numbers: public sets hold duplicates already."""
    from rapidfuzz.fuzz import token_sort_ratio

    met: dict[tuple[str, ...], list[str]] = {}
    for question in others:
        met.setdefault(numbers_of(question), []).append(question)
    for seed in found:
        same = met.setdefault(numbers_of(seed.question), [])
        if all(token_sort_ratio(seed.question, question) < ALIKE for question in same):
            same.append(seed.question)
            yield seed


def seeds(data: Path) -> list[Seed]:
    solved = [(row["question"], row["answer"].partition("####")[0]) for row in read(data / "gsm8k_train.jsonl")]
    words = [re.sub(r"<<.*?>>", "", solution) for _, solution in solved]
    found = [Seed(question, word, 1 + len(word) % 3, "maths") for (question, _), word in zip(solved, words, strict=True)]
    for i, row in enumerate(read(data / "math_train_7474.jsonl")):
        level, domain = max(1, int(row["difficulty"])), "maths" if i % 5 else "science"
        found.append(Seed(row["problem"], " ".join(words[(3 * i + k) % len(words)] for k in range(3)), level, domain))
    return [seed for seed in found if re.search(r"\d", seed.question)]


def real_rows(held: Sequence[Seed], rng: Random) -> Iterator[dict[str, Any]]:
    """The seeds themselves, then the same with other numbers and names, no numbers twice for one seed."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for turn in itertools.count():
        for i, seed in enumerate(held):
            question = numbers(renamed(seed.question, rng), rng) if turn else seed.question
            while (key := (i, numbers_of(question))) in seen:
                question = numbers(question, rng)
            seen.add(key)
            trace = f"<think>\nOkay, let me see. {numbers(seed.solution, rng)} Wait, let me check that again. "
            trace += f"{numbers(seed.solution, rng)}\n</think>\n\nSo the answer is {rng.randint(1, 999)}."
            yield {"question": question, "answer": None, "level": seed.level, "domain": seed.domain, "trace": trace}


def micro_rows(count: int, rng: Random) -> Iterator[dict[str, Any]]:
    each = -(-count // (2 * len(MICRO_LEVELS)))
    seen: set[tuple[str, ...]] = set()
    for family, level in itertools.product(families.FAMILIES, MICRO_LEVELS):
        for made in families.generate(family, level, each, 3, "train"):
            if (key := (family, made.answer, *numbers_of(made.question))) in seen:
                continue
            seen.add(key)
            trace = solutions.plain(solutions.reasoner_answer(made.expression, rng, 0.6, 0.2))
            yield {"question": made.question, "answer": made.answer, "level": level, "domain": "other", "trace": trace}


def rows(count: int, data: Path | None, held: Mapping[str, Sequence[Problem]]) -> Iterator[dict[str, Any]]:
    """``count`` rows, or fewer where the micro world alone has not so many.

    ``truth`` says fresh, sample (a second one of the problem before), duplicate:…, leak:… or trace_leak.
    """
    rng = Random(7)
    micro = list(micro_rows(int(count * (MICRO_SHARE if data else 1)), rng))
    rng.shuffle(micro)
    asked = [problem.question for problems in held.values() for problem in problems]
    real = real_rows(list(unlike(seeds(data), asked)), rng) if data else iter(())
    # Shorter ones are not looked for in traces, where anything is said.
    told = [question for question in asked if len(re.findall(r"\w+", question)) >= LEAST_WORDS]
    earlier: list[dict[str, Any]] = []
    problem, last = -1, dict[str, Any]()
    for _ in range(count):
        draw = rng.random()
        found = micro.pop() if micro and (not data or rng.random() < MICRO_SHARE) else next(real, None)
        if found is None:
            return
        row = dict(found)
        how = rng.choice(PLANTED)
        row["truth"] = "fresh"
        if draw < DUPLICATES and earlier:
            old = rng.choice(earlier)
            row |= {name: old[name] for name in ("answer", "level", "domain")}
            row |= {"question": changed(old["question"], how, rng), "truth": f"duplicate:{how}"}
        elif draw < DUPLICATES + LEAKS:
            row |= {"question": changed(rng.choice(asked), how, rng), "answer": None, "truth": f"leak:{how}"}
        elif draw < DUPLICATES + LEAKS + TRACE_LEAKS:
            before, line, after = row["trace"].partition("\n")
            row |= {"trace": f"{before}{line}{changed(rng.choice(told), how, rng)}\n{after}", "truth": "trace_leak"}
        elif draw > 1 - SECOND_SAMPLES and last.get("truth") == "fresh":
            row = {**last, "trace": row["trace"], "truth": "sample"}
        problem += row["truth"] != "sample"
        row |= {"problem": problem, "correct": rng.random() < 0.8, "num_tokens": len(row["trace"]) // 4}
        last = row
        if row["truth"] == "fresh" and len(earlier) < 200_000:
            earlier.append(row)
        yield row


def changed(question: str, how: str, rng: Random) -> str:
    return PERTURBATIONS[how](question, rng)


def write(path: Path, count: int, data: Path | None, held: Mapping[str, Sequence[Problem]]) -> None:
    """The rows as Parquet, group by group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.int64()
    kinds = (number, text, text, number, text, text, pa.bool_(), number, text)
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    made = rows(count, data, held)
    with pq.ParquetWriter(path, schema, compression="zstd") as out:
        while group := list(itertools.islice(made, 5000)):
            out.write_table(pa.Table.from_pylist([{name: row[name] for name in COLUMNS} for row in group], schema=schema))
