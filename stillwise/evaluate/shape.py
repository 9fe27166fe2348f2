"""The shape of ``metrics.json``: every number of the report, with n and its interval; the report reads nothing else.

Shares are fractions between 0 and 1 (tables print percent), lengths are tokens as generated. A level is a key ``"1"``,
``"2"``, …, or ``"unknown"`` where the source states none; a group that nobody is in has ``value: null`` and a ``reason``.
Durations, dates, host names and folders have no place here: two runs of one recipe with one seed give equal bytes
(how long things took stands in ``timings.json``). ``metrics.dumps`` writes it: sorted keys, six decimals.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

Counts = dict[str, int]


class Estimate(TypedDict):
    """A mean over problems with two statements of its uncertainty."""

    value: float | None
    """None where n is 0; never NaN."""
    se: float | None
    """Standard error over problems: the standard deviation (ddof 1) of the problems' means over the root of n."""
    ci: list[float] | None
    """95 % interval, low and high."""
    interval: str | None
    """Which interval: ``bootstrap over problems``, ``Wilson``, or None."""
    n: int
    """Problems."""
    reason: NotRequired[str]
    """Why a value, error or interval is null."""


class Spread(TypedDict):
    """Tokens of some sort of samples."""

    mean: Estimate
    """Mean over problems of the mean over samples."""
    median: float | None
    """Over samples, as is the percentile."""
    p95: float | None
    samples: int
    """Samples whose count is known."""


class Lengths(TypedDict):
    """Tokens per answer, as generated, over the answers whose count is known."""

    mean: Estimate
    median: float | None
    p90: float | None
    p95: float | None
    max: int | None
    total: int
    per_correct: float | None
    """All tokens over the number of correct answers: what one solved sample costs."""
    per_solved_problem: float | None
    """All tokens over the number of problems with at least one correct answer."""
    mean_when_correct: float | None
    """Over samples; ``when_correct`` has the mean over problems with its interval."""
    mean_when_incorrect: float | None
    when_correct: Spread
    when_incorrect: Spread
    """Answers called incorrect; truncated and unanswered ones are in neither."""
    thinking: Spread
    """Tokens up to the close of the thought, its tag included; 0 for an answer without one."""
    answer: Spread
    """Tokens after the thought."""
    unknown: int
    """Answers whose source did not say how long they were."""


class Measurement(TypedDict):
    """One model on one group of problems."""

    problems: int
    samples: int
    pass_at_1: Estimate
    """Mean over problems of the share of correct samples (avg@n): its standard error over problems, and an interval that
    resamples problems."""
    pass_at_1_cluster: Estimate
    """The same mean; the interval resamples problems and then each problem's samples."""
    std_over_runs: float | None
    """Standard deviation of the accuracies of the runs, run i being every problem's sample i; null under two."""
    std_over_runs_ddof: int
    """1: divided by the number of runs less one."""
    accuracy_by_run: list[float]
    pass_at_k: dict[str, Estimate]
    """Unbiased, for the powers of two up to the smallest number of samples of a problem."""
    g_pass_at_k: dict[str, Estimate]
    """``8@0.75``: the chance that at least three quarters of 8 samples are right (G-Pass@k); empty under four samples."""
    maj_at_n: Estimate
    """Share of problems whose most frequent answer is right. All samples vote, by the grader's classes of equal answers; those
    without an answer do not; ties go to the earliest sample."""
    maj_at_k: dict[str, Estimate]
    """The same with k of the samples, the mean over subsets (all, or 256 drawn ones)."""
    maj_ties: int
    """Problems whose vote was tied."""
    mean_scores: NotRequired[dict[str, Estimate]]
    """By score, the mean over problems."""
    best_of_n: dict[str, Estimate]
    """By score: share of problems whose sample with the highest score is right (ties go to the earliest sample); under the
    name with ``(lowest)`` the same for the lowest score."""
    tokens: Lengths
    truncated_rate: Estimate
    no_answer_rate: Estimate
    """Undecided: no answer was found, or no reference exists."""
    outcomes: Counts
    """Samples by each of the six outcome words."""
    rules: Counts
    """Samples by the rule that found the answer; ``none`` where none did."""
    rule_shares: dict[str, Estimate]
    """The same as shares of samples, the mean over problems."""
    graders: Counts
    """Samples by what compared the answer, with its version; ``none`` where nothing was compared."""
    by_level: NotRequired[dict[str, Measurement]]
    """Absent inside a level."""


class EvaluationSection(TypedDict):
    """One evaluated model: one measurement per benchmark and their unweighted average."""

    model: str
    """Which model, in words: the role, or the student's name."""
    revision: str
    benchmarks: dict[str, Measurement]
    order: list[str]
    """The benchmarks in the recipe's order, as JSON keys are sorted."""
    average: Estimate
    """Unweighted mean over benchmarks of pass@1; its error is the root of the summed squares over the number."""
    per_problem: dict[str, dict[str, dict[str, list[int]]]]
    """Benchmark, level, problem id: [correct, samples]. What a later comparison or study needs, without the traces."""
    tokens_per_problem: dict[str, dict[str, dict[str, list[int]]]]
    """The same with [tokens, samples whose tokens are known]."""
    scores_per_problem: NotRequired[dict[str, dict[str, dict[str, dict[str, list[float]]]]]]
    """Benchmark, score, level, problem id: [sum, samples that have it]."""


