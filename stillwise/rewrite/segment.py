"""A thought cut into logical units: conceptual steps, not lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Segmenter
from stillwise.records import Span

UNIT = "unit"
Piece = tuple[int, int]
"""A half-open range of characters."""

_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_LINE_END = re.compile(r"\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n\s*")
_WHOLE = re.compile(r"```.*?```|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\\\[.*?\\\]|\$\$.*?\$\$|\\\(.*?\\\)|\$[^$\n]+\$", re.DOTALL)
"""Formulas and code: nothing is cut inside them."""
_NEW_STEP = re.compile(
    r"(?:first|second|third|next|now|then|finally|step|case|part|let me|let's|let us|so,|so|therefore|thus|hence|alternatively|"
    r"another|moving on|looking|similarly|suppose|assume|consider|since|given|to (?:find|solve|compute|prove|check)|"
    r"we need|i need|okay|ok|alright|in summary|in conclusion|what about)\b",
    re.IGNORECASE,
)
"""How the first sentence of a new step begins."""
_LOOKS_BACK = re.compile(
    r"(?:wait|hmm|but|verify|alternatively|another|let me (?:just )?(?:verify|check|double|see if|make sure|confirm)|"
    r"(?:just )?to (?:verify|double|be sure|make sure)|double.?check|checking|is that right|yes\b|no\b|correct\b|"
    r"that (?:seems|looks|makes|checks)|this (?:seems|looks|checks|makes))",
    re.IGNORECASE,
)
"""How a remark on the step before it begins."""
_FINISHED = re.compile(r"[.!?][\"'*_)\]]*(?:\\\]|\$\$)?\Z|(?:\\\]|\$\$|```)\Z")
_ANNOUNCES = re.compile(r"[:,][*_]*\Z")
_BULLET = re.compile(r"(?:[-*•–]\s|\\\[|\$\$)")


class LogicalUnits(Segmenter):
    """Paragraphs (lines where there are none) joined to conceptual steps, by cues of the text alone; no model is asked.

    The rule, in this order. (1) The text is cut at blank lines, or at line ends where it has no blank line; never inside a
    formula or code. (2) A longer piece than ``max_words`` is cut at a sentence that begins a step ("First", "Now", "So",
    "Let's", "Case", …) once a third of ``max_words`` is reached, and at any sentence once ``max_words`` is. (3) A piece joins
    the one before it where that one announces it (ends in a colon or comma) or has not ended its sentence and the piece
    begins no step; where it is a list item or a displayed formula; and where it looks back ("Wait", "Hmm", "But",
    "Let me verify", …) in at most ``check_words`` words: a worked step and its check are one unit. No joining makes a unit
    longer than ``max_words``. (4) A piece under ``min_words`` joins the one before it (the first the one after it).
    """

    kind: ClassVar[str] = "logical_units"
    min_words: int = Field(default=8, ge=1)
    """Fewer words (between white space) are no unit of their own."""
    max_words: int = Field(default=120, ge=3)
    """Longer paragraphs are cut, and longer units not made by joining."""
    check_words: int = Field(default=25, ge=0)
    """A longer piece that looks back is a step of its own: another approach, a whole second calculation."""

    def segment(self, text: str) -> tuple[Span, ...]:
        """The units, white space after each included."""
        if not text.strip():
            return ()
        whole = [match.span() for match in _WHOLE.finditer(text)]
        pieces = [cut for piece in _pieces(text, whole) for cut in self._cut(text, piece, whole)]
        starts = [first for first, _ in self._large_enough(text, self._joined(text, pieces))]
        ends = [*starts[1:], len(text)]
        return tuple(Span(kind=UNIT, start=a, end=b) for a, b in zip([0, *starts[1:]], ends, strict=True))

    def _cut(self, text: str, piece: Piece, whole: Sequence[Piece]) -> Iterator[Piece]:
        """The piece, cut at sentences where it is too long."""
        start, end = piece
        if _words(text[start:end]) > self.max_words:
            for at in _cuts(_SENTENCE_END, text, piece, whole):
                words = _words(text[start:at])
                if words >= self.max_words or (words >= self.max_words // 3 and _NEW_STEP.match(text, at)):
                    yield start, at
                    start = at
        yield start, end

    def _joined(self, text: str, pieces: Sequence[Piece]) -> list[Piece]:
        units = [pieces[0]]
        for piece in pieces[1:]:
            together = (units[-1][0], piece[1])
            if _words(text[slice(*together)]) <= self.max_words and self._belongs(text[slice(*units[-1])], text[slice(*piece)]):
                units[-1] = together
            else:
                units.append(piece)
        return units

    def _belongs(self, before: str, piece: str) -> bool:
        """Whether a piece goes on with the unit before it."""
        ended = before.rstrip()
        if _ANNOUNCES.search(ended) or _BULLET.match(piece):
            return True
        if _LOOKS_BACK.match(piece) and _words(piece) <= self.check_words:
            return True
        return not _FINISHED.search(ended) and not _NEW_STEP.match(piece)

    def _large_enough(self, text: str, units: Sequence[Piece]) -> list[Piece]:
        kept: list[Piece] = []
        for unit in units:
            small = _words(text[slice(*unit)]) < self.min_words
            if kept and (small or (len(kept) == 1 and _words(text[slice(*kept[0])]) < self.min_words)):
                kept[-1] = (kept[-1][0], unit[1])
            else:
                kept.append(unit)
        return kept


@dataclass(frozen=True)
class _Inside:
    """Whether a place lies inside one of some ranges that do not overlap."""

    ranges: Sequence[Piece]

    def __contains__(self, place: int) -> bool:
        found = bisect_right(self.ranges, place, key=lambda each: each[0]) - 1
        return found >= 0 and self.ranges[found][0] < place < self.ranges[found][1]


def _cuts(pattern: re.Pattern[str], text: str, piece: Piece, whole: Sequence[Piece]) -> list[int]:
    """Where text goes on after each match, ends of the piece and places inside formulas left out."""
    inside = _Inside(whole)
    return [m.end() for m in pattern.finditer(text, *piece) if piece[0] < m.end() < piece[1] and m.end() not in inside]


def _pieces(text: str, whole: Sequence[Piece]) -> list[Piece]:
    """Paragraphs, or lines where there is one paragraph."""
    everything = (0, len(text))
    cuts = _cuts(_BLANK_LINE, text, everything, whole) or _cuts(_LINE_END, text, everything, whole)
    return list(zip([0, *cuts], [*cuts, len(text)], strict=True))


def _words(text: str) -> int:
    return len(text.split())
