"""Truncated answers are kept, continued from where they stopped, or drawn again with more room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from stillwise.arrows import Ask, Completion, Request, Truncated
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Finish, Sampling
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.journal import Journal
from stillwise.runtime.lengthen import Lengthened

WORDS = [f"w{i}" for i in range(10)]


def script(request: Request) -> str:
    """The rest of ten words after the prefilled ones; one question has a short answer."""
    if request.ask.user == "short":
        return "done"
    return " ".join(WORDS[len(request.ask.prefill.split()) :])


class Opened:
    def __init__(self, model: ScriptedModel) -> None:
        self.model = model

    def __call__(self) -> ScriptedModel:
        return self.model


def answers(tmp_path: Path, truncated: Truncated, extra: int) -> tuple[list[Completion], list[int], ScriptedModel]:
    model, heard = ScriptedModel(script), list[int]()

    def hear(places: Sequence[int], found: Sequence[Completion]) -> None:
        heard.extend(places)

    inner = JournalledCaller(step="s", opener=Opened(model), executor=Local(), journal=Journal(tmp_path / "j.sqlite"))
    asked = [Request(ask=Ask(user=user), sampling=Sampling(max_tokens=4), seed=i) for i, user in enumerate(("long", "short"))]
    return Lengthened(inner, truncated, extra).complete(asked, hear), heard, model


def test_continued_answers_are_joined(tmp_path: Path) -> None:
    found, heard, model = answers(tmp_path, "continue", 20)
    assert found[0].text.replace(" ", "") == "".join(WORDS)
    assert found[0].num_tokens == 4 + 7
    assert found[0].finish is Finish.STOP
    assert heard == [1, 0], "whole answers are heard first, each once"
    assert len(model.requests) == 3


def test_resampled_answers_replace_the_cut_ones(tmp_path: Path) -> None:
    found, heard, model = answers(tmp_path, "resample", 20)
    assert found[0].text.split() == WORDS
    assert model.requests[-1].sampling.max_tokens == 24
    assert model.requests[-1].seed != model.requests[0].seed
    assert sorted(heard) == [0, 1]


@pytest.mark.parametrize("truncated", ["continue", "resample"])
def test_what_is_cut_again_stays_truncated(tmp_path: Path, truncated: Truncated) -> None:
    found, heard, _ = answers(tmp_path, truncated, 2)
    assert found[0].finish is Finish.LENGTH
    assert found[1].text == "done"
    assert sorted(heard) == [0, 1]
