"""Write docs/real-traces.md and its picture: published traces of open models through the parts, as they come out.

    .venv/bin/python -m tools.real_traces --data DIR

DIR holds the files named below (docs/real-traces.md says where they were published). No text of theirs is written.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stillwise.arrows import Request, Scorer, Tools, Verifier
from stillwise.models.direct import Direct
from stillwise.models.scripted import ScriptedModel
from stillwise.problems.decontaminate import Decontaminate, DecontaminateTraces
from stillwise.problems.dedupe import Dedupe
from stillwise.problems.file import File
from stillwise.problems.import_traces import Imported, read_traces
from stillwise.records import Failure, Outcome, Problem, Trace
from stillwise.rewrite.attempts import Attempts, FirstSolution
from stillwise.rewrite.fit import FitDifficulty
from stillwise.rewrite.segment import LogicalUnits
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.progress import silent
from stillwise.score.rethink import RethinkWords, num_words
from stillwise.score.shape import Repetition, Structure
from stillwise.score.verbosity import AfterFirst, VerbosityByLength

DOCS = Path(__file__).parents[1] / "docs"
SETS: Mapping[str, tuple[str, ...]] = {
    "DeepSeek-R1, maths": ("traces_deepseek_r1_math_5.jsonl",),
    "R1 distilled, maths": ("traces_ollama_math_5.jsonl",),
    "QwQ-32B, riddles": ("traces_qwq32b_riddles.jsonl",),
    "Qwen3-30B thinking, riddles": ("traces_qwen3_30b_think_riddles.jsonl",),
    "Qwen3-30B not thinking, riddles": ("traces_qwen3_30b_nothink_riddles.jsonl",),
    "Marco-o1, mixed": ("traces_marco_o1_demo_125.jsonl",),
}
BENCHMARKS = {"MATH-500": "math500.jsonl", "GSM8K test": "gsm8k_test.jsonl"}
SCORERS: Mapping[str, Scorer] = {
    "verbosity 0–9 by length": VerbosityByLength(),
    "rethink words per 1,000": RethinkWords(),
    "share after the first attempt": AfterFirst(),
    "repeated 8-grams": Repetition(),
    "parts of an answer present": Structure(thought=False),
}


@dataclass
class Set:
    """One set of traces and what was found in it."""

    name: str
    held: Imported
    scores: dict[str, list[float]] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[Problem, Trace]]:
        """Every trace with its problem."""
        return [(self.held.problems[trace.problem_id], trace) for trace in self.held.traces]

    @property
    def thoughts(self) -> list[str]:
        """The thoughts that there are."""
        return [thought for trace in self.held.traces if (thought := trace.span("thinking") or "").strip()]


def scripted(request: Request) -> str:
    """A stand-in for a teacher that fits traces: by the ruler's verbosity it judges, by whole attempts it simplifies.

    An easy thought gets its check spelt out, a hard one keeps its first attempt. It ends in the thought's own last number.
    """
    said = request.ask.user
    shown = said.split("<chain_of_thought>")[1].split("</chain_of_thought>")[0]
    if said.startswith("You decide"):
        words = num_words(shown)
        return f'{{"score": {0 if words < 300 else 1 if words < 1200 else 2}}}'
    thought, _, solution = shown.partition("</think>")
    thought = thought.replace("<think>", "").strip()
    answer = solution[solution.rfind("\\boxed") :].strip() if "\\boxed" in solution else ""
    if "too hard for a student" in said:
        spans = Attempts().segment(thought)
        return f"{thought[: spans[0].end].strip() if spans else thought}\n{answer}"
    return f"{thought}\nPutting it into the question again gives the same.\n{answer}"


def read(data: Path) -> list[Set]:
    """All sets, scored."""
    found = [Set(name, read_traces([data / file for file in files])) for name, files in SETS.items()]
    tools = Tools(step="look", seed=0, callers={}, graders=None, progress=silent)  # type: ignore[arg-type]  # nothing is graded
    for one in found:
        for name, scorer in SCORERS.items():
            scores = scorer.score_all([(problem, [trace]) for problem, trace in one.pairs], tools)
            one.scores[name] = [score.value for [score] in scores if score.value is not None]
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A Markdown table; numbers to the right."""
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)


