"""Signals of a live teacher, of a server and from a cache: the same teacher says the same, and nobody else passes for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stillwise.errors import CorruptOutput, StillwiseError, UserError
from stillwise.train.folder import load_tokenizer
from stillwise.train.losses.divergence import ForwardKL
from stillwise.train.losses.mix import Hidden
from stillwise.train.losses.topk import TopK, on_support
from stillwise.train.render import Row, render
from stillwise.train.signals.cache import META, RECORDS, ROWS, Cached, _meta_digest, capture
from stillwise.train.signals.source import Live, Origin, Served, origin_of
from tests.train.conftest import CHATML, make_tokenizer, sums

K = 20


@pytest.fixture(scope="module")
def teacher(make_student: Callable[..., Path]) -> Path:
    return make_student(hidden_size=40, num_hidden_layers=1, initializer_range=0.3, vocab_size=272)


@pytest.fixture(scope="module")
def tokenizer(student: Path) -> Any:
    return load_tokenizer(student)


@pytest.fixture(scope="module")
def rows(tokenizer: Any) -> tuple[Row, ...]:
    return render(sums(6, thought=True), tokenizer, 10_000).rows


@pytest.fixture(scope="module")
def live(teacher: Path, tokenizer: Any) -> Live:
    return Live(teacher, tokenizer, K)


@pytest.fixture
def cache(tmp_path: Path, live: Live, rows: tuple[Row, ...]) -> Path:
    figures = capture(tmp_path / "cache", live, [rows[:2], rows[2:], rows[:1]], K)
    assert figures["rows"] == len(rows)
    assert figures["tokens"] == sum(row.num_learnt for row in rows)
    return tmp_path / "cache"


def plain_logprobs(teacher: Path, row: Row, vocab: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(teacher)).eval()
    with torch.no_grad():
        return model(torch.tensor([row.ids])).logits[0, row.start - 1 : -1, :vocab].log_softmax(-1)


def test_live_signals_are_the_plain_models_at_every_supervised_place(
    teacher: Path, tokenizer: Any, live: Live, rows: tuple[Row, ...]
) -> None:
    import torch

    whole = Live(teacher, tokenizer).signals(rows)
    assert isinstance(whole, Hidden)
    assert whole.head.width == len(tokenizer)
    exact = torch.cat([plain_logprobs(teacher, row, len(tokenizer)) for row in rows])
    assert torch.allclose(whole.head.logits(whole.hidden_NH).log_softmax(-1), exact, atol=1e-4)
    top = live.signals(rows)
    assert isinstance(top, TopK)
    assert top.sampled_N is not None
    best = exact.topk(K)
    assert torch.allclose(top.logprobs_NK, best.values, atol=1e-4)
    assert torch.allclose(top.log_tail_N.exp(), 1 - best.values.exp().sum(-1), atol=1e-4)
    own = torch.tensor([token for row in rows for token in row.ids[row.start :]])
    assert torch.allclose(top.sampled_N, exact.gather(-1, own[:, None])[:, 0], atol=1e-4)


def test_cached_signals_are_those_of_the_live_teacher(cache: Path, live: Live, rows: tuple[Row, ...]) -> None:
    import torch

    cached = Cached(cache, live.origin)
    mixed = [rows[3], rows[0], rows[5]]
    mine, exact = cached.signals(mixed), live.signals(mixed)
    assert isinstance(exact, TopK)
    assert torch.equal(mine.ids_NK, exact.ids_NK.sort(-1).values)
    student = torch.randn(len(mine.ids_NK), live.origin.vocab, generator=torch.Generator().manual_seed(0))
    values = [ForwardKL().per_token(*on_support(top, student, "tail_bucket")) for top in (mine, exact)]
    assert (values[0] - values[1]).abs().mean() < 1e-3
    assert not cached.missing(rows)


def served(teacher: Path, vocab: int) -> Callable[[Sequence[int], int], Any]:
    """What a server answers: the top k of every place but the first, and the row's own token."""

    def score(ids: Sequence[int], k: int) -> Any:
        logprobs = plain_logprobs(teacher, Row(id="x", ids=tuple(ids), start=1), vocab)
        best = logprobs.topk(k)
        pairs = [dict(zip(i.tolist(), v.tolist(), strict=True)) for i, v in zip(best.indices, best.values, strict=True)]
        return [list({**pair, ids[t + 1]: float(logprobs[t, ids[t + 1]])}.items()) for t, pair in enumerate(pairs)]

    return score


def test_a_server_gives_the_same_signals(teacher: Path, live: Live, rows: tuple[Row, ...]) -> None:
    import torch

    score = served(teacher, live.origin.vocab)
    mine, exact = Served(live.origin, score, K).signals(rows[:2]), live.signals(rows[:2])
    assert isinstance(exact, TopK)
    assert exact.sampled_N is not None
    assert mine.sampled_N is not None
    for a, b in ((mine.logprobs_NK, exact.logprobs_NK), (mine.log_tail_N, exact.log_tail_N), (mine.sampled_N, exact.sampled_N)):
        assert torch.allclose(a, b, atol=1e-4)
    with pytest.raises(StillwiseError, match=r"scored \d+ of \d+ tokens"):
        Served(live.origin, lambda ids, k: score(ids, k)[1:], K).signals(rows[:1])
    with pytest.raises(StillwiseError, match="fewer than 20"):
        Served(live.origin, lambda ids, k: [place[:3] for place in score(ids, k)], K).signals(rows[:1])


