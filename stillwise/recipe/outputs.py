"""What a user finds in a run's folder: resolved recipe, traces, student, metrics.json and report.html.

Everything here is derived from the finished steps, so it is written again at the end of every run; equal steps give
equal bytes (durations stand in timings nowhere else than on the screen).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from stillwise.arrows import Scaffold
from stillwise.evaluate import metrics as figures
from stillwise.evaluate.classes import scores_by_trace
from stillwise.evaluate.paradigm_probe import paradigm_section
from stillwise.evaluate.sections import (
    Output,
    comparison_section,
    evaluation_section,
    example_section,
    measured,
    problems_section,
    sampling_section,
    selection_section,
    stage_section,
)
from stillwise.evaluate.shape import TitrationFacts
from stillwise.evaluate.titrate import Titration
from stillwise.evaluate.titration_figures import titration_section
from stillwise.parts import plain
from stillwise.recipe.benchmarks import write_benchmarks
from stillwise.recipe.card import CARD, model_card
from stillwise.recipe.cost import cost_section
from stillwise.recipe.housekeeping import COMPLETE, USED, read_used
from stillwise.recipe.judges import judges_section
from stillwise.recipe.load import Loaded
from stillwise.recipe.schema import OUTPUT, Step
from stillwise.recipe.shown import add_shown
from stillwise.recipe.spent import spent_section
from stillwise.recipe.survived import survived
from stillwise.recipe.work import FAILURES, FINDINGS, ROWS, SCORES, TRACES, VERDICTS, Work
from stillwise.records import Failure, Problem, Trace
from stillwise.runtime import tables
from stillwise.runtime.files import disk_errors, sync_folder, whole_file, write_json, write_text
from stillwise.runtime.store import file_name
from stillwise.runtime.tables import Judged, Scored
from stillwise.sample.rejection import All

TABLES = {"traces": TRACES, "verdicts": VERDICTS, "failures": FAILURES, "findings": FINDINGS}
"""Published folder to the table of a step's output that it collects."""
RECIPE_FILE, METRICS_FILE, REPORT_FILE = "recipe.yaml", "metrics.json", "report.html"


def publish(
    work: Work, dropped: Mapping[str, list[Failure]], facts: Mapping[str, Any], *, whole: bool = True
) -> dict[str, Any]:
    """Write everything that a user looks for; returns what metrics.json holds. ``whole`` says that every step is done."""
    out = work.folder.path
    write_text(out / RECIPE_FILE, resolved_yaml(work.loaded))
    tables.write(out / "problems.parquet", work.problems, Problem)
    write_benchmarks(work)
    for step in (*_made(work, "traces"), *_made(work, "findings")):
        _publish_traces(work, step)
    _remove_strangers(work)
    _publish_student(work)
    found = collect(work, dropped, facts)
    add_shown(work, found)
    write_report(found, out)
    write_text(out / METRICS_FILE, figures.dumps(cast(Any, found)))
    if (out / "student").is_dir():
        card = model_card(found, _parents(work), work.problems, resolved_yaml(work.loaded), out / "student")
        write_text(out / "student" / CARD, card)
    # A run that stopped early has not found out what the steps behind it use: what they used before stays.
    before = set() if whole else set(read_used(work.folder))
    write_json(work.folder.work / USED, sorted(used_folders(work) | before))
    if whole:
        write_text(work.folder.work / COMPLETE, "")
    return found


def _remove_strangers(work: Work) -> None:
    """Tables of steps that the recipe no longer has must not lie beside the new ones."""
    names = {f"{file_name(step.name)}.parquet" for step in work.loaded.method.steps}
    for kind in TABLES:
        for path in (work.folder.path / kind).glob("*.parquet"):
            if path.name not in names:
                path.unlink()


def write_report(found: Mapping[str, Any], out: Path) -> None:
    """The HTML report of these metrics in a folder."""
    from stillwise.evaluate.report import write_report as write

    write(cast(Any, found), out / REPORT_FILE)


def used_folders(work: Work) -> set[str]:
    """The step folders that this run's outputs stand in, relative to the work folder."""
    paths = [folder.path for folder in work.outputs.values()]
    stages = [stage for step in _made(work, "model") for stage in work.outputs[step.name].facts["folders"]]
    return {str(path.relative_to(work.folder.work)) for path in paths} | set(stages)


def _made(work: Work, sort: str) -> list[Step]:
    return [step for step in work.loaded.method.steps if OUTPUT[step.arrow] == sort and step.name in work.outputs]


