"""Traces that exist already, in the place of a sampler: a file of them, or what ``stillwise import`` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from stillwise.arrows import Sampled, Sampler, Source, Tools, Verifier
from stillwise.errors import UserError
from stillwise.problems.import_traces import Imported, read_traces
from stillwise.records import Failure, Problem, Trace, digest
from stillwise.runtime import tables
from stillwise.runtime.draw import verdicts
from stillwise.runtime.files import file_digest

PROBLEMS, TRACES = "problems.parquet", "traces.parquet"


class Recorded(Sampler):
    """The traces of a file or an imported folder, by the problem's id or its question, judged anew; no model is asked."""

    kind: ClassVar[str] = "recorded"
    path: str
    """A file of traces in any shape that ``stillwise import`` reads, or the folder that it wrote."""
    verify: Verifier = Field(default="by_answer_kind", validate_default=True)
    """What judges each trace."""

    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """The recorded traces in their order; a failure for each problem without any."""
        held = recorded(self.path)
        asked = {problem.id: problem for problem in problems} | {_words(p.question): p for p in reversed(problems)}
        owners = {p.id: asked.get(p.id) or asked.get(_words(p.question)) for p in held.problems.values()}
        pairs = [(owner, trace) for trace in held.traces if (owner := owners.get(trace.problem_id))]
        traces = [replace(trace, problem_id=owner.id) for owner, trace in pairs]
        judged = verdicts(self.verify, [owner for owner, _ in pairs], traces, tools)
        yield from (Sampled(trace=trace, verdict=verdict) for trace, verdict in zip(traces, judged, strict=True))
        seen = {trace.problem_id for trace in traces}
        yield from (Failure(step=tools.step, item=p.id, reason="no_trace") for p in problems if p.id not in seen)

    def outside(self) -> str:
        """A digest of the files."""
        return digest([file_digest(path) for path in _files(self.path)])


class RecordedProblems(Source):
    """The problems of a file of traces, or of an imported folder."""

    kind: ClassVar[str] = "recorded_problems"
    path: str
    """A file of traces in any shape that ``stillwise import`` reads, or the folder that it wrote."""

    def problems(self) -> Iterator[Problem | Failure]:
        """Each problem once, in the file's order; one without an answer is a failure, for nothing could be verified."""
        for problem in recorded(self.path).problems.values():
            yield problem if problem.answer else Failure(step="problems", item=problem.id, reason="no_answer")


def recorded(path: str) -> Imported:
    """Problems and traces of a file or an imported folder; UserError where it is neither."""
    files = _files(path)
    if len(files) == 1:
        return read_traces(files)
    problems = tables.read(files[0], Problem)
    return Imported(problems={problem.id: problem for problem in problems}, traces=tables.read(files[1], Trace))


def _files(path: str) -> list[Path]:
    place = Path(path)
    if place.is_dir():
        missing = [name for name in (PROBLEMS, TRACES) if not (place / name).is_file()]
        if missing:
            raise UserError(f"{path} holds no {missing[0]}; give a file of traces, or the folder of stillwise import --out")
        return [place / PROBLEMS, place / TRACES]
    if not place.is_file():
        raise UserError(f"{path} does not exist; give a file of traces, or the folder of stillwise import --out")
    return [place]


def _words(question: str) -> str:
    """A question as its words, however it was broken into lines."""
    return " ".join(question.split())
