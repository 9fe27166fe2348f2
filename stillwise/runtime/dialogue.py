"""How a dialogue of questions and answers is written: what rewrites traces as dialogues and what holds them must agree."""

QUESTION, ANSWER, END = "Q:\n", "A:\n", "\n"
"""What stands before a question and before an answer, and what ends either.

Both marks end in a line break: after a space or a colon, tokenizers cut the next word otherwise than in the middle of a text,
and a speaker would be asked to go on where it never learnt to.
"""
CLOSING = "So what is the answer?"
"""The last question; its answer is the answer to the problem."""
