"""The modes in which a model is asked to reason (Teach Small Models to Reason by Curriculum Distillation, §3.1.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from stillwise.arrows import INSTRUCTION, Ask, Ban, BanMode, BanScope, Paradigm, user_message
from stillwise.records import Problem

RETHINK_WORDS = ("alternatively", "another", "but", "hmm", "verify", "wait")
"""The paper's six words that trigger self-correction."""

FINISHED_THOUGHT = "<think>\nOkay, I think I have finished thinking.\n</think>\n\n"
"""The paper's non-informative thought."""


def _whole_words(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not word.isalnum():
            raise ValueError(f"{word!r} is not one word of letters and digits; phrases and signs cannot be banned")
    return words


class Think(Paradigm):
    """The reasoner as it is: an explicit thought, then the solution."""

    kind: ClassVar[str] = "think"

    instruction: str = INSTRUCTION
    """Appended to the question; empty for none."""

    def ask(self, problem: Problem) -> Ask:
        """The question and the instruction."""
        return Ask(user=user_message(problem.question, self.instruction))


class NoRethink(Paradigm):
    """A linear thought: words that trigger self-correction cannot be generated."""

    kind: ClassVar[str] = "no_rethink"

    instruction: str = INSTRUCTION
    """Appended to the question; empty for none."""
    words: Annotated[tuple[str, ...], AfterValidator(_whole_words)] = Field(default=RETHINK_WORDS, min_length=1)
    """Banned as whole words in any case; words that merely contain them stay possible."""
    scope: BanScope = "generation"
    """Where the words are banned: everywhere, or inside the thought only."""
    mode: BanMode = "words"
    """``words`` reads the decoded text and lets none through; ``token_ban`` forbids the usual spellings, as servers do."""

    def ask(self, problem: Problem) -> Ask:
        """The question, the instruction and the ban."""
        ban = Ban(words=self.words, scope=self.scope, mode=self.mode)
        return Ask(user=user_message(problem.question, self.instruction), ban=ban)


class NoThink(Paradigm):
    """A solution at once: the thought is prefilled and says nothing (after Ma et al., 2025)."""

    kind: ClassVar[str] = "no_think"

    instruction: str = INSTRUCTION
    """Appended to the question; empty for none."""
    prefill: str = FINISHED_THOUGHT
    """The start of the answer; its opening tag is dropped where the model's template opens a thought itself."""

    def ask(self, problem: Problem) -> Ask:
        """The question, the instruction and the prefilled thought."""
        return Ask(user=user_message(problem.question, self.instruction), prefill=self.prefill)


class Instruct(Paradigm):
    """The language model without reasoning training: a chain of thought as its template asks for it."""

    kind: ClassVar[str] = "instruct"

    instruction: str = INSTRUCTION
    """Appended to the question; empty for none."""

    def ask(self, problem: Problem) -> Ask:
        """The question and the instruction."""
        return Ask(user=user_message(problem.question, self.instruction))
