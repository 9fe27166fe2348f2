"""Problems from a Hugging Face dataset: by its id, or from a local copy of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from stillwise.arrows import Source
from stillwise.errors import UserError
from stillwise.problems.columns import Columns, Origin, distinct
from stillwise.problems.file import problems_of
from stillwise.records import Failure, Problem


class Hub(Source):
    """The problems of one split of a dataset, streamed: nothing is downloaded that is not read."""

    kind: ClassVar[str] = "hub"
    id: str
    """The dataset's id (``owner/name``), or a folder that holds a copy (its files, or ``save_to_disk``)."""
    at: str | None = Field(default=None, alias="revision")
    """Branch, tag or commit; a commit makes a run repeatable."""
    split: str = "train"
    """Which split."""
    configs: tuple[str, ...] = ()
    """Configurations of the dataset (MATH has one for each subject), read one after another; none: the default one."""
    files: tuple[str, ...] = ()
    """Files of the repository to read instead of a split (``.jsonl`` or ``.parquet``); their rows come one after another."""
    columns: Columns = Columns()
    """Which columns are which."""
    origin: Origin = Origin()
    """Language, licence, limit."""

    def problems(self) -> Iterator[Problem | Failure]:
        """Problems in the dataset's order. Raises UserError: no such dataset, split or column, no network, nothing usable."""
        yield from distinct(problems_of(self._rows(), self.id, self.columns, self.origin), f"{self.id} ({self.split})")

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HfHubHTTPError

        try:
            for name in self.files:
                yield from self._file(name)
            for config in () if self.files else self.configs or (None,):
                yield from self._opened(config)
        except (DatasetsError, HfHubHTTPError, OSError, ValueError) as err:
            raise UserError(self._explained(err)) from err

    def _opened(self, config: str | None) -> Any:
        from datasets import load_dataset, load_from_disk

        if (Path(self.id) / "state.json").is_file() or (Path(self.id) / "dataset_dict.json").is_file():
            saved = load_from_disk(self.id)
            return saved[self.split] if isinstance(saved, Mapping) else saved
        return load_dataset(self.id, config, split=self.split, revision=self.at, streaming=True)

    def _file(self, name: str) -> Any:
        from datasets import load_dataset

        builder = "parquet" if name.endswith(".parquet") else "json"
        at = f"@{self.at}" if self.at else ""
        path = str(Path(self.id) / name) if Path(self.id).is_dir() else f"hf://datasets/{self.id}{at}/{name}"
        return load_dataset(builder, data_files=path, split="train", streaming=True)

    def _explained(self, err: Exception) -> str:
        at = f" at revision {self.at}" if self.at else ""
        reason = " ".join(str(err).split())[:300]
        copy = "" if Path(self.id).is_dir() else "; without a network, give the folder of a local copy as the id"
        return f"the dataset {self.id}{at}, split {self.split!r}, cannot be read: {type(err).__name__}: {reason}{copy}"
