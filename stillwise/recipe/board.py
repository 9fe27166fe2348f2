"""A leaderboard: methods at equal training cost, each with its own best learning rate, over several seeds.

All methods share one run folder, so answers of teachers that two of them ask for are generated once and charged to both.
Training is charged in floating-point operations: passes of the student and of auxiliary models, rollouts, and what student
and trained models answered or scored on the way. Every method's steps are scaled so that its sum meets the reference's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from stillwise.arrows import Source
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields, builtin_catalogue
from stillwise.problems.without import Without
from stillwise.recipe.cost import STUDENT
from stillwise.recipe.faults import read_document
from stillwise.recipe.load import Loaded, Override, find_binding, find_recipe, load
from stillwise.recipe.run import Options, Result, run
from stillwise.recipe.schema import Method, Step
from stillwise.recipe.work import Seeds
from stillwise.runtime.files import write_json, write_text

SEEDED = ("curriculum", "train", "evaluate")
PROBE = 0.1
"""Of the default length: operations grow in proportion, so a short training says how long one of equal cost is."""
NEAR, TRIES = 0.05, 6
"""Within so much of the reference's cost; rounded steps and a policy's longer answers can take another try."""
LEAST, MOST = 0.02, 50.0
MEASURES = ("samples", "temperature", "top_p", "max_tokens")
"""Of evaluations: what the reference's last one decides for every method's."""
MICRO = "micro"
UNTRAINED = "Undistilled"
"""The row of the student that every method starts from."""
_HELD_OUT = {"kind": "micro", "family": "chain_sum", "split": "heldout", "per_level": 30, "seed": 4242}
"""What rates are chosen on in the embedded world; its benchmarks are drawn with another seed."""


class Contestant(Fields):
    """One method."""

    recipe: str
    set: dict[str, Any] = {}
    """Overrides on top of the binding's."""


class Board(Fields):
    """A leaderboard to make."""

    about: str
    binding: str
    reference: str
    """The method whose training cost the others get, and that they are compared with."""
    seeds: int = Field(default=3, ge=1)
    rates: tuple[float, ...] = (0.5, 1.0, 2.0)
    """What every learning rate of a method's binding is multiplied with; the best on ``validation`` is taken."""
    validation: Source
    """Problems that rates are chosen on; those that are in the benchmarks too are left out."""
    problems: Source | None = None
    """What every method learns from; without it, what its own binding names."""
    benchmarks: dict[str, Source] = {}
    """What every method is measured on; without it, what its own binding names."""
    set: dict[str, Any] = {}
    """Overrides for every method."""
    methods: dict[str, Contestant]


@dataclass(frozen=True)
class Entry:
    """What became of one method."""

    name: str
    recipe: str
    length: float
    """Its steps over those of its recipe."""
    rate: float
    """What its learning rates were multiplied with."""
    tuned: Mapping[str, float]
    """pass@1 on the validation problems, by rate."""
    evaluations: Sequence[Mapping[str, Any]]
    """One ``evaluation`` section for each seed."""
    costs: Sequence[Mapping[str, Any]]
    """One ``cost`` section for each seed."""
    teacher_seconds: Mapping[str, float | None]
    """By teacher, of the first seed's run."""


def is_board(path: Path) -> bool:
    """Whether a file holds a leaderboard."""
    return "methods" in read_document(path).data


def read_board(path: Path) -> Board:
    """The leaderboard in a file; every fault at once."""
    document = read_document(path)
    try:
        board = Board.model_validate(document.data, context={"catalogue": builtin_catalogue()})
    except ValidationError as err:
        document.validation(err, (), tuple(Board.model_fields))
        document.raise_faults()
        raise
    if board.reference not in board.methods:
        document.fault(("reference",), f"no method is called {board.reference!r}; {nearest(board.reference, board.methods)}")
    document.raise_faults()
    return board


