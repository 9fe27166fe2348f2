"""A synthetic run with realistic shapes: problems of five levels, four modes, two evaluations, two training stages."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stillwise.arrows import Ban, Scaffold
from stillwise.evaluate import sections
from stillwise.evaluate.batches import Batch, ScoreTable, cost_section, lengths_section, scores_section
from stillwise.evaluate.paradigm_probe import paradigm_section
from stillwise.evaluate.sections import Output
from stillwise.evaluate.shape import TitrationFacts
from stillwise.evaluate.titration_figures import titration_section
from stillwise.records import Failure, Finish, Outcome, Problem, Score, Span, Trace, Verdict, digest, thinking_spans
from stillwise.sample.paradigms import RETHINK_WORDS

SKILL = {
    "instruct": (0.99, 0.93, 0.85, 0.72, 0.52),
    "no_think": (0.99, 0.95, 0.88, 0.78, 0.6),
    "no_rethink": (0.99, 0.97, 0.93, 0.86, 0.74),
    "think": (1.0, 0.99, 0.96, 0.92, 0.86),
    "before": (0.95, 0.6, 0.35, 0.2, 0.1),
    "after": (0.98, 0.88, 0.74, 0.58, 0.43),
}
LENGTH = {"instruct": 30, "no_think": 32, "no_rethink": 75, "think": 130, "before": 28, "after": 62}


def problem(number: int, level: int) -> Problem:
    """A sum with ``level`` + 1 terms."""
    terms = [(number * 7 + i * 13) % 90 + 5 for i in range(level + 1)]
    return Problem.of(" + ".join(map(str, terms)) + " = ?", str(sum(terms)), level=level, source="sums")


def problems(per_level: int, offset: int = 0) -> list[Problem]:
    """Problems of levels 1 to 5."""
    return [problem(offset + level * 1000 + i, level) for level in range(1, 6) for i in range(per_level)]


def attempt(one: Problem, mode: str, index: int, rng: random.Random) -> tuple[Trace, Verdict]:
    """One answer of a mode, right as often as its skill at that level says."""
    level = one.level or 1
    roll = rng.random()
    right = roll < SKILL[mode][level - 1]
    outcome = (
        Outcome.CORRECT
        if right
        else [Outcome.INCORRECT, Outcome.INCORRECT, Outcome.TRUNCATED, Outcome.UNDECIDED][rng.randrange(4)]
    )
    said = one.answer if right else str(int(one.answer or 0) + 10)
    steps = f"{one.question.removesuffix(' = ?')}: adding from the left gives {said}."
    thought = f"Let me add step by step.\n{steps}\nWait, let me verify that: {steps}" if mode == "think" else steps
    body = f"The sum is \\boxed{{{said}}}."
    text = f"<think>\n{thought}\n</think>\n\n{body}" if mode in ("think", "no_rethink", "after") else f"{steps}\n{body}"
    length = int(LENGTH[mode] * (0.5 + 0.4 * level) * rng.uniform(0.8, 1.3))
    trace = Trace(
        id=digest(one.id, mode, index),
        problem_id=one.id,
        role="instructor" if mode == "instruct" else "reasoner",
        model=digest(mode),
        paradigm=mode,
        prompt=one.question,
        text=text,
        spans=thinking_spans(text),
        num_tokens=length,
        finish=Finish.LENGTH if outcome is Outcome.TRUNCATED else Finish.STOP,
        sample_index=index,
    )
    rule = None if outcome in (Outcome.TRUNCATED, Outcome.UNDECIDED) else "boxed"
    return trace, Verdict(outcome=outcome, rule=rule, extracted=said if rule else None)


def rejection(asked: list[Problem], mode: str, tries: int = 4) -> Output:
    """Up to ``tries`` attempts per problem until one is correct."""
    rng = random.Random(mode)
    traces: list[Trace] = []
    verdicts: dict[str, Verdict] = {}
    left = list(asked)
    for index in range(tries):
        done = [attempt(one, mode, index, rng) for one in left]
        traces += [trace for trace, _ in done]
        verdicts |= {trace.id: verdict for trace, verdict in done}
        left = [one for one, (_, verdict) in zip(left, done, strict=True) if verdict.outcome is not Outcome.CORRECT]
    return Output(traces=traces, verdicts=verdicts)


def examined(asked: list[Problem], mode: str, samples: int) -> Output:
    """Independent samples of every problem."""
    rng = random.Random(mode)
    done = [attempt(one, mode, index, rng) for index in range(samples) for one in asked]
    return Output(traces=[trace for trace, _ in done], verdicts={trace.id: verdict for trace, verdict in done})


def solved(output: Output) -> set[str]:
    """Problems with a correct trace."""
    return {trace.problem_id for trace in output.traces if output.verdict(trace).outcome is Outcome.CORRECT}


def loss_curve(start: float, end: float, steps: int) -> list[float]:
    """A falling, slightly noisy loss."""
    rng = random.Random(steps)
    return [end + (start - end) * math.exp(-4 * i / steps) + rng.gauss(0, 0.01) for i in range(steps)]


def run_metrics() -> dict[str, Any]:
    """The metrics of a whole synthetic run, every section built from records."""
    asked, held = problems(80), problems(40, offset=50_000)
    outputs = {mode: rejection(asked, mode) for mode in ("instruct", "no_think", "no_rethink", "think")}
    common = set.intersection(*map(solved, outputs.values()))
    failures = [Failure(step="common", item=one.id, reason="not_solved_by_every_mode") for one in asked if one.id not in common]
    evaluation = {
        name: sections.evaluation_section(
            name, digest(name), {"sums": sections.measured("sums", held, examined(held, name, 4))}
        )
        for name in ("before", "after")
    }
    stages = [("heuristics", 1.4, 0.35, 180), ("unfolding", 0.9, 0.22, 260)]
    return {
        "recipe": {
            "title": "Curriculum reasoning distillation",
            "about": "One large reasoning model in four modes; the student first learns implicit heuristics, then unfolds.",
            "paper": {"title": "Teach Small Models to Reason by Curriculum Distillation", "section": "4.2"},
            "binding": "micro",
            "roles": {"reasoner": "micro:reasoner", "instructor": "micro:instructor", "student": "micro:student"},
            "overrides": [
                {"path": "sample.max_tokens", "recipe": 16384, "used": 768, "by": "binding micro"},
                {"path": "train.instruction", "recipe": "Please reason step by step …", "used": "", "by": "binding micro"},
            ],
            "departures": ["Two epochs per stage: §4.1 gives two epochs for single-stage students and §4.2 does not say."],
            "seed": 0,
            "command": "stillwise run curriculum --micro --seed 0 --out runs/demo",
        },
        "problems": {"train": sections.problems_section(asked), "sums": sections.problems_section(held)},
        "sampling": {mode: sections.sampling_section(asked, output) for mode, output in outputs.items()},
        "selection": {"common": sections.selection_section(asked, common, failures)},
        "training": {
            "distilled": [
                sections.stage_section(
                    {"stage": n, "rows": 300, "tokens": 60_000, "steps": s, "epochs": 6, "curve": loss_curve(a, b, s)}
                )
                for n, a, b, s in stages
            ]
        },
        "evaluation": evaluation,
        "comparison": sections.comparison_section("before", "after", evaluation),
        "failures": {"read": {"no_answer": 1}},
        "versions": {"stillwise": "0.1.0", "torch": "2.13.0", "python": "3.11"},
        "examples": sections.example_section(asked, outputs),
        "order": {"sampling": list(outputs), "evaluation": ["before", "after"]},
    }


def probe_metrics() -> dict[str, Any]:
    """The sections of both probes: the four modes with four samples each, and one titrated thought for every problem."""
    asked, rng = problems(30), random.Random(0)
    modes = ("think", "no_rethink", "no_think", "instruct")
    outputs = {mode: examined(asked, mode, 4) for mode in modes}
    scaffolds = [scaffold(one, rng) for one in asked]
    facts = TitrationFacts(model="m", role="instructor", tokenizer="instructor", search="linear", samples=4)
    titrated = titration_section(scaffolds, groups=("levels 1–3", "levels 4–5"), attempts=500, facts=facts)
    return {
        "paradigms": {"micro:reasoner": paradigm_section(asked, outputs)},
        "titration": {"titrated": titrated},
    }


def scaffold(one: Problem, rng: random.Random) -> Scaffold:
    """A problem that needed more of the thought the harder it is; every ninth was never solved."""
    level = one.level or 1
    share = min(1.0, max(0.05, rng.gauss(0.12 * level, 0.15)))
    solved = rng.randrange(9) > 0
    return Scaffold(
        problem_id=one.id,
        level=level,
        group="levels 1–3" if level < 4 else "levels 4–5",
        trace_id=digest(one.id),
        units=10,
        units_tried=10,
        units_given=max(1, round(10 * share)) if solved else None,
        solved_by=digest("answer", one.id) if solved else None,
        thought_tokens=200,
        prefix_tokens=round(200 * share) if solved else None,
        rest_tokens=max(1, round(200 * (1 - share))) + 20 if solved else None,
        answer_tokens=round((220 - 200 * share) * rng.uniform(0.5, 1.5)) if solved else None,
        censored=None if solved else "never_solved",
    )


def batches() -> list[Batch]:
    """The run's traces by step: four modes, the thoughts' solutions cut out, two evaluations."""
    asked, held = problems(16), problems(8, offset=50_000)
    outputs = {mode: rejection(asked, mode) for mode in ("instruct", "no_think", "no_rethink", "think")}
    bans = {"no_rethink": Ban(words=RETHINK_WORDS)}
    sampled = [Batch(step=n, kind="sample", problems=asked, output=o, ban=bans.get(n)) for n, o in outputs.items()]
    edited = Batch(step="think_solution", kind="rewrite", problems=asked, output=cut(outputs["think"]))
    measured = [
        Batch(step=name, kind="evaluate", benchmark="sums", problems=held, output=examined(held, name, 2))
        for name in ("before", "after")
    ]
    return [*sampled, edited, *measured]


def cut(thoughts: Output) -> Output:
    """The solutions of the correct thoughts, as traces of their own."""
    kept = [trace for trace in thoughts.traces if thoughts.verdict(trace).outcome is Outcome.CORRECT]
    made = [(trace, (trace.span("solution") or "").strip()) for trace in kept]
    traces = [
        replace(
            trace,
            id=digest(trace.id, "cut"),
            text=text,
            paradigm="think_solution",
            spans=(Span(kind="solution", start=0, end=len(text)),),
            num_tokens=9,
            parent=trace.id,
            edit="think_solution",
        ).signed("think_solution", "0")
        for trace, text in made
    ]
    verdicts = {child.id: thoughts.verdict(parent) for child, parent in zip(traces, kept, strict=True)}
    return Output(traces=traces, verdicts=verdicts)


def score_tables(traces: Sequence[Trace]) -> list[ScoreTable]:
    """Verbosity and difficulty of every trace, 0 to 9."""
    rng = random.Random(1)

    def drawn(middle: float) -> float:
        return float(min(9, max(0, round(rng.gauss(middle, 2)))))

    names = (("reasoning_verbosity", 4.0), ("cognitive_difficulty", 5.0))
    return [
        ScoreTable(step=name, of="think", scores=[(t.id, Score(name=name, value=drawn(middle))) for t in traces])
        for name, middle in names
    ]


def rich_metrics() -> dict[str, Any]:
    """A run with everything that a report can show."""
    found, held = run_metrics(), batches()
    counted = {
        "cost": cost_section(held, found["training"]),
        "lengths": lengths_section(held),
        "scores": scores_section(score_tables(held[3].output.traces)),
        **probe_metrics(),
    }
    order = {name: list(section) for name, section in counted.items() if name != "scores"}
    return {**found, **counted, "order": found["order"] | order}
