"""``metrics.json`` to the sections of a page: the same figures and tables for HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillwise.evaluate import (
    views,
    views_curation,
    views_judges,
    views_outcomes,
    views_probes,
    views_selection,
    views_survival,
    views_tokens,
)
from stillwise.evaluate.pair_views import pair_figures
from stillwise.evaluate.policy_views import policy_blocks
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, Table, section
from stillwise.evaluate.wording import level_name, levels_of

Block = Figure | Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """One chapter of the page."""

    id: str
    title: str
    blocks: Sequence[Block]


def sections(metrics: Metrics) -> list[Section]:
    """Every chapter that has something to show, in reading order."""
    every = [
        Section(id="evaluation", title="Before and after", blocks=_evaluation(metrics)),
        Section(id="paradigms", title="The teachers’ modes", blocks=_modes(metrics)),
        Section(id="curation", title="The data", blocks=views_curation.curation_blocks(metrics)),
        Section(id="selection", title="The choice of traces", blocks=_chosen(metrics)),
        Section(id="probes", title="Probes", blocks=_probes(metrics)),
        Section(
            id="training",
            title="Training",
            blocks=[*views.training_figures(metrics), *pair_figures(metrics), *policy_blocks(metrics)],
        ),
        Section(id="lengths", title="Lengths and cost", blocks=_lengths(metrics)),
        Section(id="outcomes", title="Verdicts and what was dropped", blocks=_outcomes(metrics)),
    ]
    return [one for one in every if one.blocks]


def _present(blocks: Iterable[Block | None]) -> list[Block]:
    return [block for block in blocks if block is not None]


def _evaluation(metrics: Metrics) -> list[Block]:
    names = views.ordered_benchmarks(metrics)
    per_benchmark = [
        figure(metrics, name)
        for name in names
        for figure in (views.accuracy_figure, views_tokens.tokens_figure, views_tokens.pass_at_k_figure)
    ]
    tables = [views.comparison_table(metrics), views_tokens.votes_table(metrics)]
    return _present([views.summary_table(metrics), *per_benchmark, *tables])


def _modes(metrics: Metrics) -> list[Block]:
    return _present(
        [
            views.paradigm_figure(metrics),
            views_tokens.modes_tokens_figure(metrics),
            views.funnel_figure(metrics),
            views.level_figure(metrics),
        ]
    )


def _chosen(metrics: Metrics) -> list[Block]:
    return [
        *views_judges.judge_tables(metrics),
        *views_survival.survival_tables(metrics),
        *views_selection.selection_figures(metrics),
    ]


def _probes(metrics: Metrics) -> list[Block]:
    return _present(
        [
            views_probes.paradigm_probe_figure(metrics),
            views_probes.paradigm_gap_figure(metrics),
            *views_probes.paradigm_probe_tables(metrics),
            *views_probes.titration_figures(metrics),
            *views_probes.heat_figures(metrics),
            views_probes.scores_table(metrics),
        ]
    )


def _lengths(metrics: Metrics) -> list[Block]:
    return _present([*views_tokens.length_figures(metrics), views_tokens.cost_table(metrics)])


def _outcomes(metrics: Metrics) -> list[Block]:
    found = [views_outcomes.outcome_figure(metrics), views_outcomes.dropped_table(metrics), views_outcomes.rules_table(metrics)]
    return _present(found)


ABSENT = {"evaluation": "evaluation", "sampling": "sampling of traces", "selection": "selection", "training": "training"}


def absent(metrics: Metrics) -> str:
    """What has not run, in words; empty where everything has."""
    return ", ".join(words for name, words in ABSENT.items() if not section(metrics, name))


def facts_table(metrics: Metrics) -> Table:
    """Recipe, binding, models, seeds and problems."""
    recipe = section(metrics, "recipe")
    rows = [(name, str(recipe[name])) for name in ("binding", "seed") if recipe.get(name) is not None]
    rows += [(f"seed of {arrow}", str(seed)) for arrow, seed in sorted((recipe.get("seeds_by_arrow") or {}).items())]
    rows += [(f"role {role}", str(model)) for role, model in sorted((recipe.get("roles") or {}).items())]
    served = section(metrics, "served")
    for step, notes in sorted(served.items()):
        rows += [(f"{what} by the server in “{step}”", "; ".join(how)) for what, how in sorted(notes.items())]
    rows += [(f"servers in “{step}”", _spent(one)) for step, one in sorted(section(metrics, "spent").items())]
    for name, one in sorted(metrics.get("problems", {}).items()):
        levels = ", ".join(f"{level_name(key)}: {one['by_level'][key]:,}" for key in levels_of([one["by_level"]]))
        sources = ", ".join(sorted(one["sources"]))
        rows.append((f"problems “{name}”", f"{one['n']:,} from {sources} ({levels})"))
    return Table(title="The run", head=("what", "which"), body=rows)


def _spent(one: Mapping[str, Any]) -> str:
    words = [", ".join(one["roles"]), f"{one['answers']:,} answers"]
    words.append(f"{one['prompt_tokens']:,} tokens read, {one['completion_tokens']:,} written")
    words += [f"{one['unknown']:,} calls of unknown outcome"] if one["unknown"] else []
    words += [f"cost {one['money']}"] if "money" in one else []
    return "; ".join(word for word in words if word)


def overrides_table(metrics: Metrics) -> Table:
    """What the binding and the flags changed."""
    body = [_override(one) for one in section(metrics, "recipe").get("overrides", [])]
    return Table(title="Overrides", head=("field", "recipe", "used here", "by"), body=body)


def _override(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    shown = [str(one.get(key, "")) if one.get(key, "") != "" else "(empty)" for key in ("recipe", "used")]
    return (str(one.get("path", "")), shown[0], shown[1], str(one.get("by") or ""))


def versions_table(metrics: Metrics) -> Table:
    """Package versions."""
    return Table(title="Package versions", head=("package", "version"), body=sorted(metrics.get("versions", {}).items()))


def tables(metrics: Metrics) -> list[tuple[str, Table]]:
    """(chapter, table) of everything on the page that is a table or has one."""
    shown = [(one.title, block.table) for one in sections(metrics) for block in one.blocks if block.table.body]
    run = [overrides_table(metrics), facts_table(metrics), versions_table(metrics)]
    return [*shown, *(("How it was run", table) for table in run if table.body)]
