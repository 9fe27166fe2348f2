"""Measuring one model by itself: a recipe of a single evaluation step, on problems or on benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillwise.arrows import Source
from stillwise.errors import UserError
from stillwise.evaluate.descriptions import Protocol, description_named, descriptions, protocol_named, source_of
from stillwise.parts import builtin_catalogue
from stillwise.problems.resolve import resolve
from stillwise.recipe.load import NO_BINDING, Loaded
from stillwise.recipe.run import EVALUATION, Options, Result, run
from stillwise.recipe.schema import PLAINEST, BenchmarkSet, Binding, Method, Paper, Step
from stillwise.recipe.work import Seeds
from stillwise.runtime.progress import Mode
from stillwise.runtime.where import LOCAL

ROLE = "student"
MADE = ("gym", "micro")
"""Schemes of benchmarks that are made on the spot."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What to measure: a model on benchmark sets, with the benchmark part's fields."""

    model: str
    benchmarks: Mapping[str, BenchmarkSet]
    """By the name that stands in the tables."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
    about: str = ""
    command: str = ""
    """The command that was typed, for the report."""


def on_problems(model: str, source: Source, name: str, fields: Mapping[str, Any], command: str = "") -> Measure:
    """One model on the problems of one source, called ``name``."""
    held = {_word(name): BenchmarkSet(source=source)}
    return Measure(model=model, benchmarks=held, fields=fields, about=f"one model on {name}", command=command)


def on_benchmarks(
    model: str, names: Sequence[str], protocol: str | None, data: Path | None, fields: Mapping[str, Any], command: str = ""
) -> Measure:
    """One model on benchmarks by name, as a protocol says; ``fields`` that are given replace the protocol's.

    A name is one of ``benchmarks.yaml``, ``NAME=FILE`` for a copy of one, ``gym:NAME``, ``micro:FAMILY``, or ``NAME=SPEC`` for
    problems of one's own.
    """
    stated = protocol_named(protocol) if protocol else None
    sets = dict(_benchmark(name, stated, data, fields) for name in names)
    if len(sets) != len(names):
        raise UserError(f"--benchmarks names one twice: {', '.join(names)}")
    settings = {} if stated is None else {k: getattr(stated, k) for k in ("samples", "temperature", "top_p", "max_tokens")}
    replaced = [f"{key} is {value!r} by flag, not as in the protocol" for key, value in fields.items() if settings]
    notes = [f"{name}: {one.note}" for name in sets if (one := descriptions().get(name)) and one.note]
    return Measure(
        model=model,
        benchmarks=sets,
        fields={**settings, **fields},
        departures=(*(stated.departures if stated else ()), *notes, *replaced),
        about=f"one model on {', '.join(sets)}" + (f", protocol {protocol}" if protocol else ""),
        command=command,
    )


def _benchmark(spec: str, protocol: Protocol | None, data: Path | None, fields: Mapping[str, Any]) -> tuple[str, BenchmarkSet]:
    """The name in the tables, and the problems with what is special about them."""
    name, given, place = spec.partition("=")
    if spec.partition(":")[0] in MADE:
        return _word(spec), BenchmarkSet(source=resolve(spec), samples=_samples(protocol, None, fields))
    if given and name not in descriptions():
        return _word(name), BenchmarkSet(source=resolve(place), samples=_samples(protocol, None, fields))
    one = description_named(name)
    source = one.in_file(Path(place)) if given else source_of(name, data)
    return name, BenchmarkSet(
        source=source,
        samples=_samples(protocol, name, fields),
        num_problems=one.num_problems,
        instruction=None if "instruction" in fields else one.instruction,
    )


def _samples(protocol: Protocol | None, name: str | None, fields: Mapping[str, Any]) -> int | None:
    """A benchmark's own number of samples; None where the step's holds (a flag says so, or nothing is known)."""
    if protocol is None or "samples" in fields:
        return None
    return protocol.samples_for(descriptions().get(name or ""))


def measure(
    request: Measure, out: Path, *, seed: int = 0, threads: int = 0, progress: Mode | None = None, on: str = LOCAL
) -> Result:
    """Sample and grade; leaves metrics.json and report.html in ``out``."""
    first = next(iter(request.benchmarks.values()))
    binding = Binding(roles={ROLE: request.model}, problems=first.source, benchmarks=dict(request.benchmarks))
    options = Options(out=out, seeds=Seeds(run=seed), threads=threads, on=on, progress=progress, command=request.command)
    return run(Loaded(_method(request), binding, NO_BINDING, (), EVALUATION), options)


def _method(request: Measure) -> Method:
    part = builtin_catalogue().parts[PLAINEST["evaluate"]]
    try:
        benchmark = part.model_validate(dict(request.fields))
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise UserError(f"evaluate: {faults}") from None
    step = Step(arrow="evaluate", name="measured", part=benchmark)
    return Method(
        name=EVALUATION,
        paper=Paper(title="evaluation"),
        about=request.about,
        roles=(ROLE,),
        steps=(step,),
        departures=(*request.departures, *_greedy(request, benchmark)),
    )


def _greedy(request: Measure, part: Any) -> list[str]:
    """Greedy samples differ by floating-point noise at most: many of them say no more than one."""
    samples = {name: one.samples or part.samples for name, one in request.benchmarks.items()}
    named = [name for name, count in samples.items() if count > 1]
    return (
        [f"temperature 0 is greedy: the samples of a problem of {', '.join(named)} are one"]
        if named and part.temperature == 0
        else []
    )


def _word(name: str) -> str:
    """A name that is also a folder's."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name) or "problems"
