"""Calls in OpenAI's words to our own back end: read whole, refused where something would be ignored, answered as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Request
from stillwise.models.served import Call, Refused, listed
from stillwise.models.transformers import TransformersModel
from stillwise.records import Finish, Sampling

MICRO = Path(__file__).parents[2] / "stillwise" / "micro" / "models" / "reasoner"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "3 + 4 - 5"}], "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def model() -> TransformersModel:
    return TransformersModel(str(MICRO), threads=1, batch_tokens=8192)


def answered(model: TransformersModel, **body: Any) -> dict[str, Any]:
    call = Call.of({**CHAT, **body}, "m")
    prompt = call.text(model)
    requests = call.requests()
    return call.answer(model.generate_from(requests, [(prompt, "")] * len(requests)), model.encode(prompt))


def test_a_chat_call_gives_what_the_model_gives_in_this_process(model: TransformersModel) -> None:
    (expected,) = model.generate(
        [Request(ask=Ask(user="3 + 4 - 5"), sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=40))]
    )
    found = answered(model, return_token_ids=True)
    (choice,) = found["choices"]
    assert expected.opened + choice["message"]["content"] == expected.opened + expected.text
    assert choice["token_ids"] == list(expected.token_ids or ())
    assert choice["finish_reason"] == ("length" if expected.finish is Finish.LENGTH else "stop")
    assert found["usage"] == {
        "prompt_tokens": expected.num_prompt_tokens,
        "completion_tokens": expected.num_tokens,
        "total_tokens": expected.num_prompt_tokens + expected.num_tokens,
    }


def test_a_continued_turn_goes_on_with_its_text(model: TransformersModel) -> None:
    turns = [*CHAT["messages"], {"role": "assistant", "content": "<think>\n3 + 4"}]  # type: ignore[misc]
    call = Call.of({**CHAT, "messages": turns, "continue_final_message": True, "add_generation_prompt": False}, "m")
    assert call.text(model).endswith("3 + 4")
    assert not Call.of({**CHAT, "messages": turns}, "m").text(model).endswith("3 + 4")


def test_samples_have_seeds_of_their_own_and_banned_words_do_not_come(model: TransformersModel) -> None:
    one, two = (answered(model, temperature=5.0, n=3, seed=5, max_tokens=12) for _ in range(2))
    texts = [choice["message"]["content"] for choice in one["choices"]]
    assert texts == [choice["message"]["content"] for choice in two["choices"]]
    assert len(set(texts)) > 1
    assert [choice["index"] for choice in one["choices"]] == [0, 1, 2]
    said = answered(model)["choices"][0]["message"]["content"].removeprefix("<think>").split()
    word = next(word for word in said if word.isalpha())
    banned = answered(model, bad_words=[word.lower(), f" {word}"])["choices"][0]["message"]["content"]
    assert word.lower() not in banned.lower().split()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"logit_bias": {"1": 2}}, 422, "logit_bias: Extra inputs"),
        ({"logprobs": True}, 422, "logprobs"),
        ({"presence_penalty": 0.5}, 422, "presence_penalty"),
        ({"stream": True}, 422, "stream"),
        ({"temperature": -1, "top_p": 2}, 422, "temperature.*top_p"),
        ({"model": "other"}, 404, "no model 'other' here, but 'm'"),
        ({"prompt": "both"}, 400, "messages or a prompt"),
        ({"messages": []}, 400, "messages or a prompt"),
    ],
)
def test_what_is_not_honoured_is_refused(body: dict[str, Any], status: int, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        Call.of({**CHAT, **body}, "m")
    assert caught.value.status == status
    assert caught.value.body()["error"]["code"] == status


def test_neutral_knobs_are_taken() -> None:
    knobs = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0, "top_k": -1}
    (request,) = Call.of({**CHAT, **knobs, "stop": "x", "seed": 2**63 + 4}, "m").requests()
    assert (request.sampling.top_k, request.sampling.stop, request.seed) == (0, ("x",), 4)
    assert listed("m")["data"][0]["id"] == "m"
