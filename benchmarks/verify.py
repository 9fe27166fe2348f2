"""Answer checks per second and core of stillwise's grader against Math-Verify in one process, on the same pairs.

Two kinds of data: many samples of each problem (answers repeat), and cold pairs (each pair of reference and answer is new, and
every cache is emptied first). Math-Verify gets only the answer that stillwise extracted, in a box, and its reading of each
reference is kept, which favours it; how it does on whole solutions, as reward functions call it, is printed beside. CPU time
counts, that of the worker processes included; both sides are warm. Every disagreement on a decided pair is listed. Then hostile
answers: each may cost its own limit and nothing else.

    python benchmarks/verify.py --rounds 3

Reads math_cot_100x8.jsonl, grader_cases.jsonl and public references from --data where they lie there; otherwise both kinds of
data are generated from the package's own problems.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from stillwise.boxed import last_boxed
from stillwise.records import Outcome, Problem, Trace, Verdict
from stillwise.runtime.graders import GraderPool
from stillwise.verify.answers import Found, settled
from stillwise.verify.compare import same
from stillwise.verify.latex import normalised
from stillwise.verify.maths import Maths
from stillwise.verify.numeric import rational
from stillwise.verify.reading import read

SAMPLES_TARGET, COLD_TARGET = 10.0, 3.0
NUM_SAMPLES = 16
ITEM_LIMIT_S = 2.0
HERE = Path(__file__).resolve().parents[2] / "shared" / "data"
Pair = tuple[Problem, Trace]


@dataclass(frozen=True)
class Run:
    """One pass over the pairs: CPU seconds and a word for each pair, None where the side does not decide."""

    seconds: float
    right: list[bool | None]


def pair(question: str, reference: str, text: str) -> Pair:
    problem = Problem.of(question, reference)
    return problem, Trace(id="t", problem_id=problem.id, role="r", model="m", paradigm="p", prompt="", text=text)


def lines(data: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / name).read_text(encoding="utf8").splitlines()]


def sampled_pairs(data: Path, rng: Random) -> tuple[str, list[Pair]]:
    """Sixteen samples of each problem."""
    if not (data / "math_cot_100x8.jsonl").is_file():
        return "generated: 16 answers to each of 100 sums and fractions", generated(rng, 100, NUM_SAMPLES)
    found = []
    for row in lines(data, "math_cot_100x8.jsonl"):
        found += [pair(row["question"], row["gt"], text) for text in rng.choices(row["code"], k=NUM_SAMPLES)]
    return "math_cot_100x8: 16 draws (with replacement) of the 8 solutions of each of 100 problems", found


def cold_pairs(data: Path, rng: Random, count: int) -> tuple[str, list[Pair]]:
    """Pairs of which none comes twice: other spellings, changed numbers, other problems' references; real model answers."""
    if not (data / "math_test_5000.jsonl").is_file():
        return "generated: distinct sums and fractions", distinct(generated(rng, count, 3), rng, count)
    golds = [last_boxed(row["solution"]) or "" for row in lines(data, "math_test_5000.jsonl")]
    golds += [", ".join(row["final_answer"]) for row in lines(data, "olympiadbench_oe_to_maths_en_675.jsonl")]
    hard = [gold for gold in dict.fromkeys(golds) if gold and not gold.lstrip("-").isdigit()]
    found = [pair("q", gold, f"\\boxed{{{variant(gold, rng)}}}") for gold in hard for _ in range(3)]
    if (data / "grader_cases.jsonl").is_file():
        cases = [
            row for row in lines(data, "grader_cases.jsonl") if row["kind"] in ("answer", "hard") and row["tier"] == "core"
        ]
        found += [pair("q", str(row["gold"]), f"\\boxed{{{row['pred']}}}") for row in cases]
    return "references of MATH and OlympiadBench that are no integers, respelt and changed; core grader cases", distinct(
        found, rng, count
    )


