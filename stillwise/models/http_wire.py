"""What goes over the wire and what comes back: bodies of calls in one server's dialect, answers read from raw bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import orjson

from stillwise.arrows import Ask, Ban, Completion, Request
from stillwise.errors import UserError
from stillwise.models.bans import banned_words_in
from stillwise.models.http_render import Rendering
from stillwise.models.opening import answer_start
from stillwise.models.spellings import spelling_variants
from stillwise.records import THINK_CLOSE, THINK_OPEN, Finish, Sampling

NEUTRAL: dict[str, float] = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""Knobs that no recipe sets: sent with the value that changes nothing, or a server's own default would."""
GREEDY_SEED = 0
_CUT = ("length", "max_tokens", "max_length", "model_length", "repetition")
FINISHES = {"stop": Finish.STOP, "eos": Finish.STOP, **dict.fromkeys(_CUT, Finish.LENGTH)}
"""``repetition`` is a loop that the server cut: the answer was not finished, as with ``length``."""
GIVEN_UP = frozenset({"abort", "error"})
"""The server's own trouble and no word about the question: the call has failed, and is repeated."""
UNFINISHED = "unfinished"
"""No finish reason is stated."""


@dataclass(frozen=True)
class Dialect:
    """What one server was found to honour."""

    api: Literal["chat", "completions"]
    server: str = "unknown"
    knobs: tuple[str, ...] = ()
    """Knobs beyond the standard ones that are accepted."""
    top_k: bool = False
    generation_config: bool = False
    """The server takes transformers' own generation settings as JSON."""
    prefill: Literal["raw", "continue", ""] = ""
    ban: Literal["bad_words", "generation_config", "logit_bias", ""] = ""
    seed: bool = False
    seed_bits: int = 53
    n: bool = False
    logprobs: bool = False
    token_ids: bool = False
    schema: Literal["response_format", "structured_outputs", "guided_json", ""] = ""
    usage: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)
    """What was found, in words, for the report."""


def bad_words(words: tuple[str, ...], server: str, rendering: Rendering | None) -> list[str]:
    """The words' usual spellings as a server wants them; with a tokenizer also those that it joins to what follows."""
    found = rendering.spellings(words) if rendering else spelling_variants(words)
    # vLLM adds the leading space itself, and bears only so many.
    return [text for text in found if not text.startswith(" ")] if server.startswith("vllm") else found


