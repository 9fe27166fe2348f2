r"""The last balanced ``\boxed{}``, in linear time whatever the text holds."""

from __future__ import annotations

import time

import pytest

from stillwise.boxed import has_box, last_boxed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"so \boxed{4}.", "4"),
        (r"\boxed{10} and then \boxed{ 42 }", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\left\{1, 2\right.}", r"\left\{1, 2\right."),
        (r"\boxed {7}", "7"),
        (r"\boxed 8, done", "8"),
        (r"\fbox{9}", "9"),
        (r"\boxed{}", ""),
        (r"\boxed{1} then \boxed{2", None),
        ("no box", None),
        (r"\boxedstuff{3}", None),
    ],
)
def test_last_boxed(text: str, found: str | None) -> None:
    assert last_boxed(text) == found
    assert has_box(text) == ("box{" in text or "boxed{" in text or "boxed " in text)


@pytest.mark.parametrize(
    "hostile", ["\\boxed{" * 100_000, "\\boxed{" + "{" * 100_000 + "}" * 100_001, "\\boxed" + " " * 1_000_000, "\\" * 1_000_000]
)
def test_hostile_text_costs_linear_time(hostile: str) -> None:
    start = time.process_time()
    last_boxed(hostile)
    assert time.process_time() - start < 2
