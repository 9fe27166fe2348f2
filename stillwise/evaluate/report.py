"""``metrics.json`` and a sample of traces to a page for people (``report.html``) and to plain tables for papers and scripts."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stillwise.errors import CorruptOutput
from stillwise.evaluate import browse, page, views
from stillwise.evaluate.charts import Chart
from stillwise.evaluate.closing import table
from stillwise.evaluate.metrics import dumps
from stillwise.evaluate.plots import draw
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, Table
from stillwise.evaluate.wording import markdown_table
from stillwise.runtime.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["render", "table", "write_report"]

TEMPLATE, STYLE, SCRIPT = "report.html.j2", "report.css", "report.js"
TABLES_TEXT, TABLES_JSON = "tables.md", "tables.json"
LIMIT = 2_900_000
"""Bytes of the page, whatever the run's size; what does not fit is named and stands in the tables and the traces."""
DRAWINGS, TABLES = 600_000, 500_000
"""Bytes of all drawings and of all tables' cells; past them a drawing, and rows, are left out and said to be."""
CELL_LETTERS = 300
CELL_MARKUP = 20
EXAMPLE_TRACES = 12


def write_report(metrics: Mapping[str, Any], path: Path) -> None:
    """Writes the page, and the tables beside it, each whole or not at all.

    The page is one file with nothing from a network. The trace browser shows the sample in ``browse.json``, where there is one.
    Raises CorruptOutput where that file is damaged.
    """
    folder = path.parent
    # What metrics.json will say, so that the page made from it again has the same bytes.
    metrics = json.loads(dumps(metrics))
    write_text(path, render(metrics, read_browse(folder / browse.FILE)))
    found = page.tables(cast("Metrics", metrics))
    title = str((metrics.get("recipe") or {}).get("title") or "A stillwise run")
    write_text(folder / TABLES_TEXT, tables_markdown(title, found))
    write_text(folder / TABLES_JSON, tables_json(found))


def read_browse(path: Path) -> dict[str, Any] | None:
    """The sample of traces, or None where a run kept none."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = found["problems"]
        if all(trace["problem"] in known for trace in found["traces"]):
            return found
    except (ValueError, KeyError, TypeError) as err:
        raise CorruptOutput(
            f"{path} is damaged ({err}); delete it, or repeat the run's command, which writes it again"
        ) from err
    raise CorruptOutput(f"{path} is damaged (a trace has no problem); delete it, or repeat the run's command")


def tables_markdown(title: str, found: Sequence[tuple[str, Table]]) -> str:
    """Every table of the page as Markdown, whole."""
    blocks, chapter = [f"# {title}"], ""
    for heading, one in found:
        blocks += [f"## {heading}"] if heading != chapter else []
        blocks += [f"### {one.title}", *([one.note] if one.note else []), markdown_table(one.head, one.body)]
        chapter = heading
    return "\n\n".join(blocks) + "\n"


def tables_json(found: Sequence[tuple[str, Table]]) -> str:
    """The same tables for scripts: a list of {section, title, note, head, rows}, cells as they are printed."""
    rows = [{"section": s, "title": t.title, "note": t.note, "head": t.head, "rows": t.body} for s, t in found]
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure or a table as the template reads it."""

    title: str
    table: Cut
    note: str
    wide: bool


@dataclass(frozen=True, kw_only=True)
class DrawnFigure(Drawn):
    """A figure with its drawings as markup."""

    drawings: Sequence[tuple[str, Markup]]
    legend: Sequence[Any]
    open_table: bool
    split: bool
    """One drawing with its open table at its side."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The rows of a table that had room."""

    head: Sequence[str]
    body: Sequence[Sequence[str]]
    cut: str
    """How many rows of how many are shown, where some are not."""


