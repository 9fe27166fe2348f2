"""What a run would cost at most, without running: requests, tokens, hours, disk, and what is already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillwise.arrows import Composer, Poser
from stillwise.errors import StillwiseError
from stillwise.parts import Part
from stillwise.recipe import bounds
from stillwise.recipe.bounds import number
from stillwise.recipe.cost import STUDENT
from stillwise.recipe.disk import written
from stillwise.recipe.load import Loaded
from stillwise.recipe.run import HELD_OUT, HOLDOUT_EVERY, hold_out, problem_source, read_problems
from stillwise.recipe.schema import Step
from stillwise.records import Problem
from stillwise.runtime.store import MANIFEST, file_name

BYTES_PER_TOKEN = 8
"""On disk: about four bytes of text per token, once in the journal and once in the traces (both compressed: an upper bound)."""
ASSUMED_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Upper bounds of one step."""

    step: str
    arrow: str
    kind: str
    roles: tuple[str, ...]
    requests: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0
    finished_before: int = 0
    """Finished outputs of this step in the run folder (of any fingerprint)."""

    @property
    def disk_bytes(self) -> int:
        """Journal and traces of this step."""
        return self.generated_tokens * BYTES_PER_TOKEN


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Upper bounds of a whole run."""

    loaded: Loaded
    num_problems: int
    num_problems_known: bool
    """False where the source cannot be read here and the binding's number is used."""
    benchmarks: Mapping[str, int]
    """Problems of each benchmark."""
    bounds: tuple[Bound, ...]

    @property
    def teacher_requests(self) -> int:
        """Requests of the steps that make, probe, judge or rewrite traces, all tries counted; not what a student is asked."""
        asking = [bound for bound in self.bounds if bound.arrow in ("sample", "probe", "score", "rewrite")]
        return sum(bound.requests for bound in asking if not all(self._is_students(role) for role in bound.roles))

    def _is_students(self, role: str) -> bool:
        """Whether a role is the student, was trained on the way, or is composed of such."""
        made = {step.name: step for step in self.loaded.method.steps}.get(role)
        if made is None or made.arrow == "train":
            return role == STUDENT or made is not None
        return all(self._is_students(inner) for inner in made.roles)

    @property
    def requests(self) -> int:
        """All requests, evaluations included."""
        return sum(bound.requests for bound in self.bounds)

    @property
    def generated_tokens(self) -> int:
        """All tokens that could be generated."""
        return sum(bound.generated_tokens for bound in self.bounds)

    @property
    def trained_tokens(self) -> int:
        """All tokens that could be trained on, epochs counted."""
        return sum(bound.trained_tokens for bound in self.bounds)

    @property
    def generation_hours(self) -> float | None:
        """Device-hours of generation at the binding's throughput."""
        rate = self.loaded.binding.throughput_tokens_per_s
        return self.generated_tokens / rate / 3600 if rate else None

    @property
    def training_hours(self) -> float | None:
        """Device-hours of training at the binding's throughput."""
        rate = self.loaded.binding.training_tokens_per_s
        return self.trained_tokens / rate / 3600 if rate else None


def make_plan(loaded: Loaded, out: Path | None = None) -> Plan:
    """The plan of a loaded recipe; problems are read where that is possible, else the binding's number is used."""
    binding = loaded.binding
    num, sizes = _counts(loaded)
    known = binding.num_problems is None
    samples = {name: spec.samples for name, spec in binding.benchmarks.items()}
    found, about = [], num
    for step in loaded.method.steps:
        about = step.part.most(num, about) if isinstance(step.part, Poser) else about
        about = min(about, number(step.part, "total", about)) if step.arrow == "curate" else about
        found.append(_bound(step, about, sizes, samples, loaded, out))
    return Plan(loaded=loaded, num_problems=num, num_problems_known=known, benchmarks=sizes, bounds=tuple(found))


def _counts(loaded: Loaded) -> tuple[int, dict[str, int]]:
    """Problems to sample and of each benchmark; without benchmarks those that the run would hold out to measure on."""
    binding = loaded.binding
    if not loaded.method.measures:
        source = problem_source(binding)
        return binding.num_problems or (len(_problems(source)) if source else 0), {}
    sizes = {name: spec.num_problems or len(_problems(spec.source)) for name, spec in binding.benchmarks.items()}
    if binding.num_problems is not None or binding.problems is None:
        num = binding.num_problems or 0
        held = num // HOLDOUT_EVERY
        return (num, sizes) if sizes else (num - held, {HELD_OUT: held})
    problems = _problems(binding.problems)
    if sizes:
        return len(problems), sizes
    kept, held_out = hold_out(problems)
    return len(kept), {HELD_OUT: len(held_out)}


def _problems(source: Part) -> Sequence[Problem]:
    from stillwise.arrows import Source

    assert isinstance(source, Source)
    try:
        return read_problems(source, "plan")[0]
    except StillwiseError as err:
        raise type(err)(f"{err} (or state the number in the binding: num_problems)") from None


