"""Measuring one model by itself: a recipe of a single evaluation step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillwise.arrows import Source
from stillwise.errors import UserError
from stillwise.parts import builtin_catalogue
from stillwise.recipe.load import NO_BINDING, Loaded
from stillwise.recipe.run import EVALUATION, Options, Result, run
from stillwise.recipe.schema import PLAINEST, Binding, Method, Paper, Step
from stillwise.recipe.work import Seeds
from stillwise.runtime.progress import Mode

ROLE = "student"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What to measure: a model, problems, and the benchmark part's fields."""

    model: str
    source: Source
    name: str
    """What the problems are called in the tables."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    """The command that was typed, for the report."""


def measure(request: Measure, out: Path, *, seed: int = 0, threads: int = 0, progress: Mode | None = None) -> Result:
    """Sample and grade; leaves metrics.json and report.html in ``out``."""
    options = Options(
        out=out,
        roles={ROLE: request.model},
        problems=request.source,
        benchmarks={_word(request.name): request.source},
        seeds=Seeds(run=seed),
        threads=threads,
        progress=progress,
        command=request.command,
    )
    return run(Loaded(_method(request), Binding(), NO_BINDING, (), EVALUATION), options)


def _method(request: Measure) -> Method:
    part = builtin_catalogue().parts[PLAINEST["evaluate"]]
    try:
        benchmark = part.model_validate(dict(request.fields))
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise UserError(f"evaluate: {faults}") from None
    step = Step(arrow="evaluate", name="measured", part=benchmark)
    about = f"one model on {request.name}"
    return Method(name=EVALUATION, paper=Paper(title="evaluation"), about=about, roles=(ROLE,), steps=(step,))


def _word(name: str) -> str:
    """A name that is also a folder's."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name) or "problems"
