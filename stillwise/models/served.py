"""Our transformers back end in OpenAI's words: bodies of calls as requests, completions as answers.

Chat and raw completions, several samples, seeds, stops, banned words, token ids, continued last turns. No streaming, no tools:
what is not honoured is refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillwise.arrows import Ask, Ban, Completion, Request
from stillwise.errors import UserError
from stillwise.records import Finish, Sampling

MOST = 1 << 20
"""Tokens where a call names no limit: the model's positions end the answer sooner."""


class Refused(UserError):
    """A call that is not answered, with its HTTP status."""

    def __init__(self, status: int, what: str) -> None:
        self.status = status
        super().__init__(what)

    def body(self) -> dict[str, Any]:
        """The answer in its place."""
        return {"error": {"message": str(self), "type": "invalid_request_error", "code": self.status}}


class Prompting(Protocol):
    """A model that generates from prompts rendered elsewhere."""

    def chat_prompt(self, messages: Sequence[dict[str, str]], continued: bool) -> str:
        """The prompt that the template makes of a conversation."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""


class Turn(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class Call(BaseModel):
    """What a call may hold. Knobs that our sampler does not have are taken with the value that changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str = ""
    messages: tuple[Turn, ...] = ()
    prompt: str | None = None
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    n: int = Field(default=1, ge=1, le=128)
    bad_words: tuple[str, ...] = ()
    continue_final_message: bool = False
    add_generation_prompt: bool = True
    return_token_ids: bool = False
    stream: Literal[False] = False
    min_p: float = Field(default=0.0, ge=0, le=0)
    repetition_penalty: float = Field(default=1.0, ge=1, le=1)
    presence_penalty: float = Field(default=0.0, ge=0, le=0)
    frequency_penalty: float = Field(default=0.0, ge=0, le=0)

    @classmethod
    def of(cls, body: Any, served: str) -> Call:
        """A checked call to the served model; raises Refused with every fault."""
        try:
            call = cls.model_validate(body)
        except ValidationError as err:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
            raise Refused(422, faults) from None
        if call.model != served:
            raise Refused(404, f"no model {call.model!r} here, but {served!r}")
        if (call.prompt is None) == (not call.messages):
            raise Refused(400, "give messages or a prompt")
        return call

    def text(self, model: Prompting) -> str:
        """What the model reads."""
        if self.prompt is not None:
            return self.prompt
        return model.chat_prompt([turn.model_dump() for turn in self.messages], self.continue_final_message)

    def requests(self) -> list[Request]:
        """One for each sample; the seeds of further samples follow the first."""
        seed = secrets.randbits(62) if self.seed is None else self.seed % (1 << 63)
        stops = (self.stop,) if isinstance(self.stop, str) else (self.stop or ())
        sampling = Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            max_tokens=self.max_completion_tokens or self.max_tokens or MOST,
            stop=stops,
        )
        words = tuple(sorted({word.strip().lower() for word in self.bad_words if word.strip()}))
        ask = Ask(user="", ban=Ban(words=words) if words else None)
        return [Request(ask=ask, sampling=sampling, seed=(seed + sample) % (1 << 63)) for sample in range(self.n)]

    def answer(self, completions: Sequence[Completion], prompt_ids: Sequence[int]) -> dict[str, Any]:
        """The answer's body."""
        spent = sum(completion.num_tokens for completion in completions)
        tokens = {"prompt_tokens": len(prompt_ids), "completion_tokens": spent, "total_tokens": len(prompt_ids) + spent}
        return {
            "id": f"{'cmpl' if self.prompt is not None else 'chatcmpl'}-{secrets.token_hex(12)}",
            "object": "text_completion" if self.prompt is not None else "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [self._choice(place, completion) for place, completion in enumerate(completions)],
            "usage": tokens,
            **({"prompt_token_ids": list(prompt_ids)} if self.return_token_ids else {}),
        }

    def _choice(self, place: int, completion: Completion) -> dict[str, Any]:
        said = completion.text
        text = {"text": said} if self.prompt is not None else {"message": {"role": "assistant", "content": said}}
        ids = {"token_ids": list(completion.token_ids or ())} if self.return_token_ids else {}
        finish = "length" if completion.finish is Finish.LENGTH else "stop"
        return {"index": place, **text, "finish_reason": finish, **ids}


def listed(served: str) -> dict[str, Any]:
    """What ``/v1/models`` answers."""
    return {"object": "list", "data": [{"id": served, "object": "model", "owned_by": "stillwise"}]}