def middle(values: Sequence[float], digits: int = 0) -> str:
    """The median with the quartiles, or a dash."""
    if len(values) < 2:
        return f"{values[0]:,.{digits}f}" if values else "–"
    low, mid, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{mid:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def size_rows(sets: Sequence[Set]) -> list[list[object]]:
    """How much there is, and into what it is cut."""
    return [
        [
            one.name, len(one.held.problems), len(one.held.traces), len(one.held.failures), len(one.thoughts),
            middle([num_words(thought) for thought in one.thoughts]),
            middle([len(LogicalUnits().segment(thought)) for thought in one.thoughts]),
            middle([len(Attempts().segment(thought)) for thought in one.thoughts]),
        ]
        for one in sets
    ]  # fmt: skip


def score_rows(sets: Sequence[Set]) -> list[list[object]]:
    """Medians of the scores that need no judge."""
    digits = {"verbosity 0–9 by length": 1, "rethink words per 1,000": 1}
    return [[one.name, *(middle(one.scores[name], digits.get(name, 2)) for name in SCORERS)] for one in sets]


def cut_rows(sets: Sequence[Set], tools: Tools) -> list[list[object]]:
    """What is left after the first attempt that is right, or that arrives at all."""
    rows: list[list[object]] = []
    for one in sets:
        for accept in ("verified", "concluded"):
            if not one.thoughts or (accept == "verified" and not any(problem.answer for problem in one.held.problems.values())):
                continue
            part = FirstSolution.model_validate({"accept": accept})
            pairs = [pair for pair in one.pairs if pair[1].span("thinking")]
            made = part.rewrite_all(pairs, tools)
            rows.append([one.name, accept, *_shortened(pairs, made), *_verified(part.until, pairs, made, tools)])
    return rows


def _shortened(pairs: Sequence[tuple[Problem, Trace]], made: Sequence[Trace | Failure]) -> list[object]:
    kept = [(trace, new) for (_, trace), new in zip(pairs, made, strict=True) if isinstance(new, Trace)]
    before, after = (sum(num_words(each[k].span("thinking") or "") for each in kept) for k in (0, 1))
    share = f"{100 * after / before:.0f} %" if before else "–"
    return [len(pairs), len(kept), sum(new is not trace for trace, new in kept), f"{before:,}", f"{after:,}", share]


def _verified(
    until: Verifier, pairs: Sequence[tuple[Problem, Trace]], made: Sequence[Trace | Failure], tools: Tools
) -> list[object]:
    asked = [(problem, new) for (problem, _), new in zip(pairs, made, strict=True) if isinstance(new, Trace) and problem.answer]
    verdicts = until.decide(asked, tools)
    return [f"{sum(v.outcome is Outcome.CORRECT for v in verdicts)} of {len(asked)}" if asked else "no reference"]


def fitted_rows(sets: Sequence[Set], tools: Tools) -> list[list[object]]:
    """What the scripted teacher made of the traces whose answers can be verified."""
    rows: list[list[object]] = []
    for one in sets:
        pairs = [pair for pair in one.pairs if pair[0].answer and pair[1].span("thinking")]
        if not pairs:
            continue
        part = FitDifficulty()
        made = part.rewrite_all(pairs, tools)
        edits = [new.edit if isinstance(new, Trace) else "failed" for new in made]
        counts = [edits.count(edit) for edit in ("extended", None, "simplified", "failed")]
        rows.append([one.name, len(pairs), *counts, *_verified(part.until, pairs, made, tools)])
    return rows


def overlap_lines(sets: Sequence[Set], data: Path) -> Iterator[str]:
    """Repeated problems, and benchmark questions in problems and traces."""
    problems = list({problem.id: problem for one in sets for problem in one.held.problems.values()}.values())
    traces = [trace for one in sets for trace in one.held.traces]
    held = {name: _questions(data / file) for name, file in BENCHMARKS.items()}
    once = Dedupe().curate(problems, held, 0)
    repeats = len(once.dropped)
    yield f"{len(problems)} different problems; {repeats} of them repeat another in other words or with small changes."
    gone = Decontaminate().curate(problems, held, 0).dropped
    by_id = {problem.id: problem for problem in problems}
    leaky = DecontaminateTraces().filter(by_id, traces, held).dropped
    for name in BENCHMARKS:
        in_problems = sum(failure.reason == f"leak:{name}" for failure in gone)
        in_traces = sum(failure.reason == f"leak:{name}" for failure in leaky)
        found = f"in {in_problems} problems and in {in_traces} of {len(traces)} traces"
        yield f"A question of {name} ({len(held[name]):,}): {found}."


def _questions(path: Path) -> list[Problem]:
    return [problem for problem in File(path=str(path)).problems() if isinstance(problem, Problem)]


def picture(sets: Sequence[Set], path: Path) -> None:
    """Words against attempts, and the ruler's verbosity, by set."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "stillwise", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    for one, mark in zip(sets, "osD^vP", strict=True):
        words = [num_words(thought) for thought in one.thoughts]
        attempts = [len(Attempts().segment(thought)) for thought in one.thoughts]
        if words:
            left.scatter(words, attempts, s=14, marker=mark, alpha=0.6, label=one.name, linewidths=0)
    left.set(xscale="log", yscale="log", xlabel="words of the thought", ylabel="attempts in it")
    left.legend(frameon=False, fontsize=8)
    right.boxplot([one.scores["verbosity 0–9 by length"] for one in sets], orientation="horizontal", widths=0.6)
    right.set_yticks(range(1, len(sets) + 1), [one.name for one in sets])
    right.set(xlim=(0, 9), xlabel="verbosity by length, 0 to 9")
    right.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})


def page(sets: Sequence[Set], data: Path, tools: Tools) -> Iterator[str]:
    """The lines of docs/real-traces.md."""
    yield from OPENING.splitlines()
    yield from table(
        ["set", "problems", "traces", "rows unusable", "with a thought", "words of a thought", "units", "attempts"],
        size_rows(sets),
    )
    yield from ["", "![Words against attempts, and verbosity by length](real-traces.svg)", "", *SCORES.splitlines()]
    yield from table(["set", *SCORERS], score_rows(sets))
    yield from ["", *CUT.splitlines()]
    head = ["set", "accepted", "thoughts", "kept", "shortened", "words before", "words after", "left", "correct afterwards"]
    yield from table(head, cut_rows(sets, tools))
    yield from ["", *FITTED.splitlines()]
    yield from table(
        ["set", "traces", "extended", "medium", "simplified", "failed", "correct afterwards"], fitted_rows(sets, tools)
    )
    yield from ["", *OVERLAP.splitlines(), "", *(f"- {line}" for line in overlap_lines(sets, data))]


OPENING = """# What was found in real traces

Published traces of open models, read by `stillwise import`'s readers and put through the parts that need no model. Written by
`.venv/bin/python -m tools.real_traces --data DIR`, from files that are not part of this repository: answers of QwQ-32B and
Qwen3-30B-A3B to the riddles of MisguidedAttention (CC0), of DeepSeek-R1 and a distilled R1 to five MATH problems each
(reasoning-from-scratch, Apache-2.0), and Marco-o1's demonstration set (Apache-2.0). A cell is a median with its quartiles.
A *unit* is a conceptual step (`logical_units`), an *attempt* a stretch up to where the text turns back after a conclusion
(`attempts`).
"""
SCORES = """## Without a judge

`verbosity_by_length` is a ruler. The riddles are easy and the thoughts about them long: what comes after the first attempt is
most of a thinking model's text.
"""
CUT = """## Cut after the first attempt

`first_solution` keeps the thought up to its first attempt whose own answer is the reference's (`verified`), or that arrives
anywhere (`concluded`). *Kept* leaves out thoughts without such an attempt; those are counted failures, not shortened.
"""
FITTED = """## Fitted by a script

`fit_difficulty` with a scripted teacher (it judges by words, extends by a sentence, simplifies to the first attempt): what the
processor does with real text, not what a model would write.
"""
OVERLAP = """## Repeated, and leaked
"""


def written(sets: Sequence[Set], data: Path) -> str:
    """The text of docs/real-traces.md."""
    with GraderPool() as pool:
        callers = {"reasoner": Direct(ScriptedModel(scripted))}
        tools = Tools(step="look", seed=0, callers=callers, graders=pool, progress=silent)
        return "\n".join(page(sets, data, tools)) + "\n"


def main() -> None:
    """Write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    sets = read(data)
    (DOCS / "real-traces.md").write_text(written(sets, data), encoding="utf8")
    picture(sets, DOCS / "real-traces.svg")


if __name__ == "__main__":
    main()
