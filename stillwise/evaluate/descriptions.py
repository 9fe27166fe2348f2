"""Benchmarks and protocols by name, read from the two tables beside this module: data, no code for each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field

from stillwise.arrows import Source
from stillwise.errors import UserError, nearest
from stillwise.parts import Fields, builtin_catalogue, plain

BENCHMARKS, PROTOCOLS = "benchmarks.yaml", "protocols.yaml"
F = TypeVar("F", bound=Fields)


class Description(Fields):
    """One benchmark: where its problems are, how a row is read, what a model is asked."""

    title: str
    """The name in words."""
    source: dict[str, Any]
    """The source on the hub, as a binding would write it; ``columns`` come from ``reading``."""
    num_problems: int | None = None
    """How many problems the whole set holds; None where it depends on the split."""
    files: tuple[str, ...] = ()
    """Names that a local copy has, as shell patterns, the likeliest first."""
    reading: dict[str, Any] = {}
    """Fields of ``Columns``: the answer's kind and place, the layout, the policy of comparison."""
    instruction: str | None = None
    """Appended to each question; None takes the recipes' sentence."""
    competition: bool = False
    """Whether protocols draw the many samples of small competition sets."""
    note: str = ""
    """What a reader of the scores should know."""

    def on_hub(self) -> Source:
        """The source on the hub."""
        return _source({**self.source, "columns": self.reading})

    def in_file(self, path: Path) -> Source:
        """The source that reads a local copy."""
        return _source({"kind": "file", "path": str(path), "columns": self.reading})

    def local_copy(self, folder: Path) -> Path | None:
        """The first file of a folder that is a copy of the set, by its name; None where there is none."""
        for pattern in self.files:
            for path in sorted(folder.glob(pattern)):
                if path.is_file():
                    return path
        return None


class Protocol(Fields):
    """How a paper measured."""

    paper: str
    section: str | None = None
    samples: int = Field(default=8, ge=1)
    """Samples per problem."""
    competition_samples: int = Field(default=32, ge=1)
    """Samples per problem of the small competition sets (AIME, AMC)."""
    temperature: float = Field(default=0.6, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=16384, ge=1)
    """Tokens to generate at most."""
    departures: tuple[str, ...] = ()
    """What the paper left open, and our choice."""

    def samples_for(self, description: Description | None) -> int:
        """Samples per problem of a benchmark; of one that is not described, the usual number."""
        return self.competition_samples if description and description.competition else self.samples


def _source(fields: Mapping[str, Any]) -> Source:
    catalogue = builtin_catalogue()
    found = catalogue.find(str(fields["kind"]), Source)
    source = found.model_validate(
        {name: value for name, value in fields.items() if name != "kind"}, context={"catalogue": catalogue}
    )
    assert isinstance(source, Source)
    return source


def _table(name: str, kind: type[F]) -> dict[str, F]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return {key: kind.model_validate(value) for key, value in yaml.safe_load(text).items()}


@lru_cache(maxsize=1)
def descriptions() -> Mapping[str, Description]:
    """The benchmarks that ship, by name, in the table's order."""
    return _table(BENCHMARKS, Description)


@lru_cache(maxsize=1)
def protocols() -> Mapping[str, Protocol]:
    """The protocols that ship, by name."""
    return _table(PROTOCOLS, Protocol)


def description_named(name: str) -> Description:
    """The benchmark of this name; raises UserError with the nearest one."""
    return _named("benchmark", name, descriptions())


def protocol_named(name: str) -> Protocol:
    """The protocol of this name; raises UserError with the nearest one."""
    return _named("protocol", name, protocols())


def _named(what: str, name: str, known: Mapping[str, F]) -> F:
    if name not in known:
        raise UserError(f"no {what} is called {name!r}; {nearest(name, known)}")
    return known[name]


def source_of(name: str, data: Path | None) -> Source:
    """Where a benchmark's problems are read: a copy in the folder ``data`` if one is given and holds it, else the hub.

    Raises UserError where the folder holds no copy: what was meant to come from a folder must not come from a network.
    """
    description = description_named(name)
    if data is None:
        return description.on_hub()
    if not data.is_dir():
        raise UserError(f"--data {data} is not a folder")
    path = description.local_copy(data)
    if path is None:
        wanted = ", ".join(description.files)
        raise UserError(f"{data} holds no copy of {name} (looked for {wanted}); give its file as {name}=FILE")
    return description.in_file(path)


def benchmark_lines() -> list[str]:
    """The benchmarks as a table for people, and the protocols below."""
    lines = [_benchmark_line(name, one) for name, one in descriptions().items()]
    lines.append(f"{'gym:NAME':<18}any reasoning-gym dataset, made on the spot")
    lines += ["", "protocols (--protocol):"]
    return lines + [_protocol_line(name, one) for name, one in protocols().items()]


def _benchmark_line(name: str, one: Description) -> str:
    count = f"{one.num_problems:,} problems" if one.num_problems else "all problems of the split"
    source = plain(one.source)
    return f"{name:<18}{one.title}; {count}; {source['id']}{f'; {one.note}' if one.note else ''}"


def _protocol_line(name: str, one: Protocol) -> str:
    many = f"{one.competition_samples} samples on AIME and AMC, {one.samples} elsewhere"
    return (
        f"{name:<18}{many}; temperature {one.temperature}, top-p {one.top_p}, {one.max_tokens:,} tokens (after “{one.paper}”)"
    )
