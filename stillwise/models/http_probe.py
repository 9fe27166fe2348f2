"""What a server honours, found by asking: a field that is accepted and ignored is worse than one that is refused.

Each question is a few tokens long and asked once per job, and only where the job needs the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from stillwise.arrows import Ask as Asking
from stillwise.arrows import Request
from stillwise.errors import UserError
from stillwise.models.http_render import Rendering
from stillwise.models.http_spec import Teacher
from stillwise.models.http_wire import NEUTRAL, Dialect, bad_words, shaped
from stillwise.records import THINK_OPEN

QUESTION = "Write the numbers from one to ten in words, then add up all of them."
LENGTH = 24
PREFIX = "The numbers are: one, two, three,"
MANY_SEED = (1 << 52) + 12345
"""A seed that only fits where seeds are wide; servers that keep 32 bits refuse it."""

BANNED_AT_ONCE = 4
SCHEMA_MEANS: tuple[Literal["response_format", "structured_outputs", "guided_json"], ...] = (
    "response_format",
    "structured_outputs",
    "guided_json",
)
TOTAL = {
    "type": "object",
    "properties": {"total": {"type": "integer"}},
    "required": ["total"],
    "additionalProperties": False,
}
Asked = tuple[int, Any]
Ask = Callable[[str, Mapping[str, Any] | None], Awaitable[Asked]]
"""Posts a body to a route (or gets it where there is no body): status and decoded answer, None where it is not JSON."""


@dataclass(frozen=True)
class Needs:
    """What the coming requests ask of a server."""

    prefill: bool = False
    ban_words: tuple[str, ...] = ()
    top_k: bool = False
    schema: bool = False

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Needs:
        """The needs of all these requests together."""
        prefill, top_k, schema = False, False, False
        words: tuple[str, ...] = ()
        for request in requests:
            prefill |= bool(request.ask.prefill)
            words = request.ask.ban.words if request.ask.ban else words
            top_k |= request.sampling.top_k > 0
            schema |= bool(request.ask.schema)
        return cls(prefill, words, top_k, schema)

    def beyond(self, other: Needs) -> bool:
        """Whether something is needed here that the other did not need."""
        more = (self.prefill > other.prefill, self.top_k > other.top_k, self.schema > other.schema)
        return any(more) or bool(self.ban_words and not other.ban_words)

    def with_(self, other: Needs) -> Needs:
        """Both together."""
        return Needs(
            self.prefill or other.prefill,
            self.ban_words or other.ban_words,
            self.top_k or other.top_k,
            self.schema or other.schema,
        )


@dataclass
class Probe:
    """Asks one endpoint of one teacher."""

    teacher: Teacher
    ask: Ask
    rendering: Rendering | None = None
    dialect: Dialect = field(default_factory=lambda: Dialect("chat"))
    _plain: dict[str, Any] = field(default_factory=dict)

    async def find(self, needs: Needs) -> Dialect:
        """The server's dialect as far as the needs go; a UserError where it cannot answer at all."""
        server = await self._server()
        await self._find_api()
        self._learn(server=server)
        await self._find_knobs()
        await self._find_seed()
        if self.teacher.logprobs is not None:
            await self._find_logprobs()
        if needs.prefill:
            await self._find_prefill()
        await self._find_settings()
        if needs.top_k:
            await self._find_top_k()
        if needs.ban_words:
            await self._find_ban()
        if needs.schema:
            await self._find_schema()
        if self.teacher.n > 1:
            await self._find_n()
        return self.dialect

    def _learn(self, note: str = "", said: str = "", **found: Any) -> None:
        notes = {**self.dialect.notes, note: said} if note else self.dialect.notes
        self.dialect = replace(self.dialect, notes=notes, **found)

    async def _server(self) -> str:
        status, models = await self.ask("/models", None)
        names = [str(row.get("id")) for row in (models or {}).get("data", [])] if isinstance(models, dict) else []
        if status in (401, 403):
            raise UserError(f"the server of {self.teacher.model} does not accept the key (HTTP {status})")
        if status == 200 and names and self.teacher.model not in names and len(names) < 50:
            # Servers that load on demand list what they have on disk only: an unknown name is their answer to refuse.
            self._learn("model", f"not among the models that the server lists ({', '.join(names[:5])})")
        status, version = await self.ask("/../version", None)
        stated = version.get("version") if status == 200 and isinstance(version, dict) else None
        return f"vllm {stated}" if stated else "unknown"

    def _body(self, text: str = QUESTION, **more: Any) -> dict[str, Any]:
        body = {
            "model": self.teacher.model,
            "temperature": 0.0,
            "top_p": 1.0,
            "max_tokens": LENGTH,
            **self.teacher.extra,
            **more,
        }
        if self.dialect.api == "chat":
            return {"messages": [{"role": "user", "content": text}], **body}
        return {"prompt": "".join(self.rendering.render(Asking(user=text))) if self.rendering else text, **body}

    async def _send(self, **more: Any) -> Asked:
        path = "/chat/completions" if self.dialect.api == "chat" else "/completions"
        return await self.ask(path, self._body(**more))

    async def _find_api(self) -> None:
        status, found = 404, cast(Any, None)
        for api in ("chat", "completions") if self.teacher.api == "auto" else (self.teacher.api,):
            self._learn(api=api)
            status, found = await self._send()
            if _text(found) is not None and status == 200:
                break
            if api == "chat" and self.rendering is None:
                break
        if status != 200 or _text(found) is None:
            raise UserError(
                f"the server of {self.teacher.model} did not answer a short question (HTTP {status}): {_said(found)}"
            )
        assert isinstance(found, dict)
        self._plain = found
        has_usage = isinstance(found.get("usage"), dict) and "completion_tokens" in found["usage"]
        if not has_usage and self.rendering is None:
            raise UserError(f"the server of {self.teacher.model} counts no tokens; give tokenizer=FOLDER to count them here")
        self._learn(usage=has_usage)
        if self.teacher.api == "auto" and self.dialect.api == "chat" and await self._raw_is_exact():
            # A server's parser of thoughts may trim what the model wrote; raw text is as it was.
            self._learn("api", "raw completions with our own rendering", api="completions")
            _, self._plain = await self._send()

    async def _raw_is_exact(self) -> bool:
        return self.rendering is not None and self.rendering.tags_survive and await self._raw_works()

    async def _find_knobs(self) -> None:
        neutral = dict(NEUTRAL)
        if (await self._send(**neutral, top_k=-1))[0] == 200:
            self._learn(knobs=tuple(neutral), top_k=True)
        else:
            accepted = [name for name, value in neutral.items() if (await self._send(**{name: value}))[0] == 200]
            self._learn(
                "knobs", f"refused: {', '.join(['top_k', *sorted(set(neutral) - set(accepted))])}", knobs=tuple(accepted)
            )
        if (status_text := await self._send(return_token_ids=True))[0] == 200 and _choice(status_text[1]).get("token_ids"):
            self._learn(token_ids=True)

    async def _find_seed(self) -> None:
        status, first = await self._send(temperature=1.0, seed=MANY_SEED)
        if status != 200:
            self._learn(seed_bits=31)
            _, first = await self._send(temperature=1.0, seed=12345)
        seed = MANY_SEED if status == 200 else 12345
        _, again = await self._send(temperature=1.0, seed=seed)
        _, other = await self._send(temperature=1.0, seed=seed + 1)
        honoured = _text(first) == _text(again) != _text(other)
        self._learn("seed", "honoured" if honoured else "not seen to decide the answer", seed=honoured)

    async def _find_logprobs(self) -> None:
        asked = {"logprobs": True, "top_logprobs": self.teacher.logprobs} if self.dialect.api == "chat" else {"logprobs": 1}
        status, found = await self._send(**asked)
        if status != 200 or not _choice(found).get("logprobs"):
            raise UserError(f"the server of {self.teacher.model} gives no log-probabilities; leave logprobs out")
        self._learn(logprobs=True)

    async def _find_prefill(self) -> None:
        if self.dialect.api == "completions" or (self.rendering is not None and await self._raw_works()):
            self._learn("prefill", "exact: raw completion with our own rendering", prefill="raw")
        elif await self._continues():
            self._learn("prefill", "approximate: continue_final_message, rendered by the server", prefill="continue")

    async def _raw_works(self) -> bool:
        """Whether raw completions read the prompt as we rendered it: their token count must be ours."""
        assert self.rendering is not None
        prompt = "".join(self.rendering.render(Asking(user=QUESTION)))
        body = {"model": self.teacher.model, "prompt": prompt, "temperature": 0.0, "max_tokens": 1}
        status, found = await self.ask("/completions", body)
        counted = _usage(found).get("prompt_tokens")
        return status == 200 and _text(found) is not None and counted in (None, self.rendering.count(prompt))

    async def _continues(self) -> bool:
        """Whether the flag changes what the server reads: without it, the prefilled text is a turn of its own."""
        turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": PREFIX}]
        status, flagged = await self._send(
            messages=turns, continue_final_message=True, add_generation_prompt=False, max_tokens=4
        )
        if status != 200 or _text(flagged) is None:
            return False
        _, plain = await self._send(messages=turns, max_tokens=4)
        counts = [_usage(found).get("prompt_tokens") for found in (flagged, plain)]
        return None not in counts and counts[0] != counts[1]

    async def _find_settings(self) -> None:
        """Whether the server takes transformers' settings: one token must come where one is asked for there only."""
        if self.rendering is None or self.dialect.top_k:
            return
        settings = {"max_new_tokens": 1, "do_sample": False, "eos_token_id": self.rendering.end_tokens}
        body = {name: value for name, value in self._body().items() if name != "max_tokens"}
        path = "/chat/completions" if self.dialect.api == "chat" else "/completions"
        status, found = await self.ask(path, {**body, "generation_config": json.dumps(settings)})
        if status == 200 and _usage(found).get("completion_tokens") == 1:
            self._learn("settings", "transformers' generation_config", generation_config=True)

    async def _find_top_k(self) -> None:
        """Whether top_k decides: the most probable token alone, at a high temperature, is the greedy answer."""
        if not self.dialect.top_k:
            return
        _, one = await self._send(temperature=1.9, top_k=1, seed=7)
        if _text(one) != _text(self._plain):
            self._learn("top_k", "accepted and ignored", top_k=False)

    async def _find_ban(self) -> None:
        targets = _plain_words(_text(self._plain) or "")
        if not targets:
            return
        if await self._obeys(targets, bad_words=bad_words(targets, self.dialect.server, self.rendering)):
            self._learn("ban", "approximate: bad_words in their usual spellings, every output scanned", ban="bad_words")
        elif self.rendering is not None and self.dialect.generation_config:
            self._learn(
                "ban", "approximate: bad_words_ids of the usual spellings, every output scanned", ban="generation_config"
            )
        elif self.rendering is not None:
            ids = {ids[0] for ids in self.rendering.spelled(targets) if len(ids) == 1}
            if ids and await self._obeys(targets, logit_bias=dict.fromkeys(map(str, sorted(ids)), -100)):
                self._learn("ban", "approximate: logit_bias of single tokens, every output scanned", ban="logit_bias")

    async def _obeys(self, targets: tuple[str, ...], **ban: Any) -> bool:
        """Whether most of the words are gone: a spelling that holds more than the word (a line break) may get through."""
        status, found = await self._send(**ban)
        text = _text(found)
        left = set() if text is None else set(targets) & set(_WORD.findall(text))
        return status == 200 and text is not None and len(left) <= len(targets) // 2

    async def _find_schema(self) -> None:
        """Which field, if any, makes an answer JSON that is none by itself; not one that would forbid a thought before it."""
        plain = _text(self._plain) or ""
        if plain.lstrip().startswith("{"):
            self._learn("schema", "not enforced: the server answers in JSON anyway")
            return
        opened = self.rendering.render(Asking(user=QUESTION))[1] if self.rendering and self.dialect.api == "completions" else ""
        if THINK_OPEN in opened + plain:
            self._learn("schema", "not enforced: it would forbid the thought, which the server does not tell apart")
            return
        for means in SCHEMA_MEANS:
            status, found = await self._send(max_tokens=20 * LENGTH, **shaped(means, TOTAL))
            if status == 200 and _answer(found).lstrip().startswith("{"):
                self._learn("schema", f"exact: {means}", schema=means)
                return
        self._learn("schema", "not enforced: the server ignores or refuses it; answers are read strictly")

    async def _find_n(self) -> None:
        """Whether two samples come for one call, differ, and can be counted apart."""
        status, found = await self._send(temperature=1.0, n=2, seed=12345)
        choices = found.get("choices") if status == 200 and isinstance(found, dict) else None
        pair = [_text({"choices": [choice]}) for choice in choices] if isinstance(choices, list) else []
        if len(pair) != 2 or pair[0] == pair[1]:
            self._learn("n", "one sample a call: the server does not give two different ones")
        elif self.rendering is None and not self.dialect.token_ids:
            self._learn("n", "one sample a call: the tokens of several cannot be told apart; give tokenizer=FOLDER")
        else:
            self._learn("n", f"{self.teacher.n} samples a call, seeds derived by the server", n=True)


def _choice(found: Any) -> dict[str, Any]:
    choices = found.get("choices") if isinstance(found, dict) else None
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _usage(found: Any) -> dict[str, Any]:
    usage = found.get("usage") if isinstance(found, dict) else None
    return usage if isinstance(usage, dict) else {}


def _text(found: Any) -> str | None:
    """All text of an answer, whichever fields it came in; None where there is none."""
    choice = _choice(found)
    if isinstance(choice.get("text"), str):
        return str(choice["text"])
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    return "".join(str(message.get(name) or "") for name in ("reasoning", "reasoning_content", "content"))


def _said(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False)[:300] if found is not None else "no JSON"


_WORD = re.compile(r"[^\W\d_]{2,}")


def _plain_words(text: str) -> tuple[str, ...]:
    """The first few words that stand after a space, which is how tokenizers spell words best."""
    return tuple(dict.fromkeys(re.findall(r"(?<=[^\s] )[^\W\d_]{2,}", text)))[:BANNED_AT_ONCE]


def _answer(found: Any) -> str:
    """The answer without its reasoning, where the server tells them apart."""
    message = _choice(found).get("message")
    content = message.get("content") if isinstance(message, dict) else _choice(found).get("text")
    return content if isinstance(content, str) else ""
