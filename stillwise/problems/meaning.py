"""Problems that say what a benchmark's question says, in other words: found by an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from stillwise.arrows import Curated, Curator
from stillwise.records import Failure, Problem

_ROWS = 4096


class DecontaminateMeaning(Curator):
    """Drops problems whose embedding is as near to a benchmark's question as a paraphrase would be.

    To be used after ``decontaminate``, which finds shared words with their place; this finds what shares none. Cosine
    similarity of mean-pooled embeddings. Where the line runs depends on the encoder: look at what is dropped (``detail`` names
    the question and the similarity). LLM decontaminator (arXiv 2311.04850) takes the nearest by embedding too and asks a model.
    """

    kind: ClassVar[str] = "decontaminate_meaning"
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A transformers folder or hub id of an encoder."""
    threshold: float = Field(default=0.9, gt=0, le=1)
    """Cosine similarity from which two questions count as one."""
    batch: int = Field(default=64, ge=1)
    """Texts in one forward pass."""
    max_tokens: int = Field(default=256, ge=2)
    """Longer questions are cut."""
    allow: tuple[str, ...] = ()
    """Ids of benchmark questions that are no leak."""

    def curate(self, problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]], seed: int) -> Curated:
        """A failure ``meaning:BENCHMARK`` for each problem that goes, named by its nearest question."""
        held = [(name, one) for name, ones in benchmarks.items() for one in ones if one.id not in self.allow]
        dropped = list(self._near(problems, held)) if held and problems else []
        counts = {name: sum(failure.reason == f"meaning:{name}" for failure in dropped) for name in benchmarks}
        return Curated(dropped=dropped, figures={"looked_at": len(problems), "by_benchmark": counts})

    def _near(self, problems: Sequence[Problem], held: Sequence[tuple[str, Problem]]) -> Iterator[Failure]:
        asked = self._vectors([one.question for _, one in held])
        given = self._vectors([problem.question for problem in problems])
        for begin in range(0, len(problems), _ROWS):
            likeness = given[begin : begin + _ROWS] @ asked.T
            for place, (nearest, value) in enumerate(zip(likeness.argmax(1), likeness.max(1), strict=True), start=begin):
                if value >= self.threshold:
                    name, one = held[int(nearest)]
                    detail = f"{one.id} at cosine {float(value):.3f}"
                    yield Failure(step=self.kind, item=problems[place].id, reason=f"meaning:{name}", detail=detail)

    def _vectors(self, texts: Sequence[str]) -> Any:
        from stillwise.models.embed import embedded

        return embedded(self.model, texts, self.batch, self.max_tokens)