@dataclass
class Contest:
    """A leaderboard being made."""

    board: Board
    options: Options
    budget: float = 0.0

    def entered(self) -> Iterator[Entry]:
        """Each method's entry as it is done: the reference, whose cost is everybody's budget; the untrained student; others."""
        yield self._entry(self.board.reference)
        if untrained := self._untrained():
            yield untrained
        yield from (self._entry(name) for name in self.board.methods if name != self.board.reference)

    def _entry(self, name: str) -> Entry:
        length = self._length(name)
        rate, tuned = self._tuned(name, length)
        runs = [self._run(name, length, rate, seed, None) for seed in range(self.board.seeds)]
        return Entry(
            name=name,
            recipe=self.board.methods[name].recipe,
            length=length,
            rate=rate,
            tuned=tuned,
            evaluations=[_last_evaluation(result) for result in runs],
            costs=[result.metrics["cost"] for result in runs],
            teacher_seconds=runs[0].teacher_seconds,
        )

    def _untrained(self) -> Entry | None:
        """The student before any training, where the reference's recipe measures it first."""
        recipe = self.board.methods[self.board.reference]
        loaded = _loaded(self.board, recipe, 1.0, 1.0)
        first = loaded.method.steps[0]
        if first.arrow != "evaluate" or first.roles != (STUDENT,):
            return None
        runs = [self._measured(replace(loaded, method=_only(loaded.method, first)), seed) for seed in range(self.board.seeds)]
        found, spent = [_last_evaluation(result) for result in runs], [result.metrics["cost"] for result in runs]
        return Entry(UNTRAINED, recipe.recipe, 0.0, 1.0, {}, found, spent, {})

    def _length(self, name: str) -> float:
        """How many of its default steps the method may make."""
        if name == self.board.reference:
            self.budget = self._cost(name, 1.0)["operations"]
            return 1.0
        length = PROBE
        for _ in range(TRIES):
            cost = self._cost(name, length)
            off = (self.budget - cost["auxiliary"]) / max(cost["training"], 1.0)
            if abs(off - 1) < NEAR:
                break
            length = round(min(MOST, max(LEAST, length * off)), 4)
        return length

    def _cost(self, name: str, length: float) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._run(name, length, 1.0, 0, self.board.validation).metrics["cost"]
        return found

    def _tuned(self, name: str, length: float) -> tuple[float, dict[str, float]]:
        """The multiplier that does best on the validation problems; the one nearest to 1 among equals."""
        found: dict[str, float] = {}
        for rate in self.board.rates:
            section = _last_evaluation(self._run(name, length, rate, 0, self.board.validation))
            found[str(rate)] = float(section["average"]["value"] or 0.0)
        best = max(self.board.rates, key=lambda rate: (found[str(rate)], -abs(rate - 1)))
        return best, found

    def _run(self, name: str, length: float, rate: float, seed: int, validation: Source | None) -> Result:
        return self._measured(_measured_once(_loaded(self.board, self.board.methods[name], length, rate)), seed, validation)

    def _measured(self, loaded: Loaded, seed: int, validation: Source | None = None) -> Result:
        seeds = Seeds(run=0, by_arrow=dict.fromkeys(SEEDED, seed))
        options = replace(self.options, seeds=seeds, publish=False)
        measured = {"validation": self._unseen(validation, loaded)} if validation else self.board.benchmarks
        if measured or self.board.problems:
            # With problems on the command line, a binding's own benchmarks are not measured on.
            options = replace(options, problems=self.board.problems or loaded.binding.problems, benchmarks=measured)
        return run(loaded, options)

    def _unseen(self, validation: Source, loaded: Loaded) -> Source:
        own = [spec.source for spec in loaded.binding.benchmarks.values()]
        return Without(of=validation, seen=tuple(self.board.benchmarks.values()) or tuple(own))


def _last_evaluation(result: Result) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(reversed(result.metrics["evaluation"].values()))
    return found