def variant(gold: str, rng: Random) -> str:
    """Another spelling of the answer, or another answer."""
    digits = [i for i, char in enumerate(gold) if char.isdigit()]
    place = rng.choice(digits) if digits else 0
    changed = f"{gold[:place]}{(int(gold[place]) + 1) % 10}{gold[place + 1 :]}" if digits else f"{gold}+1"
    spelt = [gold.replace("\\frac", "\\dfrac"), gold.replace(" ", "\\ "), gold.replace("+", " + "), f" {gold} "]
    return rng.choice([*spelt, changed, changed, changed])


def distinct(pairs: Sequence[Pair], rng: Random, count: int) -> list[Pair]:
    """Shuffled, each (reference, answer) once."""
    unique = list({(problem.answer, trace.text): (problem, trace) for problem, trace in pairs}.values())
    rng.shuffle(unique)
    return unique[:count]


def generated(rng: Random, problems: int, samples: int) -> list[Pair]:
    found = []
    for n in range(problems):
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        gold = str(a + b) if n % 2 else f"\\frac{{{a}}}{{{b}}}"
        others = [
            gold,
            gold.replace("\\frac", "\\dfrac"),
            f"{a}/{b}" if not n % 2 else f"{a}+{b}",
            str(rng.randint(1, 99)),
            f"{a}.5",
        ]
        found += [pair(f"{a} and {b}", gold, f"so it is \\boxed{{{rng.choice(others)}}}.") for _ in range(samples)]
    return found


def cold_caches() -> None:
    for cached in (same, read, normalised, rational):
        cached.cache_clear()


def run_stillwise(pairs: Sequence[Pair], pool: GraderPool) -> Run:
    cold_caches()
    pool._known.clear()
    before = spent(pool)
    verdicts = pool.verify(Maths(mode="recall"), pairs)
    return Run(spent(pool) - before, [word(verdict) for verdict in verdicts])


def spent(pool: GraderPool) -> float:
    """CPU seconds of this process and of the pool's workers, dead ones included."""
    ticks = 0
    for worker in pool._running:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    dead = os.times()
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK") + dead.children_user + dead.children_system


def word(verdict: Verdict) -> bool | None:
    return {Outcome.CORRECT: True, Outcome.INCORRECT: False}.get(verdict.outcome)


def run_math_verify(pairs: Sequence[Pair], whole: bool) -> Run:
    """Math-Verify with its defaults on the extracted answer (or on whole solutions), each reference parsed once."""
    from math_verify import parse, verify

    references: dict[str, Any] = {}
    texts = [trace.text if whole else answer_of(trace) for _, trace in pairs]
    start, right = time.process_time(), []
    for (problem, _), text in zip(pairs, texts, strict=True):
        gold = problem.answer or ""
        if gold not in references:
            references[gold] = parse(f"\\boxed{{{gold}}}")
        right.append(bool(verify(references[gold], parse(text))) if references[gold] and text else None)
    return Run(time.process_time() - start, right)


def answer_of(trace: Trace) -> str:
    found = settled(trace)
    return f"\\boxed{{{found.text}}}" if isinstance(found, Found) else ""


def measured(name: str, about: str, pairs: Sequence[Pair], rounds: int, pool: GraderPool) -> dict[str, float]:
    """Medians of alternating rounds, and every pair that the two sides decide differently."""
    sides: dict[str, Callable[[], Run]] = {
        "stillwise": lambda: run_stillwise(pairs, pool),
        "math-verify": lambda: run_math_verify(pairs, whole=False),
        "math-verify, whole text": lambda: run_math_verify(pairs, whole=True),
    }
    print(f"{name}: {len(pairs)} pairs; {about}")
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for number in range(rounds):
        for side, run in sides.items():
            runs[side].append(run())
            rate = len(pairs) / runs[side][-1].seconds
            print(f"  round {number + 1}  {side:<24} {rate:10.0f} checks per CPU second", flush=True)
    workers = sum(Maths(mode="recall").quick(*each) is None for each in pairs)
    print(f"  {workers} of {len(pairs)} pairs went to a worker")
    left, right = runs["stillwise"][0].right, runs["math-verify"][0].right
    disagreements(pairs, left, right)
    medians = {side: statistics.median(run.seconds for run in mine) for side, mine in runs.items()}
    return {side: medians[side] / medians["stillwise"] for side in sides if side != "stillwise"}


