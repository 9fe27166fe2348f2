"""Running a recipe: load problems, walk the steps, publish what a user looks for. Safe to kill and to repeat."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import stillwise
from stillwise.arrows import Scheduler, Source, Verifier
from stillwise.errors import UserError, blame, nearest
from stillwise.parts import walk_parts
from stillwise.problems.recorded import Recorded, RecordedProblems
from stillwise.recipe.cost import spent, teacher_seconds
from stillwise.recipe.faults import name_fault
from stillwise.recipe.housekeeping import COMPLETE
from stillwise.recipe.load import NO_BINDING, Loaded
from stillwise.recipe.outputs import outcome_sections, publish
from stillwise.recipe.roles import check_bindings, local_folder
from stillwise.recipe.schema import BenchmarkSet, Binding, Method, Step
from stillwise.recipe.steps import RUNNERS
from stillwise.recipe.survived import survived
from stillwise.recipe.work import Seeds, Work
from stillwise.records import Failure, Problem, digest
from stillwise.runtime.files import disk_errors, write_text
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.journals import open_journal
from stillwise.runtime.progress import Display, Mode
from stillwise.runtime.shared_store import SharedStore
from stillwise.runtime.spending import PAID, Purse
from stillwise.runtime.store import RunFolder, StepFolder
from stillwise.runtime.where import LOCAL, check_on, graders_for, on_cluster, open_executor

HOLDOUT_EVERY = 10
"""Without benchmarks, every tenth problem (by its id's hash) is held out to measure on."""
HELD_OUT = "heldout"
METHOD = "recipe.name"
"""In the work folder: which recipe's results are published beside it."""
EVALUATION = "evaluate"
"""The name of the method that measures a single model."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The machine side of a run that no binding names."""

    out: Path
    roles: Mapping[str, str] = field(default_factory=dict)
    """Overrides of the binding's roles."""
    problems: Source | None = None
    benchmarks: Mapping[str, Source] = field(default_factory=dict)
    traces: Mapping[str, str] = field(default_factory=dict)
    """Sampling step to existing traces that stand for its output."""
    seeds: Seeds = field(default_factory=Seeds)
    threads: int = 0
    """Torch threads; 0 takes the machine's cores (at most eight)."""
    on: str = LOCAL
    """Where work runs: ``local``, or ``ray[:ADDRESS]``; the bytes are the same."""
    store: str | None = None
    """An address (``s3://bucket/run``) where finished steps and the journal are kept too: they outlive this machine."""
    budget: Decimal | None = None
    """What calls of servers with a price may cost in all, over every run into this folder; then the run stops."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the binding's ``training``: devices, checkpoints, reports."""
    progress: Mode | None = None
    until: str | None = None
    """Stop after this step."""
    command: str = ""
    """The command that was typed, for the report; made from the recipe where Python started the run."""
    publish: bool = True
    """Write report, traces and student for a reader; a study only wants the figures of training and evaluation."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left."""

    out: Path
    metrics: dict[str, Any]
    fresh: tuple[str, ...]
    """The steps that worked this time; empty when everything was found finished."""
    teacher_seconds: Mapping[str, float | None]
    """By role that was not trained here; no duration stands in ``metrics``, which equal runs make equal."""


def run(loaded: Loaded, options: Options) -> Result:
    """Run every step that is not finished yet and publish the outputs into ``options.out``."""
    check_on(options.on)
    bound = bound_to(loaded, options)
    _check_until(bound, options.until)
    check_bindings(needed_roles(bound), bound.binding.roles)
    _check_training(bound, options)
    with disk_errors(options.out):
        check_out(options.out, bound)
    folder = RunFolder(options.out)
    problems, benchmarks, dropped = _all_problems(bound)
    for step in bound.method.steps:
        if isinstance(step.part, Scheduler):
            step.part.preflight({problem.level for problem in problems})
    with ExitStack() as stack:
        stack.enter_context(folder.locked())
        (folder.work / COMPLETE).unlink(missing_ok=True)
        if options.publish:
            write_text(folder.work / METHOD, bound.method.name + "\n")
        threads = options.threads or default_threads()
        executor = open_executor(options.on, threads)
        stack.callback(executor.release)
        store = SharedStore(options.store, options.out) if options.store else None
        if store:
            store.pull()
        journal = open_journal(folder.work, options.on, store.journal if store else None)
        stack.callback(journal.close)
        display = stack.enter_context(Display(mode=options.progress))
        graders = stack.enter_context(GraderPool())
        work = Work(
            loaded=bound,
            folder=folder,
            executor=executor,
            journal=journal,
            graders=graders_for(executor, graders),
            progress=display.open,
            roles=dict(bound.binding.roles),
            seeds=options.seeds,
            threads=threads,
            training=bound.binding.training.model_copy(update=dict(options.training)),
            purse=Purse.of(options.budget, sum(amounts.get(PAID, 0) for amounts in journal.ledger().values())),
            problems=problems,
            benchmarks=benchmarks,
        )
        for step in bound.method.steps:
            with display.step():
                _step(work, step)
            if store:
                _share(store, work, step, on_cluster(options.on))
            if step.name == options.until:
                break
        work.problems = work.every_problem
        if options.publish:
            metrics = publish(work, dropped, _facts(work, options.command), whole=options.until is None)
            if store:
                store.publish()
        else:
            metrics = {**outcome_sections(work), **survived(work)}
        return Result(out=options.out, metrics=metrics, fresh=tuple(work.fresh), teacher_seconds=teacher_seconds(work))


def default_threads() -> int:
    """The cores that this process may use, at most eight."""
    return min(8, len(os.sched_getaffinity(0)))


def _step(work: Work, step: Step) -> None:
    folder = work.folder.step(step.name, work.fingerprint(step))
    if not (folder.finished() and _stages_finished(work, folder)):
        folder.begin()
        work.tallies.pop(step.name, None)
        with blame(step.name, step.part.kind, step.arrow):
            facts = RUNNERS[step.arrow](work, step, folder)
        folder.finish({**facts, **spent(work.tallies.get(step.name))})
        work.fresh.append(step.name)
    work.outputs[step.name] = folder
    work.about[step.name] = work.problems
    if step.arrow == "curate":
        work.problems = work.curated(step.name)
    if step.arrow == "pose":
        work.pose(step)
    if step.arrow == "train":
        work.roles[step.name] = f"transformers:{work.student_folder(step.name)}"
        work.trained[step.name] = str(folder.facts["weights"])
    if step.arrow == "compose":
        work.composed[step.name] = step
        inner = {role: work.role_identity(role) for role in step.roles}
        work.trained[step.name] = digest(step.part.fingerprint, inner, folder.facts["measured"])


def _share(store: SharedStore, work: Work, step: Step, elsewhere: bool) -> None:
    """Copies a finished step to the store; workers ``elsewhere`` fetch a trained student from there."""
    folder = work.outputs[step.name]
    for name in folder.facts.get("folders", []):
        store.push(work.folder.work / name)
    store.push(folder.path)
    if step.arrow == "train" and elsewhere:
        work.roles[step.name] = f"transformers:{store.at(work.student_folder(step.name))}"


def _stages_finished(work: Work, folder: StepFolder) -> bool:
    """Whether the stages that a train step names are whole; a damaged file is named by the store."""
    names = folder.facts.get("folders", [])
    stages = [StepFolder(step=name, fingerprint=Path(name).name, path=work.folder.work / name) for name in names]
    return all(stage.finished() for stage in stages)


def _check_training(loaded: Loaded, options: Options) -> None:
    if any(step.arrow == "train" for step in loaded.method.steps):
        from stillwise.train.launch import check

        check(loaded.binding.training.model_copy(update=dict(options.training)))


def _check_until(loaded: Loaded, until: str | None) -> None:
    names = [step.name for step in loaded.method.steps]
    if until is not None and until not in names:
        raise UserError(f"--until {until}: no step is called so; {nearest(until, names)}")


def check_out(out: Path, loaded: Loaded) -> None:
    """Refuses a folder that holds something else than a run, and one whose ``student`` is a model of this run."""
    if out.is_dir() and any(out.iterdir()) and not (out / "work").is_dir():
        raise UserError(f"{out} holds files that are not a run's; nothing was overwritten: choose a new folder with --out")
    target = (out / "student").resolve()
    for role in needed_roles(loaded):
        folder = local_folder(loaded.binding.roles[role])
        if folder is not None and target in (folder.resolve(), *folder.resolve().parents):
            raise UserError(f"role {role!r} is bound to {folder}, which this run would replace; choose another --out")
    named = out / "work" / METHOD
    held = named.read_text(encoding="utf-8").strip() if named.is_file() else loaded.method.name
    # Recipes may share a folder, and with it the teachers' traces; a measurement must not replace a run's report.
    if (held == EVALUATION) != (loaded.method.name == EVALUATION):
        raise UserError(f"{out} holds a run of {held!r}; measure into another folder with --out")


def needed_roles(loaded: Loaded) -> list[str]:
    """The roles that a model must be bound to, in the order of use; what the recipe trains is none of them."""
    trained = loaded.method.trained_roles()
    used = [role for step in loaded.method.steps for role in step.roles]
    return [role for role in dict.fromkeys(used) if role not in trained]


def bound_to(loaded: Loaded, options: Options) -> Loaded:
    """The binding with the command line's roles, problems and benchmarks in it."""
    binding = loaded.binding
    wrong = [fault for name in options.benchmarks if (fault := name_fault(name))]
    if wrong:
        raise UserError(f"--benchmark: {'; '.join(wrong)}")
    _check_roles(loaded.method, options.roles)
    roles = {**binding.roles, **options.roles}
    # Another problem set makes the binding's benchmarks another subject: they go unless given again.
    kept = {} if options.problems is not None else dict(binding.benchmarks)
    benchmarks = {**kept, **{name: BenchmarkSet(source=source) for name, source in options.benchmarks.items()}}
    problems = options.problems or binding.problems
    num_problems = None if options.problems is not None else binding.num_problems
    traces = {**binding.traces, **options.traces}
    changes = {"roles": roles, "problems": problems, "benchmarks": benchmarks, "num_problems": num_problems, "traces": traces}
    bound = binding.model_copy(update=changes)
    return Loaded(with_traces(loaded.method, traces), bound, loaded.binding_name, loaded.overrides, loaded.path)


def _check_roles(method: Method, given: Mapping[str, str]) -> None:
    faults = [
        f"--role {role}: {method.name} has no such role; {nearest(role, method.roles)}"
        for role in given
        if role not in method.roles
    ]
    if faults:
        raise UserError("\n".join(faults))


def with_traces(method: Method, traces: Mapping[str, str]) -> Method:
    """The method with existing traces in the place of some of its samplers; their own verifiers judge them again."""
    sampling = [step.name for step in method.steps if step.arrow == "sample"]
    for name in traces:
        if name not in sampling:
            raise UserError(f"--traces {name}: no sampling step is called so; {nearest(name, sampling)}")
    steps = [_recorded(step, traces[step.name]) if step.name in traces else step for step in method.steps]
    return method.model_copy(update={"steps": tuple(steps)})


def _recorded(step: Step, path: str) -> Step:
    verifier = next(({"verify": part} for part in walk_parts(step.part) if isinstance(part, Verifier)), {})
    return step.model_copy(update={"part": Recorded(path=path, **verifier)})


def _all_problems(loaded: Loaded) -> tuple[list[Problem], dict[str, list[Problem]], dict[str, list[Failure]]]:
    binding = loaded.binding
    source = problem_source(binding)
    if source is None:
        raise UserError("no problems: give --problems FILE (or hub:ID, gym:NAME, micro:FAMILY), or a binding such as --micro")
    problems, dropped = read_problems(source, "problems")
    failures = {"problems": dropped}
    benchmarks: dict[str, list[Problem]] = {}
    if not loaded.method.reads_benchmarks:
        return problems, benchmarks, failures
    for name, spec in binding.benchmarks.items():
        benchmarks[name], failures[f"benchmark {name}"] = read_problems(spec.source, f"benchmark {name!r}")
    if not benchmarks and loaded.method.measures:
        problems, benchmarks[HELD_OUT] = hold_out(problems)
    return problems, benchmarks, failures


def problem_source(binding: Binding) -> Source | None:
    """Where the problems come from: what was given, else the problems of existing traces."""
    if binding.problems is not None or not binding.traces:
        return binding.problems
    return RecordedProblems(path=next(iter(binding.traces.values())))


def read_problems(source: Source, what: str) -> tuple[list[Problem], list[Failure]]:
    """All usable problems of a source, and what was dropped; none at all is an error."""
    items = list(source.problems())
    problems = [item for item in items if isinstance(item, Problem)]
    failures = [item for item in items if isinstance(item, Failure)]
    if not problems:
        reasons = ", ".join(sorted({failure.reason for failure in failures})) or "the source is empty"
        raise UserError(f"{what}: no usable problem ({reasons})")
    return problems, failures


def hold_out(problems: Sequence[Problem]) -> tuple[list[Problem], list[Problem]]:
    """Training problems and held-out ones, split by the hash of their ids."""
    held = [p for p in problems if int(digest("holdout", p.id), 16) % HOLDOUT_EVERY == 0]
    if not held or len(held) == len(problems):
        raise UserError(f"{len(problems)} problems are too few to hold some out; give --benchmark NAME=SOURCE to measure on")
    kept = {p.id for p in held}
    return [p for p in problems if p.id not in kept], held


def _facts(work: Work, command: str) -> dict[str, Any]:
    return {
        "seed": work.seeds.run,
        "seeds_by_arrow": dict(work.seeds.by_arrow),
        "command": command or _command(work),
        "versions": versions(),
        "threads": work.threads,
    }


def _command(work: Work) -> str:
    """What repeats a run that Python started: recipe, binding, overrides, seed."""
    loaded = work.loaded
    given = [override for override in loaded.overrides if override.origin == "--set"]
    changes = [word for override in given for word in ("--set", f"{override.path}={json.dumps(override.value)}")]
    binding = ["--binding", loaded.binding_name] if loaded.binding_name != NO_BINDING else []
    words = ["stillwise", "run", loaded.method.name, *binding, *changes]
    return shlex.join([*words, "--seed", str(work.seeds.run), "--out", "DIR"])


def versions() -> dict[str, str]:
    """Versions of what decides the bytes."""
    from importlib.metadata import version

    names = ("torch", "transformers", "numpy", "pyarrow", "math-verify", "reasoning-gym")
    return {"stillwise": stillwise.__version__, "python": platform.python_version(), **{n: version(n) for n in names}}
