"""The abstract class of each arrow, side by side in one layer, so that a part may hold a part of another arrow.

Each arrow has one abstract method. What is heavy (models, tokenizers, graders, executors) arrives as an explicit argument.
The records that only cross between arrows (targets, lessons, examples) live here too; what is said to models stands in
``asking``, whose names are these arrows' too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from stillwise.asking import INSTRUCTION as INSTRUCTION
from stillwise.asking import Ask as Ask
from stillwise.asking import Ban as Ban
from stillwise.asking import BanMode as BanMode
from stillwise.asking import BanScope as BanScope
from stillwise.asking import Caller as Caller
from stillwise.asking import Completion as Completion
from stillwise.asking import Likely as Likely
from stillwise.asking import OnBatch as OnBatch
from stillwise.asking import Ordered as Ordered
from stillwise.asking import Progress as Progress
from stillwise.asking import Request as Request
from stillwise.asking import Together as Together
from stillwise.asking import Truncated as Truncated
from stillwise.asking import user_message as user_message
from stillwise.machine import Site
from stillwise.parts import Part
from stillwise.records import Failure, Problem, Score, Span, Trace, Verdict

if TYPE_CHECKING:
    from torch import Tensor

Target = Literal["full", "solution"]
"""What a student learns of a trace: ``<think>`` thought ``</think>`` and solution, or the solution's text only."""


class Source(Part):
    """Where problems come from."""

    @abstractmethod
    def problems(self) -> Iterator[Problem | Failure]:
        """Problems in a fixed order; a row that cannot be used comes as a Failure with its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """What a curator or a filter decided."""

    dropped: Sequence[Failure]
    """One for each problem or trace that goes, named by its id; the others go on in their order."""
    figures: Mapping[str, Any]
    """JSON values for the report: what was asked, what was found."""


class Curator(Part):
    """Problems to those that go on: each once, none of a benchmark's, in the wanted mix."""

    @abstractmethod
    def curate(self, problems: Sequence[Problem], benchmarks: Mapping[str, Sequence[Problem]], seed: int) -> Curated:
        """What goes and why; ``benchmarks`` are the problem sets that the recipe evaluates on, by name."""


class Poser(Part):
    """Which problems the steps after it are about: others than the run's, or the run's again."""

    def most(self, own: int, now: int) -> int:
        """How many problems it poses at most, where the run has so many and the steps before it were about so many."""
        return now

    @abstractmethod
    def pose(self, own: Sequence[Problem], now: Sequence[Problem], rows: Sequence[Row]) -> Iterator[Problem | Failure]:
        """Problems in a fixed order: of the run's (``own``), of those that the step before was about (``now``), or others.

        ``rows`` are those of the outputs that the part names. What cannot be used comes as a Failure with its reason.
        """


class Filter(Part):
    """Traces to those that go on, by what their texts hold."""

    @abstractmethod
    def filter(
        self, problems: Mapping[str, Problem], traces: Sequence[Trace], benchmarks: Mapping[str, Sequence[Problem]]
    ) -> Curated:
        """What goes and why; ``problems`` by id, ``benchmarks`` by name."""


class Paradigm(Part):
    """A mode in which a model is asked to reason."""

    @abstractmethod
    def ask(self, problem: Problem) -> Ask:
        """What to send for this problem."""


class Verifier(Part):
    """Decides whether a trace reached the answer. Pure in its arguments; called in worker processes."""

    @abstractmethod
    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """One verdict; never raises for bad model text."""

    def quick(self, problem: Problem, trace: Trace) -> Verdict | None:
        """The verdict, where it costs next to nothing and cannot hang (exact comparison, nothing to grade); else None.

        A pool calls it in its own process; ``verify`` gives the same verdict.
        """
        return None

    def alike(self, problem: Problem, trace: Trace) -> str | None:
        """A key that pairs share only where ``verify`` gives them one verdict, so that it is computed once; None for no key."""
        return None

    def warm(self) -> None:
        """Loads what ``verify`` needs; a worker calls it before the first item's time runs."""

    def decide(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Verdict]:
        """Verdicts of many pairs, in their order: what a step calls. By default ``verify`` in the pool's workers.

        Verifiers that need more than a worker may have (a model that judges, a sandbox) answer here instead.
        """
        return tools.graders.verify(self, pairs)


class Graders(Protocol):
    """A pool that runs a verifier outside this process, with a hard limit for each item."""

    def verify(self, verifier: Verifier, pairs: Sequence[tuple[Problem, Trace]]) -> list[Verdict]:
        """Verdicts in the order of the pairs; an item over its limit is TIMED_OUT and costs nothing else."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a step may use while it works; handed over explicitly."""

    step: str
    """The step's name: the seed's and the failure's path."""
    seed: int
    callers: Mapping[str, Caller]
    graders: Graders
    progress: Callable[[str, int], Progress]
    """Opens a progress bar: (label, total)."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Local folders of the step's roles that have one: what needs a model's weights, not its answers, loads from there."""
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """What the scoring steps that the part names found: step, then trace id, to score."""
    site: Site = field(default_factory=Site)
    """The machine side of a training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One attempt with its verdict (None where the sampler does not verify)."""

    trace: Trace
    verdict: Verdict | None


