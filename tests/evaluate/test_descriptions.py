"""The tables of benchmarks and protocols: whole, readable, and faithful to what the papers state."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stillwise.errors import UserError
from stillwise.evaluate import descriptions as d
from stillwise.evaluate.named import Named
from stillwise.problems.file import File
from stillwise.problems.hub import Hub
from stillwise.problems.resolve import resolve
from stillwise.records import Problem


def test_every_benchmark_of_the_papers_is_described_and_its_sources_validate() -> None:
    asked = "aime24 aime25 amc23 math500 minerva olympiad gsm8k gpqa_diamond livecodebench_v2 humaneval mbpp knights_knaves"
    assert list(d.descriptions()) == asked.split()
    for name, one in d.descriptions().items():
        local, hub = one.in_file(Path("x.jsonl")), one.on_hub()
        assert isinstance(local, File)
        assert isinstance(hub, Hub)
        assert local.columns == hub.columns, name


def test_the_curriculum_protocol_is_the_papers() -> None:
    protocol = d.protocol_named("curriculum")
    assert (protocol.temperature, protocol.top_p, protocol.max_tokens) == (0.6, 0.95, 16384)
    samples = {name: protocol.samples_for(one) for name, one in d.descriptions().items()}
    assert {name for name, n in samples.items() if n == 32} == {"aime24", "aime25", "amc23"}
    assert set(samples.values()) == {8, 32}
    assert protocol.samples_for(None) == 8


def test_what_distilqwen_leaves_open_stands_under_departures() -> None:
    protocol = d.protocol_named("distilqwen")
    assert protocol.max_tokens == 32768
    words = " ".join(protocol.departures)
    assert "number of samples is not stated" in words
    assert "cap on generated tokens is not stated" in words


def test_a_local_copy_is_found_by_its_name_and_never_replaced_by_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no copy of math500"):
        d.source_of("math500", tmp_path)
    (tmp_path / "math500.jsonl").write_text("{}\n")
    found = d.source_of("math500", tmp_path)
    assert isinstance(found, File)
    assert found.path == str(tmp_path / "math500.jsonl")
    assert isinstance(d.source_of("math500", None), Hub)
    with pytest.raises(UserError, match="is not a folder"):
        d.source_of("math500", tmp_path / "nothing")


def test_a_binding_may_name_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "aime24.jsonl").write_text('{"problem": "1?", "answer": "007"}\n')
    (found,) = Named(name="aime24", data=str(tmp_path)).problems()
    assert isinstance(found, Problem)
    assert (found.answer, found.source) == ("7", "aime24.jsonl")
    assert resolve("benchmark:aime24") == Named(name="aime24")
    with pytest.raises(UserError, match="did you mean 'aime24'"):
        resolve("benchmark:aime_24")
    with pytest.raises(ValidationError, match="did you mean 'aime24'"):
        Named(name="aime_24")


def test_names_that_are_unknown_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'olympiad'"):
        d.source_of("olimpiad", None)
    with pytest.raises(UserError, match="did you mean 'curriculum'"):
        d.protocol_named("curiculum")


def test_the_listing_names_all() -> None:
    text = "\n".join(d.benchmark_lines())
    assert all(name in text for name in (*d.descriptions(), *d.protocols(), "gym:NAME"))


def test_every_benchmark_and_protocol_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    assert not [name for name in (*d.descriptions(), *d.protocols()) if f"`{name}`" not in page]
