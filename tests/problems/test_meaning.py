"""Questions that say the same to an encoder."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from stillwise.errors import UserError
from stillwise.models.embed import embedded
from stillwise.problems.meaning import DecontaminateMeaning
from stillwise.records import Problem

MODEL = str(Path(__file__).parents[2] / "stillwise" / "micro" / "models" / "base")


def problems(*questions: str) -> list[Problem]:
    return [Problem.of(question, "1") for question in questions]


def test_vectors_do_not_depend_on_their_batch() -> None:
    texts = [f"{n} + {n * n}" * (1 + n % 3) for n in range(9)]
    alone, together = embedded(MODEL, texts, 1, 64), embedded(MODEL, texts, 5, 64)
    assert abs(alone - together).max() < 1e-5
    assert abs((together**2).sum(1) - 1).max() < 1e-5


def test_a_nearly_equal_question_goes_and_another_stays() -> None:
    rng = random.Random(0)
    asked = problems(*(f"{rng.randint(10, 99)} + {rng.randint(10, 99)} - {rng.randint(10, 99)}" for _ in range(20)))
    given = problems(asked[3].question + " =", "7 * 8", asked[7].question)
    part = DecontaminateMeaning(model=MODEL, threshold=0.995)
    found = part.curate(given, {"sums": asked}, 0)
    assert [failure.item for failure in found.dropped] == [given[0].id, given[2].id]
    assert asked[7].id in (found.dropped[1].detail or "")
    assert found.figures == {"looked_at": 3, "by_benchmark": {"sums": 2}}
    allowed = DecontaminateMeaning(model=MODEL, threshold=1 - 1e-5, allow=(asked[7].id,))
    assert given[2].id not in [failure.item for failure in allowed.curate(given, {"sums": asked}, 0).dropped]
    assert not part.curate(given, {}, 0).dropped


def test_a_missing_encoder_is_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        DecontaminateMeaning(model=str(tmp_path / "none")).curate(problems("a"), {"b": problems("c")}, 0)
