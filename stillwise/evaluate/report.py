"""``metrics.json`` to a page for people (``report.html``) and to the table that ends a run in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stillwise.evaluate import views
from stillwise.evaluate.shape import EvaluationSection, Metrics
from stillwise.evaluate.wording import level_name, levels_of, number, percent, percent_error, plain_table, points
from stillwise.runtime.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "report.html.j2"


def write_report(metrics: Mapping[str, Any], path: Path) -> None:
    """Writes the page: one file, no scripts, nothing from a network; it appears whole or not at all.

    A section that is missing says so on the page. Every text of a model or a user is escaped.
    """
    write_text(path, render(metrics))


def render(metrics: Mapping[str, Any]) -> str:
    """The page as text; equal metrics give equal bytes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stillwise.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = _drawn
    return environment.get_template(TEMPLATE).render(page(cast("Metrics", metrics)))


def _drawn(svg: str) -> Markup:
    """Marks a drawing as safe: ``charts`` escapes every word that it draws."""
    from markupsafe import Markup

    return Markup(svg)


def page(metrics: Metrics) -> dict[str, Any]:
    """What the template reads; None or an empty list where a part has not run."""
    recipe: dict[str, Any] = {"about": "", "paper": {}, "command": "", "departures": [], **metrics.get("recipe", {})}
    recipe["paper"] = {"title": "", "arxiv": None, "section": None, **recipe["paper"]} if recipe["paper"] else {}
    accuracy = [views.accuracy_figure(metrics, name) for name in views.benchmarks(metrics)]
    return {
        "title": recipe.get("title") or "A stillwise run",
        "recipe": recipe,
        "cards": views.cards(metrics),
        "accuracy": [figure for figure in accuracy if figure],
        "comparison": views.comparison_table(metrics),
        "paradigms": views.paradigm_figure(metrics),
        "funnel": views.funnel_figure(metrics),
        "levels": views.level_figure(metrics),
        "training": views.training_figures(metrics),
        "outcomes": views.outcome_figure(metrics),
        "dropped": views.dropped_table(metrics),
        "examples": metrics.get("examples", []),
        "facts": _facts(metrics),
        "overrides": [_override(one) for one in recipe.get("overrides", [])],
        "versions": sorted(metrics.get("versions", {}).items()),
    }


def _facts(metrics: Metrics) -> list[tuple[str, str]]:
    recipe: Mapping[str, Any] = metrics.get("recipe", {})
    facts = [(name, str(recipe[name])) for name in ("binding", "seed") if recipe.get(name) is not None]
    facts += [(f"role {role}", str(model)) for role, model in sorted((recipe.get("roles") or {}).items())]
    for name, one in sorted(metrics.get("problems", {}).items()):
        levels = ", ".join(f"{level_name(key)}: {one['by_level'][key]:,}" for key in levels_of([one["by_level"]]))
        sources = ", ".join(sorted(one["sources"]))
        facts.append((f"problems “{name}”", f"{one['n']:,} from {sources} ({levels})"))
    return facts


def _override(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    shown = [str(one.get(key, "")) if one.get(key, "") != "" else "(empty)" for key in ("recipe", "used")]
    return (str(one.get("path", "")), shown[0], shown[1], str(one.get("by") or ""))


def table(metrics: Mapping[str, Any]) -> str:
    """The end of a run as plain text: the modes, then every measured model by level, with paired differences."""
    read = cast("Metrics", metrics)
    blocks = [_modes(read), *(_measured(read, name) for name in views.benchmarks(read)), _average(read)]
    return "\n\n".join(block for block in blocks if block) or "Nothing has been measured yet."


def _modes(metrics: Metrics) -> str:
    rows = [
        [
            name,
            f"{one['solved']:,}/{one['n']:,}",
            percent_error(one["pass_at_1_first_try"]),
            number(one["mean_tokens"]["value"]),
            percent(one["truncated_rate"]["value"]),
        ]
        for name, one in views.samplings(metrics).items()
    ]
    kept = [
        f"{name}: {metrics['selection'][name]['kept']:,} of {metrics['selection'][name]['problems']:,} problems kept, "
        f"{percent(metrics['selection'][name]['share_by_level'].get('5'))} of them level 5"
        for name in views.ordered(metrics, "selection")
    ]
    head = ("output", "solved", "first try, %", "tokens", "truncated")
    return "\n".join([plain_table(head, rows), *kept]) if rows else "\n".join(kept)


def _measured(metrics: Metrics, benchmark: str) -> str:
    models = {name: s for name, s in views.evaluations(metrics).items() if benchmark in s["benchmarks"]}
    groups = [one["benchmarks"][benchmark].get("by_level", {}) for one in models.values()]
    levels: list[str | None] = [*levels_of(groups), None]
    rows = [[level_name(key) if key else "all", *_cells(metrics, models, benchmark, key)] for key in levels]
    pairs = _pairs(metrics, benchmark)
    differences = [f"{before} → {after}, points [95 %]" for before, after in pairs]
    tokens = [f"{name}, tokens" for name in models]
    head = [f"pass@1 on {benchmark}, %", "problems", *models, *differences, *tokens]
    return plain_table(head, rows)


def _pairs(metrics: Metrics, benchmark: str) -> list[tuple[str, str]]:
    rows = [row for row in metrics.get("comparison", []) if row["benchmark"] == benchmark]
    return list(dict.fromkeys((row["from"], row["to"]) for row in rows))


def _cells(metrics: Metrics, models: Mapping[str, EvaluationSection], benchmark: str, key: str | None) -> list[str]:
    whole = [one["benchmarks"][benchmark] for one in models.values()]
    groups = [one if key is None else one.get("by_level", {}).get(key) for one in whole]
    problems = max((group["problems"] for group in groups if group), default=0)
    passed = [percent_error(group["pass_at_1"]) if group else "–" for group in groups]
    tokens = [number(group["tokens"]["mean"]["value"]) if group else "–" for group in groups]
    found = {
        (row["from"], row["to"]): points(row["difference"])
        for row in metrics.get("comparison", [])
        if row["benchmark"] == benchmark and row["level"] == key
    }
    return [f"{problems:,}", *passed, *(found.get(pair, "–") for pair in _pairs(metrics, benchmark)), *tokens]


def _average(metrics: Metrics) -> str:
    if len(views.benchmarks(metrics)) < 2:
        return ""
    rows = [[name, percent_error(one["average"])] for name, one in views.evaluations(metrics).items()]
    return plain_table(("unweighted average over benchmarks", "pass@1, %"), rows)
