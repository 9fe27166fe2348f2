"""Recipe pages: every step is drawn once and nothing overlaps, figures come from a finished run, gaps have the right sign."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from stillwise.errors import UserError
from stillwise.evaluate.sections import comparison_section
from stillwise.recipe.load import known_recipes, load
from tools.graph import BOX_HEIGHT, BOX_WIDTH, boxes_of, graph, layers, parents, shown
from tools.recipe_pages import page, recorded

EVALUATIONS = ("before", "after_easy", "after_hard")


@pytest.mark.parametrize("name", known_recipes())
def test_every_step_is_drawn_once_below_what_it_needs_and_none_over_another(name: str) -> None:
    method = load(known_recipes()[name]).method
    boxes, needs = boxes_of(method), parents(method)
    assert set(boxes) == {shown(step.name) for step in method.steps}
    for a, b in combinations(boxes.values(), 2):
        assert abs(a.x - b.x) >= BOX_WIDTH or abs(a.y - b.y) >= BOX_HEIGHT
    assert all(boxes[before].y < boxes[after].y for after, held in needs.items() for before in held)
    assert graph(method).count("<rect") == len(boxes) + 1


def test_layers_are_the_longest_chains() -> None:
    assert layers({"a": [], "b": ["a"], "c": ["a", "b"], "d": []}) == [["a", "d"], ["b"], ["c"]]


def evaluation(share: float) -> dict[str, Any]:
    """An evaluation's section as far as it is read: so many of ten problems solved."""
    solved = {f"p{n}": [int(n < 10 * share), 1] for n in range(10)}
    held = {"pass_at_1": {"value": share, "ci": [share, share]}, "tokens": {"mean": {"value": 12.0}}, "problems": 10}
    return {"benchmarks": {"sums": held}, "per_problem": {"sums": {"1": solved}}, "order": ["sums"]}


def finished(folder: Path, shares: dict[str, float]) -> Path:
    sections: Any = {name: evaluation(share) for name, share in shares.items()}
    rows = [row for a, b in combinations(sections, 2) for row in comparison_section(a, b, sections)]
    metrics = {
        "recipe": {"title": "litecot", "command": "stillwise run litecot --micro --out DIR", "seed": 3},
        "versions": {},
        "problems": {"problems": {"n": 40}},
        "training": {"distilled": [{"tokens": 100}, {"tokens": 11}]},
        "evaluation": sections,
        "comparison": rows,
        "sampling": {
            "think": {"solved": 39, "n": 40, "mean_tokens": {"value": 202.4}},
            "cut": {"solved": 3, "n": 40, "mean_tokens": {"value": None}},
        },
        "order": {"evaluation": list(shares), "benchmarks": ["sums"], "sampling": ["think", "cut"]},
    }
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_the_gap_of_two_students_has_the_sign_of_the_better_one(tmp_path: Path) -> None:
    for hard, sign in ((0.2, -1), (0.8, 1)):
        found = recorded(finished(tmp_path / "run", dict(zip(EVALUATIONS, (0.1, 0.5, hard), strict=True))))
        (gap,) = [row for row in found["differences"] if (row["from"], row["to"]) == ("after_easy", "after_hard")]
        assert gap["difference"]["value"] == pytest.approx(hard - 0.5)
        assert gap["difference"]["value"] * sign > 0
    file = known_recipes()["litecot"]
    text = page("litecot", file, load(file).method, found)
    assert "| after_hard − after_easy | sums | +30.0 [" in text
    assert "40 problems to learn from; tokens learnt from: distilled 111." in text
    assert "$ stillwise run litecot --micro --out runs/litecot" in text
    assert "| after_hard | sums | 80.0 [80.0, 80.0] | 12 | 10 |" in text
    assert "| think | 39 of 40 | 202 |" in text
    assert "| cut | 3 of 40 | – |" in text


def test_two_measured_models_need_no_table_of_differences(tmp_path: Path) -> None:
    found = recorded(finished(tmp_path / "run", {"before": 0.1, "after": 0.5}))
    file = known_recipes()["litecot"]
    assert "Paired differences" not in page("litecot", file, load(file).method, found)
    assert "has not been measured" in page("litecot", file, load(file).method, None)


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        recorded(tmp_path)
