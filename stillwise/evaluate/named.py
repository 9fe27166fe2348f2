"""A benchmark of the table as a source, so that a binding may name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from stillwise.arrows import Source
from stillwise.errors import nearest
from stillwise.evaluate.descriptions import descriptions, source_of
from stillwise.records import Failure, Problem


class Named(Source):
    """The problems of a benchmark by its name, read as the table says: from the hub, or from a folder of copies."""

    kind: ClassVar[str] = "benchmark"
    name: str
    """A name of ``stillwise list --benchmarks``."""
    data: str | None = None
    """A folder with local copies; unset: the hub."""

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in descriptions():
            raise ValueError(f"no benchmark is called {value!r}; {nearest(value, descriptions())}")
        return value

    def problems(self) -> Iterator[Problem | Failure]:
        """The described source's problems."""
        return source_of(self.name, Path(self.data) if self.data else None).problems()
