"""How often a problem is solved, and how much solvers differ on it; every number with its k, its n and an interval."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from stillwise.arrows import Scorer, Tools, Verifier
from stillwise.records import Outcome, Problem, Score, Trace, Verdict

DECIDED = (Outcome.CORRECT, Outcome.INCORRECT)
Group = tuple[Problem, Sequence[Trace]]


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share k/n after Wilson (1927), 95 % by default; it never leaves 0 to 1, and n = 0 knows nothing."""
    if n == 0:
        return 0.0, 1.0
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


class PassRate(Scorer):
    """The share of a problem's decided traces that are correct: one number for all traces of the problem.

    Traces that were cut off, timed out or could not be judged are not wrong ones: they are told in the detail and, unless
    ``cut_off_fails``, left out of n.
    """

    kind: ClassVar[str] = "pass_rate"
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """Who decides."""
    cut_off_fails: bool = False
    """Whether a trace that stopped at the token limit counts as a failed try."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """The same score for each trace; None where none was decided."""
        return self.score_all([(problem, traces)], tools)[0]

    def score_all(self, groups: Sequence[Group], tools: Tools) -> list[list[Score]]:
        """All traces of all problems are judged at once."""
        verdicts = judged(self.verify, groups, tools)
        return [[self.of(held)] * len(held) for held in verdicts]

    def of(self, verdicts: Sequence[Verdict]) -> Score:
        """The score of one problem's verdicts; the detail holds k, n, the interval and what was left out."""
        counts = Counter(verdict.outcome for verdict in verdicts)
        failed = (Outcome.INCORRECT, Outcome.TRUNCATED) if self.cut_off_fails else (Outcome.INCORRECT,)
        k = counts[Outcome.CORRECT]
        n = k + sum(counts[outcome] for outcome in failed)
        left = {str(o): c for o, c in sorted(counts.items()) if o not in (Outcome.CORRECT, *failed)}
        others = "".join(f", {count} {outcome}" for outcome, count in left.items())
        if n == 0:
            return Score(name=self.kind, value=None, detail=f"0 of 0 decided{others}")
        low, high = wilson(k, n)
        return Score(name=self.kind, value=k / n, detail=f"{k} of {n}, 95% {low:.3f} to {high:.3f}{others}")


def variation(values: Sequence[float], ddof: int) -> float | None:
    """The standard deviation of the values over their mean; None for fewer than two, or where the mean is 0."""
    if len(values) < 2 or not statistics.fmean(values):
        return None
    spread = statistics.stdev(values) if ddof else statistics.pstdev(values)
    return spread / statistics.fmean(values)


class Variation(Scorer):
    """The coefficient of variation of solvers' pass rates on a problem: their standard deviation over their mean.

    High where some models solve what others do not; 0 where all do equally well (DeepDistill, arXiv 2504.17565).
    """

    kind: ClassVar[str] = "variation"
    revision: ClassVar[int] = 2
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """Who decides."""
    by: Literal["model", "role", "paradigm", "answer"] = "model"
    """What tells the solvers apart; ``answer`` takes each answer's 0 or 1 by itself, whoever gave it."""
    ddof: Literal[0, 1] = 1
    """1 divides the squares by n - 1, which gives the paper's worked value; 0 by n, which is its printed formula."""
    least: int = Field(default=1, ge=1)
    """Fewest decided traces of a solver that counts."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """The same score for each trace; None for fewer than two solvers, or where nobody solved it."""
        return self.score_all([(problem, traces)], tools)[0]

    def score_all(self, groups: Sequence[Group], tools: Tools) -> list[list[Score]]:
        """All traces of all problems are judged at once."""
        verdicts = judged(self.verify, groups, tools)
        return [[self.of(traces, held)] * len(held) for (_, traces), held in zip(groups, verdicts, strict=True)]

    def of(self, traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> Score:
        """The score of one problem; the detail holds each solver's k and n."""
        tries: defaultdict[str, list[bool]] = defaultdict(list)
        for trace, verdict in zip(traces, verdicts, strict=True):
            if verdict.outcome in DECIDED:
                tries[trace.id if self.by == "answer" else getattr(trace, self.by)].append(verdict.outcome is Outcome.CORRECT)
        rates = {name: sum(held) / len(held) for name, held in sorted(tries.items()) if len(held) >= self.least}
        detail = ", ".join(f"{name}: {sum(tries[name])} of {len(tries[name])}" for name in rates)
        if self.by == "answer":
            detail = f"{sum(map(sum, tries.values()))} of {len(rates)} answers"
        if len(rates) < 2:
            return Score(name=self.kind, value=None, detail=f"fewer than two solvers ({detail})")
        if not any(rates.values()):
            return Score(name=self.kind, value=None, detail=f"nobody solved it ({detail})")
        return Score(name=self.kind, value=variation(list(rates.values()), self.ddof), detail=detail)


def judged(verifier: Verifier, groups: Sequence[Group], tools: Tools) -> list[list[Verdict]]:
    """Verdicts of each problem's traces, asked for all at once."""
    pairs = [(problem, trace) for problem, traces in groups for trace in traces]
    verdicts = iter(verifier.decide(pairs, tools))
    return [[next(verdicts) for _ in traces] for _, traces in groups]
