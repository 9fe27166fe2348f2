"""Preference pairs: what may stand over what, how strong, and what is no pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from stillwise.arrows import Contender, Pair, Pairer
from stillwise.recipe.api import Recipe
from stillwise.records import Outcome
from stillwise.runtime import tables
from stillwise.select import PARTS
from stillwise.select.pairs import CogPO, LengthContrast, RightWrong


def made(name: str, outcome: str = "correct", tokens: int | None = 10, **rest: object) -> Contender:
    fields = {"problem_id": "p", "output": "think", "sample_index": 0, "parent": None, "text_digest": name, **rest}
    return Contender(trace_id=name, outcome=outcome, num_tokens=tokens, **fields)  # type: ignore[arg-type]


def couples(part: Pairer, *held: Contender) -> list[tuple[str, str, str]]:
    return [(pair.chosen, pair.rejected, pair.gap) for pair in part.pair(held)[0]]


def test_right_stands_over_wrong_and_nothing_else_does() -> None:
    others = [o for o in Outcome if o not in (Outcome.CORRECT, Outcome.INCORRECT)]
    held = [made("cut", str(o)) for o in others]
    assert RightWrong().pair([made("a"), *held])[1][0].reason == "no_incorrect"
    assert RightWrong().pair([made("b", "incorrect"), *held])[1][0].reason == "no_correct"
    assert couples(RightWrong(), made("a"), made("b", "incorrect"), *held) == [("a", "b", "right_wrong")]


def test_no_trace_stands_in_two_pairs() -> None:
    held = [made(f"r{i}", sample_index=i) for i in range(3)] + [made(f"w{i}", "incorrect", sample_index=i) for i in range(2)]
    assert couples(RightWrong(per_problem=9), *held) == [("r0", "w0", "right_wrong"), ("r1", "w1", "right_wrong")]
    assert len(couples(RightWrong(per_problem=1), *held)) == 1


def test_a_students_own_negatives() -> None:
    held = [made("t"), made("tw", "incorrect"), made("s", output="student"), made("sw", "incorrect", output="student")]
    assert couples(RightWrong(chosen="think", rejected="student"), *held) == [("t", "sw", "right_wrong")]
    assert couples(RightWrong(chosen="think"), *held) == [("t", "tw", "right_wrong")]
    with pytest.raises(ValidationError, match="chosen must name one too"):
        RightWrong(rejected="student")


def test_another_output_stands_in_where_a_problem_has_no_wrong_trace() -> None:
    part = RightWrong(chosen="think", rejected="fresh", otherwise="first")
    held = [made("t"), made("old", "incorrect", output="first"), made("right", output="fresh")]
    assert couples(part, *held) == [("t", "old", "right_wrong")]
    assert couples(part, *held, made("new", "incorrect", output="fresh")) == [("t", "new", "right_wrong")]
    assert part.pair(held[:1])[1][0].reason == "no_incorrect"
    with pytest.raises(ValidationError, match="names no output"):
        RightWrong(chosen="think", otherwise="first")


def test_length_matched_pairs() -> None:
    held = [made("r", tokens=100), made("far", "incorrect", tokens=10), made("near", "incorrect", tokens=90, sample_index=1)]
    assert couples(RightWrong(match="length"), *held) == [("r", "near", "right_wrong")]
    assert RightWrong(within=0.05).pair(held)[1][0].reason == "no_match"
    assert RightWrong(within=0.5).pair([made("r", tokens=None), held[2]])[1][0].reason == "no_match"


def test_cogpo_pairs_of_three_gaps() -> None:
    held = [
        made("suits", sample_index=0),
        made("hard", sample_index=1),
        made("wrong", "incorrect", sample_index=2),
        made("wrong2", "incorrect", sample_index=3),
        made("re", output="rewritten", parent="hard"),
    ]
    part = CogPO(original="think", rewritten="rewritten")
    pairs, failures = part.pair(held)
    assert [(p.chosen, p.rejected, p.gap, p.beta) for p in pairs] == [
        ("re", "hard", "small", 0.05),
        ("hard", "wrong", "medium", 0.1),
        ("re", "wrong", "large", 0.2),
    ]
    assert failures == []
    assert all(p.margin > 0 for p in pairs)


def test_cogpo_takes_no_trace_that_came_back_unchanged_for_a_rewriting() -> None:
    part = CogPO(original="think", rewritten="rewritten")
    held = [made("medium"), made("wrong", "incorrect"), made("medium", output="rewritten")]
    assert part.pair(held)[1][0].reason == "no_pair"


def test_cogpo_needs_the_rewriting_to_be_correct_and_other() -> None:
    part = CogPO(original="think", rewritten="rewritten")
    equal = [made("hard", text_digest="x"), made("re", output="rewritten", parent="hard", text_digest="x")]
    spoiled = [made("hard"), made("re", "incorrect", output="rewritten", parent="hard")]
    assert part.pair(equal)[1][0].reason == "no_pair"
    assert couples(part, *spoiled) == [("hard", "re", "medium")]


def test_length_contrast_takes_the_widest_first() -> None:
    held = [made("short", tokens=10), made("middle", tokens=50), made("long", tokens=100), made("wrong", "incorrect", tokens=1)]
    (pair,) = LengthContrast().pair(held)[0]
    assert (pair.chosen, pair.rejected) == ("short", "long")
    assert pair.margin == pytest.approx(0.9)
    assert couples(LengthContrast(prefer="longer"), *held) == [("long", "short", "length")]
    assert LengthContrast(least_margin=0.95).pair(held)[1][0].reason == "no_margin"


def test_zero_margin_and_wrong_over_wrong_only_when_asked() -> None:
    equal = [made("a"), made("b"), made("w", "incorrect", tokens=5), made("v", "incorrect", tokens=9)]
    assert LengthContrast(least_margin=0.0).pair(equal)[1][0].reason == "no_margin"
    assert couples(LengthContrast(least_margin=0.0, zero_margin=True), *equal) == [("a", "b", "length")]
    assert couples(LengthContrast(outcome="incorrect"), *equal) == [("w", "v", "length")]
    twins = [made("a", text_digest="same", tokens=3), made("b", text_digest="same", tokens=9)]
    assert LengthContrast().pair(twins)[0] == []


PAIRERS: tuple[Pairer, ...] = (RightWrong(), CogPO(original="think", rewritten="rewritten"), LengthContrast())


@pytest.mark.parametrize("part", PAIRERS, ids=lambda part: part.kind)
def test_pairs_stay_inside_a_problem_and_do_not_depend_on_order(part: Pairer) -> None:
    assert type(part) in PARTS.values()
    held = [
        made(f"{p}{kind}{i}", kind, 10 * i + len(kind), problem_id=p, sample_index=i)
        for p in "xyz"
        for kind in ("correct", "incorrect")
        for i in range(3)
    ]
    held += [made(f"{p}re", output="rewritten", parent=f"{p}correct1", problem_id=p, sample_index=9) for p in "xyz"]
    pairs = part.pair(held)[0]
    assert {pair.problem_id for pair in pairs} == {"x", "y", "z"}
    assert all(pair.chosen[0] == pair.rejected[0] == pair.problem_id for pair in pairs)
    assert sorted(part.pair(held[::-1])[0], key=str) == sorted(pairs, key=str)


RECIPE = """
paper: {title: Toy}
about: pairs
roles: [teacher, student]
steps:
  - sample: {as: right, by: teacher, paradigm: {kind: instruct, instruction: ''}, tries: 1, max_tokens: 64}
  - sample: {as: tries, by: student, paradigm: {kind: instruct, instruction: ''}, tries: 1, max_tokens: 64}
  - pair: {as: pairs, kind: right_wrong, chosen: right, rejected: tries}