Comparison = TypedDict(
    "Comparison",
    {
        "from": str,
        "to": str,
        "benchmark": str,
        "level": str | None,
        "difference": Estimate,
        "unpaired": int,
    },
)
"""The paired difference of two evaluations on the same problems, ``to`` minus ``from``. ``benchmark`` may be ``average``;
``level`` None means all levels; ``unpaired`` counts the problems that only one side has, which are left out."""


class FirstTry(TypedDict):
    """One group of problems in one output."""

    n: int
    """Problems asked."""
    solved: int
    """Problems with at least one correct attempt."""
    attempts: int
    pass_at_1_first_try: Estimate
    """First attempts (sample 0) only: retries go to unsolved problems alone, so all attempts together would mislead."""
    mean_tokens: Estimate
    """Tokens of the first attempts."""
    truncated_rate: Estimate
    """Of the first attempts."""
    outcomes: Counts
    """All attempts, by outcome word."""


class SamplingSection(FirstTry):
    """One sampling step's output."""

    role: str
    paradigm: str
    model: str
    """Model revision."""
    derived: bool
    """True where every trace was cut from another output's trace (Think-Solution): nothing was generated."""
    by_level: dict[str, FirstTry]


class SelectionSection(TypedDict):
    """What a selecting step kept."""

    problems: int
    kept: int
    by_level: Counts
    """Kept problems."""
    share_by_level: dict[str, float]
    dropped: Counts
    """Problems dropped, by reason."""
    figures: NotRequired[dict[str, Any]]
    """What the selector says of its choice, where it says anything."""


class SurvivalRow(TypedDict):
    """What one step of a processor was given or made, and what of it goes on."""

    step: str
    does: str
    traces: int
    problems: int
    """Problems with at least one of these traces."""
    kept_traces: int
    kept_problems: int
    share: float
    """``kept_problems`` over all problems of the run."""


class Survival(TypedDict):
    """How many problems keep at least one trace, step by step."""

    problems: int
    stages: list[SurvivalRow]


Moves = dict[str, dict[str, int]]
"""Label before a rewriting, then label after it, to traces."""


class StageSection(TypedDict):
    """One training stage. Absent keys were not reported by the trainer."""

    stage: str
    rows: NotRequired[int]
    tokens: NotRequired[int]
    """Supervised tokens over all epochs."""
    steps: NotRequired[int]
    epochs: NotRequired[float]
    first_loss: NotRequired[float]
    last_loss: NotRequired[float]
    pairs: NotRequired[int]
    """Pairs of a chosen and a rejected answer that were learnt from."""
    chosen_logprob: NotRequired[dict[str, float]]
    """Of the chosen answers, in nats per token, at the ``first`` and ``last`` step and where it was ``lowest``."""
    pair_curve: NotRequired[list[list[float]]]
    """[optimiser step, log-probability of the chosen, of the rejected answers in nats per token], at most 200 points."""
    groups: NotRequired[int]
    """Groups of answers to one problem that a policy drew; of these ``flat_groups`` had no spread and taught nothing."""
    flat_groups: NotRequired[int]
    answers: NotRequired[int]
    """Answers that a policy drew; ``unscored`` of them had no reward."""
    unscored: NotRequired[int]
    policy_curves: NotRequired[dict[str, list[list[float]]]]
    """By figure (reward, each reward's own, tokens, kl, …) [optimiser step, mean of that step's answers]."""
    held_out: NotRequired[dict[str, Any]]
    """How good a reward model is on problems held out: mae, spearman, calibration, or accuracy on pairs."""
    curve: list[list[float]]
    """[optimiser step, loss], at most 200 points."""


class Override(TypedDict):
    """One value of the recipe that the binding or ``--set`` replaced."""

    path: str
    recipe: object
    used: object
    by: NotRequired[str]


class RecipeSection(TypedDict):
    """What was run."""

    title: str
    about: NotRequired[str]
    paper: NotRequired[dict[str, str]]
    """title, arxiv."""
    binding: NotRequired[str]
    roles: NotRequired[dict[str, str]]
    overrides: NotRequired[list[Override]]
    departures: NotRequired[list[str]]
    seed: NotRequired[int]
    command: NotRequired[str]
    """Repeats the run; names no folder of this machine."""


class ProblemsSection(TypedDict):
    """The problems that a run began with."""

    n: int
    by_level: Counts
    sources: Counts


class ExampleTrace(TypedDict):
    """One trace as a reader sees it; long texts are cut in the middle and say so."""

    output: str
    paradigm: str
    thinking: str | None
    solution: str | None
    outcome: str
    extracted: str | None
    num_tokens: int | None


