"""A study: several students over several seeds on the same traces, and one table of them; or one recipe at several scales.

All students share one run folder, so what two of them have in common (the teachers' traces above all) is made once.
The teachers' traces keep the run's seed; curriculum, training and evaluation take the study's seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pydantic import Field, ValidationError

from stillwise.arrows import Source
from stillwise.errors import UserError, nearest
from stillwise.evaluate.study_views import Show
from stillwise.parts import Fields, builtin_catalogue
from stillwise.recipe.board import is_board, read_board, run_board
from stillwise.recipe.faults import read_document
from stillwise.recipe.load import Loaded, Override, find_binding, find_recipe, load, recipe_folder
from stillwise.recipe.run import Options, run
from stillwise.recipe.scales import read_scales, run_scales
from stillwise.recipe.work import Seeds
from stillwise.runtime.files import write_json, write_text
from stillwise.runtime.progress import Mode
from stillwise.runtime.where import LOCAL

SEEDED = ("curriculum", "train", "evaluate")


class Student(Fields):
    """One row of the table."""

    recipe: str
    set: dict[str, Any] = {}
    """Overrides on top of the binding's."""
    measure: str = "after"
    """Which evaluation step is the row."""
    matched_to: str | None = None
    """Train for as many optimiser steps as this student did in all."""
    roles: dict[str, str] = {}
    """Models in the place of the binding's: a larger student, say."""
    problems: Source | None = None
    """Problems in the place of the binding's: fewer of them, say."""


class Study(Fields):
    """A table to make."""

    about: str
    binding: str
    reference: str
    """The row that the others are compared with."""
    seeds: int = Field(default=3, ge=1)
    set: dict[str, Any] = {}
    """Overrides for every student."""
    show: tuple[Show, ...] = ()
    """More tables: tokens of answers by level, pass@k, what the recipes' processors left of the problems."""
    students: dict[str, Student]


@dataclass(frozen=True)
class StudyResult:
    """What a study left."""

    markdown: str
    metrics: dict[str, Any]


def find_study(name: str) -> Path:
    """The file of a study by name or path."""
    known = {path.stem: path for path in (recipe_folder() / "studies").glob("*.yaml")}
    if name not in known and not Path(name).is_file():
        raise UserError(f"no study is called {name!r}; {nearest(name, known)} (or give the path of a YAML file)")
    return known.get(name, Path(name))


def read_study(path: Path) -> Study:
    """The study in a file; every fault at once."""
    document = read_document(path)
    try:
        study = Study.model_validate(document.data, context={"catalogue": builtin_catalogue()})
    except ValidationError as err:
        document.validation(err, (), tuple(Study.model_fields))
        document.raise_faults()
        raise
    if study.reference not in study.students:
        document.fault(("reference",), f"no student is called {study.reference!r}; {nearest(study.reference, study.students)}")
    for name, student in study.students.items():
        if student.matched_to and student.matched_to not in list(study.students)[: list(study.students).index(name)]:
            document.fault(("students", name, "matched_to"), f"no earlier student is called {student.matched_to!r}")
    document.raise_faults()
    return study


