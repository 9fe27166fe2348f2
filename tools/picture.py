"""Draw docs/pipeline.svg: the curriculum recipe's steps, read from recipes/curriculum.yaml.

.venv/bin/python tools/picture.py          # writes the file
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from stillwise import Recipe
from stillwise.recipe.schema import Step

WIDTH, ROW, BOX_WIDTH, BOX_HEIGHT = 1060, 62, 178, 46
COLUMNS = ("sample and verify", "select", "curriculum", "train", "evaluate")
COLUMN_OF = {"sample": 0, "rewrite": 0, "select": 1, "curriculum": 2, "train": 3, "evaluate": 4}
GAP = (WIDTH - len(COLUMNS) * BOX_WIDTH) / (len(COLUMNS) + 1)
INK, LINE, FILL = "#1f2933", "#7b8794", ("#e3f0ff", "#eef2f6", "#fff3d6", "#e2f5e6", "#eef2f6")


@dataclass(frozen=True)
class Box:
    """One step: its lines of text, and where it stands."""

    name: str
    lines: tuple[str, ...]
    column: int
    row: float

    @property
    def left(self) -> float:
        return GAP + self.column * (BOX_WIDTH + GAP)

    @property
    def top(self) -> float:
        return 56 + self.row * ROW


def described(step: Step) -> tuple[str, ...]:
    """The step's name, and what it does in a few words."""
    fields = step.part.as_dict()
    if step.arrow == "sample":
        return step.name, f"{fields['by']}, up to {fields['tries']} tries"
    if step.arrow == "evaluate":
        return f"{step.name}: {fields['model']}", f"pass@1, {fields['samples']} samples"
    if step.arrow == "train":
        return step.name, f"{fields['epochs']} epochs a stage, from {fields['student']}"
    if step.arrow == "select":
        return step.name, "solved in every mode"
    return step.name, f"from {step.source}"


def stage_boxes(step: Step, middle: float) -> Iterator[Box]:
    """A box for each stage of the curriculum, centred on a row."""
    stages = step.part.as_dict()["stages"]
    for i, stage in enumerate(stages):
        shares = [f"{take['from']} {levels_of(take['levels'])}" for take in stage["take"]]
        yield Box(
            stage["name"], (f"{i + 1}. {stage['name']}", ", ".join(shares)), 2, middle + 1.3 * (i - (len(stages) - 1) / 2)
        )


def levels_of(levels: Sequence[int] | None) -> str:
    """``1–4``, ``5``, or nothing where all levels are taken."""
    return "" if levels is None else "–".join(str(level) for level in dict.fromkeys(levels))


def boxes(steps: Sequence[Step]) -> Iterator[Box]:
    """All boxes, column by column; a column with several is spread over its rows."""
    middle = (sum(COLUMN_OF[step.arrow] == 0 for step in steps) - 1) / 2
    for column in range(len(COLUMNS)):
        inside = [step for step in steps if COLUMN_OF[step.arrow] == column]
        for i, step in enumerate(inside):
            if step.arrow == "curriculum":
                yield from stage_boxes(step, middle)
            else:
                yield Box(
                    step.name, described(step), column, middle + (i - (len(inside) - 1) / 2) * (1 if column == 0 else 1.3)
                )


def drawn(box: Box) -> str:
    first, second = (escape(line) for line in box.lines)
    x = box.left + BOX_WIDTH / 2
    return (
        f'<rect x="{box.left:.0f}" y="{box.top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7" '
        f'fill="{FILL[box.column]}" stroke="{LINE}"/>'
        f'<text x="{x:.0f}" y="{box.top + 19:.0f}" font-weight="600">{first}</text>'
        f'<text x="{x:.0f}" y="{box.top + 36:.0f}" font-size="11">{second}</text>'
    )


def arrow(left: Box, right: Box) -> str:
    x1, y1 = left.left + BOX_WIDTH, left.top + BOX_HEIGHT / 2
    x2, y2 = right.left - 3, right.top + BOX_HEIGHT / 2
    bend = (x2 - x1) / 2
    path = f"M{x1:.0f} {y1:.0f} C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#head)"/>'


def leads_to(left: Box, right: Box) -> bool:
    """Whether the right box uses the left one's output; a measurement of an untrained model uses none."""
    return right.column != COLUMN_OF["evaluate"] or right.lines[0].endswith(f": {left.name}")


def picture() -> str:
    """The SVG of the curriculum recipe."""
    found = list(boxes(Recipe.load("curriculum").loaded.method.steps))
    pairs = [(a, b) for a in found for b in found if b.column == a.column + 1 and leads_to(a, b)]
    height = max(box.top for box in found) + BOX_HEIGHT + 22
    heads = [
        f'<text x="{GAP + i * (BOX_WIDTH + GAP) + BOX_WIDTH / 2:.0f}" y="32" fill="{LINE}">{name}</text>'
        for i, name in enumerate(COLUMNS)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13" text-anchor="middle" fill="{INK}">',
            "<title>The curriculum recipe: four modes are sampled and verified, a common subset is selected, "
            "two stages train a student, which is measured before and after</title>",
            f'<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
            f'<path d="M0 0 L7 3 L0 6 z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
            *heads,
            *(arrow(a, b) for a, b in pairs),
            *(drawn(box) for box in found),
            "</svg>\n",
        ]
    )
