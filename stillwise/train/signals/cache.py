"""Top-k signals on disk: captured once, read by memory map, and refused where they are not what they should be.

A cache is a folder of three files. ``signals.json``: the origin (tokenizer, template, revision, temperature) and sizes.
``records.bin``: a record of fixed size for each supervised token. ``rows.bin``: for each row a key (a digest of origin, token
ids and start), where its records stand, and a digest of them. A row is found by its key, so signals of other token ids,
another teacher or another template are never found; its records are checked when they are read.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillwise.errors import CorruptOutput, UserError
from stillwise.records import digest
from stillwise.train import folder as folders
from stillwise.train.losses.topk import TopK
from stillwise.train.render import Row
from stillwise.train.signals.codec import Codec, Kept
from stillwise.train.signals.source import Origin, TeacherSignal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
META, RECORDS, ROWS = "signals.json", "records.bin", "rows.bin"
ENTRY = struct.Struct("<12sQI12s")
"""Key, first record, number of records, digest of the records."""


@dataclass(frozen=True, slots=True)
class _Place:
    first: int
    count: int
    check: bytes


def _short(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=12).digest()


def row_key(identity: str, row: Row) -> bytes:
    """A digest of the origin, the token ids and where the supervised ones begin."""
    return _short(identity.encode(), struct.pack(f"<{len(row.ids) + 1}I", row.start, *row.ids))


def capture(out: Path, teacher: TeacherSignal, batches: Iterable[Sequence[Row]], k: int = 64) -> dict[str, Any]:
    """Writes a cache at ``out`` (whole or not at all) of a teacher that gives at least a top k; returns its figures.

    Equal rows are stored once. Raises UserError for signals taken at another temperature than 1.
    """
    origin = teacher.origin
    _check_raw(origin)
    codec = Codec(k=min(k, origin.vocab), vocab=origin.vocab)
    entries: list[bytes] = []
    seen: set[bytes] = set()
    first, identity = 0, _identity(origin, codec)
    with folders.whole_folder(out, each=True) as aside:
        with (aside / RECORDS).open("wb") as file:
            for batch in batches:
                for row, data in _encoded(codec, teacher, _fresh(batch, identity, seen)):
                    file.write(data)
                    key, count = row_key(identity, row), row.num_learnt
                    entries.append(ENTRY.pack(key, first, count, _short(key, data)))
                    first += count
        (aside / ROWS).write_bytes(b"".join(sorted(entries)))
        meta = {"format": FORMAT, "k": codec.k, "origin": asdict(origin), "tokens": first, "rows": len(entries)}
        meta["rows_digest"] = hashlib.sha256((aside / ROWS).read_bytes()).hexdigest()
        meta["digest"] = _meta_digest(meta)
        (aside / META).write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in aside.iterdir())
    return {"tokens": first, "rows": len(entries), "bytes": size, "bytes_per_token": size / max(first, 1)}


def _fresh(rows: Sequence[Row], identity: str, seen: set[bytes]) -> list[Row]:
    """The rows that were not seen before, each once."""
    found = {key: row for row in rows if (key := row_key(identity, row)) not in seen}
    seen.update(found)
    return list(found.values())


def _check_raw(origin: Origin) -> None:
    if origin.temperature != 1.0:
        raise UserError(
            f"these log-probabilities were taken at temperature {origin.temperature}; a cache holds raw ones (temperature 1), "
            "and training applies its own"
        )


def _identity(origin: Origin, codec: Codec) -> str:
    return f"{FORMAT}:{codec.k}:{origin.identity}"


def _encoded(codec: Codec, teacher: TeacherSignal, rows: Sequence[Row]) -> Iterable[tuple[Row, bytes]]:
    import numpy as np

    if not rows:
        return
    top = teacher.signals(rows)
    if not isinstance(top, TopK):
        raise UserError("a cache is captured from a top-k teacher: give the live one a k")
    sampled = np.array([token for row in rows for token in row.ids[row.start :]], dtype=np.int64)
    records = codec.encode(_kept(codec, top, sampled))
    first = 0
    for row in rows:
        yield row, records[first : first + row.num_learnt].tobytes()
        first += row.num_learnt


def _kept(codec: Codec, top: TopK, sampled_N: NDArray[np.int64]) -> Kept:
    if top.ids_NK.shape[1] != codec.k or top.sampled_N is None:
        raise UserError(f"a cache of {codec.k} ids a token needs a teacher that gives as many, and the sampled token's own")
    logprobs, tail, sampled = (part.float().numpy() for part in (top.logprobs_NK, top.log_tail_N, top.sampled_N))
    return Kept(top.ids_NK.numpy(), logprobs, tail, sampled_N, sampled)


class Cached:
    """Signals from a cache; every row that is read is checked against what was captured."""

    def __init__(self, path: Path, expected: Origin | None = None) -> None:
        """Opens the cache; refuses one of another origin than the expected, naming what differs, and a damaged index."""
        import numpy as np

        self.path = path
        meta = _read_meta(path)
        self.origin = Origin(**meta["origin"])
        _check_raw(self.origin)
        if expected is not None:
            _check_origin(path, self.origin, expected)
        self.codec = Codec(k=int(meta["k"]), vocab=self.origin.vocab)
        self.identity = _identity(self.origin, self.codec)
        self.places = _places(path, meta)
        size = (path / RECORDS).stat().st_size
        if size != int(meta["tokens"]) * self.codec.num_bytes:
            raise CorruptOutput(f"{path / RECORDS} has {size} bytes, not those of {meta['tokens']} tokens; capture it again")
        shape = (int(meta["tokens"]), self.codec.num_bytes)
        self.records = np.memmap(path / RECORDS, dtype=np.uint8, mode="r", shape=shape) if size else np.empty(shape, np.uint8)

    def signals(self, rows: Sequence[Row]) -> TopK:
        """The top k (S, K) of these rows; UserError for a row that was never captured, CorruptOutput for changed records."""
        import numpy as np
        import torch

        kept = self.codec.decode(np.concatenate([self._records(row) for row in rows]))
        if kept.sampled_N.tolist() != [token for row in rows for token in row.ids[row.start :]]:
            raise CorruptOutput(f"the cache {self.path} holds other sampled tokens than these rows; capture it again")
        return TopK(
            ids_NK=torch.from_numpy(kept.ids_NK),
            logprobs_NK=torch.from_numpy(kept.logprobs_NK),
            log_tail_N=torch.from_numpy(kept.log_tail_N),
            sampled_N=torch.from_numpy(kept.sampled_logprobs_N),
        )

    def missing(self, rows: Iterable[Row]) -> list[str]:
        """Ids of the rows that the cache does not hold."""
        return [row.id for row in rows if row_key(self.identity, row) not in self.places]

    def _records(self, row: Row) -> NDArray[np.uint8]:
        key = row_key(self.identity, row)
        place = self.places.get(key)
        if place is None:
            raise UserError(
                f"the cache {self.path} holds no signals for row {row.id!r} ({len(row.ids)} tokens): it was captured on other "
                "token ids; capture it from the rows that are trained"
            )
        found = self.records[place.first : place.first + place.count]
        if place.count != row.num_learnt or _short(key, found.tobytes()) != place.check:
            raise CorruptOutput(f"the cache {self.path} was changed after it was written (row {row.id!r}); capture it again")
        return found


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        found = meta.get("format")
    except (OSError, ValueError, AttributeError) as err:
        raise UserError(f"{path} is no cache of teacher signals: {META} is missing or unreadable") from err
    if found != FORMAT:
        raise UserError(f"{path} is a cache of format {found}; this version reads format {FORMAT}: capture it again")
    if meta.get("digest") != _meta_digest(meta):
        raise CorruptOutput(f"{path / META} was changed after it was written; capture the cache again")
    return dict(meta)


def _meta_digest(meta: dict[str, Any]) -> str:
    return digest({name: value for name, value in meta.items() if name != "digest"})


def _places(path: Path, meta: dict[str, Any]) -> dict[bytes, _Place]:
    data = (path / ROWS).read_bytes() if (path / ROWS).is_file() else b""
    if hashlib.sha256(data).hexdigest() != meta["rows_digest"] or len(data) != int(meta["rows"]) * ENTRY.size:
        raise CorruptOutput(f"{path / ROWS} does not match {META}; capture the cache again")
    return {key: _Place(first, count, check) for key, first, count, check in ENTRY.iter_unpack(data)}


def _check_origin(path: Path, found: Origin, expected: Origin) -> None:
    mine, other = asdict(found), asdict(expected)
    wrong = [f"{name} ({mine[name]} in the cache, {other[name]} here)" for name in mine if mine[name] != other[name]]
    if wrong:
        raise UserError(
            f"the cache {path} has another {', '.join(wrong)}; capture it again, or use the teacher that it was made of"
        )
