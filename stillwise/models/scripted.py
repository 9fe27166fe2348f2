"""A model that answers from a script: it ships, so that every test and dry run can have one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stillwise.arrows import Ask, Completion, Request
from stillwise.errors import UserError
from stillwise.models.opening import answer_start, check_one_opening, split_opened
from stillwise.models.pieces import thinking_tokens
from stillwise.records import Finish, digest

Script = Callable[[Request], str | None]
"""The answer's text after the prefilled part, or None where the script has none."""

_WORD = re.compile(r"\s*\S+")
TEMPLATE = "<|user|>{user}<|assistant|>"


class ScriptedModel:
    """Implements ``Model``: the text comes from a script, a token is a word between white space, batches have a fixed size."""

    def __init__(
        self,
        script: Script | Mapping[str, str],
        *,
        name: str = "scripted",
        template: str = TEMPLATE,
        batch_size: int = 8,
        revision: str | None = None,
        count: Callable[[str], int] | None = None,
    ) -> None:
        """A mapping goes from question to answer: the longest key with which the user's message starts is taken.

        ``count`` replaces the number of words as the number of a text's tokens, for those who compare lengths.
        """
        self._script = _looked_up(script) if isinstance(script, Mapping) else script
        self._name, self._template, self._batch_size = name, template, batch_size
        self._count = count
        content = sorted(script.items()) if isinstance(script, Mapping) else name
        self._revision = revision or digest("scripted", content, template)
        self.calls = 0
        """Batches generated so far."""
        self.requests: list[Request] = []
        """Every request that was answered, in order."""

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def revision(self) -> str:
        """A digest of the script where it is a mapping, else of the name."""
        return self._revision

    def plan(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Batches of a fixed size in the order of the requests."""
        places = range(len(requests))
        return [tuple(places[n : n + self._batch_size]) for n in range(0, len(requests), self._batch_size)]

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """The scripted answers, cut after ``max_tokens`` words."""
        self.calls += 1
        self.requests.extend(batch)
        return [self._answer(request) for request in batch]

    def _answer(self, request: Request) -> Completion:
        prompt, opened = self.render(request.ask)
        text = self._script(request)
        if text is None:
            raise UserError(f"the script of {self._name} has no answer to {request.ask.user[:80]!r}")
        words, limit = text.split(), request.sampling.max_tokens
        cut = len(words) >= limit
        return Completion(
            prompt=prompt,
            text=" ".join(words[:limit]) if cut else text,
            num_prompt_tokens=self.count_tokens(prompt + answer_start(opened, request.ask.prefill)),
            num_tokens=min(len(words) + 1, limit),
            finish=Finish.LENGTH if cut else Finish.STOP,
            opened=opened,
            num_thinking_tokens=_thinking_words(text, limit, answer_start(opened, request.ask.prefill)),
        )

    def render(self, ask: Ask) -> tuple[str, str]:
        """The template with the user's message in it, and what it opens of the answer."""
        prompt, opened = split_opened(self._template.replace("{user}", ask.user))
        check_one_opening(prompt, answer_start(opened, ask.prefill), ask.user)
        return prompt, opened

    def count_tokens(self, text: str) -> int:
        """Words between white space, unless something else counts."""
        return self._count(text) if self._count else len(text.split())


def _thinking_words(text: str, limit: int, start: str) -> int:
    words = [word.encode() for word in _WORD.findall(text)]
    tokens = [*words, b""][:limit]
    return thinking_tokens(tokens, range(len(tokens)), start)


def _looked_up(answers: Mapping[str, str]) -> Script:
    def answer(request: Request) -> str | None:
        known = [question for question in answers if request.ask.user.startswith(question)]
        return answers[max(known, key=len)] if known else None

    return answer


def scripted_model(path: Path, name: str) -> ScriptedModel:
    """A scripted model from a JSONL file of ``{"question": …, "answer": …}`` rows."""
    if not path.is_file():
        raise UserError(f"script {path} does not exist; give a JSONL file of question and answer")
    answers: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            question, answer = _row(line, f"{path}:{number}")
            answers[question] = answer
    if not answers:
        raise UserError(f"script {path} holds no answers")
    return ScriptedModel(answers, name=name)


def _row(line: str, where: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        question, answer = row["question"], row["answer"]
    except (ValueError, KeyError, TypeError) as err:
        raise UserError(f"{where}: not a JSON object with 'question' and 'answer'") from err
    if not isinstance(question, str) or not isinstance(answer, str):
        raise UserError(f"{where}: 'question' and 'answer' must be text")
    return question, answer
