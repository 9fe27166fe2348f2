"""Problems from a ModelScope dataset: by its id, or from a local copy of one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stillwise.arrows import Source
from stillwise.errors import MissingExtra, UserError
from stillwise.problems.columns import Columns, Origin, distinct
from stillwise.problems.file import problems_of
from stillwise.problems.hub import Hub
from stillwise.records import Failure, Problem


class ModelScope(Source):
    """The problems of one split of a ModelScope dataset, streamed; a local copy needs no further package."""

    kind: ClassVar[str] = "modelscope"
    id: str
    """The dataset's id (``owner/name``), or a folder that holds a copy of it."""
    at: str | None = Field(default=None, alias="revision")
    """Branch, tag or commit."""
    split: str = "train"
    """Which split."""
    subset: str | None = None
    """Which of the dataset's subsets; None: the default one."""
    columns: Columns = Columns()
    """Which columns are which."""
    origin: Origin = Origin()
    """Language, licence, limit."""

    def problems(self) -> Iterator[Problem | Failure]:
        """Problems in the dataset's order. Raises MissingExtra without the package, UserError where it cannot be read."""
        if Path(self.id).is_dir():
            configs = (self.subset,) if self.subset else ()
            yield from Hub(id=self.id, split=self.split, configs=configs, columns=self.columns, origin=self.origin).problems()
            return
        if importlib.util.find_spec("modelscope") is None:
            raise MissingExtra(f"the dataset {self.id} of ModelScope (a folder with a copy of it does not)", "modelscope")
        yield from distinct(problems_of(self._rows(), self.id, self.columns, self.origin), f"{self.id} ({self.split})")

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        from modelscope.msdatasets import MsDataset

        options = {"subset_name": self.subset, "version": self.at} if self.at else {"subset_name": self.subset}
        try:
            yield from MsDataset.load(self.id, split=self.split, use_streaming=True, **options)
        except (OSError, ValueError) as err:
            reason = " ".join(str(err).split())[:300]
            raise UserError(f"the dataset {self.id} of ModelScope cannot be read: {type(err).__name__}: {reason}") from err
