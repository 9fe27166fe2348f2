"""The state of one run while its steps work: what is bound, what has been made, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import Any, cast

from stillwise.arrows import Caller, Composer, Contender, Graders, Poser, Progress, Row, Sampler, Tools
from stillwise.machine import Site, Training
from stillwise.parts import inputs_of, plain, scores_of
from stillwise.recipe.load import Loaded
from stillwise.recipe.roles import OpenModel, identity, local_folder
from stillwise.recipe.schema import Step
from stillwise.records import Failure, Finish, Outcome, Problem, Score, Trace, Verdict, derive_seed, digest, digest_of_rows
from stillwise.runtime import tables
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.counted import Counted, Tally
from stillwise.runtime.executor import Executor
from stillwise.runtime.journal import CallJournal
from stillwise.runtime.metered import metered
from stillwise.runtime.spending import Purse
from stillwise.runtime.store import RunFolder, StepFolder
from stillwise.runtime.tables import Judged, Scored
from stillwise.runtime.traces import Traces

TRACES, VERDICTS, FAILURES, PROBLEMS = "traces.parquet", "verdicts.parquet", "failures.parquet", "problems.parquet"
ROWS, PAIRS, LESSONS, SCORES, STUDENT = "rows.parquet", "pairs.parquet", "lessons.parquet", "scores.parquet", "student"
FINDINGS = "findings.parquet"
KEPT = ".kept"
"""In a training's folder: checkpoints, which outlive a kill and go when the training is finished."""
LOGS = "logs"


@dataclass(frozen=True)
class Seeds:
    """The run's seed, and other ones for some arrows (a study trains three seeds on the same traces)."""

    run: int = 0
    by_arrow: Mapping[str, int] = field(default_factory=dict)

    def of(self, step: Step) -> int:
        """The seed that a step's own seeds derive from."""
        return self.by_arrow.get(step.arrow, self.run)