@dataclass(frozen=True)
class Wire:
    """Writes calls and reads answers for one model in one dialect."""

    model: str
    dialect: Dialect
    rendering: Rendering | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    logprobs: int | None = None

    def raw(self, ask: Ask) -> bool:
        """Whether this call goes to the raw completions."""
        return self.dialect.api == "completions" or (bool(ask.prefill) and self.dialect.prefill == "raw")

    def path(self, request: Request) -> str:
        """The route below the base URL."""
        return "/completions" if self.raw(request.ask) else "/chat/completions"

    def body(self, request: Request, samples: int = 1) -> bytes:
        """The call as JSON, every sampling knob in it; ``samples`` answers are asked for."""
        ask, sampling = request.ask, request.sampling
        body: dict[str, Any] = {"model": self.model, **self._text(ask), **self._knobs(sampling, request.seed)}
        if ask.ban is not None:
            body |= self._ban(ask.ban)
        if ask.schema and self.dialect.schema:
            body |= shaped(self.dialect.schema, orjson.loads(ask.schema))
        if samples > 1:
            body["n"] = samples
        if self.dialect.generation_config:
            body["generation_config"] = self._generation_config(request)
        if self.logprobs is not None and self.dialect.logprobs:
            body |= {"logprobs": self.logprobs} if self.raw(ask) else {"logprobs": True, "top_logprobs": self.logprobs}
        return orjson.dumps({**body, **self.extra})

    def _text(self, ask: Ask) -> dict[str, Any]:
        if self.raw(ask):
            prompt, opened = self._rendered(ask)
            return {"prompt": prompt + answer_start(opened, ask.prefill)}
        messages = [{"role": "user", "content": ask.user}]
        if not ask.prefill:
            return {"messages": messages}
        if self.dialect.prefill != "continue":
            raise UserError(
                f"the server of {self.model} cannot continue a prefilled answer (NoThink, continued truncation): "
                "give tokenizer=FOLDER if it has raw completions, or use a server with continue_final_message"
            )
        prefilled = {"role": "assistant", "content": self._prefill(ask)}
        return {"messages": [*messages, prefilled], "continue_final_message": True, "add_generation_prompt": False}

    def _prefill(self, ask: Ask) -> str:
        return answer_start(self._rendered(ask)[1], ask.prefill) if self.rendering else ask.prefill

    def _rendered(self, ask: Ask) -> tuple[str, str]:
        if self.rendering is None:
            raise UserError(f"raw completions of {self.model} need our own rendering; give tokenizer=FOLDER")
        return self.rendering.render(ask)

    def _knobs(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        knobs: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed & ((1 << self.dialect.seed_bits) - 1),
            **{name: NEUTRAL[name] for name in self.dialect.knobs},
        }
        if sampling.stop:
            knobs["stop"] = list(sampling.stop)
        if self.dialect.top_k:
            knobs["top_k"] = sampling.top_k or -1
        elif sampling.top_k and not self.dialect.generation_config:
            raise UserError(f"the server of {self.model} does not take top_k={sampling.top_k}; set top_k: 0")
        if self.dialect.token_ids:
            knobs["return_token_ids"] = True
        return knobs

    def _ban(self, ban: Ban) -> dict[str, Any]:
        if ban.scope != "generation":
            raise UserError(f"the server of {self.model} can ban words everywhere only; set scope: generation")
        if self.dialect.ban == "bad_words":
            return {"bad_words": bad_words(ban.words, self.dialect.server, self.rendering)}
        if self.dialect.ban == "generation_config":
            return {}
        if self.dialect.ban == "logit_bias" and self.rendering is not None:
            return {"logit_bias": dict.fromkeys(map(str, self._single_tokens(ban.words)), -100)}
        raise UserError(
            f"the server of {self.model} cannot ban words (neither bad_words nor, with tokenizer=FOLDER, logit_bias is "
            "honoured); use one that can (vLLM), or draw these answers with a local model"
        )

    def _single_tokens(self, words: tuple[str, ...]) -> list[int]:
        spellings = self.rendering.spelled(words) if self.rendering else []
        single = [ids[0] for ids in spellings if len(ids) == 1]
        # A spelling of several tokens stays possible: the scan of the output rejects it, but a plain word must be bannable.
        lower = self.rendering.spelled(tuple(f" {word}" for word in words)) if self.rendering else []
        if not single or not any(len(ids) == 1 for ids in lower):
            raise UserError(f"no spelling of {', '.join(words)} is a single token of {self.model}; logit_bias cannot ban them")
        return single

    def _generation_config(self, request: Request) -> str:
        if self.rendering is None:
            raise UserError(f"the server of {self.model} takes generation settings only; give tokenizer=FOLDER")
        sampling, ban = request.sampling, request.ask.ban
        config: dict[str, Any] = {
            "do_sample": sampling.temperature > 0,
            "top_k": sampling.top_k,
            "repetition_penalty": 1.0,
            "max_new_tokens": sampling.max_tokens,
            "eos_token_id": self.rendering.end_tokens,
            "pad_token_id": self.rendering.end_tokens[0],
        }
        if ban is not None:
            config["bad_words_ids"] = [list(ids) for ids in self.rendering.spelled(ban.words)]
        return json.dumps(config)

    def take(self, request: Request, raw: bytes) -> Completion:
        """The answer in a body that has just come; raises ``BadAnswer`` also where the server gave up in the midst of it."""
        found = self.read(request, raw)
        if found.failure in GIVEN_UP or found.failure == UNFINISHED:
            raise BadAnswer(f"{found.detail}: {found.failure}")
        return found

    def read(self, request: Request, raw: bytes) -> Completion:
        """The answer in a body; raises ``BadAnswer`` where it is not one (cut or invalid JSON, nothing in it)."""
        choice, usage = _choice(raw)
        ask = request.ask
        prompt, opened = self.rendering.render(ask) if self.rendering else (ask.user, "")
        start = answer_start(opened, ask.prefill)
        stated = _finish(choice)
        text = _text_of(choice, start, ask.prefill, stated)
        failure, detail = _failure(choice, stated)
        if ask.ban is not None and not failure and (found := scanned(start + text, ask.ban)):
            failure, detail = "banned_word", ", ".join(sorted(set(found)))
        return Completion(
            prompt=prompt,
            text=text,
            num_prompt_tokens=self._num_tokens(usage, "prompt_tokens", prompt + start),
            num_tokens=self._num_tokens(usage, "completion_tokens", text),
            finish=FINISHES.get(stated, Finish.STOP),
            opened=opened,
            token_ids=_token_ids(choice),
            failure=failure,
            detail=detail,
        )

    def apart(self, raw: bytes, samples: int) -> list[bytes]:
        """A body of several samples as one body for each, as if it had been asked for alone; BadAnswer where some lack.

        The prompt's tokens stand in each. Generated tokens come from a sample's token ids, else they are counted here.
        """
        body = _decoded(raw)
        choices = body.get("choices")
        if not isinstance(choices, list) or len(choices) != samples:
            raise BadAnswer(f"{len(choices) if isinstance(choices, list) else 'no'} choices, not {samples}")
        usage = body["usage"] if isinstance(body.get("usage"), dict) else {}
        return [orjson.dumps({**body, "choices": [choice], "usage": self._share(choice, usage)}) for choice in choices]

    def _share(self, choice: Any, usage: Mapping[str, Any]) -> dict[str, Any]:
        ids = choice.get("token_ids") if isinstance(choice, dict) else None
        generated = {"completion_tokens": len(ids)} if ids else {}
        return {"prompt_tokens": usage.get("prompt_tokens"), **generated}

    def _num_tokens(self, usage: Mapping[str, Any], name: str, text: str) -> int:
        stated = usage.get(name)
        if isinstance(stated, int):
            return stated
        return self.rendering.count(text) if self.rendering else 0


