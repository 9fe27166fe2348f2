"""Agreement between judges, against values worked out by hand."""

from __future__ import annotations

import pytest

from stillwise.score.agreement import calibrate, quadratic_kappa


def test_full_agreement_is_one_and_opposition_is_minus_one() -> None:
    assert quadratic_kappa([0, 1, 2], [0, 1, 2]) == 1.0
    assert quadratic_kappa([0, 2], [2, 0]) == -1.0


def test_a_case_by_hand() -> None:
    # Observed: (0 + 1 + 0 + 0) / 4. By chance: margins {0: 2, 1: 1, 2: 1} and {0: 1, 1: 2, 2: 1}: (2*(0+2+4) +
    # 1*(1+0+1) + 1*(4+2+0)) / 16 = 20 / 16.
    assert quadratic_kappa([0, 0, 1, 2], [0, 1, 1, 2]) == pytest.approx(1 - 0.25 / (20 / 16))


def test_without_spread_there_is_no_kappa() -> None:
    assert quadratic_kappa([3, 3], [3, 3]) is None
    assert quadratic_kappa([], []) is None


def test_different_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 marks of one judge, 1 of the other"):
        quadratic_kappa([1, 2], [1])


def test_a_generous_judge_has_a_bias() -> None:
    found = calibrate([3, 5, 9], [2, 4, 9])
    assert found.n == 3
    assert found.bias == pytest.approx(2 / 3)
    assert found.mean_absolute_error == pytest.approx(2 / 3)
    assert found.kappa is not None
    assert 0 < found.kappa < 1
    with pytest.raises(ValueError, match="empty"):
        calibrate([], [])
