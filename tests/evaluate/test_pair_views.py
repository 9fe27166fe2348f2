from __future__ import annotations

from typing import Any, cast

from stillwise.evaluate.pair_views import pair_figures
from stillwise.evaluate.plots import KINDS


def test_both_sides_of_the_pairs_are_drawn_and_told() -> None:
    curve = [[1, -1.0, -2.0], [2, -1.5, -4.0], [3, -1.25, -3.0]]
    metrics: Any = {
        "training": {"imitated": [{"stage": "one"}], "better": [{"stage": "pairs", "pairs": 12, "pair_curve": curve}]},
        "order": {},
    }
    (figure,) = pair_figures(cast(Any, metrics))
    assert "better" in figure.title
    assert "12 pairs" in figure.note
    assert [row[0] for row in figure.body] == ["chosen", "rejected", "chosen minus rejected"]
    assert list(figure.body[0][1:]) == ["-1.000", "-1.500", "-1.250"]
    assert list(figure.body[2][1:]) == ["1.000", "1.000", "1.750"]
    for _, drawing in figure.drawings:
        assert KINDS[type(drawing)](drawing) is not None