class BadAnswer(Exception):
    """A body with status 200 that holds no answer."""


def shaped(means: str, schema: Any) -> dict[str, Any]:
    """The body fields that ask for an answer of this JSON schema."""
    if means == "response_format":
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"structured_outputs": {"json": schema}} if means == "structured_outputs" else {"guided_json": schema}


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = _decoded_freely(raw)
    return body if isinstance(body, dict) else {}


def _decoded_freely(raw: bytes) -> Any:
    """JSON as Python writes it: minus infinity among log-probabilities, half a surrogate where a character was cut."""
    try:
        return _sound(json.loads(raw.decode("utf-8", "replace")))
    except (ValueError, RecursionError) as err:
        raise BadAnswer(f"not JSON: {err}") from err


def _sound(value: Any) -> Any:
    """The same without halves of surrogates, which no file can hold."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_sound(item) for item in value]
    return {_sound(name): _sound(item) for name, item in value.items()} if isinstance(value, dict) else value


def _choice(raw: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    body = _decoded(raw)
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise BadAnswer(f"{len(choices) if isinstance(choices, list) else 'no'} choices, not one")
    usage = body.get("usage")
    return choices[0], usage if isinstance(usage, dict) else {}


def _finish(choice: Mapping[str, Any]) -> str:
    """The stated finish reason in lower case; empty where none is."""
    stated = choice.get("finish_reason")
    if not isinstance(stated, str | None):
        raise BadAnswer(f"the finish reason is {type(stated).__name__} and no text")
    return (stated or "").lower()


def _failure(choice: Mapping[str, Any], stated: str) -> tuple[str, str]:
    """Why this is no answer, though it is whole: reason and detail."""
    message = choice.get("message")
    refusal = message.get("refusal") if isinstance(message, dict) else None
    if isinstance(refusal, str) and refusal:
        return "refusal", refusal
    return ("", "") if stated in FINISHES else (stated or UNFINISHED, "the server's finish reason")


def _token_ids(choice: Mapping[str, Any]) -> tuple[int, ...] | None:
    ids = choice.get("token_ids")
    if not ids:
        return None
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        raise BadAnswer("token_ids is no list of numbers")
    return tuple(ids)


def _text_of(choice: Mapping[str, Any], start: str, prefill: str, stated: str) -> str:
    """The answer's text after what was opened and prefilled, however the server split it into fields."""
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        if not isinstance(text, str):
            raise BadAnswer("neither a message nor a text")
        return text
    content, thoughts = _content(message.get("content")), (message.get("reasoning"), message.get("reasoning_content"))
    reasoning = next((thought for thought in thoughts if isinstance(thought, str) and thought), None)
    if content is None and not reasoning and stated == "stop" and not message.get("refusal"):
        # With any other finish nothing is what there is: the limit came first, or the server filtered it.
        raise BadAnswer("an empty message")
    whole = reasoning is None or (content and THINK_CLOSE in content)
    text = content or "" if whole else _joined(reasoning or "", content, start)
    return text.removeprefix(prefill) if prefill else text


def _content(content: Any) -> str | None:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else None


def _joined(reasoning: str, content: str | None, start: str) -> str:
    """Reasoning and content as the model wrote them. A null content is a thought that was never closed."""
    rest = "" if content is None else THINK_CLOSE + content
    if start.rfind(THINK_OPEN) > start.rfind(THINK_CLOSE):
        return reasoning + rest
    if THINK_CLOSE in start:
        # The thought was prefilled and closed: a server's parser saw no closing tag and took the solution for a thought.
        return reasoning + (content or "")
    return THINK_OPEN + reasoning.removeprefix(THINK_OPEN) + rest


def scanned(text: str, ban: Ban) -> list[str]:
    """Banned words that stand in a text; the exact scan reads only texts in which a cheap one finds something."""
    if text.isascii() and not _quick(ban.words)(text):
        return []
    return banned_words_in(text, ban)


@lru_cache(maxsize=64)
def _quick(words: tuple[str, ...]) -> Callable[[str], Any]:
    return re.compile("|".join(map(re.escape, words)), re.IGNORECASE).search