@dataclass
class Work:
    """One run in progress."""

    loaded: Loaded
    folder: RunFolder
    executor: Executor
    journal: CallJournal
    graders: Graders
    progress: Callable[[str, int], Progress]
    roles: dict[str, str]
    seeds: Seeds = field(default_factory=Seeds)
    threads: int = 2
    training: Training = field(default_factory=Training)
    """Devices, checkpoints and reports of the trainings."""
    purse: Purse = field(default_factory=Purse)
    """What calls of servers may cost, all steps together."""
    problems: list[Problem] = field(default_factory=list)
    """Those that the step at hand is about."""
    about: dict[str, list[Problem]] = field(default_factory=dict)
    """Those of each step so far."""
    own: tuple[Problem, ...] = ()
    """The run's."""
    earlier: list[Problem] = field(default_factory=list)
    """Those of steps before another set was posed."""
    posing: dict[str, tuple[list[Problem], list[Failure]]] = field(default_factory=dict)
    """What each posing step poses; read once in a run."""
    benchmarks: dict[str, list[Problem]] = field(default_factory=dict)
    outputs: dict[str, StepFolder] = field(default_factory=dict)
    trained: dict[str, str] = field(default_factory=dict)
    """Identity of each role that the recipe trained: the digest of its step's output."""
    composed: dict[str, Step] = field(default_factory=dict)
    """The step of each role that the recipe composed of others."""
    tallies: dict[str, Tally] = field(default_factory=dict)
    """What each step at work asked of its roles."""
    fresh: list[str] = field(default_factory=list)
    """Steps that worked in this run (the others were found finished)."""

    def role_identity(self, role: str) -> str:
        """What of a role's model enters a fingerprint."""
        return self.trained.get(role) or identity(self.roles[role])

    def caller(self, step: str, role: str, tally: Tally, opened: list[JournalledCaller]) -> Caller:
        """Journalled access to a role's model, or to those that a composed role answers with: these are counted.

        All that are opened are added to ``opened``.
        """
        if made := self.composed.get(role):
            inner = {name: self.caller(step, name, tally, opened) for name in made.roles}
            return cast(Composer, made.part).compose(inner, self.outputs[role].facts["measured"])
        opener = OpenModel(self.roles[role], self.threads)
        found = JournalledCaller(step=step, opener=opener, executor=self.executor, journal=self.journal, purse=self.purse)
        opened.append(found)
        tally.waits.setdefault(role, []).append(found.waited)
        return Counted(found, role, tally)

    def tools(self, step: Step, path: str | None = None) -> Tools:
        """What a step's part may use; ``path`` is the seed path where one step works several times."""
        name = path or step.name
        tally = self.tallies.setdefault(step.name, Tally())
        known = [role for role in step.roles if role in self.roles or role in self.composed]
        opened: list[JournalledCaller] = []
        return Tools(
            step=name,
            seed=self.seeds.of(step),
            callers={role: self.caller(name, role, tally, opened) for role in known},
            graders=self.graders,
            progress=metered(self.progress, opened),
            folders=self._folders(step) if step.arrow in ("train", "score", "evaluate") else {},
            scores={name: self.scores(name) for name in scores_of(step.part)},
        )

    def at_site(self, step: Step, tools: Tools, stage: StepFolder) -> Tools:
        """The tools with what a training of this stage needs of the machine."""
        models = {role: self.roles[role] for role in step.roles if role in self.roles}
        logs = self.folder.path / LOGS / tools.step
        return replace(tools, site=Site(training=self.training, kept=stage.path / KEPT, logs=logs, models=models))

    def _folders(self, step: Step) -> dict[str, Path]:
        found = {role: local_folder(self.roles[role]) for role in step.roles if role in self.roles}
        return {role: path for role, path in found.items() if path is not None}

    def fingerprint(self, step: Step) -> str:
        """Part, name, inputs' contents, roles' models, problems and seed: everything that decides the output's bytes."""
        inputs = {name: self.outputs[name].content for name in step.reads}
        roles = {role: self.role_identity(role) for role in step.roles}
        return digest(step.arrow, step.name, step.part.fingerprint, inputs, roles, self._data(step), self.seeds.of(step))

    def _data(self, step: Step) -> object:
        """Problems that the step reads: whole, for a level or an answer kind that changes makes other work."""
        if step.arrow == "pose":
            return problems_digest(self.posed(step)[0])
        if step.arrow in ("curate", "filter"):
            return [problems_digest(held) for held in (self.problems, *self.benchmarks.values())], list(self.benchmarks)
        if step.arrow in ("sample", "verify", "rewrite", "select", "pair", "score", "probe"):
            outside = step.part.outside() if isinstance(step.part, Sampler) else ""
            return [problems_digest(self.problems), outside] if outside else problems_digest(self.problems)
        if step.arrow == "train" and getattr(step.part, "learns_from", "") == "problems":
            return problems_digest(self.problems)
        if step.arrow == "evaluate":
            changes = {name: plain(spec.changes) for name, spec in self.loaded.binding.benchmarks.items()}
            return [{name: problems_digest(held) for name, held in self.benchmarks.items()}, changes]
        return None

    @property
    def every_problem(self) -> list[Problem]:
        """The problems of all steps so far, each once."""
        return list(by_id([*self.earlier, *self.problems]).values())

    def posed(self, step: Step) -> tuple[list[Problem], list[Failure]]:
        """The problems that a step poses, and what could not be used."""
        if step.name not in self.posing:
            rows = [row for name in inputs_of(step.part) for row in self.rows(name)]
            items = list(cast(Poser, step.part).pose(self.own or tuple(self.problems), self.problems, rows))
            problems = [item for item in items if isinstance(item, Problem)]
            self.posing[step.name] = problems, [item for item in items if isinstance(item, Failure)]
        return self.posing[step.name]

    def pose(self, step: Step) -> None:
        """Makes what the step poses the problems of the steps after it."""
        self.own = self.own or tuple(self.problems)
        self.earlier = self.every_problem
        self.problems = self.posed(step)[0]

    def traces(self, output: str) -> Traces:
        """The traces of an output, in the order in which they were made; they stay on the disk."""
        folder = self.outputs[output]
        source = folder.facts.get("traces_of")
        if not source:
            return Traces(folder.path / TRACES)
        held = self.traces(source)
        gone = {failure.item for failure in self.failures(output)} if folder.facts.get("sifted") else set()
        return Traces(held.path, held.gone | gone)

    def narrow(self, output: str, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some columns of an output's traces, id first; texts are not read unless they are among them."""
        held = self.traces(output)
        return (row for row in tables.columns(held.path, Trace, ["id", *names]) if row[0] not in held.gone)

    def curated(self, output: str) -> list[Problem]:
        """The run's problems without those that a curator dropped."""
        gone = {failure.item for failure in self.failures(output)}
        return [problem for problem in self.problems if problem.id not in gone]

    def verdicts(self, output: str) -> dict[str, Verdict]:
        """Verdicts of an output by trace id."""
        return {row.trace_id: row.verdict for row in tables.read(self.outputs[output].path / VERDICTS, Judged)}

    def scores(self, output: str) -> dict[str, Score]:
        """A scoring step's scores by trace id."""
        return {row.trace_id: row.score for row in tables.read(self.outputs[output].path / SCORES, Scored)}

    def scored(self, step: Step, rows: Sequence[Row]) -> list[Row]:
        """The rows with what the scoring steps that this step's part names decided of them."""
        found = {name: self.scores(name) for name in scores_of(step.part)}
        if not found:
            return list(rows)
        from stillwise.problems.domains import domain_of

        domains = {problem.id: domain_of(problem) for problem in self.every_problem}
        return [replace(r, scores=_decided(found, r.trace_id), domain=domains.get(r.problem_id)) for r in rows]

    def rows(self, output: str) -> list[Row]:
        """The narrow columns of an output."""
        levels = {problem.id: problem.level for problem in self.every_problem}
        outcomes = self.outcomes(output)
        narrow = self.narrow(output, "problem_id", "num_tokens", "sample_index", "finish")
        return [
            Row(
                trace_id=name,
                problem_id=problem,
                output=output,
                level=levels.get(problem),
                # That a trace was cut off needs no verifier.
                outcome=outcomes.get(name) or (Outcome.TRUNCATED.value if finish == Finish.LENGTH.value else None),
                num_tokens=num_tokens,
                sample_index=sample_index,
            )
            for name, problem, num_tokens, sample_index, finish in narrow
        ]

    def outcomes(self, output: str) -> dict[str, str]:
        """The word of each verdict of an output, by trace id."""
        path = self.outputs[output].path / VERDICTS
        return {intern(name): intern(word) for name, word in tables.columns(path, Judged, ["trace_id", "outcome"])}

    def contenders(self, output: str) -> list[Contender]:
        """The narrow columns of an output that pairing reads."""
        verdicts = self.verdicts(output)
        return [
            Contender(
                trace_id=trace.id,
                problem_id=trace.problem_id,
                output=output,
                outcome=verdicts[trace.id].outcome.value if trace.id in verdicts else None,
                num_tokens=trace.num_tokens,
                sample_index=trace.sample_index,
                parent=trace.parent,
                text_digest=digest(trace.text),
            )
            for trace in self.traces(output)
        ]

    def failures(self, output: str) -> list[Failure]:
        """What an output dropped, with reasons."""
        path = self.outputs[output].path / FAILURES
        return tables.read(path, Failure) if path.is_file() else []

    def pass_at_1(self, output: str) -> float:
        """The mean over benchmarks of an evaluation's share of correct answers."""
        folder, shares = self.outputs[output].path, []
        for name in self.benchmarks:
            found = [row.verdict.outcome is Outcome.CORRECT for row in tables.read(folder / name / VERDICTS, Judged)]
            shares.append(sum(found) / max(1, len(found)))
        return sum(shares) / max(1, len(shares))

    def student_folder(self, step: str) -> Path:
        """The trained student of a train step."""
        return self.folder.path / str(self.outputs[step].facts["student"])


def problems_digest(problems: Sequence[Problem]) -> str:
    """A digest of problems with every field, in their order."""
    return digest_of_rows(asdict(problem) for problem in problems)


def _decided(found: Mapping[str, Mapping[str, Score]], trace_id: str) -> dict[str, float]:
    held = {name: scores[trace_id].value for name, scores in found.items() if trace_id in scores}
    return {name: value for name, value in held.items() if value is not None}


def seed_for(work: Work, step: Step, *names: str | int) -> int:
    """A seed below a step's path."""
    return derive_seed(work.seeds.of(step), step.name, *names)


def by_id(problems: Sequence[Problem]) -> dict[str, Problem]:
    """Problems by id."""
    return {problem.id: problem for problem in problems}
