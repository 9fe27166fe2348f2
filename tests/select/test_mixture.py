"""Mixtures: one trace for each problem, exact shares, one deal for each seed; and rewritings over their parents."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from stillwise.arrows import Contender, Row
from stillwise.parts import inputs_of
from stillwise.select.mixture import Mixture
from stillwise.select.rewritten import OverParent


def row(problem: str, output: str, outcome: str = "correct") -> Row:
    return Row(
        trace_id=f"{output}/{problem}",
        problem_id=problem,
        output=output,
        level=1,
        outcome=outcome,
        num_tokens=9,
        sample_index=0,
    )


def mixture(share: float, seed: int = 0) -> Mixture:
    return Mixture.model_validate(
        {"of": [{"from": "long", "share": share}, {"from": "short", "share": 1 - share}], "seed": seed}
    )


def both(count: int) -> list[Row]:
    return [row(f"p{n}", output) for output in ("long", "short") for n in range(count)]


@pytest.mark.parametrize("count", [1, 3, 7, 100])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 0.5, 1.0])
def test_each_problem_once_and_shares_to_the_nearest_trace(share: float, count: int) -> None:
    kept, dropped = mixture(share).select(both(count))
    assert [one.problem_id for one in kept] == [f"p{n}" for n in range(count)]
    assert not dropped
    assert abs(Counter(one.output for one in kept)["long"] - share * count) <= 0.5


def test_three_outputs_none_off_by_a_whole_trace() -> None:
    part = Mixture.model_validate({"of": [{"from": name, "share": 1 / 3} for name in "abc"]})
    counts = Counter(one.output for one in part.select([row(f"p{n}", name) for name in "abc" for n in range(10)])[0])
    assert sum(counts.values()) == 10
    assert all(abs(count - 10 / 3) < 1 for count in counts.values())
    assert inputs_of(part) == ("a", "b", "c")


def test_the_deal_follows_from_the_seed_and_the_problem_alone() -> None:
    rows = both(50)
    dealt = {one.problem_id: one.output for one in mixture(0.2).select(rows)[0]}
    assert {one.problem_id: one.output for one in mixture(0.2).select(rows[::-1])[0]} == dealt
    assert {one.problem_id: one.output for one in mixture(0.2, seed=1).select(rows)[0]} != dealt
    # A larger share keeps what a smaller one had: what is compared differs in what was added only.
    more = {one.problem_id: one.output for one in mixture(0.6).select(rows)[0]}
    assert all(more[problem] == "long" for problem, output in dealt.items() if output == "long")


def test_a_problem_that_one_output_did_not_solve_is_left_out_of_all() -> None:
    rows = [*both(4), row("p9", "short"), row("p9", "long", "incorrect")]
    for share in (0.0, 0.2, 1.0):
        kept, dropped = mixture(share).select(rows)
        assert {one.problem_id for one in kept} == {"p0", "p1", "p2", "p3"}
        assert [(one.item, one.reason) for one in dropped] == [("p9", "no_correct:long")]


def test_shares_that_are_no_whole_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"add up to 0\.9"):
        Mixture.model_validate({"of": [{"from": "a", "share": 0.2}, {"from": "b", "share": 0.7}]})


def made(name: str, output: str, outcome: str = "correct", parent: str | None = None, text: str = "") -> Contender:
    return Contender(
        trace_id=name, problem_id="p", output=output, outcome=outcome, num_tokens=9, sample_index=0, parent=parent,
        text_digest=text or name,
    )  # fmt: skip


def test_a_rewriting_stands_over_its_own_correct_parent_alone() -> None:
    part = OverParent(original="think", rewritten="pruned")
    held = [made("a", "think"), made("b", "think"), made("ra", "pruned", parent="a")]
    assert [(one.chosen, one.rejected) for one in part.pair(held)[0]] == [("ra", "a")]
    other = OverParent(original="think", rewritten="pruned", prefer="original")
    assert [(one.chosen, one.rejected) for one in other.pair(held)[0]] == [("a", "ra")]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ([made("a", "think")], "no_rewriting"),
        ([made("a", "think", "incorrect"), made("r", "pruned", parent="a")], "no_rewriting"),
        ([made("a", "think"), made("r", "pruned", "incorrect", parent="a")], "no_rewriting"),
        ([made("a", "think"), made("r", "elsewhere", parent="a")], "no_rewriting"),
        ([made("a", "think", text="same"), made("r", "pruned", parent="a", text="same")], "unchanged"),
    ],
)
def test_what_is_no_pair_says_why(held: list[Contender], reason: str) -> None:
    pairs, dropped = OverParent(original="think", rewritten="pruned").pair(held)
    assert not pairs
    assert [one.reason for one in dropped] == [reason]
