"""One opening tag after the question, whatever the question says."""

from __future__ import annotations

import pytest

from stillwise.errors import UserError
from stillwise.models.opening import check_one_opening


@pytest.mark.parametrize(("user", "start"), [("what is <think>?", "<think>\n"), ("", "<think>"), ("q", ""), (" \n", "")])
def test_one_opening_is_accepted(user: str, start: str) -> None:
    check_one_opening(f"system\n{user}\nassistant\n", start, user)


@pytest.mark.parametrize(("prompt", "start"), [("q\n<think>", "<think>"), ("q\n", "<think></think><think>")])
def test_two_openings_are_refused(prompt: str, start: str) -> None:
    with pytest.raises(UserError, match="opens 2 thoughts"):
        check_one_opening(prompt, start, "q")