def test_the_size_on_disk_stays_under_two_hundred_bytes_a_token(tmp_path: Path) -> None:
    import torch

    class Invented:
        """A teacher with a large vocabulary."""

        origin = Origin(tokenizer="a", template="b", revision="c", vocab=151_936)

        def signals(self, rows: Sequence[Row]) -> TopK:
            count = sum(row.num_learnt for row in rows)
            ids = torch.stack([torch.randperm(151_936)[:64] for _ in range(count)])
            logprobs = torch.randn(count, 64).log_softmax(-1) - 0.1
            return TopK(ids, logprobs, torch.full((count,), -2.35), logprobs[:, 0])

    def row(i: int) -> Row:
        return Row(id=str(i), ids=tuple(range(i, i + 90)), start=30)

    figures = capture(tmp_path / "cache", Invented(), [[row(i)] for i in range(12)], 64)
    assert figures["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert figures["bytes_per_token"] <= 200


@pytest.mark.parametrize("name", [META, ROWS, RECORDS])
def test_a_changed_cache_is_refused(cache: Path, live: Live, rows: tuple[Row, ...], name: str) -> None:
    data = bytearray((cache / name).read_bytes())
    for place in range(0, len(data), max(1, len(data) // 25)):
        changed = bytearray(data)
        changed[place] ^= 1
        (cache / name).write_bytes(changed)
        with pytest.raises(UserError):
            Cached(cache, live.origin).signals(rows)
    (cache / name).write_bytes(data[:-1])
    if name != META:
        with pytest.raises(CorruptOutput):
            Cached(cache, live.origin)
    (cache / name).write_bytes(data)
    Cached(cache, live.origin).signals(rows)


def test_signals_of_another_origin_are_refused(cache: Path, live: Live) -> None:
    from dataclasses import replace

    others: dict[str, dict[str, Any]] = {name: {name: "x"} for name in ("tokenizer", "template", "revision")}
    for name, change in {**others, "vocab": {"vocab": 9}}.items():
        with pytest.raises(UserError, match=f"another {name}"):
            Cached(cache, replace(live.origin, **change))
    meta = json.loads((cache / META).read_text())
    meta["origin"]["revision"] = "x"
    (cache / META).write_text(json.dumps(meta))
    with pytest.raises(CorruptOutput, match="was changed"):
        Cached(cache)
    meta["digest"] = _meta_digest(meta)
    (cache / META).write_text(json.dumps(meta))
    with pytest.raises(UserError, match="holds no signals for row"):
        Cached(cache, replace(live.origin, revision="x")).signals([Row(id="e0", ids=(1, 2, 3), start=1)])


def test_rows_with_other_tokens_or_another_start_are_refused(cache: Path, live: Live, rows: tuple[Row, ...]) -> None:
    from dataclasses import replace

    cached = Cached(cache, live.origin)
    other = replace(rows[0], ids=(*rows[0].ids[:-1], rows[0].ids[-1] - 1))
    for wrong in (other, replace(rows[0], start=rows[0].start + 1)):
        assert cached.missing([wrong]) == [rows[0].id]
        with pytest.raises(UserError, match="no signals for row 'e0'"):
            cached.signals([wrong])


def test_rows_swapped_in_the_records_are_refused(cache: Path, live: Live, rows: tuple[Row, ...]) -> None:
    cached = Cached(cache, live.origin)
    size = cached.codec.num_bytes
    data = bytearray((cache / RECORDS).read_bytes())
    data[:size], data[size : 2 * size] = data[size : 2 * size], data[:size]
    (cache / RECORDS).write_bytes(data)
    with pytest.raises(CorruptOutput, match="changed after it was written"):
        Cached(cache, live.origin).signals(rows)


def test_only_raw_log_probabilities_are_stored(tmp_path: Path, live: Live, rows: tuple[Row, ...]) -> None:
    from dataclasses import replace

    class Cool:
        origin = replace(live.origin, temperature=0.6)

        def signals(self, rows: Sequence[Row]) -> Any:
            return live.signals(rows)

    with pytest.raises(UserError, match=r"at temperature 0\.6"):
        capture(tmp_path / "cache", Cool(), [rows])
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_with_another_tokenizer_is_refused(make_student: Callable[..., Path], tokenizer: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = make_student()
    other = make_tokenizer(CHATML)
    assert isinstance(other, PreTrainedTokenizerFast)
    vocab = json.loads((folder / "tokenizer.json").read_text())
    names = vocab["model"]["vocab"]
    first, second = list(names)[:2]
    names[first], names[second] = names[second], names[first]
    (folder / "tokenizer.json").write_text(json.dumps(vocab))
    with pytest.raises(UserError, match="different tokenizers"):
        origin_of(folder, tokenizer)
