"""Near duplicates among any number of texts: keys and shingles lie on disk, memory holds one band at a time.

Pairs that share a key are checked by their shingles; what is linked, directly or through others, is one component, unless
two of its texts would be known to be other ones.
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
    from stillwise.problems.buffers import Array

LEADERS = 8
"""Unlike texts of one key that each further one is compared with; more make a crowded key cost its square."""
CONTAINED = 0.95
"""Share of the shorter text's shingles that must stand in the longer one, where that may hold more."""
LEAST_CONTAINED = 4
Alike = Callable[[int, int], bool]
"""Whether two texts of which something more is known (their answers), by number, agree in it."""


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

    def components(self, known: Array, agree: Alike) -> Array:
        """For each text the number of its component's first text; a text that is alone is its own.

        ``known``: for each text whether ``agree`` may be asked about it. Where two of them disagree their components stay
        apart, whatever links them.
        """
        import numpy as np

        for file in self._files:
            file.flush()
        forest = _Forest(known, agree)
        for group in _groups(self._column(0)):
            self._link(forest, group, None)
        refused: set[tuple[int, int]] = set()
        for band in range(self._bands):
            for group in _groups(self._column(3 + band)):
                self._link(forest, group, refused)
        for text in np.flatnonzero(forest.parents != np.arange(self._count)).tolist():
            forest.parents[text] = forest.root(text)
        return forest.parents

    def _link(self, forest: _Forest, group: Array, refused: set[tuple[int, int]] | None) -> None:
        """Joins the texts of one key that are alike; what was refused once is not read again. None: all are alike."""
        leaders: list[int] = []
        for text in map(int, group):
            root = forest.root(text)
            if any(forest.root(leader) == root for leader in leaders):
                continue
            for leader in leaders:
                if self._one(leader, text, refused) and forest.join(leader, text):
                    break
                if refused is not None:
                    refused.add((leader, text))
            else:
                if len(leaders) < LEADERS:
                    leaders.append(text)

    def _one(self, a: int, b: int, refused: set[tuple[int, int]] | None) -> bool:
        return refused is None or ((a, b) not in refused and self._alike(a, b))

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


class _Forest:
    """Components as trees; each knows one of its texts about which ``agree`` may be asked, if it has any."""

    def __init__(self, known: Array, agree: Alike) -> None:
        import numpy as np

        self.parents = np.arange(len(known), dtype=np.int32)
        self._told = np.where(known, self.parents, np.int32(-1))
        self._agree = agree

    def root(self, text: int) -> int:
        """The lowest text of its component."""
        parents = self.parents
        while parents[text] != text:
            parents[text] = parents[parents[text]]
            text = int(parents[text])
        return text

    def join(self, a: int, b: int) -> bool:
        """Makes one component of two, unless they are known to differ; whether it did."""
        low, high = sorted((self.root(a), self.root(b)))
        told, other = int(self._told[low]), int(self._told[high])
        if told >= 0 and other >= 0 and not self._agree(told, other):
            return False
        self.parents[high] = low
        self._told[low] = max(told, other) if told < 0 else told
        return True
