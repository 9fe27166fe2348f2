"""Answers of a model that is being trained, drawn by the loop that evaluation uses: fixed batches, no global generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stillwise.arrows import Ask, Example
from stillwise.models.choose import uniforms
from stillwise.models.decode import Loop, Vocabulary
from stillwise.models.decode import Row as Decoded
from stillwise.models.opening import rendered
from stillwise.models.pieces import text_of, thinking_tokens
from stillwise.records import Finish, Problem, Sampling, Trace, digest, thinking_spans
from stillwise.train.render import Row

CACHE_TOKENS = 131_072
"""Tokens that the cache of live rows may hold at once."""
MAX_LIVE = 96
"""Rows computed at once at most."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem as the student meets it."""

    row: Row
    """Its tokens; nothing of them is learnt."""
    problem: Problem
    text: str
    opened: str
    """What the template opens of the answer."""


def prompts(examples: Sequence[Example], tokenizer: Any, room: int) -> tuple[list[Prompt], dict[str, str]]:
    """The problems' prompts as generation will meet them, and why the rest dropped out (``no_answer``, ``too_long``)."""
    found: list[Prompt] = []
    dropped: dict[str, str] = {}
    for example in examples:
        problem = example.problem
        if problem is None or (problem.answer is None and problem.scorer is None):
            dropped[example.id] = "no_answer"
            continue
        text, opened = rendered(tokenizer, Ask(user=example.user))
        ids = tuple(tokenizer.encode(text + opened, add_special_tokens=False))
        if len(ids) > room:
            dropped[example.id] = "too_long"
            continue
        found.append(Prompt(row=Row(id=example.id, ids=ids, start=len(ids)), problem=problem, text=text, opened=opened))
    return found, dropped


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its tokens, the end token included, and how a reader sees it."""

    ids: tuple[int, ...]
    trace: Trace


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """Draws answers from the whole distribution at one temperature."""

    vocabulary: Vocabulary
    sampling: Sampling
    positions: int
    role: str
    step: str

    @classmethod
    def of(cls, model: Any, tokenizer: Any, end: int, sampling: Sampling, role: str, step: str) -> Drawer:
        """For a model and its tokenizer; it stops where evaluation will stop."""
        stated = model.generation_config.eos_token_id
        ids = (*(stated if isinstance(stated, list) else [stated]), tokenizer.eos_token_id, end)
        vocabulary = Vocabulary.of(tokenizer, model.get_output_embeddings().weight.shape[0], ids)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
        return cls(vocabulary=vocabulary, sampling=sampling, positions=longest, role=role, step=step)

    def draw(self, model: Any, asked: Sequence[tuple[Prompt, int, int]], version: int) -> list[Answer]:
        """One answer for each (prompt, sample index, seed), in their order; ``version`` counts the policy's updates."""
        rows = [self._decoded(prompt, seed) for prompt, _, seed in asked]
        live = max(1, min(MAX_LIVE, CACHE_TOKENS // (max(len(row.prompt) for row in rows) + self.sampling.max_tokens)))
        with generating(model):
            Loop(model, self.vocabulary, rows, live).run()
        return [self._answer(row, *each, version) for row, each in zip(rows, asked, strict=True)]

    def _decoded(self, prompt: Prompt, seed: int) -> Decoded:
        limit = max(1, min(self.sampling.max_tokens, self.positions - len(prompt.row.ids)))
        return Decoded(prompt=list(prompt.row.ids), sampling=self.sampling, limit=limit, uniform=uniforms(seed))

    def _answer(self, row: Decoded, prompt: Prompt, index: int, seed: int, version: int) -> Answer:
        kept = row.tokens[:-1] if row.tokens[-1] in self.vocabulary.eos else row.tokens
        text = prompt.opened + text_of(self.vocabulary.pieces, kept)
        trace = Trace(
            id=digest(prompt.problem.id, self.step, version, index, seed, text),
            problem_id=prompt.problem.id,
            role=self.role,
            model=f"{self.step}@{version}",
            paradigm="policy",
            prompt=prompt.text,
            text=text,
            spans=thinking_spans(text),
            num_prompt_tokens=len(row.prompt),
            num_tokens=len(row.tokens),
            num_thinking_tokens=thinking_tokens(self.vocabulary.pieces, row.tokens, prompt.opened),
            finish=row.finish or Finish.FAILED,
            sampling=self.sampling,
            seed=seed,
            sample_index=index,
        )
        return Answer(ids=tuple(row.tokens), trace=trace)


@contextmanager
def generating(model: Any) -> Iterator[None]:
    """The model out of training mode and with attention that takes a cache; as it was afterwards."""
    attention, training = model.config._attn_implementation, model.training
    # Packed attention takes no mask and no cache.
    model.set_attn_implementation("sdpa")
    model.eval()
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(training)