def disagreements(pairs: Sequence[Pair], left: Sequence[bool | None], right: Sequence[bool | None]) -> None:
    """Decided pairs on which the two sides differ; more than sixty are counted only."""
    odd = [(i, a, b) for i, (a, b) in enumerate(zip(left, right, strict=True)) if a is not None and b is not None and a != b]
    both = sum(a is not None and b is not None for a, b in zip(left, right, strict=True))
    print(f"  {both} pairs decided by both, {len(odd)} differently (reference | answer | stillwise, Math-Verify)")
    for i, a, b in odd[:60]:
        print(f"    {str(pairs[i][0].answer)[:60]!r} | {answer_of(pairs[i][1])[7:-1][:60]!r} | {a}, {b}")


HOSTILE = {
    "a tower of powers": "\\boxed{9^{9^{9^{9^{9}}}}}",
    "a product of towers": "\\boxed{" + "9^{9^{9^{9}}}" * 40 + "}",
    "factorials": "\\boxed{((9!)!)!}",
    "a million nested braces": "\\boxed{" + "{" * 1_000_000 + "}" * 1_000_001,
    "five megabytes of text": "x" * 5_000_000 + " \\boxed{7}",
    "a million boxes": "\\boxed{1}" * 1_000_000,
    "python": "\\boxed{__import__('os').system('sleep 9')}",
}
READABLE, UNREADABLE = "7", "\\sum_{k=1}^{3} k"
"""A reference that is compared here, and one that only Math-Verify reads, so that the answer goes to a worker."""


def hostile(pool: GraderPool) -> bool:
    """CPU seconds of each hostile answer between two plain ones, which must come out right."""
    fine = True
    for reference in (READABLE, UNREADABLE):
        plain = pair("q", reference, f"\\boxed{{{7 if reference == READABLE else 6}}}")
        for name, text in HOSTILE.items():
            before, start = spent(pool), time.monotonic()
            found = pool.verify(Maths(mode="recall"), [plain, pair("q", reference, text), plain])
            cpu, wall = spent(pool) - before, time.monotonic() - start
            kept = found[0].outcome is found[2].outcome is Outcome.CORRECT
            # Beyond its limit: a new worker's start, which loads the symbolic packages.
            fine &= kept and cpu < ITEM_LIMIT_S + 8
            said = found[1].outcome.value
            print(f"  {reference[:8]:<9} {name:<26} {said:<10} {cpu:6.2f} CPU s {wall:6.2f} s  neighbours right: {kept}")
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", type=int, default=1500, help="cold pairs")
    parser.add_argument("--data", type=Path, default=HERE, help="folder of public data")
    args = parser.parse_args()
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    run_math_verify([pair("q", "x+1", "\\boxed{1+x}")], whole=False)
    with GraderPool(workers=1, timeout_s=ITEM_LIMIT_S) as pool:
        pool.verify(Maths(), [pair("q", UNREADABLE, "\\boxed{6}")])
        many = measured("16 samples", *sampled_pairs(args.data, Random(0)), args.rounds, pool)
        cold = measured("cold pairs", *cold_pairs(args.data, Random(1), args.cold), args.rounds, pool)
        print("hostile answers, each between two plain ones")
        fine = hostile(pool)
    ratio, cold_ratio = many["math-verify"], cold["math-verify"]
    print(
        json.dumps(
            {
                "name": "verify",
                "ratio": round(ratio, 1),
                "target": SAMPLES_TARGET,
                "ok": ratio >= SAMPLES_TARGET and cold_ratio >= COLD_TARGET and fine,
                "cold_ratio": round(cold_ratio, 1),
                "cold_target": COLD_TARGET,
                "ratio_to_whole_text": round(many["math-verify, whole text"], 1),
                "hostile_ok": fine,
            }
        )
    )


if __name__ == "__main__":
    main()
