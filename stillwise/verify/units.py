"""Units and number words: which spellings mean the same unit. No conversion: 100 cm is not 1 m here, it is refused."""

from __future__ import annotations

import re

_SPELLINGS: dict[str, str] = {
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "l": "l liter liters litre litres",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "deg": "deg degree degrees",
    "rad": "rad radian radians",
    "cent": "cent cents",
    "dollar": "dollar dollars usd",
    "km/h": "km/h kmh kph",
    "mi/h": "mph mi/h",
    "m/s": "m/s",
    "J": "j joule joules",
    "N": "newton newtons",
    "W": "watt watts",
    "unit": "unit units",
}
UNITS: dict[str, str] = {word: unit for unit, words in _SPELLINGS.items() for word in words.split()}
BARE_UNITS = frozenset(word for word in UNITS if len(word) > 1) - {"min", "in", "sec", "lb"}
"""Units that are known without a text command around them; one letter may as well be a variable."""
PERCENT = frozenset({"percent", "pct", "percentage", "per cent", "%"})
_SHAPES = {"square": "^2", "sq": "^2", "sq.": "^2", "squared": "^2", "cubic": "^3", "cu": "^3", "cubed": "^3"}
_WITH_INCHES = frozenset({"in", *_SHAPES})
"""Among other words "in" is no inch."""
_POWER = re.compile(r"\^\{?([23])\}?")


def unit_of(words: str) -> str | None:
    """The unit that words name, its power included (``square inches`` is ``in^2``); None for words that are no unit."""
    power = "".join(f"^{match}" for match in _POWER.findall(words)[:1])
    names = []
    said = _POWER.sub(" ", words.casefold()).replace(".", " ").split()
    for word in said if set(said) <= _WITH_INCHES else [word for word in said if word != "in"]:
        if word in _SHAPES:
            power = _SHAPES[word]
        elif word in UNITS:
            names.append(UNITS[word])
        elif word == "per":
            names.append("/")
    return "".join(names) + power if names else None


def units_differ(left: str | None, right: str | None) -> bool:
    """Whether two units contradict each other: both are written, and "units" stands for any unit of its power."""
    if left is None or right is None or left == right:
        return False
    any_unit = left.startswith("unit") or right.startswith("unit")
    return not any_unit or left.partition("^")[2] != right.partition("^")[2]