def _publish_traces(work: Work, step: Step) -> None:
    folder = work.outputs[step.name].path
    for name, source in TABLES.items():
        if (folder / source).is_file():
            with whole_file(work.folder.path / name / f"{file_name(step.name)}.parquet") as aside:
                shutil.copyfile(folder / source, aside)


def _parents(work: Work) -> dict[str, str]:
    """The models that the recipe was given, by role; what it trains is none of them. The last student's own parent is first."""
    used = [role for step in work.loaded.method.steps for role in step.roles]
    first = next((step.roles[0] for step in work.loaded.method.steps if step.arrow == "train"), None)
    return {
        role: work.roles[role]
        for role in dict.fromkeys([first, *used])
        if role is not None and role in work.roles and role not in work.trained
    }


def _publish_student(work: Work) -> None:
    trained = _made(work, "model")
    if not trained:
        return
    source, target = work.student_folder(trained[-1].name), work.folder.path / "student"
    aside, old = target.with_name(".student.part"), target.with_name(".student.old")
    with disk_errors(target):
        for stale in (aside, old):
            shutil.rmtree(stale, ignore_errors=True)
        shutil.copytree(source, aside)
        if target.exists():
            os.replace(target, old)
        os.replace(aside, target)
        sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def resolved_yaml(loaded: Loaded) -> str:
    """The recipe with every field written out: it loads again, and runs the same without a binding's overrides."""
    method = loaded.method
    steps = [{step.arrow: _step_fields(step)} for step in method.steps]
    data = {
        "paper": {k: v for k, v in plain(method.paper).items() if v is not None},
        "about": method.about,
        "roles": list(method.roles),
        "max_failure_rate": method.max_failure_rate,
        "steps": steps,
        "departures": list(method.departures),
        **({"published": plain(method.published)} if method.published else {}),
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def _step_fields(step: Step) -> dict[str, Any]:
    source = {"from": step.source} if step.source else {}
    return {"as": step.name, **source, **step.part.as_dict()}


def collect(work: Work, dropped: Mapping[str, list[Failure]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Every section of metrics.json."""
    left = survived(work)
    sampled = {
        step.name: Output(traces=work.traces(step.name), verdicts=work.verdicts(step.name))
        for step in _made(work, "traces")
        if step.arrow in ("sample", "rewrite")
    }
    outcome = outcome_sections(work)
    evaluations = outcome["evaluation"]
    names = list(evaluations)
    comparisons = [row for i, a in enumerate(names) for b in names[i + 1 :] for row in comparison_section(a, b, evaluations)]
    probes, judges = _probe_sections(work, sampled), judges_section(work)
    served, spent = work.journal.served(), spent_section(work)
    return {
        "recipe": _recipe_section(work, facts),
        "problems": {"problems": problems_section(work.problems)}
        | {f"benchmark {name}": problems_section(held) for name, held in work.benchmarks.items()},
        "sampling": {name: sampling_section(work.about[name], output) for name, output in sampled.items()},
        "curation": {step.name: _curated(work, step) for step in _figured(work)},
        "selection": {step.name: _selection(work, step) for step in _made(work, "rows")},
        **left,
        **outcome,
        "comparison": comparisons,
        "failures": _failures(work, dropped),
        "versions": facts["versions"],
        **({"served": served} if served else {}),
        **({"spent": spent} if spent else {}),
        **({"judges": judges} if judges else {}),
        "examples": example_section(work.problems, sampled),
        **probes,
        "order": {"sampling": list(sampled), "evaluation": names, "benchmarks": list(work.benchmarks)}
        | {name: list(held) for name, held in probes.items()},
    }


def _probe_sections(work: Work, outputs: Mapping[str, Output]) -> dict[str, dict[str, Any]]:
    """What the probes found; no section where nothing was probed."""
    tried = [step for step in _made(work, "traces") if step.part.kind == All.kind]
    found: dict[str, dict[str, Any]] = {}
    if len(tried) > 1:
        scale = scale_of(work.loaded.binding.roles.get(tried[0].roles[0], tried[0].roles[0]))
        found["paradigms"] = {scale: paradigm_section(work.problems, {step.name: outputs[step.name] for step in tried})}
    if titrated := [step for step in _made(work, "findings") if isinstance(step.part, Titration)]:
        found["titration"] = {step.name: _titration(work, step, cast(Titration, step.part)) for step in titrated}
    return found


def scale_of(binding: str) -> str:
    """A model's short name, for a panel's title: ``transformers:owner/Name-7B`` is ``Name-7B``."""
    return binding.rstrip("/").rpartition("/")[2] or binding


def _titration(work: Work, step: Step, part: Titration) -> Any:
    traces = tables.read(work.outputs[step.name].path / TRACES, Trace)
    facts = TitrationFacts(
        model=traces[0].model if traces else "",
        role=part.by,
        tokenizer=part.tokenizer,
        search=part.search,
        samples=part.samples,
    )
    findings = tables.read(work.outputs[step.name].path / FINDINGS, Scaffold)
    groups = [group.name for group in part.groups]
    return titration_section(findings, groups=groups, attempts=len(traces), facts=facts)


def outcome_sections(work: Work) -> dict[str, Any]:
    """How the students were trained and what they can do: the two sections that a study reads."""
    return {
        "training": {step.name: _stages(work, step) for step in _made(work, "model")},
        "evaluation": {step.name: _evaluation(work, step) for step in _made(work, "measures")},
        "cost": cost_section(work),
    }


def _recipe_section(work: Work, facts: Mapping[str, Any]) -> dict[str, Any]:
    loaded = work.loaded
    return {
        "title": loaded.method.name,
        "about": loaded.method.about,
        "paper": {k: v for k, v in plain(loaded.method.paper).items() if v is not None},
        "binding": loaded.binding_name,
        "roles": dict(loaded.binding.roles),
        "overrides": [
            {"path": override.path, "recipe": override.replaced, "used": plain(override.value), "by": override.origin}
            for override in loaded.overrides
        ],
        "departures": list(loaded.method.departures),
        "seed": facts["seed"],
        "command": facts["command"],
    }


def _evaluation(work: Work, step: Step) -> Any:
    folder, rows, revision = work.outputs[step.name], {}, ""
    for name, problems in work.benchmarks.items():
        traces = tables.read(folder.path / name / TRACES, Trace)
        verdicts = {row.trace_id: row.verdict for row in tables.read(folder.path / name / VERDICTS, Judged)}
        scores = scores_by_trace(_scores(folder.path / name / SCORES))
        rows[name] = measured(name, problems, Output(traces=traces, verdicts=verdicts, scores=scores))
        revision = traces[0].model if traces else revision
    return evaluation_section(step.roles[0], revision, rows)


def _scores(path: Path) -> list[tuple[str, str, float | None]]:
    rows = tables.read(path, Scored) if path.is_file() else []
    return [(row.trace_id, row.score.name, row.score.value) for row in rows]


def _figured(work: Work) -> list[Step]:
    """Finished steps that say in figures what was asked of them and what came."""
    steps = [step for step in work.loaded.method.steps if step.arrow in ("curate", "filter", "pair")]
    return [step for step in steps if step.name in work.outputs]


def _curated(work: Work, step: Step) -> dict[str, Any]:
    facts = work.outputs[step.name].facts
    return {"kind": step.part.kind, **{key: value for key, value in facts.items() if key not in ("traces_of", "sifted")}}


def _selection(work: Work, step: Step) -> Any:
    from stillwise.arrows import Row

    rows = tables.read(work.outputs[step.name].path / ROWS, Row)
    found = selection_section(work.about[step.name], [row.problem_id for row in rows], work.failures(step.name))
    figures = work.outputs[step.name].facts.get("figures")
    return {**found, **({"figures": figures} if figures else {})}


def _stages(work: Work, step: Step) -> list[Any]:
    stages = work.outputs[step.name].facts["stages"]
    return [stage_section(_stage(stage)) for stage in stages]


def _stage(figures: Mapping[str, Any]) -> dict[str, Any]:
    """A trainer's figures under the names of metrics.json; the curve without its learning rates."""
    tokens = {"tokens": figures["supervised_tokens"]} if "supervised_tokens" in figures else {}
    return {**figures, **tokens, "curve": [point[:2] for point in figures.get("curve", [])]}


def _failures(work: Work, dropped: Mapping[str, list[Failure]]) -> dict[str, dict[str, int]]:
    """Items dropped, by step and reason; every folder of a step that holds a failures table counts."""
    found: dict[str, list[Failure]] = {name: list(items) for name, items in dropped.items()}
    for name, folder in work.outputs.items():
        paths = sorted(folder.path.rglob(FAILURES))
        found[name] = [failure for path in paths for failure in tables.read(path, Failure)]
    return {name: _counted(items) for name, items in sorted(found.items()) if items}


def _counted(items: list[Failure]) -> dict[str, int]:
    reasons = [failure.reason for failure in items]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}
