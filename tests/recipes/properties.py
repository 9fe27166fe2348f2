"""What a recipe's own paper promises of its intermediate results, looked up in a finished toy run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from stillwise.arrows import Pair, Row
from stillwise.recipe.housekeeping import USED
from stillwise.recipe.work import PAIRS, ROWS
from stillwise.records import Outcome, Trace
from stillwise.rewrite.chunks import CHUNK
from stillwise.runtime import tables
from stillwise.runtime.likeness import rouge_l
from stillwise.runtime.store import file_name
from stillwise.runtime.tables import Judged

T = TypeVar("T")


def output(run: Path, step: str, table: str, record: type[T]) -> list[T]:
    """A step's table, of the output that the last run into the folder used."""
    used = json.loads((run / "work" / USED).read_text())
    (path,) = [name for name in used if name.partition("/")[0] == file_name(step)]
    return tables.read(run / "work" / path / table, record)


def traces(run: Path, step: str) -> dict[str, Trace]:
    return {trace.id: trace for trace in output(run, step, "traces.parquet", Trace)}


def outcomes(run: Path, step: str) -> dict[str, Outcome]:
    return {row.trace_id: row.verdict.outcome for row in output(run, step, "verdicts.parquet", Judged)}


def shorter_and_verified(run: Path) -> None:
    """LiteCoT: every kept rewriting is correct, shorter than its source, and says how hard the problem was judged."""
    source, lite, found = traces(run, "think"), traces(run, "lite"), outcomes(run, "lite")
    assert lite
    for trace in lite.values():
        assert len(trace.text) < len(source[trace.parent or ""].text)
        assert trace.edit in ("easy", "medium", "hard")
    assert {found[row.trace_id] for row in output(run, "kept", ROWS, Row)} == {Outcome.CORRECT}


def exact_shares(run: Path) -> None:
    """Mix Distillation: one trace of each problem that both teachers solved, a fifth of them hard."""
    mixed, common = output(run, "mixed", ROWS, Row), output(run, "common", ROWS, Row)
    assert [row.problem_id for row in mixed] == list(dict.fromkeys(row.problem_id for row in common))
    assert abs(Counter(row.output for row in mixed)["think"] - 0.2 * len(mixed)) <= 0.5


def strict_prefixes(run: Path) -> None:
    """Efficient Long CoT: the chosen thought is a strict beginning of the rejected one, and both are correct."""
    whole, pruned, found = traces(run, "think"), traces(run, "pruned"), {**outcomes(run, "think"), **outcomes(run, "pruned")}
    pairs = output(run, "mined", PAIRS, Pair)
    assert pairs
    for pair in pairs:
        short, full = (held[name].span("thinking") for held, name in ((pruned, pair.chosen), (whole, pair.rejected)))
        assert short
        assert full
        assert full.startswith(short.rstrip())
        assert len(short) < len(full)
        assert found[pair.chosen] is found[pair.rejected] is Outcome.CORRECT


def right_over_wrong(run: Path) -> None:
    """ORPO-Distill: correct traces of the teacher over incorrect ones of a student, no two of a side too much alike."""
    taught, right, wrong = traces(run, "taught"), outcomes(run, "right"), outcomes(run, "wrong")
    for names, held in ((right, taught), (wrong, traces(run, "attempts"))):
        for a, b in combinations([held[name] for name in names], 2):
            assert a.problem_id != b.problem_id or rouge_l(a.text.split(), b.text.split()) <= 0.95
    for number in (1, 2):
        fresh = outcomes(run, f"refreshed/{number}")
        for pair in output(run, f"mined/{number}", PAIRS, Pair):
            assert right[pair.chosen] is Outcome.CORRECT
            assert fresh.get(pair.rejected, wrong.get(pair.rejected)) is Outcome.INCORRECT


def chunks_of(trace: Trace) -> Iterator[str]:
    return (trace.text[span.start : span.end] for span in trace.spans if span.kind == CHUNK)


def some_chunks(run: Path) -> None:
    """Skip-Thinking: chunks together are the text; what is left after skipping was there before, the answer always."""
    chunked, skipped = traces(run, "chunked"), traces(run, "skipped")
    assert chunked
    assert len(skipped) == len(chunked)
    for trace in (*chunked.values(), *skipped.values()):
        assert "".join(chunks_of(trace)) == trace.text
    for trace in skipped.values():
        left, before = list(chunks_of(trace)), list(chunks_of(chunked[trace.parent or ""]))
        assert left[-1] == before[-1]
        assert 2 <= len(left) <= len(before)
        assert all(chunk.removeprefix("<think>\n") in chunked[trace.parent or ""].text for chunk in left)


PROPERTIES: dict[str, Callable[[Path], None]] = {
    "litecot": shorter_and_verified,
    "mix-distillation": exact_shares,
    "mix-distillation-large": exact_shares,
    "efficient-long-cot": strict_prefixes,
    "orpo-distill": right_over_wrong,
    "skip-thinking": some_chunks,
}