def _only(method: Method, step: Step) -> Method:
    return method.model_copy(update={"steps": (step,)})


def _plain(board: Board, method: Contestant, *more: Override) -> Loaded:
    """The method's recipe with the board's settings and its own, and then these."""
    path = find_recipe(method.recipe)
    own = [Override(key, value, "board") for key, value in {**board.set, **method.set}.items()]
    return load(path, find_binding(path.stem, board.binding), [*own, *more])


def _loaded(board: Board, method: Contestant, length: float, rate: float) -> Loaded:
    """The method's recipe with its steps and learning rates scaled, and measured as the reference's is."""
    plain = _plain(board, method).method
    trained = [step for step in plain.steps if step.arrow == "train"]
    if not trained:
        raise UserError(f"{method.recipe} trains no student; it cannot stand on a leaderboard")
    # A step of a block of rounds is set in the block, once for all rounds.
    peaks = {step.name.partition("/")[0]: getattr(step.part, "learning_rate") for step in trained}  # noqa: B009
    rates = [Override(f"{name}.learning_rate", peak * rate, "board") for name, peak in peaks.items()]
    lengths = [Override(f"{name}.length", length, "board") for name in peaks]
    return _plain(board, method, *rates, *lengths, *_measures(board, plain))


def _measures(board: Board, method: Method) -> list[Override]:
    """The method's last evaluation as the reference's is made: papers differ in it, and greedy answers are not sampled ones."""
    mine, reference = _last_evaluate(method), _last_evaluate(_plain(board, board.methods[board.reference]).method)
    if mine is None or reference is None:
        return []
    return [Override(f"{mine.name}.{name}", getattr(reference.part, name), "board") for name in MEASURES]


def _last_evaluate(method: Method) -> Step | None:
    return next((step for step in reversed(method.steps) if step.arrow == "evaluate"), None)


def _measured_once(loaded: Loaded) -> Loaded:
    """The recipe without evaluations that nothing depends on, but the last."""
    method = loaded.method
    last = _last_evaluate(method)
    kept = tuple(step for step in method.steps if step.arrow != "evaluate" or step is last or step.name in method.read)
    return replace(loaded, method=method.model_copy(update={"steps": kept}))


def run_board(board: Board, out: Path, command: str, options: Options) -> tuple[str, dict[str, Any]]:
    """The leaderboard's page and entries; ``board.json``, ``board.md`` and ``board.svg`` grow in ``out`` method by method."""
    from dataclasses import asdict

    from stillwise.evaluate.board import board_markdown, board_picture

    entries: list[dict[str, Any]] = []
    page = ""
    for entry in Contest(board, options).entered():
        entries.append(asdict(entry))
        page = board_markdown(entries, reference=board.reference, title=board.about, command=command)
        write_json(out / "board.json", entries)
        write_text(out / "board.md", page)
        write_text(out / "board.svg", board_picture(entries, board.reference))
    return page, {entry["name"]: entry for entry in entries}


def compare_recipes(recipes: Sequence[str], binding: str, validation: Source | None, seeds: int, options: Options) -> str:
    """The page of a leaderboard of recipes, the first being the reference."""
    if validation is None and binding != MICRO:
        raise UserError("compare --recipes: give --validation, problems to choose learning rates on (a file, or a data set)")
    given = {} if validation is None else {"validation": validation}
    fields = {"about": "Recipes at equal training cost", "binding": binding, "validation": _HELD_OUT, "seeds": seeds, **given}
    methods = {find_recipe(name).stem: Contestant(recipe=name) for name in recipes}
    context = {"catalogue": builtin_catalogue()}
    board = Board.model_validate({**fields, "reference": next(iter(methods)), "methods": methods}, context=context)
    command = f"stillwise compare --recipes {' '.join(recipes)} --binding {binding} --seeds {seeds} --out DIR"
    return run_board(board, options.out, command, options)[0]
