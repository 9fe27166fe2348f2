r"""The answer that a text marks with ``\boxed{…}``. Linear in the text, whatever it holds."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])\s*(\{|[^\s{$\\]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` (``\fbox{…}``, ``\boxed 5``), stripped; None where there is none.

    Braces must balance (escaped ones do not count): a last box that is never closed was cut off, so there is no answer,
    and an earlier box does not stand in for it.
    """
    found = None
    for found in _BOX.finditer(text):  # noqa: B007 — the last one counts
        pass
    if found is None:
        return None
    if found[1] != "{":
        return found[1].rstrip(".,;)")
    end = _closing(text, found.end())
    return None if end is None else text[found.end() : end].strip()


def has_box(text: str) -> bool:
    """Whether a box begins anywhere in the text, closed or not."""
    return _BOX.search(text) is not None


def _closing(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None
