"""The engine of vLLM in its own process gives the texts that the model gives in this one, bans included.

STILLWISE_VLLM_PYTHON names an interpreter that has vLLM and what this package needs to load a model.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stillwise.arrows import Completion, Paradigm, Request
from stillwise.models.bans import banned_words_in
from stillwise.models.open import binding_folder, open_model
from stillwise.problems.gym import Micro
from stillwise.records import Problem, Sampling
from stillwise.sample.paradigms import Instruct, NoRethink, NoThink, Think

PARADIGMS: tuple[Paradigm, ...] = tuple(one(instruction="") for one in (Think, NoRethink, NoThink, Instruct))
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=400)
THERE = """
import json, sys
from tests.models.test_vllm import requests
from stillwise.models.open import open_model
if __name__ == "__main__":
    answers = open_model(sys.argv[1], threads=1).generate(requests())
    print(json.dumps([[answer.text, answer.num_tokens, answer.finish.value] for answer in answers]))
"""


def requests() -> list[Request]:
    """Every paradigm's question of the same problems."""
    found = Micro(family="chain_sum", split="heldout", per_level=3).problems()
    problems = [one for one in found if isinstance(one, Problem)]
    return [Request(ask=each.ask(problem), sampling=GREEDY, seed=0) for each in PARADIGMS for problem in problems]


@pytest.fixture(scope="module")
def python() -> str:
    if "STILLWISE_VLLM_PYTHON" not in os.environ:
        pytest.skip("no vLLM here: set STILLWISE_VLLM_PYTHON to an interpreter that has it")
    return os.environ["STILLWISE_VLLM_PYTHON"]


@pytest.mark.slow
def test_the_engine_gives_the_texts_of_this_process(python: str) -> None:
    binding = f"vllm:{binding_folder('micro:reasoner')}?dtype=float32&enforce_eager=true&max_model_len=1024"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([python, "-c", THERE, binding], env=environment, capture_output=True, text=True, check=True)
    # The engine's log goes to the same place.
    [answers] = [line for line in done.stdout.splitlines() if line.startswith("[[")]
    there = [tuple(row) for row in json.loads(answers)]
    asked = requests()
    here = [(a.text, a.num_tokens, a.finish.value) for a in _here(asked)]
    assert sum(one != other for one, other in zip(here, there, strict=True)) <= len(asked) // 50
    for request, (text, _, _) in zip(asked, there, strict=True):
        assert not (request.ask.ban and banned_words_in(text, request.ask.ban))


def _here(asked: list[Request]) -> list[Completion]:
    model = open_model("micro:reasoner", threads=1)
    found: dict[int, Completion] = {}
    for places in model.plan(asked):
        found.update(zip(places, model.generate([asked[place] for place in places]), strict=True))
    return [found[place] for place in range(len(asked))]
