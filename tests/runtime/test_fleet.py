"""A fleet on Ray Serve: the same texts over HTTP as in this process, found through the teacher's file, ended by a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Request
from stillwise.errors import UserError
from stillwise.models.open import open_model
from stillwise.records import Sampling
from stillwise.runtime.fleet import Fleet, key_digest

START_S = 600.0


def asked(url: str, body: dict[str, Any], key: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as err:
        return err.code, json.load(err)


@pytest.mark.slow
def test_a_fleet_answers_as_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_KEY", "secret-of-the-fleet")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"teacher up micro:reasoner --out {tmp_path} --port {port} --max 1 --key-env FLEET_KEY --on ray:local"
    process = subprocess.Popen([sys.executable, "-m", "stillwise.cli", *command.split()], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_S
        while not (tmp_path / "teacher.yaml").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        base = f"http://127.0.0.1:{port}/reasoner/v1"
        assert (tmp_path / "endpoints.txt").read_text() == base + "\n"
        body = {"model": "reasoner", "messages": [{"role": "user", "content": "1 + 2"}], "max_tokens": 8}
        assert asked(f"{base}/chat/completions", body)[0] == 401
        assert asked(f"{base}/chat/completions", body, "secret-of-the-fleet")[0] == 200
        assert asked(f"{base}/completions", body, "secret-of-the-fleet")[0] == 400
        assert "secret-of-the-fleet" not in (tmp_path / "teacher.yaml").read_text()
        far, near = (open_model(name, threads=1) for name in (f"teacher:{tmp_path / 'teacher.yaml'}", "micro:reasoner"))
        greedy = Sampling(temperature=0.0, max_tokens=48)
        requests = [Request(ask=Ask(user=f"{n} + {n % 3}"), sampling=greedy) for n in range(12)]
        requests += [Request(ask=Ask(user="4 + 5", prefill="<think>\nOkay"), sampling=greedy)]
        assert [answer.text for answer in far.generate(requests)] == [answer.text for answer in near.generate(requests)]
        far.close()  # type: ignore[attr-defined]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"binding": "openai:gpt"}, "no model of weights"),
        ({"least": 3, "most": 2}, "--min 3 is more than --max 2"),
        ({"host": "0.0.0.0"}, "name the variable that holds a key"),
        ({"binding": "vllm:Qwen/Qwen3-8B", "key_digest": "abc"}, "check no key"),
    ],
)
def test_what_cannot_be_served_is_a_users_fault(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Fleet(**{"binding": "micro:reasoner", "name": "r", **fields}).check()


def test_a_key_is_known_by_its_digest_only() -> None:
    assert key_digest(None) == key_digest("") == ""
    assert "hunter2" not in key_digest("hunter2")
    assert os.environ.get("FLEET_KEY") is None
