"""Short traces for easy problems, long for hard."""

from __future__ import annotations

from stillwise.arrows import Row
from stillwise.select.suited_length import SuitedLength


def row(name: str, problem: str, level: int | None, tokens: int | None, outcome: str = "correct", **scores: float) -> Row:
    return Row(
        trace_id=name, problem_id=problem, output="pool", level=level, outcome=outcome, num_tokens=tokens, sample_index=0,
        scores=scores,
    )  # fmt: skip


def pool(levels: tuple[int, ...] = (1, 3, 5)) -> list[Row]:
    return [row(f"{level}-{n}", f"p{level}", level, n) for level in levels for n in (300, 100, 200)]


def test_the_easiest_keeps_its_shortest_the_hardest_its_longest_the_middle_its_median() -> None:
    kept, dropped = SuitedLength().select(pool())
    assert [(r.problem_id, r.num_tokens) for r in kept] == [("p1", 100), ("p3", 200), ("p5", 300)]
    assert not dropped


def test_a_shortest_trace_that_is_wrong_or_of_unknown_length_is_not_chosen() -> None:
    rows = [*pool(), row("w", "p1", 1, 5, "incorrect"), row("u", "p1", 1, None), row("lost", "q", 1, 9, "truncated")]
    kept, dropped = SuitedLength().select(rows)
    assert kept[0].num_tokens == 100
    assert [(f.item, f.reason) for f in dropped] == [("q", "no_correct")]


def test_difficulty_may_come_from_a_score_and_unknown_is_a_reason() -> None:
    rows = [row("a1", "a", 1, 10, cd=9), row("a2", "a", 1, 90, cd=9), row("b1", "b", 5, 10, cd=0), row("b2", "b", 5, 90, cd=0)]
    kept, dropped = SuitedLength(difficulty=("cd",)).select([*rows, row("c", "c", 3, 50)])
    assert [r.trace_id for r in kept] == ["a2", "b1"]
    assert [(f.item, f.reason) for f in dropped] == [("c", "unknown_difficulty")]


def test_more_than_one_takes_the_next_nearest_and_one_level_alone_the_median() -> None:
    kept, _ = SuitedLength(per_problem=2).select(pool())
    assert [r.num_tokens for r in kept if r.problem_id == "p5"] == [300, 200]
    assert [r.num_tokens for r in SuitedLength().select(pool((4,)))[0]] == [200]


def test_figures_say_how_long_traces_are_by_third_before_and_after() -> None:
    rows = pool()
    lengths = SuitedLength().figures(rows, SuitedLength().select(rows)[0])["lengths"]
    assert [lengths[t]["before"]["mean_tokens"] for t in ("easy", "middle", "hard")] == [200, 200, 200]
    assert [lengths[t]["after"]["mean_tokens"] for t in ("easy", "middle", "hard")] == [100, 200, 300]
