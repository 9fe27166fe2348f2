"""What a trained student's folder holds, and that it is asked exactly as it was taught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stillwise.arrows import Ask, Example, Tools
from stillwise.models.transformers import TransformersModel
from stillwise.train.folder import load_tokenizer
from stillwise.train.render import end_token, render
from stillwise.train.sft import SFT
from tests.train.conftest import CHATML, sums

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
SYSTEM = "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}" + CHATML


@pytest.mark.parametrize("template", [CHATML, OPENING, SYSTEM])
def test_the_served_prompt_is_the_trained_one_token_for_token(
    template: str, make_student: Callable[..., Path], tmp_path: Path, tools: Tools
) -> None:
    out = tmp_path / "out"
    SFT(epochs=1).train(sums(2, thought=True), make_student(template=template), out, tools)
    assert load_tokenizer(out).chat_template == template
    served = TransformersModel(str(out), threads=1, batch_tokens=4096)
    for question in ("What is 1?", "  naïve\n½ <think>  ", "ends in a space "):
        example = Example(id="x", user=question, assistant="<think>\na\n</think>\n\nb")
        (row,) = render([example], load_tokenizer(out), 1000).rows
        assert served.prompt_ids(Ask(user=question)) == list(row.ids[: row.start])


def test_generation_stops_where_the_student_learnt_to(make_student: Callable[..., Path], tmp_path: Path, tools: Tools) -> None:
    student = make_student()
    (student / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "do_sample": True, "eos_token_id": 259}))
    SFT(epochs=1).train(sums(2), student, tmp_path / "out", tools)
    held = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (held["temperature"], held["do_sample"]) == (0.6, True)
    end = end_token(load_tokenizer(student))
    assert held["eos_token_id"] == [end, 259], "the template's end token, and the parent's"
    assert TransformersModel(str(tmp_path / "out"), threads=1, batch_tokens=4096).end_tokens >= {end, 259}
