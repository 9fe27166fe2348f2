"""Realistic changes to a question, to plant copies and measure what is found of them.

Everything is a rule with a seeded generator; ``paraphrase`` swaps words and turns of phrase by a small table and reorders
nothing, so it is easier to find than a model's paraphrase.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from random import Random

Perturb = Callable[[str, Random], str]

WRAPPERS = (
    "{}\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    "Return your final response within \\boxed{{}}. {}",
    "Solve the following math problem efficiently and clearly. {}\nTherefore, the final answer is: ...",
    "### Question:\n{}\n\n### Answer:\n",
    "You are given a problem. Think about it carefully before you answer.\n\nProblem: {}\n\nShow your work.",
)
NUMBERED = (
    "Problem {n}: {}",
    "{n}. {}",
    "{n}) {}",
    "Question {n} of 50\n{}",
    "**Exercise {n}.** {}",
    "{} ({n} points)",
    "[{n} pts] {}",
    "Problem {n} (10 points): {}",
)
_SYNONYMS = {
    "how many": "what number of",
    "how much": "what amount",
    "find": "determine",
    "compute": "calculate",
    "determine": "work out",
    "calculate": "compute",
    "evaluate": "compute",
    "each": "every",
    "every": "each",
    "has": "owns",
    "buys": "purchases",
    "gets": "receives",
    "gives": "hands",
    "makes": "earns",
    "total": "sum",
    "in all": "altogether",
    "what is": "state",
    "such that": "so that",
    "if": "given that",
    "then": "afterwards",
    "week": "seven days",
    "students": "pupils",
    "cost": "are priced at",
    "costs": "is priced at",
    "also": "in addition",
}
_NUMBER = re.compile(r"\d+")
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z])")
_MATH = re.compile(r"\$[^$]+\$")
_NAME = re.compile(r"(?<![.?!] )(?<!^)(?<!\\)\b[A-Z][a-z]{2,}\b")
_THOUSANDS = re.compile(r"(?<![\d.,])(?:[1-9]\d{0,2}(?:(?:\{,\}|,\\!|,)\d{3})+|(?<![\^_{])[1-9]\d{3,})(?![\d,])")
_SHORT_FRACTION = re.compile(r"\\([dt]?frac)(\d)(\d)")
_FRACTION = re.compile(r"([0-9A-Za-z]?)\\[dt]?frac\{(\d+|[a-z])\}\{(\d+|[a-z])\}(?=([0-9A-Za-z]?))")
_EXPONENT = re.compile(r"\^(?:(\d)(?!\d)|\{(\d+)\})")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = {word: value for value, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), 1)}
_TEENS = {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "eighteen": 18}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SPELT = re.compile(
    rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(_UNITS)}))?|(?!one)({'|'.join((*_UNITS, *_TEENS))}))\b", re.IGNORECASE
)
_NAMES = ("Amara", "Boris", "Chen", "Dalia", "Emeka", "Farid", "Greta", "Hugo", "Ilse", "Jonas")


def verbatim(text: str, rng: Random) -> str:
    """The question itself."""
    return text


def wrapper(text: str, rng: Random) -> str:
    """The question inside an instruction."""
    return rng.choice(WRAPPERS).format(text)


def delimiters(text: str, rng: Random) -> str:
    r"""Other delimiters of formulas (``\(…\)``), other spaces, another case of letters, other commands of layout."""
    text = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", text, flags=re.DOTALL)
    text = re.sub(r"\$([^$]+)\$", r"\\( \1 \\)", text)
    text = text.replace("\\frac", "\\dfrac").replace(". ", " .  ")
    return text.upper() if "\\" not in text and rng.random() < 0.3 else re.sub(r"([+*/=])", r" \1 ", text)


def renamed(text: str, rng: Random) -> str:
    """Other variables in formulas and other people's names, the same one for the same."""
    names = list(_NAMES)
    rng.shuffle(names)
    people: dict[str, str] = {}
    letters = {letter: other for letter, other in zip("abcxyzmnk", "pqrstuvwd", strict=True) if rng.random() < 0.9}

    def person(match: re.Match[str]) -> str:
        return people.setdefault(match[0], names[len(people) % len(names)])

    def formula(match: re.Match[str]) -> str:
        return _VARIABLE.sub(lambda found: letters.get(found[0], found[0]), match[0])

    return _MATH.sub(formula, text) if "$" in text else _NAME.sub(person, text)


def numbers(text: str, rng: Random) -> str:
    """Other numbers of about the same size."""
    return _NUMBER.sub(lambda match: str(int(match[0]) + rng.randint(1, 9)), text)


def paraphrase(text: str, rng: Random) -> str:
    """Words and turns of phrase by others that mean the same, wherever the table has one."""
    for phrase, other in _SYNONYMS.items():
        text = re.sub(rf"\b{phrase}\b", other, text, flags=re.IGNORECASE)
    return text


def numbered(text: str, rng: Random) -> str:
    """The question with a number of its own, or with what it is worth."""
    return rng.choice(NUMBERED).format(text, n=rng.randint(1, 40))


def separators(text: str, rng: Random) -> str:
    """Thousands without their separators where they have some, and with commas where they have none."""

    def other(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match[0])
        return digits if digits != match[0] else f"{int(digits):,}"

    return _THOUSANDS.sub(other, text)


def fractions(text: str, rng: Random) -> str:
    r"""``\frac{1}{2}`` as ``1/2``, and ``\frac12`` with its braces."""

    def in_line(match: re.Match[str]) -> str:
        return f"{match[1]}{' ' * bool(match[1])}{match[2]}/{match[3]}{' ' * bool(match[4])}"

    text = _FRACTION.sub(in_line, text)
    return _SHORT_FRACTION.sub(r"\\\1{\2}{\3}", text)


def raised(text: str, rng: Random) -> str:
    """Exponents of digits as raised digits: x²."""
    return _EXPONENT.sub(lambda match: (match[1] or match[2]).translate(_RAISED), text)


def digits(text: str, rng: Random) -> str:
    """Numbers in words, from two to ninety-nine, in digits; "one" often counts nothing."""

    def value(match: re.Match[str]) -> str:
        return str(sum({**_UNITS, **_TEENS, **_TENS}[said.lower()] for said in match.groups() if said))

    return _SPELT.sub(value, text)


PERTURBATIONS: Mapping[str, Perturb] = {
    "verbatim": verbatim,
    "wrapper": wrapper,
    "delimiters": delimiters,
    "renamed": renamed,
    "numbers": numbers,
    "paraphrase": paraphrase,
    "numbered": numbered,
    "separators": separators,
    "fractions": fractions,
    "raised": raised,
    "digits": digits,
}
