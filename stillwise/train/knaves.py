"""The reward of the official knights-and-knaves code of Warm Up Before You Train (arXiv 2505.13718)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from stillwise.arrows import Reward, Tools
from stillwise.records import Problem, Trace

_TAGS = ("</think>", "<answer>", "</answer>")
_SAID = re.compile(r"([A-Z][\w'-]*) is (?:an? )?(\w+)")
FORM, UNKNOWN, WRONG, RIGHT = -2.0, -1.0, -0.5, 2.0


class KnightsAndKnaves(Reward):
    """-2 for a wrong form, -1 for an unknown name or role, 2 where everybody's role is right, else -0.5.

    The form is exactly one ``</think>``, ``<answer>`` and ``</answer>``, in this order. Inside the answer each person is named
    as in "Zoey is a knight"; what the puzzle calls knights and knaves is read off its question. The last word counts.
    """

    kind: ClassVar[str] = "knights_and_knaves"

    def values(self, pairs: Sequence[tuple[Problem, Trace]], tools: Tools) -> list[float | None]:
        """One value for each answer; None where the reference names nobody."""
        return [self.of(problem, trace.text) for problem, trace in pairs]

    def of(self, problem: Problem, text: str) -> float | None:
        """The value of one answer."""
        wanted = dict(_SAID.findall(problem.answer or ""))
        if not wanted:
            return None
        places = [text.find(tag) for tag in _TAGS]
        if any(text.count(tag) != 1 for tag in _TAGS) or places != sorted(places):
            return FORM
        said = _SAID.findall(text[places[1] + len(_TAGS[1]) : places[2]])
        roles = {*wanted.values(), *re.findall(r"who is (?:an? )?(\w+)", problem.question)}
        if any(person not in wanted or role not in roles for person, role in said):
            return UNKNOWN
        return RIGHT if dict(said) == wanted else WRONG
