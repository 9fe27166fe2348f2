"""Near duplicates among any number of texts: keys and shingles lie on disk, memory holds one band at a time.

Pairs that share a key are checked by their shingles; what is linked, directly or through others, is one component.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from stillwise.problems.sketch import Sketch, shared

if TYPE_CHECKING:
    from stillwise.problems.words import Array

LEADERS = 8
"""Unlike texts of one key that each further one is compared with; more make a crowded key cost its square."""
CONTAINED = 0.95
"""Share of the shorter text's shingles that must stand in the longer one, where that may hold more."""
LEAST_CONTAINED = 4
May = Callable[[int, int], bool]
"""Whether two texts, by number, may be one (their answers agree)."""


class Clusters:
    """Sketches come in, in the order of the texts; components go out. A context manager: the files go at its end."""

    def __init__(self, threshold: float, bands: int, longer: float = 1.0, folder: Path | None = None) -> None:
        """``longer``: a text is also one with a text of up to so many times its shingles that holds nearly all of them."""
        self._threshold, self._bands, self._longer = threshold, bands, longer
        self._folder = tempfile.TemporaryDirectory(prefix="stillwise-", dir=folder)
        self._files: list[IO[bytes]] = []
        names = ("whole", "shingles", "bounds", *(f"band{i}" for i in range(bands)))
        self._files = [(Path(self._folder.name) / name).open("w+b", buffering=1 << 15) for name in names]
        self._count, self._written = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def add(self, sketch: Sketch) -> None:
        """The next texts."""
        import numpy as np

        whole, shingles, bounds, *bands = self._files
        whole.write(sketch.whole.astype(np.uint64).tobytes())
        shingles.write(sketch.shingles.tobytes())
        bounds.write((sketch.bounds[1:] + self._written).astype(np.int64).tobytes())
        for band, file in enumerate(bands):
            file.write(np.ascontiguousarray(sketch.keys[:, band]).tobytes())
        self._count += len(sketch.whole)
        self._written += len(sketch.shingles)

    def components(self, may: May) -> Array:
        """For each text the number of its component's first text; a text that is alone is its own."""
        import numpy as np

        for file in self._files:
            file.flush()
        parents = np.arange(self._count, dtype=np.int32)
        for text, leader in self._equal():
            _join(parents, text, leader)
        refused: set[tuple[int, int]] = set()
        for band in range(self._bands):
            for group in _groups(self._column(3 + band)):
                self._link(parents, group, may, refused)
        for text in np.flatnonzero(parents != np.arange(self._count)).tolist():
            parents[text] = _root(parents, text)
        return parents

    def _equal(self) -> Iterator[tuple[int, int]]:
        for group in _groups(self._column(0)):
            yield from ((int(text), int(group[0])) for text in group[1:])

    def _link(self, parents: Array, group: Array, may: May, refused: set[tuple[int, int]]) -> None:
        """Joins the texts of one key that are alike; what was refused once is not read again."""
        leaders: list[int] = []
        for text in map(int, group):
            root = _root(parents, text)
            if any(_root(parents, leader) == root for leader in leaders):
                continue
            for leader in leaders:
                if (leader, text) not in refused and self._alike(leader, text) and may(leader, text):
                    _join(parents, text, leader)
                    break
                refused.add((leader, text))
            else:
                if len(leaders) < LEADERS:
                    leaders.append(text)

    def _alike(self, a: int, b: int) -> bool:
        mine, other = self._shingles(a), self._shingles(b)
        both, fewer, more = shared(mine, other), *sorted((len(mine), len(other)))
        return both >= self._threshold * (len(mine) + len(other) - both) or (
            fewer >= LEAST_CONTAINED and more <= self._longer * fewer and both >= CONTAINED * fewer
        )

    def _shingles(self, text: int) -> Array:
        read: Any = partial(_slice, self._files[2])
        begin = int(read("int64", text - 1, text)[0]) if text else 0
        return _slice(self._files[1], "uint32", begin, int(read("int64", text, text + 1)[0]))

    def _column(self, number: int) -> Array:
        return _slice(self._files[number], "uint64", 0, self._count)


def _slice(file: IO[bytes], dtype: str, begin: int, end: int) -> Array:
    import numpy as np

    width = np.dtype(dtype).itemsize
    file.seek(begin * width)
    return np.frombuffer(file.read((end - begin) * width), dtype)


def _groups(keys: Array) -> Iterator[Array]:
    """The texts of each key that more than one text has, each group in order."""
    import numpy as np

    order = np.argsort(keys, kind="stable").astype(np.int32)
    same = keys[order[1:]] == keys[order[:-1]]
    edges = np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield order[begin : end + 1]


def _root(parents: Array, text: int) -> int:
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = int(parents[text])
    return text


def _join(parents: Array, a: int, b: int) -> None:
    """One component of two; its number is the lower one."""
    low, high = sorted((_root(parents, a), _root(parents, b)))
    parents[high] = low
