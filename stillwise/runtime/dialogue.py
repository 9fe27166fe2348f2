"""How a dialogue of questions and answers is written: what rewrites traces as dialogues and what holds them must agree."""

QUESTION, ANSWER, END = "Q:", "A:", "\n"
"""What stands before a question and before an answer, and what ends either."""
CLOSING = "So what is the answer?"
"""The last question; its answer is the answer to the problem."""
