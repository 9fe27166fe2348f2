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


PERTURBATIONS: Mapping[str, Perturb] = {
    "verbatim": verbatim,
    "wrapper": wrapper,
    "delimiters": delimiters,
    "renamed": renamed,
    "numbers": numbers,
    "paraphrase": paraphrase,
}
