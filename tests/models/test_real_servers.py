"""Real servers: through HTTP all four paradigms give the texts that the model gives in this process.

``transformers serve`` is started here. A vLLM that serves the micro reasoner is used where STILLWISE_VLLM holds its binding,
as in ``http://127.0.0.1:8000/v1#reasoner``.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from stillwise.arrows import Completion, Paradigm, Request
from stillwise.models.bans import banned_words_in
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from stillwise.models.open import binding_folder, open_model
from stillwise.problems.resolve import resolve
from stillwise.records import Problem, Sampling
from stillwise.sample.paradigms import Instruct, NoRethink, NoThink, Think

PARADIGMS: tuple[Paradigm, ...] = (Think(), NoThink(), NoRethink(mode="token_ban"), Instruct())
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=160)
START_S = 240


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    pytest.fail("the server did not start")


@pytest.fixture(scope="module")
def transformers_serve() -> Iterator[str]:
    if not importlib.util.find_spec("uvicorn") or not importlib.util.find_spec("fastapi"):
        pytest.skip("transformers' server is not installed: pip install 'stillwise[bench]'")
    port, folder = free_port(), binding_folder("micro:reasoner")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    flags = ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen([*command, *flags], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1#{folder}"
    finally:
        process.terminate()
        process.wait()


def problems(count: int) -> list[Problem]:
    return [p for p in islice(resolve("micro:chain_sum").problems(), count) if isinstance(p, Problem)]


def in_process(asked: list[Request]) -> list[Completion]:
    model = open_model("micro:reasoner", threads=1)
    found: dict[int, Completion] = {}
    for places in model.plan(asked):
        found.update(zip(places, model.generate([asked[i] for i in places]), strict=True))
    return [found[i] for i in range(len(asked))]


def check(binding: str, count: int) -> None:
    """Every paradigm: equal texts, none of them with a banned word that is not rejected."""
    model = HttpModel(Teacher.of(f"{binding}?tokenizer={binding_folder('micro:reasoner')}&in_flight=4"), binding)
    try:
        for paradigm in PARADIGMS:
            asks = [paradigm.ask(problem) for problem in problems(count)]
            asked = [Request(ask=ask, sampling=GREEDY, seed=i) for i, ask in enumerate(asks)]
            here, there = in_process(asked), model.generate(asked)
            equal = sum(a.text == b.text and a.finish is b.finish for a, b in zip(here, there, strict=True))
            assert equal >= 0.99 * count, paradigm.kind
            for ask, answer in zip(asks, there, strict=True):
                assert bool(answer.failure) == bool(ask.ban and banned_words_in(answer.text, ask.ban)), paradigm.kind
    finally:
        model.close()


@pytest.mark.slow
def test_transformers_serve_gives_the_texts_of_this_process(transformers_serve: str) -> None:
    check(transformers_serve, 6)


@pytest.mark.slow
def test_transformers_serve_is_known_for_what_it_ignores(transformers_serve: str) -> None:
    model = HttpModel(Teacher.of(f"{transformers_serve}?in_flight=1"), "plain")
    try:
        model.generate([Request(ask=Think().ask(problems(1)[0]), sampling=GREEDY)])
        assert model.dialect is not None
        assert not model.dialect.top_k
        assert "top_k" in model.dialect.notes["knobs"]
        assert not model.dialect.token_ids
    finally:
        model.close()


@pytest.mark.slow
def test_vllm_gives_the_texts_of_this_process() -> None:
    if "STILLWISE_VLLM" not in os.environ:
        pytest.skip("no vLLM is served: set STILLWISE_VLLM to its binding")
    check(os.environ["STILLWISE_VLLM"], 25)
