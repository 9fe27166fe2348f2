"""Problems made on the spot by reasoning-gym, with what its own scorer needs to judge an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from stillwise.arrows import Source
from stillwise.errors import UserError, nearest
from stillwise.micro import families
from stillwise.problems.columns import STEP, distinct
from stillwise.records import AnswerKind, Failure, Problem

Setting = bool | int | float | str | None | tuple[bool | int | float | str, ...]

_WHERE_FROM = ("source_dataset", "source_index")
"""What tells two equal problems apart; no scorer reads it."""


class Gym(Source):
    """Problems of one reasoning-gym dataset: any of its names, its settings, a seed."""

    kind: ClassVar[str] = "gym"
    dataset: str
    """The dataset's name in reasoning-gym, such as ``chain_sum``."""
    config: tuple[tuple[str, Setting], ...] = ()
    """The dataset's own settings, such as ``{min_terms: 2, max_terms: 4}``."""
    size: int = Field(default=500, ge=1)
    """How many problems are made; equal ones count once."""
    seed: int = 0
    """Seed of the generator."""
    level: int | None = None
    """The level that all of them get."""

    @field_validator("config", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        pairs = value.items() if isinstance(value, Mapping) else value
        return tuple(sorted((str(name), _frozen(held)) for name, held in pairs))

    def problems(self) -> Iterator[Problem | Failure]:
        """Problems in the generator's order; one whose own answer its scorer refuses comes as a Failure."""
        yield from distinct(self._made(), f"reasoning-gym's {self.dataset}")

    def _made(self) -> Iterator[Problem | Failure]:
        config = {name: _thawed(held) for name, held in self.config}
        data = _dataset(self.dataset, self.size, self.seed, config)
        for index in range(self.size):
            entry = data[index]
            item = f"{self.dataset}:{index}"
            if entry["answer"] is None:
                yield Failure(step=STEP, item=item, reason="no_answer")
            else:
                yield self._checked(data, entry, config, item)

    def _checked(self, data: Any, entry: Mapping[str, Any], config: Mapping[str, Any], item: str) -> Problem | Failure:
        metadata = {name: held for name, held in entry["metadata"].items() if name not in _WHERE_FROM}
        metadata = json.loads(json.dumps(metadata, default=str))
        restored = {**entry, "metadata": metadata}
        try:
            score = float(data.score_answer(entry["answer"], restored))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as err:
            return Failure(step=STEP, item=item, reason="no_scorer", detail=f"{type(err).__name__}: {err}")
        if score < 1.0:
            return Failure(step=STEP, item=item, reason="refused_reference", detail=f"score {score:.3g}")
        scorer = {"dataset": self.dataset, "config": config, "metadata": metadata}
        return _problem(entry["question"], entry["answer"], scorer, self.level)


class Micro(Source):
    """Problems of the embedded world: one family, an equal number of each level, train and held-out apart for ever."""

    kind: ClassVar[str] = "micro"
    family: Literal["chain_sum", "basic_arithmetic"] = "chain_sum"
    """Sums (``chain_sum``) or sums with brackets (``basic_arithmetic``)."""
    split: Literal["train", "heldout"] = "train"
    """Which side of the split; a question is never on both."""
    per_level: int = Field(default=100, ge=1)
    """Problems of each level."""
    levels: tuple[int, ...] = families.LEVELS
    """Which levels, 1 (two terms) to 5 (six terms)."""
    seed: int = 0
    """Seed of the generator; another seed gives other problems of the same split."""

    @field_validator("levels")
    @classmethod
    def _known(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        unknown = set(value) - set(families.LEVELS)
        if unknown or not value:
            raise ValueError(f"levels are {families.LEVELS[0]} to {families.LEVELS[-1]}, got {', '.join(map(str, value))}")
        return value

    def problems(self) -> Iterator[Problem | Failure]:
        """Problems level by level. Raises UserError where a level has fewer than asked."""
        split: families.Split = "train" if self.split == "train" else "held_out"
        for level in self.levels:
            try:
                made = families.generate(self.family, level, self.per_level, self.seed, split)
            except ValueError as err:
                raise UserError(f"{err}; ask for fewer with per_level") from err
            for found in made:
                yield _problem(found.question, found.answer, {"dataset": self.family}, level)


def _problem(question: str, answer: str, scorer: Mapping[str, Any], level: int | None) -> Problem:
    return Problem.of(
        question,
        answer,
        answer_kind=AnswerKind.GYM,
        level=level,
        subject=scorer["dataset"],
        source=f"reasoning-gym/{scorer['dataset']}",
        scorer=json.dumps(scorer, sort_keys=True),
    )


def _dataset(name: str, size: int, seed: int, config: Mapping[str, Any]) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        raise UserError(f"reasoning-gym has no dataset {name!r}; {_hint(name, list(DATASETS))}")
    try:
        return reasoning_gym.create_dataset(name, size=size, seed=seed, **config)
    except (TypeError, ValueError, AssertionError) as err:
        raise UserError(f"reasoning-gym's {name} refuses these settings: {err}") from err


def _hint(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did you") else f"it has {len(known)}, such as {', '.join(sorted(known)[:5])}"


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _thawed(value: Any) -> Any:
    return list(map(_thawed, value)) if isinstance(value, tuple) else value
