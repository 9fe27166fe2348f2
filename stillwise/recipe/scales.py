"""A study of scales: one recipe without training, run with several sets of models, and one report of all side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError

from stillwise.evaluate.metrics import dumps
from stillwise.evaluate.paradigm_probe import paradigm_markdown
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.titration_figures import titration_markdown
from stillwise.parts import Fields, builtin_catalogue
from stillwise.recipe.faults import name_fault, read_document
from stillwise.recipe.load import Loaded, Override, find_binding, find_recipe, load
from stillwise.recipe.outputs import METRICS_FILE, write_report
from stillwise.recipe.roles import check_bindings
from stillwise.recipe.run import Options, bound_to, needed_roles, run
from stillwise.runtime.files import write_text

PROBES = ("paradigms", "titration")


class Scale(Fields):
    """One panel of the figure."""

    roles: dict[str, str] = {}
    """Models in the place of the binding's."""
    binding: str | None = None
    """Another binding than the study's."""
    set: dict[str, Any] = {}
    """Overrides on top of the study's."""


class ScaleStudy(Fields):
    """One figure to make."""

    about: str
    recipe: str
    binding: str
    set: dict[str, Any] = {}
    """Overrides at every scale."""
    scales: dict[str, Scale] = Field(min_length=1)
    """Panel by name, in the order of the figure."""


def read_scales(path: Path) -> ScaleStudy:
    """The study in a file; every fault at once."""
    document = read_document(path)
    named = document.data.get("scales")
    for name in named if isinstance(named, dict) else ():
        if wrong := name_fault(name):
            document.fault(("scales", name), wrong)
    try:
        study = ScaleStudy.model_validate(document.data, context={"catalogue": builtin_catalogue()})
    except ValidationError as err:
        document.validation(err, (), tuple(ScaleStudy.model_fields))
        document.raise_faults()
        raise
    document.raise_faults()
    return study


def loaded_scale(study: ScaleStudy, scale: Scale) -> Loaded:
    """The study's recipe as one scale binds it."""
    path = find_recipe(study.recipe)
    overrides = [Override(key, value, "study") for key, value in {**study.set, **scale.set}.items()]
    return load(path, find_binding(path.stem, scale.binding or study.binding), overrides)


def run_scales(path: Path, out: Path, options: Options) -> tuple[str, dict[str, Any]]:
    """Runs each scale in a folder of its own, ``out/NAME``; (Markdown, metrics). Finished scales are found.

    ``out`` gets metrics.json, report.html and study.md with one panel for each scale.
    """
    study = read_scales(path)
    loaded = {name: loaded_scale(study, scale) for name, scale in study.scales.items()}
    command = f"stillwise study {path.stem} --out DIR"
    chosen = {
        name: replace(options, out=out / name, roles=scale.roles, command=command) for name, scale in study.scales.items()
    }
    for name, one in loaded.items():
        # The last scale's typing error must not be found when the first has run for a day.
        bound = bound_to(one, chosen[name])
        check_bindings(needed_roles(bound), bound.binding.roles)
    results = {name: run(one, chosen[name]).metrics for name, one in loaded.items()}
    found = side_by_side(path.stem, study, results)
    markdown = "\n\n".join([f"# {study.about}", f"Made by `{command}`.", *_tables(cast(Metrics, found))]) + "\n"
    write_text(out / METRICS_FILE, dumps(found))
    write_report(found, out)
    write_text(out / "study.md", markdown)
    return markdown, found


def side_by_side(name: str, study: ScaleStudy, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The probes' sections of all scales under the scales' names, and the recipe that they share."""
    last = list(results.values())[-1]
    shared = {key: last["recipe"][key] for key in ("paper", "departures", "seed") if key in last["recipe"]}
    roles = {f"{role} {scale}": model for scale, one in results.items() for role, model in one["recipe"]["roles"].items()}
    command = f"stillwise study {name} --out DIR"
    recipe = {"title": name, "about": study.about, "binding": study.binding, "command": command, "roles": roles, **shared}
    problems = {scale: one["problems"]["problems"] for scale, one in results.items()}
    found: dict[str, Any] = {"recipe": recipe, "problems": problems, "versions": last["versions"]}
    for probe in PROBES:
        held = {scale: next(iter(one[probe].values())) for scale, one in results.items() if one.get(probe)}
        if held:
            found[probe] = held
    return {**found, "order": {probe: list(found[probe]) for probe in PROBES if probe in found}}


def _tables(found: Metrics) -> list[str]:
    return [text for text in (paradigm_markdown(found), titration_markdown(found)) if text]
