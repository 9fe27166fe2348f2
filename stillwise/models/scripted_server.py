"""A teacher behind HTTP that answers from a script, misbehaves on order, and remembers everything: for tests and benchmarks.

    python -m stillwise.models.scripted_server --latency 0.2 --share throttle=0.05 --share hang=0.01

It prints one line of JSON with its port and runs until its input ends (or a signal). A process of its own, so that its work
is not counted as its client's. Speaks HTTP/1.1 by hand: a framework would cost more than the client that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import orjson

from stillwise.models.http_probe import QUESTION
from stillwise.models.http_wire import NEUTRAL
from stillwise.records import THINK_CLOSE, THINK_OPEN

Dialect = Literal["vllm", "plain", "strict", "deaf"]
"""``vllm`` honours everything; ``plain`` the standard fields and refuses others with 400; ``strict`` refuses with 422 as
``transformers serve`` does, and ignores seeds; ``deaf`` accepts every field and ignores what is not standard."""

FAULTS = ("throttle", "error", "hang", "reset", "cut", "garbage", "truncate", "empty", "split")
_STANDARD = "model messages prompt temperature top_p max_tokens seed stop n logprobs top_logprobs stream"
STANDARD = frozenset([*re.findall(r"\w+", _STANDARD), "presence_penalty", "frequency_penalty"])
EXTENDED = frozenset(
    {*NEUTRAL, "top_k", "bad_words", "continue_final_message", "add_generation_prompt", "return_token_ids", "logit_bias"}
    | {"response_format", "structured_outputs", "chat_template_kwargs"}
)
_WORDS = """so the sum of all terms is but first we add each number then wait another look shows that two and three make five
hence we verify every step alternatively multiply it out hmm which gives a total and therefore this value follows"""
VOCABULARY = re.findall(r"\w+", _WORDS)
_SUM = re.compile(r"(\d+) \+ (\d+)")
END = "\nThe answer is \\boxed{%d}."


@dataclass
class Profile:
    """How the server behaves; may be changed while it runs."""

    latency: float = 0.0
    """Seconds to an answer."""
    spread: float = 0.0
    """Sigma of a lognormal factor on the latency; 0 for a fixed one."""
    tail: float = 0.0
    """Share of answers that take 20 times as long."""
    words: int = 40
    """Length of the thought."""
    knows: float = 0.0
    """Share of sums (``2 + 3``) that are answered right."""
    padding: int = 0
    """Bytes added to the solution."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of exchanges that go wrong, by fault."""
    dialect: Dialect = "vllm"
    reasoning: Literal["reasoning", "reasoning_content", "inline"] = "reasoning"
    at_once: int = 0
    """Calls served at once; the others wait (0 for all)."""
    refuse_above: int = 0
    """More calls than this at once get 429 with Retry-After (0 for none)."""
    stall_after: int = 0
    """After so many whole answers nothing more is answered (0 for no end)."""
    model: str = "scripted"
    key: str = ""
    """Calls must carry this key where it is set."""
    seed: int = 0

    def change(self, fields_: Mapping[str, Any]) -> None:
        """Take new values for some fields."""
        known = {f.name for f in fields(self)}
        for name, value in fields_.items():
            if name not in known:
                raise ValueError(f"no field {name!r}")
            setattr(self, name, value)


def words_of(*names: Any) -> random.Random:
    """A generator that depends on the names only."""
    return random.Random(hashlib.sha256(repr(names).encode()).digest()[:8])


