"""How a model is measured: independent samples of every problem, each with its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import INSTRUCTION, Ask, Benchmark, Paradigm, Sampled, Scorer, Tools, Verifier, user_message
from stillwise.decoding import Decoding
from stillwise.parts import Role
from stillwise.records import Failure, Problem, Score, Trace


class Unaided(Paradigm):
    """The model's own template, with nothing prefilled and nothing banned: how a student is examined."""

    kind: ClassVar[str] = "unaided"

    instruction: str = INSTRUCTION
    """Appended to the question; empty for none."""

    def ask(self, problem: Problem) -> Ask:
        """The question and the instruction."""
        return Ask(user=user_message(problem.question, self.instruction))


class PassAt1(Benchmark, Decoding):
    """Pass@1 as the mean over independent samples (Teach Small Models to Reason by Curriculum Distillation, §4.1)."""

    kind: ClassVar[str] = "pass_at_1"

    model: Role = "student"
    """The role that is measured."""
    samples: int = Field(default=8, ge=1)
    """Samples per problem; the paper draws 32 for AIME and AMC, which its binding sets."""
    instruction: str = INSTRUCTION
    """Appended to the question; the same as in training."""
    verify: Verifier = Field(default={"kind": "by_answer_kind", "mode": "recall"}, validate_default=True)
    """What decides whether an answer is right, and which wrong answers are equal. Lenient in notation and in where the answer
    stands (the rule is counted), unlike rejection sampling, which must not learn from a guess."""
    best_by: tuple[Scorer, ...] = ()
    """Numbers beside the verdict: each is reported under its own name, and the best of n samples is chosen by it."""

    def measure(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Sample 0 of every problem, then sample 1, …; within a sample the order of the problems."""
        from stillwise.runtime.draw import draw_tries

        paradigm = Unaided(instruction=self.instruction)
        bar = tools.progress(tools.step, len(problems) * self.samples)
        yield from draw_tries(problems, paradigm, self.model, self.sampling, self.samples, self.verify, tools, bar)

    def scores(self, problems: Sequence[Problem], sampled: Sequence[Sampled], tools: Tools) -> list[tuple[str, Score]]:
        """The class of each answer by the verifier (``answer_class``), then the numbers of ``best_by``."""
        from stillwise.evaluate.classes import ANSWER_CLASS, answer_classes

        classes = answer_classes(problems, sampled, self.verify, tools)
        found = [(trace, Score(name=ANSWER_CLASS, value=float(number))) for trace, number in classes.items()]
        held: dict[str, list[Trace]] = {}
        for one in sampled:
            held.setdefault(one.trace.problem_id, []).append(one.trace)
        groups = [(problem, held[problem.id]) for problem in problems if problem.id in held]
        for scorer in self.best_by:
            for (_, traces), scores in zip(groups, scorer.score_all(groups, tools), strict=True):
                found += [(trace.id, score) for trace, score in zip(traces, scores, strict=True)]
        return found
