"""Draw a recipe's steps as an SVG: a layer for each number of steps that must come before, arrows for what reads what.

A block of rounds is drawn once: its first round, with the number of rounds beside the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from stillwise.recipe.rounds import number_of
from stillwise.recipe.schema import MODELS, Method, Step

BOX_WIDTH, BOX_HEIGHT, GAP, LAYER = 196, 46, 18, 84
INK, LINE = "#1f2933", "#7b8794"
FILL = {"sample": "#e3f0ff", "rewrite": "#e3f0ff", "curriculum": "#fff3d6", "train": "#e2f5e6"}
PLAIN = "#eef2f6"
TELLING = ("tries", "count", "chunks", "epochs", "samples", "rubric")
"""Fields that a box shows where a step has them; the first of them only."""


@dataclass(frozen=True)
class Box:
    """One step, in how many rounds it is repeated, and where its middle top stands."""

    step: Step
    rounds: int
    x: float
    y: float

    @property
    def name(self) -> str:
        return shown(self.step.name) + (f" × {self.rounds} rounds" if self.rounds > 1 else "")


def shown(name: str) -> str:
    """A step's name without its round."""
    return name.rpartition("/")[0] if number_of(name) else name


def drawn_steps(method: Method) -> dict[str, Step]:
    """The steps by shown name; of a block of rounds the first round."""
    found: dict[str, Step] = {}
    for step in method.steps:
        found.setdefault(shown(step.name), step)
    return found


def parents(method: Method) -> dict[str, list[str]]:
    """For each drawn step the earlier ones that it needs: outputs that it reads, and models that they made."""
    steps = drawn_steps(method)
    made = {name for name, step in steps.items() if step.arrow in MODELS}
    found: dict[str, list[str]] = {}
    for name, step in steps.items():
        needed = [*map(shown, step.reads), *(role for role in map(shown, step.roles) if role in made)]
        found[name] = [each for each in dict.fromkeys(needed) if each in found]
    return found


def layers(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Steps by the longest chain before them; inside a layer by the middle of what they need, then as written."""
    depth: dict[str, int] = {}
    for name, before in needs.items():
        depth[name] = 1 + max((depth[each] for each in before), default=-1)
    rows = [[name for name in needs if depth[name] == number] for number in range(max(depth.values()) + 1)]
    place = {name: i - len(rows[0]) / 2 for i, name in enumerate(rows[0])}
    for row in rows[1:]:
        row.sort(key=lambda name: sum(place[each] for each in needs[name]) / max(1, len(needs[name])))
        place.update({name: i - len(row) / 2 for i, name in enumerate(row)})
    return rows


def graph(method: Method) -> str:
    """The SVG of a method's steps."""
    needs, boxes = parents(method), boxes_of(method)
    width = max(box.x for box in boxes.values()) + min(box.x for box in boxes.values())
    height = max(box.y for box in boxes.values()) + BOX_HEIGHT + GAP
    arrows = [_arrow(boxes[before], boxes[name]) for name, held in needs.items() for before in held]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13" text-anchor="middle" fill="{INK}">',
            f"<title>The steps of {escape(method.name)}: {escape(method.about)}</title>",
            f'<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
            f'<path d="M0 0 L7 3 L0 6 z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
            *arrows,
            *(_drawn(box) for box in boxes.values()),
            "</svg>\n",
        ]
    )


def boxes_of(method: Method) -> dict[str, Box]:
    """Every drawn step with its place; no two overlap."""
    rows, steps = layers(parents(method)), drawn_steps(method)
    rounds = {name: sum(shown(step.name) == name for step in method.steps) for name in steps}
    middle = max(len(row) for row in rows) * (BOX_WIDTH + GAP) / 2 + GAP / 2
    return {
        name: Box(
            steps[name], rounds[name], middle + (i - (len(row) - 1) / 2) * (BOX_WIDTH + GAP), GAP + depth * LAYER
        )
        for depth, row in enumerate(rows)
        for i, name in enumerate(row)
    }  # fmt: skip


def described(step: Step) -> str:
    """In a few words what a step does, and with which model."""
    fields = step.part.as_dict()
    told = next((f"{name} {fields[name]}" for name in TELLING if isinstance(fields.get(name), (int, float, str))), "")
    word = {"train": "from", "evaluate": "of"}.get(step.arrow, "by")
    words = [f"{step.arrow} {step.part.kind}", *(f"{word} {shown(role)}" for role in step.roles[:1]), told]
    return ", ".join(word for word in words if word)


def _drawn(box: Box) -> str:
    first, second = escape(box.name), escape(described(box.step))
    left = box.x - BOX_WIDTH / 2
    # A line that is too long for its box is squeezed into it, not cut.
    fit = f' textLength="{BOX_WIDTH - 12}" lengthAdjust="spacingAndGlyphs"' if len(second) > 34 else ""
    return (
        f'<rect x="{left:.0f}" y="{box.y:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7" '
        f'fill="{FILL.get(box.step.arrow, PLAIN)}" stroke="{LINE}"/>'
        f'<text x="{box.x:.0f}" y="{box.y + 19:.0f}" font-weight="600">{first}</text>'
        f'<text x="{box.x:.0f}" y="{box.y + 36:.0f}" font-size="11"{fit}>{second}</text>'
    )


def _arrow(above: Box, below: Box) -> str:
    x1, y1, x2, y2 = above.x, above.y + BOX_HEIGHT, below.x, below.y - 3
    bend = (LAYER - BOX_HEIGHT) * 0.6
    path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#head)"/>'
