"""What ``--on`` may say, and how work is cut."""

from __future__ import annotations

import pytest

from stillwise.errors import UserError
from stillwise.runtime import cluster, where
from stillwise.runtime.executor import cut


def test_ranges_are_even_and_in_order() -> None:
    assert cut(range(7), 3) == [range(2), range(2, 4), range(4, 7)]
    assert cut(range(7), 3, least=4) == [range(7)]
    assert cut([], 3) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:none", "nowhere", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_refused_at_once(address: str) -> None:
    with pytest.raises(UserError, match=f"no cluster answers at {address}"):
        cluster.join(address)


@pytest.mark.parametrize("word", ["rey", "ray:", "local:here", "slurm"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(UserError, match="give local, ray or ray:ADDRESS"):
        where.check_on(word)
