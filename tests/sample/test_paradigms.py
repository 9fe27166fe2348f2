"""What each paradigm sends, and that one thought is opened however the template begins."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from stillwise.arrows import INSTRUCTION, Ban, Paradigm
from stillwise.models.opening import answer_start, split_opened
from stillwise.records import Problem
from stillwise.sample.paradigms import FINISHED_THOUGHT, RETHINK_WORDS, Instruct, NoRethink, NoThink, Think

PROBLEM = Problem.of("What is 2 + 2?", "4")
PARADIGMS = [Think(), NoRethink(), NoThink(), Instruct()]


@pytest.mark.parametrize("paradigm", PARADIGMS, ids=lambda p: p.kind)
def test_the_instruction_stands_on_its_own_line(paradigm: Paradigm) -> None:
    assert paradigm.ask(PROBLEM).user == f"What is 2 + 2?\n{INSTRUCTION}"
    assert type(paradigm).model_validate({"instruction": ""}).ask(PROBLEM).user == "What is 2 + 2?"


def test_only_no_think_prefills_and_only_no_rethink_bans() -> None:
    asks = {p.kind: p.ask(PROBLEM) for p in PARADIGMS}
    assert {kind for kind, ask in asks.items() if ask.prefill} == {"no_think"}
    assert {kind for kind, ask in asks.items() if ask.ban} == {"no_rethink"}
    assert asks["no_rethink"].ban == Ban(words=RETHINK_WORDS)
    assert " ".join(asks["no_think"].prefill.split()) == "<think> Okay, I think I have finished thinking. </think>"


@pytest.mark.parametrize("word", ["", "let me", "don't", "but ", "_"])
def test_what_is_not_one_word_cannot_be_banned(word: str) -> None:
    with pytest.raises(ValidationError, match="is not one word of letters and digits"):
        NoRethink(words=("but", word))


def test_an_empty_list_of_words_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        NoRethink(words=())


@pytest.mark.parametrize("ending", ["", "<think>", "<think>\n", "<think>\n\n"])
def test_the_answer_opens_one_thought(ending: str) -> None:
    prompt, opened = split_opened("question<assistant>" + ending)
    assert (prompt, opened) == ("question<assistant>", ending)
    text = answer_start(opened, FINISHED_THOUGHT)
    assert text.count("<think>") == 1
    assert re.fullmatch(r"<think>\s*Okay, I think I have finished thinking\.\n</think>\n\n", text)


def test_a_closed_thought_of_the_template_belongs_to_the_answer() -> None:
    assert split_opened("a<think>\n\n</think>\n\n") == ("a", "<think>\n\n</think>\n\n")
    assert answer_start("<think>\n", "Let me see") == "<think>\nLet me see"
    assert split_opened("what is <think>?\nassistant\n") == ("what is <think>?\nassistant\n", "")