def run_study(
    name: str,
    out: Path,
    *,
    seeds: int | None = None,
    threads: int = 0,
    progress: Mode | None = None,
    table: Path | None = None,
    on: str = LOCAL,
) -> StudyResult:
    """Train and measure every student with every seed; finished ones are found. Writes study.json and study.md.

    ``table`` is one more file for the Markdown table; whether it can be written is tried before anything runs.
    """
    from stillwise.evaluate.study import study_markdown
    from stillwise.evaluate.study_views import shown

    path = find_study(name)
    if table:
        _check_table(table)
    if is_of_scales(path):
        if seeds is not None:
            raise UserError(f"--seeds: {path.stem} is a study of scales, which trains nobody; each scale runs once")
        options = Options(out=out, threads=threads, on=on, progress=progress)
        return _finished(*run_scales(path, out, options), table)
    if seeds is not None and seeds < 1:
        raise UserError(f"seeds: {seeds} is not a whole number of at least 1")
    if is_board(path):
        board = read_board(path)
        board = board.model_copy(update={"seeds": seeds or board.seeds})
        options = Options(out=out, threads=threads, on=on, progress=progress)
        return _finished(*run_board(board, out, f"stillwise study {path.stem}", options), table)
    study = read_study(path)
    rows: dict[str, list[dict[str, Any]]] = {student: [] for student in study.students}
    held: dict[str, dict[str, Any]] = {}
    for seed in range(seeds or study.seeds):
        steps: dict[str, int] = {}
        for label, student in study.students.items():
            options = Options(out=out, threads=threads, on=on, progress=progress, publish=False)
            metrics = _one(study, label, student, seed, steps, options)
            steps[label] = _total_steps(metrics)
            rows[label].append(metrics["evaluation"][student.measure])
            held.setdefault(label, {**metrics, "trained": []})["trained"].append(metrics["training"])
    command = f"stillwise study {path.stem}"
    markdown = study_markdown(rows, reference=study.reference, title=study.about, command=command)
    markdown = "\n\n".join([markdown.rstrip("\n"), *shown(study.show, rows, held)]) + "\n"
    write_json(out / "study.json", rows)
    write_text(out / "study.md", markdown)
    return _finished(markdown, rows, table)


def _finished(markdown: str, metrics: dict[str, Any], table: Path | None) -> StudyResult:
    if table:
        write_text(table, markdown)
    return StudyResult(markdown, metrics)


def is_of_scales(path: Path) -> bool:
    """Whether a study runs one recipe at several scales, rather than training students."""
    return "scales" in read_document(path).data


def study_words(path: Path) -> str:
    """What a study's file holds; raises RecipeError with all its faults."""
    if is_of_scales(path):
        return f"a study of {len(read_scales(path).scales)} scales"
    if is_board(path):
        return f"a leaderboard of {len(read_board(path).methods)} methods"
    return f"a study of {len(read_study(path).students)} students"


def _check_table(table: Path) -> None:
    """Makes no folder yet: one inside ``out`` would be taken for somebody else's files."""
    nearest_parent = next(parent for parent in table.parents if parent.exists())
    try:
        with TemporaryFile(dir=nearest_parent):
            pass
    except OSError as err:
        raise UserError(f"--table {table}: cannot write in {nearest_parent} ({err.strerror}); choose another file") from err
    if table.is_dir():
        raise UserError(f"--table {table}: is a folder; give the path of a file")


def _one(study: Study, label: str, student: Student, seed: int, steps: Mapping[str, int], options: Options) -> dict[str, Any]:
    changes = {**study.set, **student.set}
    if student.matched_to:
        changes["train.steps"] = steps[student.matched_to]
    loaded = _loaded(study, student, changes)
    seeds = Seeds(run=0, by_arrow=dict.fromkeys(SEEDED, seed))
    until = student.measure if student.measure != loaded.method.steps[-1].name else None
    return run(loaded, replace(options, seeds=seeds, until=until)).metrics


def _loaded(study: Study, student: Student, changes: Mapping[str, Any]) -> Loaded:
    path = find_recipe(student.recipe)
    overrides = [Override(key, value, "study") for key, value in changes.items()]
    found = load(path, find_binding(path.stem, study.binding), overrides)
    roles = {**found.binding.roles, **student.roles}
    changed = {"roles": roles, "problems": student.problems or found.binding.problems}
    return replace(found, binding=found.binding.model_copy(update=changed))


def _total_steps(metrics: Mapping[str, Any]) -> int:
    stages: Sequence[Mapping[str, Any]] = [stage for step in metrics["training"].values() for stage in step]
    return sum(int(stage.get("steps", 0)) for stage in stages)