@dataclass
class Room:
    """What is left of the page's budget."""

    drawings: int = DRAWINGS
    tables: int = TABLES

    def rows(self, one: Table) -> Cut:
        """The first rows that fit."""
        kept: list[list[str]] = []
        for row in one.body:
            cells = [_shown(cell) for cell in row]
            self.tables -= sum(len(cell.encode()) + CELL_MARKUP for cell in cells)
            if self.tables < 0:
                break
            kept.append(cells)
        cut = (
            f"{len(kept):,} of {len(one.body):,} rows; all of them stand in {TABLES_TEXT}." if len(kept) < len(one.body) else ""
        )
        return Cut(head=[_shown(cell) for cell in one.head], body=kept, cut=cut)

    def block(self, one: Figure | Table) -> Drawn:
        """The figure or table with what fits of it."""
        if isinstance(one, Table):
            return Drawn(title=one.title, table=self.rows(one), note=one.note, wide=one.wide or _width(one) > HALF)
        drawn = [(small, svg) for small, chart in one.drawings if (svg := self.drawing(chart))]
        left_out = len(one.drawings) - len(drawn)
        note = f"{one.note} Drawings left out, as the page is full: {left_out:,}.".strip() if left_out else one.note
        return DrawnFigure(
            title=one.title,
            table=self.rows(one.table),
            note=note,
            wide=len(one.drawings) > 1 or one.open_table,
            split=len(drawn) == 1 and one.open_table and _width(one.table) <= BESIDE,
            drawings=drawn,
            legend=one.legend,
            open_table=one.open_table,
        )

    def drawing(self, chart: Chart) -> Markup | None:
        """The drawing as markup (``plots`` escapes every word of it), or None from the first on that has no room."""
        from markupsafe import Markup

        svg = draw(chart) if self.drawings > 0 else ""
        self.drawings -= len(svg.encode())
        return Markup(svg) if self.drawings > 0 else None


HALF, BESIDE = 500, 560
"""Pixels that a table has in half of the page, and beside its drawing."""
LETTER, GAP = 6.8, 18
"""Pixels of a letter of a table, and between its columns."""


def _width(one: Table) -> float:
    """About how wide a table is on the page; words of the head may stand one below another."""
    rows = [[*(max(word.split(), key=len, default="") for word in one.head)], *one.body]
    return sum(max(len(row[i]) for row in rows) * LETTER + GAP for i in range(len(one.head)))


def _shown(cell: str) -> str:
    return cell if len(cell) <= CELL_LETTERS else f"{cell[: CELL_LETTERS - 1]}…"


def render(metrics: Mapping[str, Any], sample: Mapping[str, Any] | None = None) -> str:
    """The page as text, under ``LIMIT`` bytes; equal metrics and samples give equal bytes.

    Every text of a model or a user is escaped; the only script is ours, named by its hash in the page's content policy.
    """
    read = _read(cast("Metrics", metrics))
    if not sample or not sample["traces"]:
        return _page(read)
    rest = len(_page({**read, "browse": " ", "sampled": " " * CELL_LETTERS}).encode())
    fitting = browse.fitted(sample, LIMIT - rest)
    from markupsafe import Markup

    return _page({**read, "browse": Markup(browse.embedded(fitting)), "sampled": _sampled(fitting)})


def _sampled(sample: Mapping[str, Any]) -> str:
    shown, total = sample["shown"], sample["of"]
    if shown == total:
        return f"All {total:,} traces of this run."
    return (
        f"A sample: {shown:,} of {total:,} traces, spread evenly over steps, outcomes and levels, so shares among them are not "
        "the run’s. All of them lie in the run’s folder."
    )


def _page(read: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stillwise.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(read)


@lru_cache(maxsize=4)
def _own(name: str) -> Markup:
    """A file that lies beside this module, as it is."""
    from markupsafe import Markup

    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))


def _read(metrics: Metrics) -> dict[str, Any]:
    """What the template reads."""
    recipe: dict[str, Any] = {"about": "", "paper": {}, "command": "", "departures": [], **metrics.get("recipe", {})}
    recipe["paper"] = {"title": "", "arxiv": None, "section": None, **recipe["paper"]} if recipe["paper"] else {}
    room = Room()
    run = {name: room.rows(make(metrics)) for name, make in RUN_TABLES.items()}
    chapters = [{"id": s.id, "title": s.title, "blocks": [room.block(one) for one in s.blocks]} for s in page.sections(metrics)]
    return {
        "title": recipe.get("title") or "A stillwise run",
        "recipe": recipe,
        "cards": views.cards(metrics),
        "sections": chapters,
        "examples": [{**one, "traces": one["traces"][:EXAMPLE_TRACES]} for one in metrics.get("examples", [])],
        **run,
        "absent": page.absent(metrics),
        "browse": "",
        "sampled": "",
        "style": _own(STYLE),
        "script": _own(SCRIPT),
        "script_hash": b64encode(sha256(_own(SCRIPT).encode()).digest()).decode(),
    }


RUN_TABLES = {"facts": page.facts_table, "overrides": page.overrides_table, "versions": page.versions_table}
