r"""An answer's text to tokens: one normalisation for references and predictions, linear in the text, nothing evaluated.

What is only typography goes here (``\left``, dollar signs, thin spaces, thousands separators, Unicode signs, ``\dfrac``), so
that two spellings of one answer become one list of tokens.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from stillwise.boxed import has_box, last_boxed
from stillwise.verify.units import BARE_UNITS, PERCENT

MAX_TOKENS = 2000
MAX_WRAPPERS = 8


class Unreadable(ValueError):
    """The text is not in the language that this reader knows; somebody else may try."""


class Token(NamedTuple):
    """``kind``: num, id (one symbol), fn, cmd (takes groups), op (a sign), words, sep."""

    kind: str
    text: str


_GREEK_NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
    "sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell mho hbar"
)
GREEK = frozenset(_GREEK_NAMES.split())
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp min max gcd lcm".split()  # noqa: SIM905
)
_SIGNS = {
    **dict.fromkeys("−–—‒", "-"),
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "÷": "/",
    "∕": "/",
    "√": r"\sqrt ",
    "π": r"\pi ",
    "≤": "<=",
    "≥": ">=",
    "⩽": "<=",
    "⩾": ">=",
    "≠": "!=",
    "≈": r"\approx ",
    "∞": r"\infty ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "°": r"\degree ",
    "′": "'",
    "…": r"\ldots ",
    "∣": "|",
    "²": "^2",
    "³": "^3",
    "⁴": "^4",
    "½": r"\frac12 ",
    "¼": r"\frac14 ",
    "¾": r"\frac34 ",
    "，": ", ",
    "：": ":",
    "。": ".",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "⟨": "(",
    "⟩": ")",
    "％": "%",
    "ℝ": r"\mathbb{R}",
}
_UNICODE = str.maketrans(
    _SIGNS
    | {
        unicodedata.lookup(
            f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"
        ): (f"\\{name} ")
        for name in sorted(GREEK - {"varepsilon", "vartheta", "varphi", "ell", "mho", "hbar"})
    }
)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\$\s*([,;])\s*\$", r"\1 "),
        (r"(?<=\d)\s*(?:\{,\s*\}|,\s*\\[!,]|\\,)\s*(?=\d{3}(?!\d))", ""),
        (r"\\(?:left|right|[Bb]igg?[lr]?)(?![A-Za-z])\s*(?:\.(?!\d))?", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|mathstrut|middle|rm|bf|it)(?![A-Za-z])", " "),
        (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|checkmark|square|blacksquare)(?![A-Za-z])", " "),
        (r"\\(?:text)?color\s*\{[A-Za-z0-9!]*\}", " "),
        (r"\\[hv]space\*?\{[^{}]*\}|\\(?:phantom|label|tag)\{[^{}]*\}", " "),
        (r"(?<!\\)\\[!,;: ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\\$|\$|\\\(|\\\)|\\\[|\\\]", " "),
        (r"\\%", "%"),
        (r"\\mathbb\s*(?:\{\s*R\s*\}|R\b)|\\Reals(?![A-Za-z])", r"\\reals "),
        (r"(?<!\\)\\(?=\d)", " "),
        (r"(?<=\d)(?:\^?\{?\s*\\(?:text|mathrm|textrm)?\s*\{\s*)?(?:st|nd|rd|th)\b\s*\}?\}?(?![A-Za-z])", " "),
        (r"(?<=\d)\^\{?\s*(?:st|nd|rd|th)\b\s*\}?", " "),
        (r"(?<=[\w}])\.(?=\s*[\])}]|\s+[-+*/=])", ""),
        (r"\\(?:measured)?angle(?![A-Za-z])|\\triangle(?![A-Za-z])", " "),
        (r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\}|o(?![A-Za-z]))|\\textdegree(?![A-Za-z])", r"\\degree "),
        (r"\\(?:colon|mathpunct)(?![A-Za-z])", ":"),
        (r"\\(?:bmod|mod|pmod)(?![A-Za-z])", r"\\text{ mod }"),
        (r"\\equiv(?![A-Za-z])", "="),
        (r"\(\s*([A-Za-z])\s*\\in\s*\\mathbb\s*\{?\s*Z\s*\}?\s*\)$", r", \1 \\in Z"),
    )
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z({\[%$!,])")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?![\d,]|\.\d*,)")
_TAIL = re.compile(r"(?:[\s.,;:]|\\+(?=\s*$))+$")
_LABEL = re.compile(r"^(?:\*\*|__)+|(?:\*\*|__)+$")


@lru_cache(maxsize=1 << 14)
def normalised(answer: str) -> str:
    """The answer without what is only typography; the same for a reference and a prediction."""
    text = unicodedata.normalize("NFKC", answer.translate(_UNICODE)).translate(_UNICODE)
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    if has_box(text):
        text = last_boxed(text) or text
    text = _LABEL.sub("", text.strip()).strip()
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = _TAIL.sub("", text.strip())
    return " ".join(_unwrapped(_thousands(text)).split())


def _thousands(text: str) -> str:
    """Digits without separators, outside of brackets only: within, a comma separates."""
    if "," not in text:
        return text
    pieces, depth, start = [], 0, 0
    for match in _THOUSANDS.finditer(text):
        gap = text[start : match.start()]
        depth += sum((char in "([{") - (char in ")]}") for char in gap)
        pieces += [gap, match[0].replace(",", "") if depth <= 0 else match[0]]
        start = match.end()
    return "".join([*pieces, text[start:]])


def _unwrapped(text: str) -> str:
    """Without braces around the whole, as a group only."""
    for _ in range(MAX_WRAPPERS):
        if not (len(text) > 1 and text[0] == "{" and _closing(text, 0) == len(text) - 1):
            break
        text = text[1:-1].strip()
    return text


def _closing(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i
    raise Unreadable("a brace is never closed")


_LEX = re.compile(
    r"(\d+\.\d+[eE][-+]?\d+|\d+\.(?=\s*\\overline)|\d+(?:\.\d+)?|\.\d+)|\\([A-Za-z]+)\*?|\\([{}|&\\])|(\\.)|([A-Za-z]+(?:'[a-z]+)?)|(<=|>=|=<|!=|\*\*|==)|(\S)",
    re.DOTALL,
)
_WRAPPERS = frozenset(
    ("text textbf textit textrm textsf textnormal mbox hbox fbox mathrm operatorname mathsf texttt").split()  # noqa: SIM905
)
_PLAIN_GROUPS = frozenset(
    ("mathbf mathit mathbb mathcal boldsymbol bm mathfrak underline displaylines boxed vec overrightarrow").split()  # noqa: SIM905
)
_NAMED = {
    **dict.fromkeys(("cdot", "times", "ast"), Token("op", "*")),
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), Token("op", "<=")),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), Token("op", ">=")),
    **dict.fromkeys(("ne", "neq"), Token("op", "!=")),
    **dict.fromkeys(("mid", "vert", "lvert", "rvert"), Token("op", "|")),
    **dict.fromkeys(("ldots", "dots", "cdots", "dotsc", "dotsb"), Token("id", "…")),
    **dict.fromkeys(("land", "lor", "vee", "wedge"), Token("sep", ",")),
    "lt": Token("op", "<"),
    "gt": Token("op", ">"),
    "in": Token("op", "in"),
    "approx": Token("op", "~"),
    "div": Token("op", "/"),
    "pm": Token("op", "±"),
    "mp": Token("op", "∓"),
    "cup": Token("op", "∪"),
    "degree": Token("op", "°"),
    "lbrace": Token("op", "\\{"),
    "rbrace": Token("op", "\\}"),
    "langle": Token("op", "("),
    "rangle": Token("op", ")"),
    "lbrack": Token("op", "["),
    "rbrack": Token("op", "]"),
    "prime": Token("op", "'"),
    "simeq": Token("op", "~"),
    **{name: Token("op", name) for name in ("lfloor", "rfloor", "lceil", "rceil")},
    "pi": Token("id", "pi"),
    "infty": Token("id", "infty"),
    "emptyset": Token("id", "emptyset"),
    "varnothing": Token("id", "emptyset"),
    "reals": Token("id", "reals"),
}
_COMMANDS = frozenset({"frac", "sqrt", "binom", "overline", "bar", "hat", "tilde", "widehat", "begin", "end"})
_OPERATORS = {"**": "^", "=<": "<=", "==": "=", "∶": ":"}
_SHORT_WORDS_NAMES = (
    "of so the is in to for per all any no yes not odd day men man mod are red one two six ten if by at as "
    "it we with from only even true false none total"
)
_SHORT_WORDS = frozenset(_SHORT_WORDS_NAMES.split())
_JOINED = re.compile(r"^(?:and|or)\s|\s(?:and|or)$")
_SPELT = frozenset(
    ("sqrt pi infinity infty inf oo binom choose").split()  # noqa: SIM905
)


def tokens(text: str) -> list[Token]:
    """The tokens of normalised text. Raises Unreadable for commands that this reader does not know, and past MAX_TOKENS."""
    found: list[Token] = []
    place = 0
    while match := _LEX.search(text, place):
        place = match.end()
        number, command, escaped, other, letters, operator, sign = match.groups()
        if number:
            found.append(Token("num", number))
        elif command in _WRAPPERS:
            place = _wrapped(text, place, found)
        elif command:
            _command(command, found)
        elif escaped:
            found.append(Token("op", "\\" + escaped))
        elif letters:
            _letters(letters, found)
        elif other:
            raise Unreadable(f"an unknown sign {other}")
        else:
            found.append(Token("op", _OPERATORS.get(operator or sign, operator or sign)))
        if len(found) > MAX_TOKENS:
            raise Unreadable("too many signs")
    return found


def _wrapped(text: str, place: int, found: list[Token]) -> int:
    r"""The content of a ``\text{…}``: words, or what it holds where that is mathematics."""
    rest = text[place:]
    start = place + len(rest) - len(rest.lstrip())
    if text[start : start + 1] != "{":
        return place
    end = _closing(text, start)
    inner = text[start + 1 : end].strip()
    bare = inner.strip(" ,;.").casefold()
    if bare in ("and", "or", "") and inner:
        found.append(Token("sep", ","))
    elif inner in FUNCTIONS:
        found.append(Token("fn", inner))
    elif len(inner) == 1 and inner not in "ei" and found and found[-1].kind == "num":
        found.append(Token("words", inner))
    elif not re.search(r"[A-Za-z][A-Za-z.]", inner):
        found.extend(tokens(inner))
    else:
        parts = _JOINED.split(inner)
        for i, part in enumerate(parts):
            found += [Token("sep", ",")] * (i > 0) + ([Token("words", part.strip())] if part.strip() else [])
    return end + 1


def _command(name: str, found: list[Token]) -> None:
    if name in _NAMED:
        found.append(_NAMED[name])
    elif name in GREEK:
        found.append(Token("id", name))
    elif name in FUNCTIONS:
        found.append(Token("fn", name))
    elif name in _COMMANDS:
        found.append(Token("cmd", name))
    elif name not in _PLAIN_GROUPS:
        raise Unreadable(f"an unknown command \\{name}")


def _letters(run: str, found: list[Token]) -> None:
    """A run of bare letters: a function, a separator, a unit, words, or symbols side by side."""
    low = run.casefold()
    after_number = bool(found) and (found[-1].kind == "num" or found[-1].text in (")", "}"))
    if low in ("and", "or"):
        found.append(Token("sep", ","))
    elif run in FUNCTIONS:
        found.append(Token("fn", run))
    elif run in _SPELT:
        found.append(Token("cmd", run) if run in ("sqrt", "binom") else Token("id", run if run == "pi" else "infty"))
    elif low in PERCENT:
        found.append(Token("op", "%"))
    elif (low in BARE_UNITS and after_number) or low in _SHORT_WORDS or _prose(run):
        found.append(Token("words", run))
    else:
        name = next((name for name in sorted(FUNCTIONS, key=len, reverse=True) if run.startswith(name)), "")
        if run.startswith("pi") and not name:
            name = "pi"
        if name:
            found.append(Token("id" if name == "pi" else "fn", name))
        found.extend(Token("id", letter) for letter in run[len(name) :])


def _prose(run: str) -> bool:
    """Four letters and more are a word, unless a function's name begins them or they have no vowel."""
    if len(run) < 4 or run.isupper():
        return "'" in run
    return not run.startswith(("sin", "cos", "tan", "log", "sec", "csc", "cot", "arc", "pi")) and any(
        c in "aeiouAEIOU" for c in run
    )
