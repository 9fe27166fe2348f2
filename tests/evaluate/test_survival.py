"""What is left after each step, counted by problems and by traces; labels before and after; and the tables of both."""

from __future__ import annotations

from typing import Any, cast

from stillwise.evaluate.page import tables
from stillwise.evaluate.survival import Stage, moves, survival


def stages() -> Any:
    return survival(
        4,
        [
            Stage(step="cots", does="sample all", traces=["a", "a", "b", "c"], kept=["a", "a", "c"]),
            Stage(step="kept", does="select all_correct", traces=["a", "c"], kept=["a"]),
        ],
    )


def test_problems_count_once_however_many_traces_they_keep() -> None:
    first, second = stages()["stages"]
    assert (first["traces"], first["problems"], first["kept_traces"], first["kept_problems"]) == (4, 3, 3, 2)
    assert (first["share"], second["share"]) == (0.5, 0.25)


def test_nothing_left_is_a_row_too() -> None:
    [row] = survival(0, [Stage(step="s", does="d", traces=[], kept=[])])["stages"]
    assert (row["kept_problems"], row["share"]) == (0, 0.0)


def test_labels_move_from_easy_to_hard_in_order_with_undecided_last() -> None:
    found = moves([(2.0, 1.0), (0.0, 1.0), (2.0, 2.0), (None, 0.0), (0.0, None)])
    assert list(found) == ["easy", "hard", "undecided"]
    assert found["hard"] == {"medium": 1, "hard": 1}
    assert found["easy"] == {"medium": 1, "undecided": 1}


def test_both_stand_as_tables_in_the_report() -> None:
    held = {"survival": stages(), "labels": {"fitted": moves([(0.0, 1.0), (2.0, 1.0), (2.0, 2.0)])}}
    found = {one.title: one for _, one in tables(cast(Any, held))}
    survived = found["What is left after each step"]
    assert survived.body[0][:6] == ["cots", "sample all", "4", "3", "3", "2"]
    assert survived.body[0][-1].startswith("50")
    moved = found["Difficulty labels before and after “fitted”"]
    assert moved.head == ("before", "medium", "hard")
    assert moved.body == [["easy", "1", "0"], ["hard", "1", "1"]]
