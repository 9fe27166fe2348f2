"""Traces of a problem that are unlike each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Curated, Filter
from stillwise.records import Failure, Problem, Trace


class Distinct(Filter):
    """Drops traces that are too much like an earlier one of their problem, by ROUGE-L over words (arXiv 2509.25100, §2)."""

    kind: ClassVar[str] = "distinct"
    max_rouge_l: float = Field(default=0.8, ge=0, le=1)
    """The most that two kept traces of a problem may have in common."""

    def filter(
        self, problems: Mapping[str, Problem], traces: Sequence[Trace], benchmarks: Mapping[str, Sequence[Problem]]
    ) -> Curated:
        """In the order in which they were sampled the first of each problem stays, then whatever is unlike all that stayed."""
        from stillwise.runtime.likeness import unlike

        held: dict[str, list[Trace]] = {}
        for trace in traces:
            held.setdefault(trace.problem_id, []).append(trace)
        gone = [
            Failure(step=self.kind, item=trace.id, reason="too_similar", detail=f"more than {self.max_rouge_l}")
            for group in held.values()
            for trace, kept in zip(group, unlike((one.text for one in group), self.max_rouge_l), strict=True)
            if not kept
        ]
        kept = len(traces) - len(gone)
        figures = {"max_rouge_l": self.max_rouge_l, "kept": kept, "kept_per_problem": kept / len(held) if held else None}
        return Curated(dropped=gone, figures=figures)
