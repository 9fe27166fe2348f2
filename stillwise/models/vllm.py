"""Local generation by vLLM in this process: continuous batching on GPUs, prompts and exact bans as with transformers."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import MissingExtra
from stillwise.models.opening import answer_start
from stillwise.models.pieces import text_of, thinking_tokens
from stillwise.models.transformers import TransformersModel
from stillwise.models.vllm_place import Place
from stillwise.models.weights import folder_digest, model_folder
from stillwise.records import Finish, digest

REVISION = 1
"""Raised by hand when this back end's answers change."""
BATCH = 1024
"""Requests of one planned batch: the engine fills its slots from them, and they are journalled together."""
BANS = "stillwise.models.vllm_bans:BanProcessor"


def require_vllm() -> Any:
    """The package; MissingExtra where it is not installed."""
    try:
        import vllm
    except ImportError as err:
        raise MissingExtra("the vllm back end", "vllm") from err
    return vllm


class VllmModel:
    """Implements ``Model``; the engine starts with the first batch, planning and rendering need the tokenizer only."""

    def __init__(self, place: Place) -> None:
        self._place, self._folder = place, model_folder(place.path)
        # Holds the tokenizer, the template and the positions; its weights are never loaded.
        self._near = TransformersModel(place.path, threads=1, batch_tokens=1)

    @property
    def name(self) -> str:
        """The path or id as it was given."""
        return f"vllm:{self._place.path}"

    @cached_property
    def revision(self) -> str:
        """A digest of the folder's files, the engine's settings and the versions: everything that moves a logit."""
        versions = [_version(name) for name in ("vllm", "torch")]
        return digest("vllm", folder_digest(self._folder), self._place.settings.model_dump(), REVISION, versions)

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt that the chat template gives, and what it opens of the answer."""
        return self._near.render(ask)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, no special ones added."""
        return self._near.count_tokens(text)

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Batches of positions in the order of the requests; a prompt that does not fit is refused."""
        self._near.prompt_lengths(requests, self._positions)
        return [tuple(range(i, min(i + BATCH, len(requests)))) for i in range(0, len(requests), BATCH)]

    @property
    def _positions(self) -> int:
        return min(self._near.positions, self._place.settings.max_model_len or 2**31)

    @cached_property
    def _engine(self) -> Any:
        vllm = require_vllm()
        given = {name: value for name, value in self._place.settings.model_dump().items() if value is not None}
        # Neutral sampling whatever the model's folder recommends: every knob is sent. Bans are ours, exact to the letter.
        return vllm.LLM(
            model=str(self._folder),
            trust_remote_code=False,
            load_format="safetensors",
            generation_config="vllm",
            logits_processors=[BANS],
            seed=0,
            **given,
        )

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""
        if not batch:
            return []
        vllm = require_vllm()
        starts = [self.render(request.ask) for request in batch]
        ids = [self._near.prompt_ids(request.ask) for request in batch]
        knobs = [self._knobs(request, start[1], len(held)) for request, start, held in zip(batch, starts, ids, strict=True)]
        prompts = [vllm.TokensPrompt(prompt_token_ids=held) for held in ids]
        outputs = self._engine.generate(prompts, [vllm.SamplingParams(**each) for each in knobs], use_tqdm=False)
        return [
            self._completion(request, start, len(held), output.outputs[0])
            for request, start, held, output in zip(batch, starts, ids, outputs, strict=True)
        ]

    def _knobs(self, request: Request, opened: str, num_prompt_tokens: int) -> dict[str, Any]:
        sampling, ask = request.sampling, request.ask
        limit = max(1, min(sampling.max_tokens, self._positions - num_prompt_tokens))
        ban = {"words": ask.ban.words, "scope": ask.ban.scope, "mode": ask.ban.mode} if ask.ban else None
        start = answer_start(opened, ask.prefill)
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": limit,
            "stop": list(sampling.stop),
            "stop_token_ids": sorted(self._near.end_tokens),
            "seed": request.seed % 2**63,
            "detokenize": bool(sampling.stop),
            "skip_special_tokens": False,
            "extra_args": {"stillwise": {**ban, "start": start, "limit": limit}} if ban else None,
        }

    def _completion(self, request: Request, start: tuple[str, str], num_prompt_tokens: int, said: Any) -> Completion:
        (prompt, opened), tokens = start, list(said.token_ids)
        kept = tokens[:-1] if tokens and tokens[-1] in self._near.end_tokens else tokens
        text = text_of(self._near.pieces, kept)
        cuts = [text.find(stop) for stop in request.sampling.stop if stop in text]
        finish = {"stop": Finish.STOP, "length": Finish.LENGTH}.get(said.finish_reason)
        return Completion(
            prompt=prompt,
            text=text[: min(cuts)] if cuts else text,
            num_prompt_tokens=num_prompt_tokens,
            num_tokens=len(tokens),
            finish=finish or Finish.FAILED,
            opened=opened,
            token_ids=tuple(tokens),
            num_thinking_tokens=thinking_tokens(self._near.pieces, tokens, answer_start(opened, request.ask.prefill)),
            failure="" if finish else "engine",
            detail="" if finish else f"finish reason {said.finish_reason}",
        )

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of each answer's tokens after the prompt, in nats; () for an answer that does not fit."""
        vllm = require_vllm()
        prompt = self._near.encode(self.render(ask)[0])
        held = [self._near.encode(answer) for answer in answers]
        fits = [bool(ids) and len(prompt) + len(ids) < self._positions for ids in held]
        asked = [vllm.TokensPrompt(prompt_token_ids=[*prompt, *ids]) for ids, fit in zip(held, fits, strict=True) if fit]
        knobs = vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        outputs = iter(self._engine.generate(asked, knobs, use_tqdm=False) if asked else ())
        return [_scored(next(outputs), len(prompt), ids) if fit else () for ids, fit in zip(held, fits, strict=True)]


def _scored(output: Any, begin: int, ids: Sequence[int]) -> tuple[float, ...]:
    rows = output.prompt_logprobs[begin:]
    return tuple(float(row[token].logprob) for row, token in zip(rows, ids, strict=True))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
