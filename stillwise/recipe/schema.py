"""What a recipe and a binding are: typed, frozen, with every field that a file may set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stillwise.arrows import (
    Benchmark,
    Composer,
    Curator,
    Filter,
    Pairer,
    Poser,
    Probe,
    Rewriter,
    Sampler,
    Scheduler,
    Scorer,
    Selector,
    Source,
    Trainer,
    Verifier,
)
from stillwise.machine import Training
from stillwise.parts import Fields, Part, inputs_of, roles_of, traces_of

ARROWS: dict[str, type[Part]] = {
    "curate": Curator,
    "pose": Poser,
    "compose": Composer,
    "sample": Sampler,
    "filter": Filter,
    "verify": Verifier,
    "score": Scorer,
    "rewrite": Rewriter,
    "select": Selector,
    "pair": Pairer,
    "curriculum": Scheduler,
    "train": Trainer,
    "evaluate": Benchmark,
    "probe": Probe,
}
"""The step words of a recipe and the arrow that each stands for."""

PLAINEST: dict[str, str] = {
    "sample": "rejection",
    "verify": "by_answer_kind",
    "curriculum": "stages",
    "train": "sft",
    "evaluate": "pass_at_1",
    "probe": "titration",
}
"""The kind that a step has when it names none."""

Produces = Literal["problems", "traces", "rows", "pairs", "lessons", "model", "measures", "scores", "findings", "composed"]

OUTPUT: dict[str, Produces] = {
    "curate": "problems",
    "pose": "problems",
    "compose": "composed",
    "sample": "traces",
    "filter": "traces",
    "verify": "traces",
    "score": "scores",
    "rewrite": "traces",
    "select": "rows",
    "pair": "pairs",
    "curriculum": "lessons",
    "train": "model",
    "evaluate": "measures",
    "probe": "findings",
}
MODELS = ("train", "compose")
"""Steps whose names are roles for the steps after them."""
NEEDS: dict[str, Produces | None] = {
    "curate": None,
    "pose": None,
    "compose": None,
    "sample": None,
    "filter": "traces",
    "verify": "traces",
    "score": "traces",
    "rewrite": "traces",
    "select": "traces",
    "pair": "traces",
    "curriculum": "rows",
    "train": "lessons",
    "evaluate": None,
    "probe": "traces",
}
"""What a step reads through ``from`` (the nearest earlier output of that sort is the default)."""


def needed_by(arrow: str, part: Part) -> Produces | None:
    """What a step of this arrow and part reads; a trainer says itself what it learns from. The run's problems are no output."""
    found: Produces | None = getattr(part, "learns_from", NEEDS[arrow])
    return None if found == "problems" else found


def names_inputs(arrow: str, part: Part) -> bool:
    """Whether a part itself says which outputs it reads, so that the step needs no ``from``."""
    if arrow in ("select", "pair"):
        return bool(traces_of(part))
    return getattr(part, "learns_from", None) == "scores" and bool(inputs_of(part))


class Paper(Fields):
    """The publication that a recipe implements."""

    title: str
    arxiv: str | None = None
    section: str | None = None


class Published(Fields):
    """One figure that the paper prints, for the recipe's page."""

    what: str
    """Student, data and measure."""
    value: int | float | str
    """As printed; several figures that belong together are one text (``57.3 (long: 53.3)``)."""
    where: str
    """The table or section that prints it, and how it was read where that was not in the paper itself."""


class Step(Fields):
    """One step of the graph: an arrow, its part, the output's name and where the input comes from."""

    arrow: str
    name: str
    source: str | None = None
    part: Part

    @property
    def reads(self) -> tuple[str, ...]:
        """The earlier outputs that this step depends on, its ``from`` and its part's own inputs."""
        named = (self.source,) if self.source else ()
        return tuple(dict.fromkeys((*named, *inputs_of(self.part))))

    @property
    def roles(self) -> tuple[str, ...]:
        """The model roles that this step uses."""
        return roles_of(self.part)


class BenchmarkSet(Fields):
    """Problems that students are measured on."""

    source: Source
    samples: int | None = Field(default=None, ge=1)
    """Samples per problem; None takes the evaluation step's number."""
    instruction: str | None = None
    """Appended to each question; None takes the evaluation step's."""
    num_problems: int | None = Field(default=None, ge=1)
    """How many problems the source holds, for ``plan`` where it cannot be read here."""

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of the evaluation step that this set replaces."""
        return {name: getattr(self, name) for name in ("samples", "instruction") if getattr(self, name) is not None}


class Binding(Fields):
    """The machine side of a run: which models, which data, which sizes."""

    about: str = ""
    roles: dict[str, str] = {}
    """Role to model: ``micro:NAME``, ``transformers:PATH_OR_ID``, ``vllm:ID``, …"""
    alternatives: dict[str, tuple[str, ...]] = {}
    """Other models that the paper used in the role; shown by ``plan``."""
    problems: Source | None = None
    benchmarks: dict[str, BenchmarkSet] = {}
    traces: dict[str, str] = {}
    """Sampling step to a file of traces, or a folder that ``stillwise import`` wrote: what exists is not sampled again."""
    set: dict[str, Any] = {}
    """Overrides, ``arrow-or-step.field`` to value; printed in the report."""
    throughput_tokens_per_s: float | None = Field(default=None, gt=0)
    """Generated tokens per second and device, for ``plan``'s upper bound of hours."""
    training: Training = Training()
    """Devices, checkpoints and reports of the trainings; they change nothing that is learnt."""
    training_tokens_per_s: float | None = Field(default=None, gt=0)
    """Trained tokens per second and device, for ``plan``'s upper bound of hours."""
    num_problems: int | None = Field(default=None, ge=1)
    """How many problems the source holds, for ``plan`` where the source cannot be read here."""
    note: str = ""
    """Where the throughput comes from."""


class Method(Fields):
    """A method: its steps over shared parts. It names no model and no machine."""

    name: str
    paper: Paper
    about: str
    roles: tuple[str, ...]
    steps: tuple[Step, ...]
    departures: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    """What the paper reports, to stand beside what comes out here."""
    max_failure_rate: float = Field(default=0.5, ge=0, le=1)
    """The run stops when a larger share of a step's items fails (dropped by rule does not count)."""

    def trained_roles(self) -> dict[str, str]:
        """Roles that the recipe itself makes: the name of a step that trains or composes a model, and the step."""
        return {step.name: step.name for step in self.steps if step.arrow in MODELS}

    @property
    def measures(self) -> bool:
        """Whether any model is measured on benchmarks."""
        return any(step.arrow == "evaluate" for step in self.steps)

    @property
    def reads_benchmarks(self) -> bool:
        """Whether any step measures on benchmarks, or may drop what stands in them."""
        return any(step.arrow in ("evaluate", "curate", "filter") for step in self.steps)

    @property
    def read(self) -> frozenset[str]:
        """The outputs that any step depends on."""
        return frozenset(name for step in self.steps for name in step.reads)

    def step(self, name: str) -> Step:
        """The step of this name."""
        return next(step for step in self.steps if step.name == name)
