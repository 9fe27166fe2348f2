"""A student is served by a real server and asked by a stock ``openai`` client; what cannot be is refused at once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Request
from stillwise.cli import main
from stillwise.errors import UserError
from stillwise.models.bans import banned_words_in
from stillwise.models.http_render import Rendering
from stillwise.models.open import binding_folder
from stillwise.models.opening import answer_start
from stillwise.recipe.serving import NO_RETHINK_FILE, SERVED, STUDENT, Serving, is_loopback, prepared, switchable
from stillwise.sample.paradigms import NoRethink, NoThink, Think
from tests.models.test_real_servers import GREEDY, free_port, in_process, problems, wait_for


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a student that thinks."""
    shutil.copytree(binding_folder("micro:reasoner") or "", tmp_path / "run" / STUDENT)
    return tmp_path / "run"


def rendered(folder: Path, **switches: Any) -> str:
    turn = [{"role": "user", "content": "1 + 1?"}]
    text = Rendering(folder).tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, **switches)
    return str(text)


def test_the_template_leaves_the_thought_out_as_no_think_does(run: Path) -> None:
    student = run / STUDENT
    before = rendered(student)
    folder = prepared(Serving(run=run, server="transformers")).folder
    assert folder == run / SERVED
    assert rendered(folder) == rendered(folder, enable_thinking=True) == before
    assert rendered(folder, enable_thinking=False) == before + NoThink().prefill
    assert (folder / "model.safetensors").resolve() == (student / "model.safetensors").resolve()


def test_a_template_that_opens_a_thought_closes_it_and_one_with_a_switch_stays(run: Path) -> None:
    student = run / STUDENT
    config = json.loads((student / "tokenizer_config.json").read_text())
    config["chat_template"] = config["chat_template"].replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    (student / "tokenizer_config.json").write_text(json.dumps(config))
    folder = prepared(Serving(run=run, server="transformers")).folder
    _, opened = Rendering(student).render(Ask(user="?"))
    assert opened == "<think>\n"
    assert rendered(folder, enable_thinking=False) == rendered(student).removesuffix(opened) + answer_start(
        opened, NoThink().prefill
    )
    assert switchable(folder) == Rendering(folder).tokenizer.chat_template, "a template with the switch is left as it is"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_these_are_only_reached_from_here(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("flags", [["--host", "0.0.0.0"], ["--host", "::"], ["--host", "gpu1"], ["--host", "192.168.0.7"]])
def test_other_interfaces_want_a_key(run: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(run), "--server", "transformers", *flags]) == 2
    assert "without a key" in capsys.readouterr().err
    assert not (run / SERVED).exists(), "nothing was begun"


def test_a_key_that_nobody_asks_for_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["serve", str(run), "--server", "transformers", "--api-key-env", "STUDENT_KEY"]
    assert main(command) == 2
    monkeypatch.setenv("STUDENT_KEY", "s3cret")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "STUDENT_KEY is not set" in said
    assert "asks for no key" in said
    assert "s3cret" not in said


def test_vllm_gets_its_key_where_nobody_else_reads_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("STUDENT_KEY", "s3cret")
    found = prepared(Serving(run=run, server="vllm", host="0.0.0.0", key_env="STUDENT_KEY", flags=("--dtype", "float32")))
    assert found.environment["VLLM_API_KEY"] == "s3cret"
    assert not any("s3cret" in word for word in (*found.command, *found.lines))
    assert found.command[:2] == ("vllm", "serve")
    assert found.command[-2:] == ("--dtype", "float32")


@pytest.mark.parametrize("flag", ["--host=0.0.0.0", "--host", "--api-key"])
def test_what_decides_who_reaches_it_is_not_handed_through(run: Path, flag: str) -> None:
    with pytest.raises(UserError, match="behind our back"):
        prepared(Serving(run=run, server="transformers", flags=(flag, "0.0.0.0")))


def test_a_folder_without_a_student_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path), "--server", "transformers"]) == 2
    assert "holds no student" in capsys.readouterr().err


@contextmanager
def served(run: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "stillwise.cli", "serve", str(run), "--port", str(port), *flags]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def squeezed(text: str) -> str:
    return "".join(text.split())


def asked(url: str, run: Path, name: str, key: str = "none") -> None:
    """A stock client gets what the student says here: with a thought, without one, and with a linear one."""
    import openai

    linear = json.loads((run / SERVED / NO_RETHINK_FILE).read_text())
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "think": (Think(), {}),
        "no_think": (NoThink(), {"chat_template_kwargs": {"enable_thinking": False}}),
        "no_rethink": (NoRethink(mode="token_ban"), linear),
    }
    with openai.OpenAI(base_url=url, api_key=key) as client:
        for way, (paradigm, body) in ways.items():
            asks = [paradigm.ask(problem) for problem in problems(4)]
            here = in_process([Request(ask=ask, sampling=GREEDY) for ask in asks])
            for ask, answer in zip(asks, here, strict=True):
                turn: Any = [{"role": "user", "content": ask.user}]
                found = client.chat.completions.create(
                    model=name, messages=turn, temperature=0, max_tokens=GREEDY.max_tokens, extra_body=body
                )
                message = found.choices[0].message
                thought = getattr(message, "reasoning_content", None) or ""
                text = f"<think>{thought}</think>{message.content}" if thought else message.content or ""
                # The server of transformers shows the thought that the template prefilled as well.
                assert squeezed(text) in (squeezed(answer.text), squeezed(ask.prefill + answer.text)), way
                assert not (ask.ban and banned_words_in(text, ask.ban)), way


@pytest.mark.slow
def test_transformers_serves_a_student(run: Path) -> None:
    pytest.importorskip("openai")
    if not importlib.util.find_spec("uvicorn") or not importlib.util.find_spec("fastapi"):
        pytest.skip("transformers' server is not installed: pip install 'stillwise[bench]'")
    with served(run, "--server", "transformers", "--one-by-one", "--flags", "--device cpu --dtype float32") as url:
        asked(url, run, str(run / SERVED))


@pytest.mark.slow
def test_vllm_serves_a_student_to_those_who_have_the_key(run: Path) -> None:
    openai = pytest.importorskip("openai")
    if not shutil.which("vllm"):
        pytest.skip("vllm is not on the PATH")
    key = {"STUDENT_KEY": "s3cret"}
    with served(
        run, "--server", "vllm", "--api-key-env", "STUDENT_KEY", "--flags", "--dtype float32 --enforce-eager", environment=key
    ) as url:
        with openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        asked(url, run, "student", "s3cret")
