"""The symbolic back end: Math-Verify, for what the reader here cannot read. It may hang: killable workers only."""

from __future__ import annotations

import importlib.metadata
from functools import cache, lru_cache
from typing import Any

from stillwise.boxed import has_box, last_boxed
from stillwise.verify.policy import Policy


@cache
def version() -> str:
    """Name and version of the back end."""
    return f"math-verify@{importlib.metadata.version('math-verify')}"


@lru_cache(maxsize=4096)
def parsed(answer: str) -> tuple[Any, ...]:
    """Math-Verify's reading of one answer, as LaTeX only: its reader of plain expressions evaluates text."""
    import logging

    from math_verify import LatexExtractionConfig, parse

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)
    text = f"\\boxed{{{answer}}}"
    found: list[Any] = parse(
        text, extraction_config=[LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return tuple(found)


def symbolically_same(reference: str, answer: str, policy: Policy) -> tuple[bool | None, str | None]:
    """Math-Verify's word, with a remark; None where it cannot read the reference. Precision asks it in both directions."""
    gold, given = parsed(_typeset(reference)), parsed(_typeset(answer))
    if not gold:
        return None, "the reference answer cannot be read as mathematics"
    if not given:
        return False, "the answer cannot be read as mathematics"
    right = _verified(gold, given, policy)
    if right and policy.mode == "precision":
        right = _verified(given, gold, policy)
    return right, None


def _verified(gold: tuple[Any, ...], given: tuple[Any, ...], policy: Policy) -> bool:
    from math_verify import verify

    strict = policy.mode == "precision"
    return bool(verify(list(gold), list(given), float_rounding=policy.float_rounding, strict=strict, timeout_seconds=None))


def _typeset(answer: str) -> str:
    """The content of the answer's box or formula: the parser gets one expression and nothing around it."""
    text = last_boxed(answer) or answer if has_box(answer) else answer
    return text.strip().removeprefix("$").removesuffix("$").strip()
