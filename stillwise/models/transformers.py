"""Local generation with transformers: requests sorted by length, fixed batches, finished rows out of the computation."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import UserError
from stillwise.models.adapter import adapted
from stillwise.models.bans import Bans
from stillwise.models.choose import uniforms
from stillwise.models.decode import Loop, Row, Vocabulary
from stillwise.models.opening import answer_start, rendered
from stillwise.models.pieces import text_of, thinking_tokens, token_pieces, vocabulary_size
from stillwise.models.weights import base_folder, folder_digest, is_adapter, model_folder
from stillwise.records import digest

REVISION = 1
"""Raised by hand when this back end's answers change."""
MAX_LIVE = 96
"""Rows computed at once at most; more make a step slower than it gains on a CPU."""
QUEUE = 4
"""A batch holds up to this many times the live rows: slots are refilled from the rest."""
DTYPES = ("float32", "bfloat16", "float16")


class TransformersModel:
    """Implements ``Model`` over a folder (or hub id) of safetensors weights with a chat template."""

    def __init__(self, path: str, *, threads: int, batch_tokens: int, dtype: str = "float32", device: str = "auto") -> None:
        """``batch_tokens`` bounds the cache: live rows times (longest prompt + ``max_tokens``) stay under it."""
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        self._path, self._dtype, self._threads, self._batch_tokens = path, dtype, threads, batch_tokens
        self._wanted_device = device
        self._folder = model_folder(path)

    @property
    def name(self) -> str:
        """The path or id as it was given."""
        return f"transformers:{self._path}"

    @cached_property
    def revision(self) -> str:
        """A digest of the folder's files and of everything of the computation that moves a logit."""
        versions = [importlib.metadata.version(name) for name in ("torch", "transformers")]
        limits = (self._batch_tokens, MAX_LIVE, QUEUE)
        # Only where there is padding: answers of other models are what they were before it was left out.
        padding = self._config.get_text_config().vocab_size - vocabulary_size(self._tokenizer)
        held = (REVISION, versions, padding) if padding > 0 else (REVISION, versions)
        return digest(folder_digest(self._folder), self._dtype, self._threads, self._device, limits, *held)

    @cached_property
    def _device(self) -> str:
        import torch

        if self._wanted_device != "auto":
            return self._wanted_device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, trust_remote_code=False, local_files_only=True)
        except (ValueError, OSError, KeyError) as err:
            raise UserError(f"the tokenizer in {self._folder} cannot be loaded: {err}") from err
        if not tokenizer.chat_template:
            raise UserError(
                f"model folder {self._folder} has no chat template; add chat_template.jinja "
                "(an instruction-tuned model of the same family has one)"
            )
        return tokenizer

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self._folder, trust_remote_code=False, local_files_only=True)
        except (ValueError, OSError, KeyError) as err:
            raise UserError(f"the configuration in {self._folder} cannot be loaded: {err}") from err

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils.logging import disable_progress_bar

        self._tokenizer  # noqa: B018 -- a folder without a template is refused before gigabytes are read
        disable_progress_bar()  # type: ignore[no-untyped-call]
        options = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                base_folder(self._folder),
                config=self._config,
                dtype=getattr(torch, self._dtype),
                attn_implementation="sdpa",
                **options,
            )
        except (ValueError, OSError, KeyError) as err:
            raise UserError(f"the weights in {self._folder} cannot be loaded: {err}") from err
        if is_adapter(self._folder):
            model = adapted(model, self._folder)
        return model.to(self._device).eval()

    @cached_property
    def positions(self) -> int:
        """The longest text, prompt included, that the model's positions (or its attention window) can hold."""
        text = self._config.get_text_config()
        window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
        return min(getattr(text, "max_position_embeddings", None) or 2**31, window or 2**31)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        tokenizer = self._tokenizer
        stated = self._model.generation_config.eos_token_id
        ids = stated if isinstance(stated, list) else [stated]
        rows = self._model.get_output_embeddings().weight.shape[0]
        return Vocabulary.of(tokenizer, rows, (*ids, tokenizer.eos_token_id))

    @cached_property
    def _bans(self) -> Bans:
        return Bans(self._tokenizer, self._vocabulary.pieces, tuple(sorted(self._vocabulary.eos)))

    def render(self, ask: Ask) -> tuple[str, str]:
        """The prompt that the chat template gives, and what it opens of the answer."""
        return rendered(self._tokenizer, ask)

    def chat_prompt(self, messages: Sequence[Mapping[str, str]], continued: bool) -> str:
        """The prompt that the template makes of a conversation; ``continued`` leaves the last turn open to be gone on with."""
        turns = [dict(message) for message in messages]
        prompt: str = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=not continued, continue_final_message=continued
        )
        return prompt

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, no special ones added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, no special ones added."""
        return len(self.encode(text))

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer, as the folder's files say: no weights are loaded for them."""
        from transformers import GenerationConfig

        try:
            stated = GenerationConfig.from_pretrained(self._folder, local_files_only=True).eos_token_id
        except OSError:
            stated = getattr(self._config.get_text_config(), "eos_token_id", None)
        ids = stated if isinstance(stated, list) else [stated]
        return frozenset(i for i in (*ids, self._tokenizer.eos_token_id) if i is not None)

    @cached_property
    def pieces(self) -> list[bytes]:
        """What each token adds to a text, for every row of the output layer that the configuration names."""
        return token_pieces(self._tokenizer, self._config.get_text_config().vocab_size)

    @cached_property
    def bans(self) -> Bans:
        """Guards for this vocabulary."""
        return Bans(self._tokenizer, self.pieces, tuple(sorted(self.end_tokens)))

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of each answer's tokens after the prompt, in nats; () for an answer that does not fit."""
        import torch

        torch.set_num_threads(self._threads)
        prompt: list[int] = self._tokenizer.encode(self.render(ask)[0], add_special_tokens=False)
        found: list[tuple[float, ...]] = []
        for answer in answers:
            ids: list[int] = self._tokenizer.encode(answer, add_special_tokens=False)
            if not ids or len(prompt) + len(ids) > self.positions:
                found.append(())
                continue
            tokens = torch.tensor([[*prompt, *ids]], device=self._device)
            with torch.inference_mode():
                logits = self._model(tokens, logits_to_keep=len(ids) + 1).logits[0, :-1, : len(self._vocabulary.pieces)].float()
            chosen = torch.log_softmax(logits, -1).gather(-1, tokens[0, len(prompt) :, None])
            found.append(tuple(chosen[:, 0].tolist()))
        return found

    def prompt_ids(self, ask: Ask) -> list[int]:
        """Tokens of everything that stands before what is generated."""
        prompt, opened = self.render(ask)
        ids: list[int] = self._tokenizer.encode(prompt + answer_start(opened, ask.prefill), add_special_tokens=False)
        return ids

    def prompt_lengths(self, requests: Sequence[Request], positions: int) -> list[int]:
        """Tokens of each prompt; one that leaves no room is refused."""
        lengths = [len(self.prompt_ids(request.ask)) for request in requests]
        for request, length in zip(requests, lengths, strict=True):
            if length >= positions:
                raise UserError(
                    f"a prompt of {length} tokens leaves no room in {self.name} ({positions} positions): "
                    f"{request.ask.user[:80]!r}…; drop the problem or take a model with more positions"
                )
        return lengths

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Batches of positions: longest limit first, then longest prompt, cut evenly; a prompt that does not fit is refused."""
        lengths = self.prompt_lengths(requests, self.positions)
        limits = [r.sampling.max_tokens for r in requests]
        order = sorted(range(len(requests)), key=lambda i: (-limits[i], -lengths[i], i))
        groups = [[i for i in order if limits[i] == limit] for limit in sorted(set(limits), reverse=True)]
        return [
            part for group in groups for part in _even(group, QUEUE * self._live([lengths[i] for i in group], limits[group[0]]))
        ]

    def _live(self, lengths: Sequence[int], max_tokens: int) -> int:
        """Rows that may be in the computation at once."""
        return max(1, min(MAX_LIVE, self._batch_tokens // min(max(lengths) + max_tokens, self.positions)))

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; the same batch gives the same bytes on the same machine."""
        return self.generate_from(batch, [self.render(request.ask) for request in batch])

    def generate_from(self, batch: Sequence[Request], starts: Sequence[tuple[str, str]]) -> list[Completion]:
        """As ``generate``, from prompts that were rendered elsewhere: each with what its template opened of the answer."""
        import torch

        if not batch:
            return []
        torch.set_num_threads(self._threads)
        rows = [self._row(request, *start) for request, start in zip(batch, starts, strict=True)]
        live = self._live([len(row.prompt) for row in rows], max(r.sampling.max_tokens for r in batch))
        Loop(self._model, self._vocabulary, rows, live).run()
        return [self._completion(row, request.ask, *start) for row, request, start in zip(rows, batch, starts, strict=True)]

    def _row(self, request: Request, prompt: str, opened: str) -> Row:
        start = answer_start(opened, request.ask.prefill)
        ids = self._tokenizer.encode(prompt + start, add_special_tokens=False)
        return Row(
            prompt=ids,
            sampling=request.sampling,
            limit=max(1, min(request.sampling.max_tokens, self.positions - len(ids))),
            uniform=uniforms(request.seed),
            guard=self._bans.guard(request.ask.ban, start),
        )

    def _completion(self, row: Row, ask: Ask, prompt: str, opened: str) -> Completion:
        if row.finish is None:
            raise RuntimeError("the decode loop left a row unfinished")
        kept = row.tokens[:-1] if row.tokens[-1] in self._vocabulary.eos else row.tokens
        text = text_of(self._vocabulary.pieces, kept)
        cuts = [text.find(stop) for stop in row.sampling.stop if stop in text]
        return Completion(
            prompt=prompt,
            text=text[: min(cuts)] if cuts else text,
            num_prompt_tokens=len(row.prompt),
            num_tokens=len(row.tokens),
            finish=row.finish,
            opened=opened,
            token_ids=tuple(row.tokens),
            num_thinking_tokens=thinking_tokens(self._vocabulary.pieces, row.tokens, answer_start(opened, ask.prefill)),
        )


def _even(items: list[int], size: int) -> list[tuple[int, ...]]:
    """The items cut into the fewest parts of at most ``size``, lengths differing by one at most."""
    count = -(-len(items) // size)
    cuts = [len(items) * n // count for n in range(count + 1)]
    return [tuple(items[a:b]) for a, b in itertools.pairwise(cuts)]