def continuation(prompt: str, body: Mapping[str, Any], profile: Profile) -> tuple[str, bool]:
    """The whole text after the prompt, and whether the token limit cut it; a word is a token."""
    heard = profile.dialect == "vllm"
    greedy = not body.get("temperature") or (heard and body.get("top_k") == 1)
    seeded = profile.dialect not in ("strict", "deaf")
    draw = words_of(prompt if greedy else (prompt, body.get("seed") if seeded else random.random()))
    banned = {str(word).strip().lower() for word in body.get("bad_words", ())} if heard else set()
    allowed = [word for word in VOCABULARY if word not in banned]
    # Each place keeps its draw, so that a ban changes the banned words only.
    words = [
        word if word in allowed else allowed[i % len(allowed)]
        for i, word in enumerate(draw.choices(VOCABULARY, k=profile.words))
    ]
    closed = prompt.rstrip().endswith(THINK_CLOSE)
    thought = "" if closed else f"\n{' '.join(words)}\n{THINK_CLOSE}\n"
    start = "" if closed or prompt.rstrip().endswith(THINK_OPEN) else THINK_OPEN
    schema = schema_of(body) if heard else None
    solution = " ".join(words[:3]) + END % said(prompt, draw, profile) + "." * profile.padding
    # A server that tells the thought apart constrains what follows it; one that does not constrains everything.
    start, thought = ("", "") if schema and profile.reasoning == "inline" else (start, thought)
    text = start + thought + (json.dumps(shaped(schema, draw)) if schema else solution)
    pieces = text.split(" ")
    limit = int(body.get("max_tokens") or 1 << 30)
    return (" ".join(pieces[:limit]), True) if len(pieces) > limit else (text, False)


def said(prompt: str, draw: random.Random, profile: Profile) -> int:
    """The final answer: any number, or for some of the sums the right one."""
    number, asked = draw.randrange(100), _SUM.search(prompt) if profile.knows else None
    return int(asked[1]) + int(asked[2]) if asked and draw.random() < profile.knows else number


def shaped(schema: Any, draw: random.Random) -> Any:
    """A value of a JSON schema's simple kinds."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return {name: shaped(inner, draw) for name, inner in schema.get("properties", {}).items()}
    if kind == "integer":
        return draw.randint(int(schema.get("minimum", 0)), int(schema.get("maximum", 9)))
    return {"boolean": draw.random() < 0.5, "number": draw.random(), "array": []}.get(str(kind), " ".join(VOCABULARY[:3]))


def schema_of(body: Mapping[str, Any]) -> Any:
    """The schema that an answer must have, or None."""
    stated = body.get("response_format") or {}
    return stated.get("json_schema", {}).get("schema") or (body.get("structured_outputs") or {}).get("json")


def fields_of(text: str, prompt: str, reasoning: str) -> dict[str, Any]:
    """The message as the server's parser splits it."""
    if reasoning == "inline" or (THINK_OPEN not in text and THINK_CLOSE not in text):
        return {"content": text}
    thought, closing, rest = text.removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    return {reasoning: thought, "content": rest if closing else None}


@dataclass
class Seen:
    """What the server remembers."""

    exchanges: int = 0
    probes: int = 0
    """Of the exchanges, those that only ask what the server can; they are spared from faults."""
    answered: Counter[str] = field(default_factory=Counter)
    """Whole answers that were sent off, by call."""
    asked: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0


