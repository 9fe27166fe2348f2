"""A student's model card, written from its run: parents and their licences, data, recipe, what was measured, departures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillwise.errors import UserError
from stillwise.evaluate.wording import markdown_table, number, percent_error
from stillwise.models.open import split_binding
from stillwise.models.weights import is_adapter
from stillwise.recipe.roles import local_folder
from stillwise.records import Problem

CARD = "README.md"
UNKNOWN = "unknown"


def model_card(
    found: Mapping[str, Any], roles: Mapping[str, str], problems: Sequence[Problem], resolved: str, student: Path
) -> str:
    """Markdown with the front matter that model hubs read. ``found`` is what metrics.json holds; ``roles`` the parents."""
    recipe = found["recipe"]
    parents = {role: (binding, licence_of(binding)) for role, binding in roles.items()}
    blocks = [
        _front(parents, student),
        f"# A student of {recipe['title']}",
        f"{recipe['about'].strip()}\n\n{_paper(recipe['paper'])}",
        "## Parents",
        markdown_table(["role", "model", "licence"], [[role, f"`{b}`", licence] for role, (b, licence) in parents.items()]),
        _duty(parents),
        "## Data",
        _data(found, problems),
        *_training(found),
        *_measured(found),
        "## Departures from the paper",
        "\n".join(f"- {one}" for one in recipe["departures"]) or "None is stated.",
        "## Recipe",
        f"Made by `{recipe['command']}` (seed {recipe['seed']}). Every field, as it was used:",
        f"```yaml\n{resolved.rstrip()}\n```",
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items())),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def licence_of(binding: str) -> str:
    """What a parent's own card or licence file says; ``unknown`` where neither is here."""
    scheme, _ = split_binding(binding)
    if scheme == "micro":
        return "apache-2.0"
    folder = local_folder(binding)
    if folder is None:
        return UNKNOWN
    stated = _front_matter(folder / CARD).get("license")
    if isinstance(stated, str):
        return stated
    names = sorted(path.name for path in folder.glob("LICEN[CS]E*"))
    return f"see {names[0]}" if names else UNKNOWN


def _front_matter(path: Path) -> dict[str, Any]:
    import yaml

    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.startswith("---\n"):
        return {}
    try:
        found = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError as err:
        raise UserError(f"{path}: its front matter is not YAML ({err}); mend it, or remove it") from err
    return found if isinstance(found, dict) else {}


def _front(parents: Mapping[str, tuple[str, str]], student: Path) -> str:
    licences = {licence for _, licence in parents.values()}
    stated = licences.pop() if len(licences) == 1 else "other"
    library = "peft" if is_adapter(student) else "transformers"
    tags = json.dumps(["stillwise", "distillation", "reasoning"])
    known = "other" if stated == UNKNOWN or stated.startswith("see ") else stated
    return f"---\nlibrary_name: {library}\npipeline_tag: text-generation\ntags: {tags}\nlicense: {known}\n---"


def _duty(parents: Mapping[str, tuple[str, str]]) -> str:
    unknown = [role for role, (_, licence) in parents.items() if licence == UNKNOWN]
    said = f" The licence of {', '.join(unknown)} is unknown here." if unknown else ""
    return (
        "The student's weights come from its first parent; its behaviour from the texts, or the probabilities, of the others. "
        f"What their licences ask of a derived model has to be kept by whoever passes it on.{said}"
    )


def _paper(paper: Mapping[str, Any]) -> str:
    where = f", arXiv {paper['arxiv']}" if paper.get("arxiv") else ""
    section = f", section {paper['section']}" if paper.get("section") else ""
    return f"After: {paper['title']}{where}{section}."


def _data(found: Mapping[str, Any], problems: Sequence[Problem]) -> str:
    counts = Counter((problem.source or UNKNOWN, problem.licence or UNKNOWN) for problem in problems)
    rows = [[source, licence, number(count)] for (source, licence), count in sorted(counts.items())]
    table = markdown_table(["problems from", "licence", "problems"], rows)
    traces = [[name, number(section["n"])] for name, section in found["sampling"].items() if "n" in section]
    return f"{table}\n\n{markdown_table(['traces', 'number'], traces)}" if traces else table


def _training(found: Mapping[str, Any]) -> list[str]:
    rows = [
        [step, stage["stage"], *(number(stage.get(key)) for key in ("rows", "tokens", "steps")), *_losses(stage)]
        for step, stages in found["training"].items()
        for stage in stages
    ]
    head = ["step", "stage", "rows", "learnt tokens", "optimiser steps", "first loss", "last loss"]
    return ["## Training", markdown_table(head, rows)] if rows else []


def _losses(stage: Mapping[str, Any]) -> list[str]:
    return [number(stage.get(key), 3) for key in ("first_loss", "last_loss")]


def _measured(found: Mapping[str, Any]) -> list[str]:
    sections = found["evaluation"]
    names = [name for name in found["order"]["evaluation"] if name in sections]
    if not names:
        return ["## Measured", "Nothing was measured in this run."]
    benchmarks = list(dict.fromkeys(bench for name in names for bench in sections[name]["order"]))
    rows = [[name, sections[name]["model"], *_cells(sections[name], benchmarks)] for name in names]
    note = "pass@1 in percent, ± the standard error over problems, on the problems and with the sampling of the recipe below."
    return ["## Measured", markdown_table(["evaluation", "of", *benchmarks, "average"], rows), note]


def _cells(section: Mapping[str, Any], benchmarks: Sequence[str]) -> list[str]:
    held = section["benchmarks"]
    cells = [percent_error(held[name]["pass_at_1"]) if name in held else "–" for name in benchmarks]
    return [*cells, percent_error(section["average"])]
