"""How an answer begins: what the template opens and what the paradigm prefills, joined so that one ``<think>`` stands."""

from __future__ import annotations

import re
from typing import Any

from stillwise.arrows import Ask
from stillwise.errors import UserError
from stillwise.records import THINK_OPEN

_OPENED = re.compile(r"<think>\s*(?:</think>\s*)?\Z")


def split_opened(rendered: str) -> tuple[str, str]:
    """A rendered prompt as (prompt, what its template opens of the answer).

    R1-style templates end in ``<think>\\n``; hybrid ones can end in a closed empty thought. Both belong to the answer's text.
    """
    found = _OPENED.search(rendered)
    return (rendered[: found.start()], found.group()) if found else (rendered, "")


def answer_start(opened: str, prefill: str) -> str:
    """What the answer's text starts with before anything is generated: opened part and prefill, one opening tag at most.

    A prefill that opens a thought, after a template that did, continues that thought: its duplicate tag is dropped.
    """
    if THINK_OPEN not in opened or not prefill.lstrip().startswith(THINK_OPEN):
        return opened + prefill
    rest = prefill.lstrip().removeprefix(THINK_OPEN)
    return (opened.rstrip() if rest[:1].isspace() else opened) + rest


def check_one_opening(prompt: str, start: str, user: str) -> None:
    """Refuses a prompt in which more than one ``<think>`` stands after the user's message."""
    tail = prompt[prompt.rfind(user.strip()) + len(user.strip()) :] if user.strip() in prompt else prompt
    count = (tail + start).count(THINK_OPEN)
    if count > 1:
        raise UserError(
            f"the rendered prompt opens {count} thoughts after the question; exactly one {THINK_OPEN} may stand there. "
            "Remove it from the template's generation prompt or from the paradigm's prefill."
        )


def rendered(tokenizer: Any, ask: Ask) -> tuple[str, str]:
    """The prompt that the tokenizer's chat template gives, and what it opens of the answer."""
    messages = [{"role": "user", "content": ask.user}]
    prompt, opened = split_opened(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    check_one_opening(prompt, answer_start(opened, ask.prefill), ask.user)
    return prompt, opened
