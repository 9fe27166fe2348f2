"""A teacher behind HTTP that scores prompts as vLLM does: the same signals and the same training as beside the student."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Tools
from stillwise.errors import StillwiseError, UserError
from stillwise.machine import Site
from stillwise.train.folder import load_tokenizer
from stillwise.train.losses.topk import TopK
from stillwise.train.render import Row, render
from stillwise.train.signals.served import served
from stillwise.train.signals.source import Live
from stillwise.train.white_box import WhiteBox
from tests.train.conftest import make_model, sums

K = 12


class Server(ThreadingHTTPServer):
    """Scores token ids with a real model; misbehaves on order."""

    daemon_threads = True

    def __init__(self, model: Any, vocab: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.model, self.vocab, self.lock = model, vocab, threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.faults: list[int] = []
        self.silent = False

    def places(self, ids: list[int], k: int) -> list[Any]:
        import torch

        with torch.no_grad(), self.lock:
            logprobs = self.model(input_ids=torch.tensor([ids])).logits[0, :, : self.vocab].log_softmax(-1)
        out: list[Any] = [None]
        for t, token in enumerate(ids[1:]):
            best = logprobs[t].topk(k)
            pairs = {**dict(zip(best.indices.tolist(), best.values.tolist(), strict=True)), token: float(logprobs[t, token])}
            out.append({str(one): {"logprob": value, "rank": 1} for one, value in pairs.items()})
        return out


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        if self.server.faults:
            self.send_response(self.server.faults.pop())
            self.end_headers()
            self.wfile.write(b"not now")
            return
        choice: dict[str, Any] = {"text": "x"}
        if not self.server.silent:
            choice["prompt_logprobs"] = self.server.places(body["prompt"], body["prompt_logprobs"])
        data = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, student: Path) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    make_model(hidden_size=40, num_hidden_layers=1, initializer_range=0.3).save_pretrained(str(folder))
    load_tokenizer(student).save_pretrained(str(folder))
    return folder


@pytest.fixture
def server(teacher: Path) -> Iterator[Server]:
    from stillwise.train.folder import load_model

    held = Server(load_model(teacher, None).eval(), len(load_tokenizer(teacher)))
    thread = threading.Thread(target=held.serve_forever, daemon=True)
    thread.start()
    yield held
    held.shutdown()
    held.server_close()
    thread.join()


def address(server: Server, teacher: Path, more: str = "") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1#toy?tokenizer={teacher}&in_flight=3{more}"


def test_signals_are_those_of_the_model_itself(
    server: Server, teacher: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("TOY_KEY", "secret")
    monkeypatch.setattr("stillwise.train.signals.served.FIRST_WAIT_S", 0.01)
    tokenizer = load_tokenizer(student)
    rows: tuple[Row, ...] = render(sums(4), tokenizer, 1000).rows
    server.faults += [503, 429]
    mine = served(address(server, teacher, "&key_env=TOY_KEY"), tokenizer, K).signals(rows)
    exact = Live(teacher, tokenizer, K).signals(rows)
    assert isinstance(exact, TopK)
    assert torch.equal(mine.ids_NK, exact.ids_NK)
    assert torch.allclose(mine.logprobs_NK, exact.logprobs_NK, atol=1e-4)
    assert torch.allclose(mine.log_tail_N, exact.log_tail_N, atol=1e-3)
    assert len(server.asked) == 6, "four rows, and two asked again"
    assert {one["path"] for one in server.asked} == {"/v1/completions"}
    assert {one["key"] for one in server.asked} == {"Bearer secret"}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("signals", ["live", "cached"])
def test_a_recipes_trainer_learns_from_a_served_teacher(
    signals: Any, server: Server, teacher: Path, student: Path, tmp_path: Path, tools: Tools
) -> None:
    part = WhiteBox(top_k=K, signals=signals, share=1.0, learning_rate=1e-3, batch_tokens=300, steps=4)
    there = replace(tools, site=Site(models={"reasoner": address(server, teacher)}))
    here = replace(tools, folders={"reasoner": teacher})
    mine = part.train(sums(3), student, tmp_path / "served", there)
    exact = part.train(sums(3), student, tmp_path / "live", here)
    assert mine["first_loss"] == pytest.approx(exact["first_loss"], abs=2e-3)
    assert mine["last_loss"] == pytest.approx(exact["last_loss"], abs=2e-3)


def test_what_a_server_cannot_do_is_told(
    server: Server, teacher: Path, student: Path, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillwise.train.signals.served.FIRST_WAIT_S", 0.01)
    there = replace(tools, site=Site(models={"reasoner": address(server, teacher)}))
    bare = replace(tools, site=Site(models={"reasoner": address(server, teacher).partition("?")[0]}))
    for part, given, message in (
        (WhiteBox(), there, "set top_k"),
        (WhiteBox(top_k=4), bare, "add [?]tokenizer=FOLDER"),
    ):
        with pytest.raises(UserError, match=message):
            part.train(sums(1), student, tmp_path / "out", given)
    server.faults.append(400)
    with pytest.raises(UserError, match=r"refused to score a row \(400\): not now"):
        WhiteBox(top_k=4).train(sums(1), student, tmp_path / "out", there)
    server.faults += [503] * 6
    with pytest.raises(StillwiseError, match="did not score a row in 6 attempts"):
        WhiteBox(top_k=4).train(sums(1), student, tmp_path / "out", there)
    server.silent = True
    with pytest.raises(UserError, match="--max-logprobs 4 or more"):
        WhiteBox(top_k=4).train(sums(1), student, tmp_path / "out", there)
    assert list(tmp_path.iterdir()) == []