class Server:
    """Answers for all connections of one process."""

    def __init__(self, profile: Profile) -> None:
        self.profile, self.seen = profile, Seen()
        self._slots: list[asyncio.Future[None]] = []
        self._serving = 0

    def fault(self, call: str) -> str:
        """Which fault this exchange gets: another try of the same call is another draw."""
        draw, at = words_of(self.profile.seed, call, self.seen.asked[call]).random(), 0.0
        for name, share in self.profile.shares.items():
            at += share
            if draw < at:
                return name
        return ""

    def delay(self, call: str) -> float:
        """Seconds to this answer."""
        profile, draw = self.profile, words_of("delay", self.profile.seed, call)
        factor = draw.lognormvariate(0.0, profile.spread) if profile.spread else 1.0
        return profile.latency * factor * (20.0 if profile.tail and draw.random() < profile.tail else 1.0)

    async def slot(self) -> None:
        """Wait for a place where only so many are served at once."""
        while self.profile.at_once and self._serving >= self.profile.at_once:
            turn = asyncio.get_running_loop().create_future()
            self._slots.append(turn)
            await turn
        self._serving += 1

    def leave(self) -> None:
        """Give the place to the next."""
        self._serving -= 1
        while self._slots:
            turn = self._slots.pop(0)
            if not turn.done():
                turn.set_result(None)
                return

    def refusal(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Why a call is refused at once."""
        if self.profile.key and headers.get("authorization") != f"Bearer {self.profile.key}":
            return 401, f"Incorrect API key provided: {headers.get('authorization', '')[7:]}"
        if body.get("model") != self.profile.model:
            return 404, f"The model `{body.get('model')}` does not exist."
        unknown = sorted(set(body) - STANDARD)
        if unknown and self.profile.dialect in ("plain", "strict"):
            return (422 if self.profile.dialect == "strict" else 400), f"Unexpected fields in the request: {unknown}"
        if self.profile.dialect == "vllm" and (alien := sorted(set(unknown) - EXTENDED)):
            return 400, f"unknown fields {alien}"
        return None

    def prompt(self, body: Mapping[str, Any]) -> str:
        """The text that the model reads."""
        if "prompt" in body:
            return str(body["prompt"])
        messages = body["messages"]
        continued = body.get("continue_final_message") and self.profile.dialect == "vllm"
        turns = [f"<|{m['role']}|>{m['content']}" for m in messages]
        return "".join(turns) + ("" if continued else "<|assistant|>")

    def answer(self, body: Mapping[str, Any], chat: bool, cut: bool) -> bytes:
        """A whole body."""
        profile, prompt = self.profile, self.prompt(body)
        call = {**body, "max_tokens": min(int(body.get("max_tokens") or 64), 8)} if cut else body
        asked = int(body.get("n") or 1) if profile.dialect == "vllm" else 1
        # As vLLM does: the seeds of several samples are neighbours.
        found = [
            continuation(prompt, {**call, "seed": int(call["seed"]) + i} if i and call.get("seed") else call, profile)
            for i in range(asked)
        ]
        choices = [{"index": i, **self.choice(body, prompt, chat, *each)} for i, each in enumerate(found)]
        tokens = sum(len(text.split(" ")) + (not short) for text, short in found)
        counted = len(prompt.split(" ")) + prompt.count("<|assistant|>")
        usage = {"prompt_tokens": counted, "completion_tokens": tokens, "total_tokens": counted + tokens}
        return orjson.dumps(
            {"id": "c", "object": "chat.completion", "model": profile.model, "choices": choices, "usage": usage}
        )

    def choice(self, body: Mapping[str, Any], prompt: str, chat: bool, text: str, short: bool) -> dict[str, Any]:
        """One sample as a choice of the body."""
        profile = self.profile
        content: dict[str, Any] = {"finish_reason": "length" if short else "stop", "text": text}
        if chat:
            message = {"role": "assistant", **fields_of(text, prompt, profile.reasoning)}
            content = {"finish_reason": content["finish_reason"], "message": message}
        if body.get("logprobs") and profile.dialect in ("vllm", "plain"):
            content["logprobs"] = {"content": [{"token": word, "logprob": -0.5, "top_logprobs": []} for word in text.split()]}
        if body.get("return_token_ids") and profile.dialect == "vllm":
            content["token_ids"] = [len(word) for word in text.split(" ")] + ([] if short else [0])
        return content


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: Server) -> None:
        self.server, self.buffer = server, b""
        self.transport: asyncio.Transport | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever asked is gone."""
        self.transport = None
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take whole requests out of the stream."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            size = int(headers.get("content-length", 0))
            if len(self.buffer) < end + 4 + size:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + size], self.buffer[end + 4 + size :]
            path = head[0].split(" ")[1]
            if path.startswith(("/v1/chat/", "/v1/completions")):
                task = asyncio.get_running_loop().create_task(self.call(path, headers, body))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            else:
                self.send(*self.plain(path, body))

    def send(self, status: int, body: bytes, more: str = "", halves: bool = False) -> None:
        """Write a whole answer; in two halves with a pause between them where that is asked for."""
        if self.transport is not None:
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
            whole = head.encode() + body
            end = len(whole) - len(body) // 2 if halves else len(whole)
            self.transport.write(whole[:end])
            if halves:
                asyncio.get_running_loop().call_later(0.005, self.transport.write, whole[end:])

    def plain(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Everything that is no call."""
        seen, profile = self.server.seen, self.server.profile
        if path == "/v1/models":
            return 200, orjson.dumps({"object": "list", "data": [{"id": profile.model, "object": "model"}]})
        if path == "/version" and profile.dialect == "vllm":
            return 200, b'{"version":"scripted"}'
        if path == "/load" and profile.dialect == "vllm":
            return 200, orjson.dumps({"server_load": seen.at_once})
        if path == "/control/profile":
            profile.change(orjson.loads(body))
            return 200, b"{}"
        if path == "/control/seen":
            return 200, orjson.dumps({f.name: getattr(seen, f.name) for f in fields(seen)})
        if path == "/control/forget":
            now = seen.at_once
            self.server.seen = Seen(at_once=now, most_at_once=now)
            return 200, b"{}"
        return 404, b'{"error":"no such route"}'

    async def call(self, path: str, headers: Mapping[str, str], raw: bytes) -> None:
        """One call from its arrival to its answer, or to whatever happens instead."""
        server, seen = self.server, self.server.seen
        seen.exchanges += 1
        seen.probes += (probing := QUESTION.encode() in raw)
        seen.at_once += 1
        seen.most_at_once = max(seen.most_at_once, seen.at_once)
        call = hashlib.sha256(path.encode() + raw).hexdigest()[:16]
        try:
            await self.handle(path, headers, raw, "" if probing else call)
        finally:
            if not probing:
                seen.asked[call] += 1
            seen.at_once -= 1
            server.seen.at_once = seen.at_once

    async def handle(self, path: str, headers: Mapping[str, str], raw: bytes, call: str) -> None:
        """Refuse, misbehave or answer."""
        server, seen, body = self.server, self.server.seen, orjson.loads(raw)
        refused = server.refusal(body, headers)
        if refused is not None:
            self.send(refused[0], orjson.dumps({"error": {"message": refused[1]}}))
            return
        if server.profile.refuse_above and seen.at_once > server.profile.refuse_above:
            seen.faults["crowded"] += 1
            self.send(429, b'{"error":"too many requests"}')
            return
        fault = server.fault(call) if call else ""
        if fault:
            seen.faults[fault] += 1
        if fault in ("throttle", "error"):
            self.send(429 if fault == "throttle" else 503, b'{"error":"busy"}', "Retry-After: 0.05\r\n")
            return
        stalled = 0 < server.profile.stall_after <= len(seen.answered)
        await server.slot()
        try:
            await asyncio.sleep(1e9 if stalled or fault == "hang" else server.delay(call))
        finally:
            server.leave()
        self.finish(fault, server.answer(body, "/chat/" in path, fault == "truncate"), call)

    def finish(self, fault: str, answer: bytes, call: str) -> None:
        """The answer, or what is left of it."""
        if self.transport is None:
            return
        if fault == "reset":
            self.transport.abort()
        elif fault == "cut":
            self.transport.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer[: len(answer) // 2])
            self.transport.close()
        elif fault == "garbage":
            self.send(200, answer[: len(answer) // 2])
        elif fault == "empty":
            self.send(200, orjson.dumps({**orjson.loads(answer), "choices": []}))
        else:
            if call:
                self.server.seen.answered[call] += 1
            self.send(200, answer, halves=fault == "split")


async def serve(profile: Profile, host: str, port: int) -> None:
    """Serve until standard input ends; prints the port first."""
    loop, state = asyncio.get_running_loop(), Server(profile)
    server = await loop.create_server(lambda: Connection(state), host, port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def parser() -> argparse.ArgumentParser:
    """Flags for every field of a profile."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=0)
    flags.add_argument("--share", action="append", default=[], metavar="FAULT=SHARE", help=", ".join(FAULTS))
    for f in fields(Profile):
        if f.name != "shares":
            default = getattr(Profile(), f.name)
            flags.add_argument(f"--{f.name.replace('_', '-')}", type=type(default), default=default)
    return flags


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server."""
    given = vars(parser().parse_args(argv))
    shares = dict(item.split("=") for item in given.pop("share"))
    unknown = set(shares) - set(FAULTS)
    if unknown:
        raise SystemExit(f"no such fault: {', '.join(sorted(unknown))}; known: {', '.join(FAULTS)}")
    host, port = given.pop("host"), given.pop("port")
    asyncio.run(serve(Profile(**given, shares={name: float(share) for name, share in shares.items()}), host, port))


if __name__ == "__main__":
    main()