class ExampleProblem(TypedDict):
    """One problem with a trace of each paradigm, side by side."""

    question: str
    answer: str | None
    level: str
    traces: list[ExampleTrace]


class Condition(TypedDict):
    """One way of asking in a paradigm probe: every sample of every problem."""

    role: str
    model: str
    """Model revision."""
    measurement: Measurement


Contrast = TypedDict(
    "Contrast",
    {
        "from": str,
        "to": str,
        "level": str | None,
        "pass_at_1": Estimate,
        "tokens": Estimate,
        "unpaired": int,
    },
)
"""The paired difference of two conditions on the same problems, ``to`` minus ``from``, in pass@1 and in mean tokens per
answer, each with a paired bootstrap over problems; ``level`` None means all levels."""


class ParadigmSection(TypedDict):
    """The paradigm probe at one scale (curriculum distillation, §3.1 and Figure 1): conditions, and neighbours' differences."""

    order: list[str]
    """Conditions in the recipe's order, the costliest first: think, no_rethink, no_think, instruct."""
    conditions: dict[str, Condition]
    contrasts: list[Contrast]
    """Each condition minus the next one of ``order``: all levels, then level by level."""


class TitrationGroup(TypedDict):
    """How much of a thought one group of problems needed (curriculum distillation, §3.2). Medians, not means, in ``value``."""

    n: int
    solved: int
    censored: Counts
    """Problems without a prefix that sufficed, by reason (never_solved, too_long, no_answer)."""
    context_ratio: Estimate
    """Median over all problems, those that are censored counting as more than 1; null where it falls among them."""
    context_ratio_solved: Estimate
    """Median over the solved ones alone: it leaves out the hardest and is too low."""
    generation_ratio: Estimate
    """Median over the solved ones."""


class TitrationFacts(TypedDict):
    """Whose thoughts were given to whom, and how."""

    model: str
    """Revision of the model that was given the thoughts."""
    role: str
    tokenizer: str
    """The role whose tokenizer counted every token of the ratios."""
    search: str
    samples: int
    """Answers per prefix."""


class TitrationSection(TitrationFacts):
    """One titration: whose thoughts were given to whom, and the two ratios of Figure 2."""

    attempts: int
    order: list[str]
    """Groups, easiest first."""
    groups: dict[str, TitrationGroup]
    by_level: dict[str, TitrationGroup]
    difference: Estimate | None
    """Median context ratio of the last group minus that of the first, all problems, as in ``context_ratio``."""
    level_and_context: Estimate
    """Spearman's rank correlation over all problems (censored ones rank highest, as ties)."""
    context_and_generation: Estimate
    """Spearman's rank correlation over the solved problems: the cloud of Figure 2."""
    units: list[int]
    """Median and largest number of units of a thought."""
    points: list[list[object]]
    """[group, level, context ratio, generation ratio] of each problem; both ratios are null where it is censored."""


class Spent(TypedDict):
    """What a step's servers were asked for, over every run into the folder; nothing that was read from the journal."""

    roles: list[str]
    """The step's."""
    answers: int
    prompt_tokens: int
    completion_tokens: int
    unknown: int
    """Calls whose outcome nobody knows (reset, timed out, cut off by a kill): they may have been paid for."""
    money: NotRequired[str]
    """By the price of the binding, by token or by GPU-hour: a decimal, in the price's currency."""


class Metrics(TypedDict, total=False):
    """``metrics.json``. Every section may be missing: the report then says that this part has not run."""

    recipe: RecipeSection
    problems: dict[str, ProblemsSection]
    """By the step or flag that read them."""
    sampling: dict[str, SamplingSection]
    """By output name, in the recipe's order (``order`` keeps it, as JSON keys are sorted)."""
    curation: dict[str, dict[str, Any]]
    """By curating, filtering or pairing step: the part's kind and its own figures."""
    judges: dict[str, Any]
    """``steps`` that judged, and the ``agreement`` of each two."""
    selection: dict[str, SelectionSection]
    survival: Survival
    labels: dict[str, Moves]
    """By rewriting step."""
    training: dict[str, list[StageSection]]
    evaluation: dict[str, EvaluationSection]
    comparison: list[Comparison]
    paradigms: dict[str, ParadigmSection]
    """By scale: one for a run (named by the reasoner's model), several for a study of scales; ``order`` names them."""
    titration: dict[str, TitrationSection]
    """By probing step."""
    failures: dict[str, Counts]
    """Step, reason: items."""
    served: dict[str, dict[str, list[str]]]
    """Step, what was asked (ban, prefill, schema, n): every way in which a server did it, exact or approximate."""
    spent: dict[str, Spent]
    """By step that asked a server."""
    versions: dict[str, str]
    examples: list[ExampleProblem]
    order: dict[str, list[str]]
    """Section: its keys in the recipe's order."""
