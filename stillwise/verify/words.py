"""Answers as words: one normal form for text, whatever its commands, case, spacing and marks."""

from __future__ import annotations

import re
import unicodedata

_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_WORDY = re.compile(r"\(?[A-Za-z]\)|[A-Z]|[(]?[A-Za-z][A-Za-z ,.'’!?:;-]*[)]?")
_CLOCK = re.compile(r"(\d{1,2})\s*(?::\s*(\d\d))?\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:an?|the) (?=\w{2})")
_LISTED = re.compile(r"\s*,\s*and\s+|\s*,\s*|\s+and\s+")
_MARKS = " .,;:!?\"'`*$()[]{}"


def unwrapped(answer: str) -> str:
    r"""The answer without ``\text{…}`` and its like around words."""
    return _WRAPPED.sub(r"\1", answer)


def words(answer: str) -> str:
    """The words of an answer: Unicode-normalised, in lower case, one space between, no marks at the ends."""
    bare = unwrapped(unicodedata.normalize("NFKC", answer)).replace("\\ ", " ").replace("~", " ").casefold()
    return " ".join(bare.split()).strip(_MARKS)


def as_words(answer: str) -> str | None:
    """The words of an answer that is nothing but words (or one capital letter, bracketed or not); None for mathematics."""
    bare = unwrapped(answer).strip()
    if not _WORDY.fullmatch(bare) or (len(bare) > 3 and not re.search(r"[A-Za-z]{3}", bare)):
        return None
    inner = bare.strip("()")
    return words(inner) if len(inner) > 3 else inner


def said_alike(left: str, right: str, articles: bool) -> bool:
    """Whether two answers are the same signs in and out of ``\\text``, or the same words; lists of names in one order.

    With ``articles`` one before the whole does not matter.
    """
    if unwrapped(left).split() == unwrapped(right).split():
        return True
    said, other = as_words(left), as_words(right)
    if not said or not other:
        return False
    if articles:
        said, other = _ARTICLE.sub("", said), _ARTICLE.sub("", other)
    return _LISTED.sub(", ", said) == _LISTED.sub(", ", other)


def clock(answer: str) -> tuple[int, int, str] | None:
    """Hour, minute and half of the day of a time such as ``4:30 p.m.``; None for anything else."""
    match = _CLOCK.fullmatch(unwrapped(answer).strip())
    return (int(match[1]), int(match[2] or 0), match[3].lower()) if match else None
