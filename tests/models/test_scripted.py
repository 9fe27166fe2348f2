"""The scripted model: deterministic answers, counted calls, cut by words."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillwise.arrows import Ask, Request
from stillwise.errors import UserError
from stillwise.models.open import open_model
from stillwise.models.pieces import thinking_tokens
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Finish, Sampling


def test_a_mapping_answers_by_the_start_of_the_question() -> None:
    model = ScriptedModel({"1+1": "two", "1+11": "twelve"})
    texts = [c.text for c in model.generate([Request(ask=Ask(user="1+1\nThink.")), Request(ask=Ask(user="1+11\nThink."))])]
    assert texts == ["two", "twelve"]
    assert model.calls == 1
    assert len(model.requests) == 2


def test_the_limit_counts_words() -> None:
    model = ScriptedModel(lambda request: "one two three four")
    cut, whole = (model.generate([Request(ask=Ask(user="?"), sampling=Sampling(max_tokens=n))])[0] for n in (3, 9))
    assert (cut.text, cut.num_tokens, cut.finish) == ("one two three", 3, Finish.LENGTH)
    assert (whole.text, whole.num_tokens, whole.finish) == ("one two three four", 5, Finish.STOP)


def test_batches_have_a_fixed_size() -> None:
    model = ScriptedModel({}, batch_size=2)
    assert model.plan([Request(ask=Ask(user="?"))] * 5) == [(0, 1), (2, 3), (4,)]


def test_a_question_without_an_answer_is_named() -> None:
    with pytest.raises(UserError, match="no answer to 'why'"):
        ScriptedModel({"what": "that"}).generate([Request(ask=Ask(user="why"))])


def test_a_script_file_opens_by_binding(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"question": "1+1", "answer": "2"}\n\n{"question": "a", "answer": "b"}\n')
    model = open_model(f"scripted:{tmp_path / 's.jsonl'}", threads=1)
    assert model.generate([Request(ask=Ask(user="a"))])[0].text == "b"
    assert model.name == f"scripted:{tmp_path / 's.jsonl'}"


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no answers"), ('{"question": 1, "answer": "x"}', "must be text"), ("{}", r"s\.jsonl:1: not a JSON object")],
)
def test_a_bad_script_names_the_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        open_model(f"scripted:{tmp_path / 's.jsonl'}", threads=1)


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_model(f"scripted:{tmp_path / 'no.jsonl'}", threads=1)


def test_another_script_is_another_revision() -> None:
    assert ScriptedModel({"a": "b"}).revision == ScriptedModel({"a": "b"}).revision != ScriptedModel({"a": "c"}).revision


@pytest.mark.parametrize(
    ("answer", "prefill", "limit", "thinking"),
    [
        ("<think> one two </think> three", "", 20, 4),
        ("one two </think> three four", "<think>\n", 20, 3),
        ("one two </think> three four", "<think>\n", 2, 2),
        ("three four", "<think>\ndone\n</think>\n", 20, 0),
        ("three four", "", 20, 0),
        ("<think> one two", "", 20, 4),
    ],
)
def test_tokens_of_the_thought_are_counted(answer: str, prefill: str, limit: int, thinking: int) -> None:
    model = ScriptedModel(lambda request: answer)
    request = Request(ask=Ask(user="?", prefill=prefill), sampling=Sampling(max_tokens=limit))
    assert model.generate([request])[0].num_thinking_tokens == thinking


def test_a_tag_split_over_tokens_belongs_to_the_thought() -> None:
    pieces = [b"<thi", b"nk>a", b"b</", b"thi", b"nk>", b"\n\nc", b"d"]
    assert thinking_tokens(pieces, range(7), "") == 5
    assert thinking_tokens(pieces[3:], range(4), "<think>ab</") == 2
    assert thinking_tokens(pieces[5:], range(2), "<think>ab</think>") == 0