class Sampler(Part):
    """Problems to traces."""

    @abstractmethod
    def sample(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Every attempt, kept or not, in a fixed order (wave, then problem)."""

    def outside(self) -> str:
        """A digest of what decides the attempts besides fields, problems and models (a file that is read); "" for nothing."""
        return ""


class Composer(Part):
    """Several models to one that answers: a role for the steps after it that has no weights of its own."""

    @property
    def calls(self) -> int:
        """How many answers of its models one answer may need."""
        return 1

    @abstractmethod
    def compose(self, callers: Mapping[str, Caller], measured: Mapping[str, float]) -> Caller:
        """What answers for the new role; ``measured`` is the mean pass@1 of each evaluation that the part names."""


class Scorer(Part):
    """Traces to numbers."""

    @abstractmethod
    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One score for each trace of this problem."""

    def score_all(self, groups: Sequence[tuple[Problem, Sequence[Trace]]], tools: Tools) -> list[list[Score]]:
        """Scores of many problems' traces, in their order: what a step calls. Scorers that ask a model ask for all at once."""
        return [self.score(problem, traces, tools) for problem, traces in groups]

    def figures(self, tools: Tools) -> Mapping[str, Any]:
        """JSON values about the scorer itself for the report (how it does on known traces, say); none by default."""
        return {}


class Rewriter(Part):
    """A trace to an edited trace."""

    @property
    def wants(self) -> Literal["correct", "incorrect", "all"]:
        """Which of the input's traces a step gives it."""
        return "correct"

    def verifies(self, trace: Trace) -> bool:
        """Whether an edited trace is verified again by the verifier that the part holds; else it goes on without a verdict."""
        return True

    @abstractmethod
    def rewrite(self, problem: Problem, trace: Trace, tools: Tools) -> Trace | Failure:
        """The edited trace, its ``parent`` set, or the reason why there is none."""

    def rewrite_all(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[Trace | Failure]:
        """Many edited traces, in the order of the pairs: what a step calls. Rewriters that ask a model ask for all at once."""
        return [self.rewrite(problem, trace, tools) for problem, trace in pairs]


class Segmenter(Part):
    """A thought to its units."""

    @abstractmethod
    def segment(self, text: str) -> tuple[Span, ...]:
        """Spans of kind ``unit``, in order and side by side, that together are the whole text; none where it is blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """One problem of a titration: how much of another model's thought was given before an answer was right.

    Token counts are those of one tokenizer. What is None was never reached: the problem is censored, not solved at 100 %.
    """

    problem_id: str
    level: int | None
    group: str
    trace_id: str
    """The trace whose thought was given."""
    units: int
    """Prefixes of the thought that could be given, the whole thought being the last."""
    units_tried: int
    """The longest prefix that was tried."""
    units_given: int | None
    """The prefix that sufficed."""
    solved_by: str | None
    """The first correct answer after that prefix."""
    thought_tokens: int
    prefix_tokens: int | None
    rest_tokens: int | None
    """Of the thought after the prefix, and of the solution."""
    answer_tokens: int | None
    """Of what was generated after the prefix."""
    censored: str | None
    """Why there is no prefix that sufficed: never_solved, too_long, no_answer; None where there is one."""

    @property
    def context_ratio(self) -> float | None:
        """Prefix tokens over thought tokens."""
        return None if self.prefix_tokens is None else self.prefix_tokens / self.thought_tokens

    @property
    def generation_ratio(self) -> float | None:
        """Generated tokens over the tokens of the remaining thought and solution; None where nothing remained."""
        return self.answer_tokens / self.rest_tokens if self.answer_tokens is not None and self.rest_tokens else None


class Probe(Part):
    """Traces to what another model makes of them; nothing is trained and no student is measured."""

    @abstractmethod
    def probe(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> Iterator[Sampled | Scaffold | Failure]:
        """Every attempt in a fixed order, then one finding for each problem; ``pairs`` are problems with correct traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The narrow columns of one trace that global decisions may read: never its text."""

    trace_id: str
    problem_id: str
    output: str
    """Which step's output the trace came from."""
    level: int | None
    outcome: str | None
    num_tokens: int | None
    sample_index: int
    scores: Mapping[str, float] = field(default_factory=dict)
    """What the scoring steps that the part names found for this trace, by step; an undecided score is not there."""
    domain: str | None = None
    """The problem's: maths, code, science or other."""


class Selector(Part):
    """Chooses among traces, by narrow columns only."""

    @abstractmethod
    def select(self, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        """The rows that go on, in a fixed order, and a failure for each problem that drops out."""

    def figures(self, rows: Sequence[Row], kept: Sequence[Row]) -> Mapping[str, Any]:
        """JSON values that explain the choice to a reader of the report; none by default."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """The narrow columns of one trace that pairing may read: never its text."""

    trace_id: str
    problem_id: str
    output: str
    """Which step's output the trace came from."""
    outcome: str | None
    num_tokens: int | None
    sample_index: int
    parent: str | None
    """The trace that this one was rewritten from."""
    text_digest: str
    """Equal texts have equal ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A trace that is preferred to another of the same problem."""

    problem_id: str
    chosen: str
    rejected: str
    gap: str
    """What sort of pair it is; a word to count by."""
    beta: float
    """Its strength in DPO's loss."""
    margin: float
    """How much better the chosen one is, in the pairing's own measure; above 0 unless pairs without margin were asked for."""


class Pairer(Part):
    """Traces to preference pairs, by narrow columns only."""

    @abstractmethod
    def pair(self, contenders: Sequence[Contender]) -> tuple[list[Pair], list[Failure]]:
        """Pairs in a fixed order, and a failure for each problem that gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One training example's place in a curriculum: which trace, and how much of it is the target."""

    stage: str
    trace_id: str
    target: Target
    weight: float = 1.0
    spans: str = ""
    """Of the target only the trace's spans of this kind are learnt, the others are read; empty: all of it."""
    apart: bool = False
    """Each of these spans is an example of its own, read after everything before it; no two stand side by side."""


class Scheduler(Part):
    """Selected traces to an ordered list of lessons, by stage."""

    def preflight(self, levels: Collection[int | None]) -> None:
        """Raises UserError where the levels of the problems already say that a lesson will find nobody; nothing by default."""

    @abstractmethod
    def schedule(self, rows: Sequence[Row], seed: int) -> list[Lesson]:
        """Lessons in training order; the stages appear in the order in which they are trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A lesson with its text: what the trainer sees."""

    id: str
    user: str
    assistant: str
    """The target text alone (tags included where they are learnt), before the template."""
    weight: float = 1.0
    rejected: str = ""
    """A worse answer to the same message, for trainers that learn from pairs."""
    beta: float | None = None
    """The pair's own beta (CogPO); None takes the objective's."""
    label: float | None = None
    """The number that somebody gave the answer, for trainers that learn to give it."""
    problem: Problem | None = None
    """What is asked, for trainers that judge the student's own answers; ``assistant`` is empty then."""
    learnt: tuple[Span, ...] = ()
    """The ranges of ``assistant`` that are learnt, the rest is read only; empty: all of it. The turn's end belongs to a range
    that reaches to the end of the text."""


class Trainer(Part):
    """Examples and a student's folder to a trained student's folder."""

    learns_from: ClassVar[Literal["lessons", "pairs", "scores", "problems"]] = "lessons"
    """What a recipe's step gives it: lessons of a curriculum, pairs of a chosen and a rejected trace, traces with a number,
    or the run's problems alone."""
    instruction: str = INSTRUCTION
    """Appended to the question in the student's prompt; the same as in evaluation."""

    @abstractmethod
    def train(self, examples: Sequence[Example], student: Path, out: Path, tools: Tools) -> Mapping[str, Any]:
        """Writes a transformers folder at ``out`` (which appears whole or not at all) and returns the stage's figures."""


class Divergence(Part):
    """How far a student's distribution over the next token is from a teacher's."""

    @abstractmethod
    def per_token(self, teacher_logprobs: Tensor, student_logprobs: Tensor) -> Tensor:
        """Values (…) in nats of log-measures (…, K) over the same K outcomes; only the student's has a gradient."""


PairExtra = Literal["point", "step", "certainty"]
"""What only some preference losses need to know of pairs (``train.losses.preference.Pairs``)."""


class Preference(Part):
    """What a pair of a chosen and a rejected answer costs."""

    needs_reference: ClassVar[bool] = False
    """Whether a frozen reference model's log-probabilities are read."""

    @property
    def reads(self) -> frozenset[PairExtra]:
        """What else it reads of pairs; the losses that it holds say so themselves."""
        return frozenset()

    @abstractmethod
    def per_pair(self, pairs: Any) -> Tensor:
        """Values (B,) in nats of B pairs, from both answers' log-probabilities (``train.losses.preference.Pairs``)."""


class Regression(Part):
    """What a reward model's output costs against a number."""

    bounded: ClassVar[bool] = False
    """Whether the output is a logit whose sigmoid is the score, in [0, 1]."""

    @abstractmethod
    def per_item(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Values (B,) of B items."""


class Reward(Part):
    """What a student's own answer is worth while it is trained."""

    weight: float = 1.0
    """What the value is multiplied by before it is added to the other rewards."""
    name: str = ""
    """What it is called in figures; its kind where nothing is said."""

    @abstractmethod
    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer, before the weight; None where nobody knows (the answer is then left out of its group)."""


class Benchmark(Part):
    """How a model is measured on problems."""

    @abstractmethod
    def measure(self, problems: Sequence[Problem], tools: Tools) -> Iterator[Sampled | Failure]:
        """Every sample with its verdict, in a fixed order (sample, then problem)."""

    def scores(self, problems: Sequence[Problem], sampled: Sequence[Sampled], tools: Tools) -> list[tuple[str, Score]]:
        """(trace id, score) of the samples: which answers are equal, what to choose the best by; none by default."""
        return []
