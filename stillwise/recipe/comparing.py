"""Finished runs against each other: what ``stillwise compare`` reads and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stillwise.errors import UserError, nearest
from stillwise.evaluate.compare import Side, compared, markdown
from stillwise.evaluate.metrics import dumps
from stillwise.parts import plain
from stillwise.recipe.outputs import RECIPE_FILE
from stillwise.recipe.summary import read_metrics
from stillwise.runtime.files import write_text

SETTINGS = ("samples", "temperature", "top_p", "max_tokens", "instruction", "verify")
VERSIONS = ("stillwise", "torch", "transformers", "math-verify", "reasoning-gym")
MARKDOWN_FILE, JSON_FILE = "comparison.md", "comparison.json"


def compare_runs(specs: Sequence[str], out: Path | None, *, as_json: bool = False) -> str:
    """Compares every later run with the first; the text to print. ``out`` gets the Markdown and the JSON."""
    found = compared([_side(spec, name) for spec, name in zip(specs, _names(specs), strict=True)])
    page, data = markdown(found), dumps(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / MARKDOWN_FILE, page)
        write_text(out / JSON_FILE, data)
    return (data if as_json else page).rstrip("\n")


def _names(specs: Sequence[str]) -> list[str]:
    """The folders' own names, where they tell the sides apart."""
    short = [":".join(filter(None, (folder.resolve().name, name))) for folder, name in map(_split, specs)]
    return short if len(set(short)) == len(short) else list(specs)


def _side(spec: str, title: str) -> Side:
    """A run's folder, or FOLDER:EVALUATION; without a name the run's last evaluation."""
    folder, chosen = _split(spec)
    held = read_metrics(folder)
    sections = held.get("evaluation") or {}
    order = [name for name in held.get("order", {}).get("evaluation", []) if name in sections] or sorted(sections)
    if not order:
        raise UserError(f"{folder} measured no model: it has no evaluation to compare")
    name = chosen or order[-1]
    if name not in sections:
        raise UserError(f"{folder} has no evaluation {name!r}; {nearest(name, sections)}")
    benchmarks = held.get("order", {}).get("benchmarks", [])
    return Side(name=title, section=sections[name], order=benchmarks, settings=_settings(folder, name, held))


def _split(spec: str) -> tuple[Path, str | None]:
    folder, colon, name = spec.rpartition(":")
    return (Path(folder), name) if colon and not Path(spec).exists() and Path(folder).is_dir() else (Path(spec), None)


def _settings(folder: Path, name: str, held: Mapping[str, Any]) -> dict[str, object]:
    """What the evaluation step was set to, and the versions of what decides verdicts."""
    path = folder / RECIPE_FILE
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    bodies = [body for step in (recipe or {}).get("steps", []) for arrow, body in step.items() if arrow == "evaluate"]
    step: Mapping[str, Any] = next((body for body in bodies if body.get("as") == name), {})
    fields = {key: json.dumps(plain(step[key]), sort_keys=True) for key in SETTINGS if key in step}
    versions = {f"version of {key}": value for key, value in (held.get("versions") or {}).items() if key in VERSIONS}
    return {**fields, **versions, **_graders(held["evaluation"][name])}


def _graders(section: Mapping[str, Any]) -> dict[str, object]:
    """Versions by grader; several versions of one grader in one run stand together."""
    names = sorted({name for one in section["benchmarks"].values() for name in one.get("graders", {}) if "@" in name})
    found: dict[str, list[str]] = {}
    for name, _, version in (one.partition("@") for one in names):
        found.setdefault(f"version of the grader {name}", []).append(version)
    return {name: ", ".join(versions) for name, versions in found.items()}