"""


def test_the_step_word_pair_writes_a_table_of_pairs(tmp_path: Path) -> None:
    def lines(name: str, rows: list[dict[str, str]]) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    questions = [f"What is {i} + 5?" for i in range(4)]
    problems = lines("p.jsonl", [{"question": q, "answer": str(i + 5)} for i, q in enumerate(questions)])
    good = lines("good.jsonl", [{"question": q, "answer": f"\\boxed{{{i + 5}}}"} for i, q in enumerate(questions)])
    bad = lines("bad.jsonl", [{"question": q, "answer": f"\\boxed{{{i + 5 + (i > 0)}}}"} for i, q in enumerate(questions)])
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "bound.yaml").write_text(
        f"roles: {{teacher: 'scripted:{good}', student: 'scripted:{bad}'}}\nproblems: {{kind: file, path: '{problems}'}}\n"
    )
    out = tmp_path / "run"
    metrics = Recipe.load(tmp_path / "toy.yaml", binding=str(tmp_path / "bound.yaml")).run(out, progress="quiet").metrics
    (table,) = (out / "work" / "pairs").glob("*/pairs.parquet")
    pairs = tables.read(table, Pair)
    assert len({pair.problem_id for pair in pairs}) == len(pairs) == 3
    assert metrics["failures"]["pairs"] == {"no_incorrect": 1}
