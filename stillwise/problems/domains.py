"""Which domain a problem belongs to: maths, code, science or other; by what its source says, else by its words.

The classifier is a count of telling words and signs, weighed by hand; no model. Signs of code decide over those of maths, which
code has too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from stillwise.records import AnswerKind, Problem

Domain = Literal["maths", "code", "science", "other"]
DOMAINS: tuple[Domain, ...] = ("maths", "code", "science", "other")

_SAYS: Mapping[Domain, re.Pattern[str]] = {
    "code": re.compile(
        r"\b(code|coding|programming|python|java|humaneval|mbpp|apps|taco|leetcode|codeforces|livecodebench|opencodereasoning|"
        r"software)\b"
    ),
    "maths": re.compile(
        r"\b(maths?|mathematics|algebra|geometry|arithmetic|calculus|combinatorics|precalculus|prealgebra|probability|gsm8k|"
        r"math500|svamp|aime\d*|amc\d*|olympiads?|numina\w*|chain sum|basic arithmetic|number theory|deepmath\w*|openr1|limo)\b"
    ),
    "science": re.compile(
        r"\b(science|physics|chemistry|biology|gpqa|arc|astronomy|medicine|medical|geology|sciq|scienceqa|camel)\b"
    ),
    "other": re.compile(r"\b(puzzles?|riddles?|logic|law|history|roleplay|writing|strategyqa|folio|proofwriter|chat)\b"),
}
"""What subjects and sources call themselves; words are split at hyphens, underscores and slashes."""

_SIGNS: Mapping[Domain, tuple[tuple[str, float], ...]] = {
    "code": (
        (r"```|\bdef \w+\(|#include|\bpublic static\b|\bimport \w+\n|>>>|\breturn\b.*\n|\bassert \w+\(", 5.0),
        (r"\b(write|implement|complete) (a|an|the|this)? ?(python |java |c\+\+ )?(function|program|class|method|code)\b", 6.0),
        (r"\b(standard input|stdin|stdout|test cases?|time complexity|linked list|binary tree|substring|subarray)\b", 3.0),
        (r"\b(python|javascript|sql|regex|compile|variable named)\b", 2.0),
    ),
    "science": (
        (r"\b(atoms?|molecul\w+|electrons?|protons?|neutrons?|ions?|isotopes?|chemical\w*|reactions?|acids?|enzymes?)\b", 2.0),
        (
            r"\b(cells?|genes?|genetic|dna|rna|proteins?|species|organisms?|photosynthesis|bacteria\w*|evolution|ecosystems?)\b",
            2.0,
        ),
        (
            r"\b(force|velocity|acceleration|momentum|gravity|voltage|magnetic|wavelength|quantum|thermodynamic\w*|energy)\b",
            1.5,
        ),
        (r"\b(planets?|stars?|moon|earth's|earth|sun|climate|rocks?|minerals?|soil|erosion|weather|volcano\w*|oceans?)\b", 1.5),
        (
            r"\b(scientists?|experiments?|plants?|animals?|temperature|heat|liquid|gas|solid|water|light|blood|disease\w*)\b",
            1.0,
        ),
        (r"\b(best explains?|most likely|investigat\w+|hypothesis|laboratory|students? (?:observed|measured))\b", 0.7),
    ),
    "maths": (
        (r"\$[^$]+\$|\\frac|\\sqrt|\\\(|\\\[|\\angle|\\cdot", 2.5),
        (
            r"\bhow (many|much|far|long|old)\b|\bwhat is the (value|sum|product|remainder|area|probability|least|greatest)\b",
            2.0,
        ),
        (
            r"\b(equation|integer|triangle|polynomial|prime|divisor|perimeter|percent|average|arithmetic problem|solve for)\b",
            2.0,
        ),
        (r"\b(find|compute|evaluate|simplify|calculate|determine) (the|all|\$)", 1.5),
        (r"\d\s*[-+*/=]\s*\d", 2.0),
        (r"\$?\d+(?:\.\d+)?", 0.4),
    ),
}
_COMPILED = {
    domain: tuple((re.compile(pattern, re.IGNORECASE), weight) for pattern, weight in signs) for domain, signs in _SIGNS.items()
}
_MOST = 3
"""A sign counts so often at most: length is no domain."""
_LEAST = 1.5


def domain_of(problem: Problem) -> Domain:
    """The problem's domain: its answer kind where that says it, its subject, its source, else its words."""
    if problem.answer_kind is AnswerKind.CODE_TESTS:
        return "code"
    said = next((domain for text in (problem.subject, problem.source) if text and (domain := stated(text))), None)
    return said or classified(problem.question)


def stated(text: str) -> Domain | None:
    """The domain that a subject or a source's name states, or None."""
    words = re.sub(r"[-_/.]+", " ", text.casefold())
    return next((domain for domain, pattern in _SAYS.items() if pattern.search(words)), None)


def classified(question: str) -> Domain:
    """The domain by the question's own words; ties go to code, then science, then maths."""
    scores = {
        domain: sum(weight * min(_MOST, len(pattern.findall(question))) for pattern, weight in signs)
        for domain, signs in _COMPILED.items()
    }
    best = max(scores, key=lambda domain: scores[domain])
    return best if scores[best] >= _LEAST else "other"
