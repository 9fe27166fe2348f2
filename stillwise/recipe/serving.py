"""A student behind an OpenAI-compatible server: vLLM's where there is a GPU, else that of transformers; none of our own.

The folder that is served is the student's with one more thing: a chat template that leaves the thought out where it is asked
to (``enable_thinking: false``), unless the student's own template knows that already.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from stillwise.errors import UserError
from stillwise.runtime.files import write_text

Server = Literal["auto", "vllm", "transformers"]
STUDENT, SERVED = "student", "serve"
SWITCH = "enable_thinking"
NO_RETHINK_FILE = "no_rethink.json"
OURS = ("--host", "--port", "--api-key", "--uds")
"""Flags of the servers that decide who can reach them."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What to serve, and how."""

    run: Path
    """A run's folder, or a transformers folder."""
    server: Server = "auto"
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = STUDENT
    """What clients call the model; the server of transformers answers to every name."""
    key_env: str | None = None
    """The environment variable that holds the key which clients must send."""
    one_by_one: bool = False
    """Without continuous batching (transformers): each request's own sampling settings and bans hold."""
    flags: tuple[str, ...] = ()
    """Handed to the server as they are."""


@dataclass(frozen=True)
class Started:
    """The command that serves, its environment, and what to tell the user."""

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    lines: tuple[str, ...]


def start(serving: Serving) -> None:
    """Become the server. Raises UserError before anything is started."""
    started = prepared(serving)
    for line in started.lines:
        print(line, flush=True)
    os.execvpe(started.command[0], started.command, started.environment)


def prepared(serving: Serving) -> Started:
    """Check everything and write the folder that will be served."""
    server = chosen(serving.server)
    for flag in serving.flags:
        if flag.split("=")[0] in OURS:
            raise UserError(f"{flag} is not handed to the server behind our back: it is a flag of stillwise serve")
    key = _key(serving, server)
    folder = served_folder(serving.run)
    write_text(folder / NO_RETHINK_FILE, json.dumps(no_rethink(folder, server), indent=2, ensure_ascii=False))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if server == "vllm":
        # In the environment: a key among the arguments is there for every user of the machine to read.
        environment |= {"VLLM_API_KEY": key} if key else {}
        command = ["vllm", "serve", str(folder), "--served-model-name", serving.name]
    else:
        batching = [] if serving.one_by_one else ["--continuous-batching"]
        command = [_transformers(), "serve", str(folder), *batching]
    command += ["--host", serving.host, "--port", str(serving.port), *serving.flags]
    return Started(tuple(command), environment, folder, _told(serving, server, folder))


def chosen(server: Server) -> Literal["vllm", "transformers"]:
    """The server to use; ``auto`` takes vLLM where it is installed and there is a GPU."""
    has_vllm = shutil.which("vllm") is not None
    if server == "vllm" and not has_vllm:
        raise UserError("vllm is not on the PATH: install it in an environment of its own, or use --server transformers")
    if server == "vllm" or (server == "auto" and has_vllm and _has_gpu()):
        return "vllm"
    if not all(find_spec(name) for name in ("fastapi", "uvicorn")):
        raise UserError("the server of transformers is not installed: pip install 'transformers[serving]'")
    return "transformers"


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _transformers() -> str:
    beside = Path(sys.executable).with_name("transformers")
    return str(beside) if beside.is_file() else "transformers"


def _key(serving: Serving, server: str) -> str | None:
    """The key. Refuses an interface that others can reach without one, and a key that the server would not ask for."""
    key = os.environ.get(serving.key_env) if serving.key_env else None
    if serving.key_env and not key:
        raise UserError(f"the environment variable {serving.key_env} is not set; it holds the key that clients must send")
    if key and server == "transformers":
        raise UserError("the server of transformers asks for no key: leave --api-key-env out (on 127.0.0.1), or use vLLM")
    if not key and not is_loopback(serving.host):
        remedy = "put a proxy of yours before 127.0.0.1" if server == "transformers" else "set --api-key-env NAME"
        raise UserError(f"whoever reaches {serving.host} could use the model without a key; {remedy}, or leave --host out")
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def student_of(run: Path) -> Path:
    """The transformers folder of a run's student, or the folder itself where it is one."""
    for folder in (run / STUDENT, run):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{run} holds no student: neither {run / STUDENT} nor the folder itself has a config.json")


def served_folder(run: Path) -> Path:
    """A folder with links to the student's files and a template that knows the switch."""
    from stillwise.models.weights import check_folder

    student = student_of(run)
    check_folder(student)
    folder = run / SERVED if student != run else Path(tempfile.mkdtemp(prefix="stillwise-serve-"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    template = switchable(student)
    for path in sorted(student.iterdir()):
        if path.name != "chat_template.jinja":
            (folder / path.name).symlink_to(path.resolve())
    config = student / "tokenizer_config.json"
    stated = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if stated.pop("chat_template", None) is not None:
        (folder / config.name).unlink()
        write_text(folder / config.name, json.dumps(stated, indent=2, ensure_ascii=False))
    write_text(folder / "chat_template.jinja", template)
    return folder


def switchable(student: Path) -> str:
    """The student's template, which leaves the thought out for ``enable_thinking: false`` as the paradigm NoThink does."""
    from stillwise.arrows import Ask
    from stillwise.models.http_render import Rendering
    from stillwise.models.opening import answer_start
    from stillwise.sample.paradigms import NoThink

    rendering = Rendering(student)
    template = str(rendering.tokenizer.chat_template)
    if SWITCH in template:
        return template
    _, opened = rendering.render(Ask(user="?"))
    finished = answer_start(opened, NoThink().prefill)[len(opened) :]
    condition = f"add_generation_prompt and {SWITCH} is defined and not {SWITCH}"
    return f"{template.rstrip(chr(10))}{{% if {condition} %}}{{{{ {json.dumps(finished)} }}}}{{% endif %}}"


def no_rethink(folder: Path, server: str) -> dict[str, Any]:
    """What a client sends beside its messages so that no word of self-correction is generated (approximately: in its usual
    spellings)."""
    from stillwise.models.http_render import Rendering
    from stillwise.models.http_wire import bad_words
    from stillwise.sample.paradigms import RETHINK_WORDS

    rendering = Rendering(folder)
    if server == "vllm":
        return {"bad_words": bad_words(RETHINK_WORDS, "vllm", rendering)}
    ids = [list(spelling) for spelling in rendering.spelled(RETHINK_WORDS)]
    stated = {"bad_words_ids": ids, "eos_token_id": rendering.end_tokens, "pad_token_id": rendering.end_tokens[0]}
    return {"generation_config": json.dumps(stated)}


def _told(serving: Serving, server: str, folder: Path) -> tuple[str, ...]:
    name = serving.name if server == "vllm" else str(folder)
    base = f"http://{serving.host}:{serving.port}/v1"
    lines = [f"serving {folder} with {server} at {base}, model {name!r}"]
    lines.append(f"without a thought: chat_template_kwargs {{{SWITCH}: false}}; linear thoughts: {folder / NO_RETHINK_FILE}")
    if server == "transformers" and not serving.one_by_one:
        lines.append("continuous batching: the first request's sampling and bans hold for all; --one-by-one for each's own")
    return tuple(lines)
