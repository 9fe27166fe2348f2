"""Real servers: through HTTP all four paradigms give the texts that the model gives in this process.

``transformers serve`` is started here. A vLLM that serves the micro reasoner is used where STILLWISE_VLLM holds its binding,
as in ``http://127.0.0.1:8000/v1#reasoner``.
"""

from __future__ import annotations

import importlib.util
import json
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

from stillwise.arrows import Ask, Completion, Paradigm, Request
from stillwise.models.bans import banned_words_in
from stillwise.models.http import HttpModel
from stillwise.models.http_spec import Teacher
from stillwise.models.model import FreeMeter, keep_nothing
from stillwise.models.open import binding_folder, open_model
from stillwise.models.opening import answer_start
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


def gap(request: Request, here: Completion, there: Completion) -> float:
    """How far apart the two tokens are, in logits of this process, at which two answers part."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(binding_folder("micro:reasoner"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    start = tokenizer.encode(here.prompt + answer_start(here.opened, request.ask.prefill), add_special_tokens=False)
    ours, theirs = (list(a.token_ids or tokenizer.encode(a.text, add_special_tokens=False)) for a in (here, there))
    place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    with torch.no_grad():
        logits = model(torch.tensor([start + ours[:place]])).logits[0, -1]
    return abs(float(logits[ours[place]] - logits[theirs[place]]))


def check(binding: str, count: int) -> None:
    """Every paradigm: equal texts, or they part where two tokens are as good as equal; no banned word is let through."""
    model = HttpModel(Teacher.of(f"{binding}?tokenizer={binding_folder('micro:reasoner')}&in_flight=4"), binding)
    parted, asked_in_all = 0, 0
    try:
        for paradigm in PARADIGMS:
            asks = [paradigm.ask(problem) for problem in problems(count)]
            asked = [Request(ask=ask, sampling=GREEDY, seed=i) for i, ask in enumerate(asks)]
            here, there = in_process(asked), model.generate(asked)
            differ = [
                i for i, (a, b) in enumerate(zip(here, there, strict=True)) if a.text != b.text or a.finish is not b.finish
            ]
            assert all(gap(asked[i], here[i], there[i]) < 1e-3 for i in differ), paradigm.kind
            parted, asked_in_all = parted + len(differ), asked_in_all + count
            for ask, answer in zip(asks, there, strict=True):
                assert bool(answer.failure) == bool(ask.ban and banned_words_in(answer.text, ask.ban)), paradigm.kind
            if paradigm.kind == "no_rethink":
                assert sum(bool(answer.failure) for answer in there) <= count // 10, "the ban is heard"
        assert parted <= 0.01 * asked_in_all
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


@pytest.fixture(scope="module")
def vllm() -> str:
    if "STILLWISE_VLLM" not in os.environ:
        pytest.skip("no vLLM is served: set STILLWISE_VLLM to its binding")
    return os.environ["STILLWISE_VLLM"]


@pytest.mark.slow
def test_vllm_gives_the_texts_of_this_process(vllm: str) -> None:
    check(vllm, 25)


@pytest.mark.slow
def test_vllm_is_asked_for_all_that_it_can(vllm: str) -> None:
    """Chat without our tokenizer: samples by fours, seeds that decide, log-probabilities and token ids in the raw answers."""
    [problem] = problems(1)
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=120)
    asked = [Request(ask=Think().ask(problem), sampling=sampling, seed=1000 * i + 3) for i in range(8)]
    model, meter = HttpModel(Teacher.of(f"{vllm}?n=4&logprobs=2&api=chat"), "chat"), FreeMeter()
    try:
        found = {a.place: a for bunch in model.stream(enumerate(asked), meter, keep_nothing) for a in bunch}
        again = model.generate(asked)
        assert model.dialect is not None
        assert model.dialect.seed
        assert model.dialect.n
        assert meter.counts["sent"] == 2
        assert len({a.completion.text for a in found.values()}) > 2
        assert [found[i].completion.text for i in range(8)] == [answer.text for answer in again]
        for arrived in found.values():
            choice = json.loads(arrived.raw)["choices"][0]
            assert arrived.completion.token_ids
            assert len(choice["logprobs"]["content"]) == arrived.completion.num_tokens == len(arrived.completion.token_ids)
            assert len(choice["logprobs"]["content"][0]["top_logprobs"]) >= 2
    finally:
        model.close()


@pytest.mark.slow
def test_vllm_continues_a_prefilled_thought_in_the_right_field(vllm: str) -> None:
    asked = [Request(ask=NoThink().ask(problem), sampling=GREEDY) for problem in problems(6)]
    model = HttpModel(Teacher.of(f"{vllm}?api=chat"), "chat")
    try:
        there = model.generate(asked)
        assert model.dialect is not None
        assert model.dialect.prefill == "continue"
        assert [answer.text for answer in there] == [answer.text for answer in in_process(asked)]
        assert not any("<think>" in answer.text for answer in there), "the prefilled thought is not part of the answer"
    finally:
        model.close()


@pytest.mark.slow
def test_vllm_holds_answers_to_a_schema(vllm: str) -> None:
    shape = (
        '{"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": false}'
    )
    asked = [Request(ask=Ask(user="Is it so?", schema=shape), sampling=GREEDY)]
    model = HttpModel(Teacher.of(f"{vllm}?api=chat"), "chat")
    try:
        [answer] = model.generate(asked)
        assert model.dialect is not None
        assert "schema" in model.dialect.notes
        assert answer.text.lstrip().startswith("{") == bool(model.dialect.schema)
    finally:
        model.close()