def _bound(
    step: Step, num: int, sizes: dict[str, int], samples: dict[str, int | None], loaded: Loaded, out: Path | None
) -> Bound:
    part = step.part
    requests = 0
    if step.arrow == "sample":
        requests = min(num, number(part, "num_problems", num)) * number(part, "tries", 1) if step.roles else 0
    elif step.arrow == "probe":
        requests = num * number(part, "most_prefixes", 1) * number(part, "samples", 1)
    elif step.arrow == "evaluate":
        requests = sum(size * (samples.get(name) or number(part, "samples", ASSUMED_SAMPLES)) for name, size in sizes.items())
    elif getattr(part, "learns_from", "") == "problems":
        requests = num * number(part, "epochs", 1) * number(part, "group_size", 1)
    trained = _trained(step, num, loaded) if step.arrow == "train" else 0
    more, tokens = bounds.asked(loaded.method, step, num)
    return Bound(
        step=step.name,
        arrow=step.arrow,
        kind=part.kind,
        roles=step.roles,
        requests=requests * _calls(step, loaded) + more,
        generated_tokens=requests * number(part, "max_tokens", 0) + tokens,
        trained_tokens=trained,
        finished_before=len(list((out / "work" / file_name(step.name)).glob(f"*/{MANIFEST}"))) if out else 0,
    )


def _trained(step: Step, num: int, loaded: Loaded) -> int:
    """Each stage sees what was selected once per epoch and pass, each row at most as long as it could be generated."""
    if getattr(step.part, "learns_from", "") == "problems":
        return num * number(step.part, "epochs", 1) * number(step.part, "group_size", 1) * number(step.part, "max_tokens", 0)
    longest = max((number(s.part, "max_tokens", 0) for s in loaded.method.steps if s.arrow == "sample"), default=0)
    limit = min(longest, number(step.part, "max_length", longest)) if longest else number(step.part, "max_length", 0)
    return bounds.rows(loaded.method, step, num) * number(step.part, "epochs", 1) * limit


def _calls(step: Step, loaded: Loaded) -> int:
    """How many answers one answer of the step's role may need, where it is composed of others."""
    made = [other.part for other in loaded.method.steps if other.name in step.roles and isinstance(other.part, Composer)]
    return max((part.calls for part in made), default=1)


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    loaded, binding = plan.loaded, plan.loaded.binding
    note = "" if plan.num_problems_known else " (stated by the binding; the source is not read)"
    lines = [f"{loaded.method.paper.title}: {loaded.method.name}, binding {loaded.binding_name}"]
    lines += [f"  {role}: {model}{_others(loaded, role)}" for role, model in binding.roles.items()]
    sizes = ", ".join(f"{name} {size:,}" for name, size in plan.benchmarks.items())
    lines += [
        f"problems: {plan.num_problems:,}{note}",
        *([f"measured on: {sizes}"] if sizes else []),
        "",
        f"{'step':<18}{'does':<28}{'requests ≤':>14}{'tokens ≤':>20}",
    ]
    lines += [_row(bound) for bound in plan.bounds]
    lines += [
        "",
        f"teacher requests at most {plan.teacher_requests:,}; with the student's own and evaluation {plan.requests:,}",
    ]
    trains = any(step.arrow == "train" for step in loaded.method.steps)
    trained = f", trained at most {plan.trained_tokens:,}" if trains else ""
    lines += [f"tokens generated at most {plan.generated_tokens:,}{trained}"]
    lines += [_hours("generation", plan.generation_hours, binding.throughput_tokens_per_s)]
    lines += [_hours("training", plan.training_hours, binding.training_tokens_per_s)] if trains else []
    lines += [f"throughput: {binding.note}"] if binding.note else []
    disk = sum(bound.disk_bytes for bound in plan.bounds)
    lines += [f"disk at most {disk / 1e9:.2f} GB for journal and traces"]
    return [*lines, written(loaded).words()] if trains else lines


def _others(loaded: Loaded, role: str) -> str:
    others = loaded.binding.alternatives.get(role, ())
    return f" (also in the paper: {', '.join(others)})" if others else ""


def _row(bound: Bound) -> str:
    does = f"{bound.arrow} {bound.kind}" + (f" by {', '.join(bound.roles)}" if bound.roles else "")
    tokens = bound.generated_tokens or bound.trained_tokens
    done = "  [an output of this or another setting is there]" if bound.finished_before else ""
    return f"{bound.step:<18}{does[:38]:<40}{bound.requests:>10,}{tokens:>18,}{done}"


def _hours(what: str, hours: float | None, rate: float | None) -> str:
    if hours is None:
        return f"{what}: no throughput stated (--throughput TOKENS_PER_S)"
    return f"{what}: at most {hours:,.1f} device-hours at {rate:,.0f} tokens/s"
