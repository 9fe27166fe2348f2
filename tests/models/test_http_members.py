"""Only endpoints that answer alike get calls; those that are not there yet, or not yet well, join when they are."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stillwise.arrows import Ban
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import proxy_of
from stillwise.models.model import FreeMeter, keep_nothing
from tests.models.serving import Scripted, model_of, own_host, requests, serving, start

WITHIN_S = 60.0
UNLIKE = "honours other fields"
LATER = "asked again from time to time"


@pytest.fixture
def server(server: Scripted) -> Scripted:
    """One that takes a moment, so that calls are on their way while endpoints come and go."""
    server.become(latency=0.02)
    return server


@contextmanager
def mute_port() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(64)
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def members(model: HttpModel) -> list[str]:
    return sorted(endpoint.url for endpoint in model.endpoints() if not endpoint.draining)


def until(model: HttpModel, reached: Callable[[], bool], then: Callable[[], object] = lambda: None) -> int:
    """Answers of a job that goes on until something is reached; something happens after the first of them."""
    end, count = time.monotonic() + WITHIN_S, 0

    def asked() -> Iterator[object]:
        while time.monotonic() < end and not reached():
            for request in requests(4) if len(counted) < count + 16 else ():
                yield len(counted), replace(request, seed=len(counted))
                counted.append(0)
            time.sleep(0.005)
            yield None

    counted: list[int] = []
    for bunch in model.stream(asked(), FreeMeter(), keep_nothing):  # type: ignore[arg-type]
        assert not any(arrived.completion.failure for arrived in bunch)
        if bunch and not count:
            then()
        count += len(bunch)
    assert reached(), f"not within {WITHIN_S:g} s"
    assert count == len(counted)
    return count


@pytest.mark.parametrize("dialect", ["plain", "deaf"])
def test_an_endpoint_that_answers_otherwise_gets_no_call(server: Scripted, tmp_path: Path, dialect: str) -> None:
    words = Ban(words=("but", "wait", "hmm", "another"))
    asked = [replace(request, ask=replace(request.ask, ban=words)) for request in requests(60)]
    listed = tmp_path / "endpoints.txt"
    with serving("--dialect", dialect) as other:
        listed.write_text(f"{server.url}\n{other.url}\n")
        for endpoints in ({"endpoints": (server.url, other.url)}, {"endpoints": (), "endpoints_file": listed}):
            with model_of(in_flight=4, **endpoints) as model:
                with pytest.warns(RuntimeWarning, match=UNLIKE):
                    answers = model.generate(asked)
                assert members(model) == [server.url]
                assert UNLIKE in model.refused()[other.url]
            assert [answer.failure for answer in answers if answer.failure] == []
        assert not other.seen()["answered"]


def test_needs_that_grow_are_asked_of_every_endpoint(server: Scripted) -> None:
    # "deaf" takes any field: what it ignores shows only when it matters.
    with serving("--dialect", "vllm") as other, model_of(server, other, in_flight=4) as model:
        model.generate(requests(8))
        assert members(model) == sorted([server.url, other.url])
        other.become(dialect="deaf")
        with pytest.warns(RuntimeWarning, match=UNLIKE):
            answers = model.generate(requests(40, top_k=1))
        assert not any(answer.failure for answer in answers)
        assert not other.seen()["answered"]


def test_an_endpoint_that_is_not_there_at_the_start_is_no_reason_to_stop(server: Scripted) -> None:
    gone = Scripted(server.process, 9, own_host())
    with model_of(gone, server, in_flight=4) as model:
        with pytest.warns(RuntimeWarning, match=LATER):
            answers = model.generate(requests(20))
        assert not any(answer.failure for answer in answers)
        assert members(model) == [server.url]


def test_an_endpoint_that_never_answers_holds_nobody_up(server: Scripted, tmp_path: Path) -> None:
    listed = tmp_path / "endpoints.txt"
    with serving() as late, mute_port() as mute:
        listed.write_text(f"{mute}\n{server.url}\n")
        with model_of(endpoints_file=listed, in_flight=4, timeout_s=600.0) as model:
            urls = f"{server.url}\n{mute}\n{late.url}\n"
            until(model, lambda: late.url in members(model), lambda: listed.write_text(urls))
            assert members(model) == sorted([server.url, late.url])


@pytest.mark.filterwarnings(f"ignore:.*{LATER}")
def test_an_endpoint_that_is_listed_while_it_loads_joins_later(server: Scripted, tmp_path: Path) -> None:
    listed, up = tmp_path / "endpoints.txt", list[Scripted]()
    listed.write_text(f"{server.url}\n")
    gone = start(host=own_host())
    gone.stop()

    def loaded() -> bool:
        if gone.url in model.refused() and not up:
            up.append(start(host=gone.host, port=gone.port))
        return gone.url in members(model)

    try:
        with model_of(endpoints_file=listed, in_flight=4) as model:
            until(model, loaded, lambda: listed.write_text(f"{server.url}\n{gone.url}\n"))
            assert not model.refused()
    finally:
        for each in up:
            each.stop()


def test_a_list_that_cannot_be_read_changes_nothing_and_is_said(server: Scripted, tmp_path: Path) -> None:
    listed = tmp_path / "endpoints.txt"
    listed.write_text(f"{server.url}\n")
    said: list[str] = []
    with serving() as late, model_of(endpoints_file=listed, in_flight=4) as model, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: said.append(str(message))
        warnings.simplefilter("always")
        until(model, lambda: bool(said), lambda: listed.write_text(f"{server.url}\nhalf-writ"))
        assert "half-writ" in said[0]
        assert members(model) == [server.url]
        until(model, lambda: late.url in members(model), lambda: listed.write_text(f"{server.url}\n{late.url}\n"))
    assert len(said) == 1


def test_what_the_environment_says_of_proxies_is_kept_but_never_for_this_machine(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, "")
    assert proxy_of("https://api.example.org/v1") is None
    monkeypatch.setenv("https_proxy", "proxy.example.org:3128")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "inside.example.org")
    assert proxy_of("https://api.example.org/v1") == "http://proxy.example.org:3128"
    assert proxy_of("http://gpu1:8000/v1") == "http://127.0.0.1:9"
    assert proxy_of("https://inside.example.org/v1") is None
    assert {proxy_of(f"http://{host}:8000/v1") for host in ("localhost", "127.0.0.1", "[::1]")} == {None}
    with model_of(server) as model:
        assert not model.generate(requests(1))[0].failure
