"""Matplotlib's SVG to an element of the page: CSS variables for colours, the page's font, short numbers, hover words.

Matplotlib only knows colours that are numbers; each name of ``charts.COLOURS`` has a stand-in that nothing else uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from stillwise.evaluate.charts import COLOURS

_STAND_INS = {name: f"#0a0b{16 + place:02x}" for place, name in enumerate(COLOURS)}
_NAMES = {colour: name for name, colour in _STAND_INS.items()}
_STAND_IN = re.compile("#0a0b[0-9a-f]{2}")
_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", re.DOTALL)
_HINTED = re.compile(r'<g id="hint-(\d+)">')
_GROUP_ID = re.compile(r'<g id="[^"]*"(/?)>')
_EMPTY = re.compile(r"<g></g>|<g/>|<defs></defs>")
_NO_TURN = re.compile(r' transform="rotate\(-?0 [^"]*"')
_LONG_NUMBER = re.compile(r"(?<=[ \"(])(-?\d+)\.(\d{2})\d+")
_FONT = re.compile(r" font-family: '[^']*';")
_BLANKS = re.compile(r">\s+<")
_PATH = re.compile(r' d="([^"]*)"')


def stand_in(name: str) -> str:
    """The colour that matplotlib draws with for a CSS variable."""
    return _STAND_INS[name]


def inline(svg: str, *, title: str, size: tuple[float, float], hints: Sequence[str]) -> str:
    """The drawing as one element that scales with the page, named ``title``."""
    body = _DROPPED.sub("", svg[svg.index("<svg") : svg.rindex("</svg>")])
    body = _BLANKS.sub("><", body[body.index(">") + 1 :])
    body = _PATH.sub(lambda found: f' d="{" ".join(found[1].split())}"', body)
    body = _HINTED.sub(lambda found: f"<g data-hint><title>{escape(hints[int(found[1])])}</title>", body)
    body = _GROUP_ID.sub(r"<g\1>", body).replace("<g data-hint>", "<g>").replace("xlink:href", "href")
    body = _NO_TURN.sub("", _LONG_NUMBER.sub(r"\1.\2", _FONT.sub("", body)))
    while body != (smaller := _EMPTY.sub("", body)):
        body = smaller
    body = _STAND_IN.sub(lambda found: f"var(--{_NAMES[found[0]]})", body)
    width, height = size
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{body.strip()}</svg>'
    )
