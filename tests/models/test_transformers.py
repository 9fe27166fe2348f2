"""Local generation against plain ``model.generate``, its promises on determinism, and every refusal."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stillwise.arrows import Ask, Request
from stillwise.errors import UserError
from stillwise.models.pieces import text_of, token_pieces
from stillwise.models.transformers import TransformersModel
from stillwise.records import Finish, Sampling

GREEDY = Sampling(temperature=0, max_tokens=40)


def opened(folder: Path, batch_tokens: int = 100_000, **options: Any) -> TransformersModel:
    return TransformersModel(str(folder), threads=1, batch_tokens=batch_tokens, **options)


def requests(count: int, sampling: Sampling = GREEDY) -> list[Request]:
    return [Request(ask=Ask(user="1 + " * (i % 7) + f"{i}?"), sampling=sampling, seed=i) for i in range(count)]


def plain(model: TransformersModel, request: Request) -> list[int]:
    """The tokens of transformers' own greedy loop on this request alone."""
    ids = model.prompt_ids(request.ask)
    out = model._model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=40, do_sample=False)
    answer: list[int] = out[0, len(ids) :].tolist()
    return answer


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama"])
def test_greedy_tokens_are_those_of_generate(kind: str, tmp_path: Path, save: Any) -> None:
    model = opened(save(tmp_path / kind, kind), batch_tokens=700)
    asked = requests(14)
    assert model._live([60], 40) < 10, "rows must be refilled and compacted for this test to mean anything"
    for request, completion in zip(asked, model.generate(asked), strict=True):
        assert list(completion.token_ids or ()) == plain(model, request)


@pytest.mark.parametrize("batch_tokens", [150, 450])
def test_refilling_and_compaction_change_no_greedy_token(batch_tokens: int, tiny_folder: Path) -> None:
    asked = [replace(r, sampling=replace(GREEDY, max_tokens=3 + 5 * (r.seed % 4))) for r in requests(13)]
    many, few = opened(tiny_folder), opened(tiny_folder, batch_tokens)
    assert [c.token_ids for c in many.generate(asked)] == [c.token_ids for c in few.generate(asked)]


def test_a_long_answer_moves_the_window(tmp_path: Path, save: Any) -> None:
    model = opened(save(tmp_path / "long", positions=2048), batch_tokens=1400)
    asked = [replace(r, sampling=replace(GREEDY, max_tokens=400)) for r in requests(2)]
    asked += [replace(r, sampling=replace(GREEDY, max_tokens=40)) for r in requests(4)]
    for request, completion in zip(asked, model.generate(asked), strict=True):
        assert list(completion.token_ids or ())[:40] == plain(model, request)


SAMPLED = Sampling(temperature=0.9, top_p=0.95, max_tokens=30)


def test_the_same_batch_gives_the_same_bytes(tiny_folder: Path) -> None:
    asked = requests(20, SAMPLED)
    assert opened(tiny_folder).generate(asked) == opened(tiny_folder).generate(asked)


def test_a_request_has_its_own_stream_of_numbers(tiny_folder: Path) -> None:
    model, asked = opened(tiny_folder), requests(12, SAMPLED)
    forwards, backwards = model.generate(asked), model.generate(asked[::-1])
    assert forwards == backwards[::-1]
    reseeded = model.generate([replace(r, seed=r.seed + 100) for r in asked])
    assert all(a.text != b.text for a, b in zip(forwards, reseeded, strict=True))


def test_every_request_keeps_its_own_settings(tiny_folder: Path) -> None:
    model, ask = opened(tiny_folder), Ask(user="2 + 2?")
    settings = [GREEDY, SAMPLED, replace(GREEDY, max_tokens=3), replace(SAMPLED, top_k=1), replace(SAMPLED, top_p=1e-6)]
    alone = [model.generate([Request(ask=ask, sampling=s, seed=4)])[0] for s in settings]
    together = model.generate([Request(ask=ask, sampling=s, seed=4) for s in settings])
    assert together == alone
    assert together[3].token_ids == (together[0].token_ids or ())[:30], "top-k 1 is greedy"
    assert together[4].token_ids == together[3].token_ids, "a vanishing nucleus is greedy"
    assert [c.num_tokens for c in together] == [40, 30, 3, 30, 30]
    assert {c.finish for c in together} == {Finish.LENGTH}


def test_the_end_of_sequence_stops_and_is_counted(tiny_folder: Path) -> None:
    model = opened(tiny_folder)
    hot = Sampling(temperature=9.0, top_p=1.0, max_tokens=400)
    ended = [c for c in model.generate(requests(20, hot)) if c.finish is Finish.STOP]
    assert ended
    for completion in ended:
        assert (completion.token_ids or ())[-1] == 2
        assert len(completion.token_ids or ()) == completion.num_tokens
        assert "<|im_end|>" not in completion.text


def test_text_stops_before_a_stop_string(tiny_folder: Path) -> None:
    model, ask = opened(tiny_folder), Ask(user="say something")
    whole = model.generate([Request(ask=ask, sampling=SAMPLED, seed=8)])[0]
    stop = whole.text[len(whole.text) // 2 :][:3]
    cut = model.generate([Request(ask=ask, sampling=replace(SAMPLED, stop=("never said", stop)), seed=8)])[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish is Finish.STOP
    assert cut.num_tokens < whole.num_tokens


def test_prefilled_text_is_part_of_the_prompt_and_not_of_the_text(tiny_folder: Path) -> None:
    model = opened(tiny_folder)
    bare, filled = (model.generate([Request(ask=Ask(user="2?", prefill=p), sampling=GREEDY)])[0] for p in ("", "So 2 is"))
    assert filled.prompt == bare.prompt
    assert filled.num_prompt_tokens > bare.num_prompt_tokens
    assert filled.text != bare.text


def test_one_thought_is_opened_whatever_the_template(tiny_folder: Path, r1_folder: Path) -> None:
    prefill = "<think>\nOkay.\n</think>\n\n"
    for folder, start in ((tiny_folder, ""), (r1_folder, "<think>\n")):
        model, ask = opened(folder), Ask(user="what is <think>?", prefill=prefill)
        prompt, begun = model.render(ask)
        assert begun == start
        assert prompt.endswith("assistant\n")
        text = model._tokenizer.decode(model.prompt_ids(ask))
        assert text.endswith("assistant\n<think>\nOkay.\n</think>\n\n")
        assert text.count("<think>") == 2, "the question's and one more"
    with pytest.raises(UserError, match="exactly one <think>"):
        opened(tiny_folder).render(Ask(user="2?", prefill="<think> <think>"))


def test_pieces_join_to_what_the_tokenizer_decodes(tokenizer: Any) -> None:
    pieces = token_pieces(tokenizer, len(tokenizer) + 5)
    assert pieces[-5:] == [b""] * 5
    for text in ("butter, but … é 12\n", " wait</think>\n\n", "日本 👍"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert text_of(pieces, ids) == tokenizer.decode(ids) == text


def test_the_plan_is_a_fixed_sorted_partition(tiny_folder: Path) -> None:
    model, asked = opened(tiny_folder, batch_tokens=500), requests(50)
    plan = model.plan(asked)
    assert plan == model.plan(asked)
    assert sorted(i for batch in plan for i in batch) == list(range(50))
    lengths = [len(model.prompt_ids(asked[i].ask)) for batch in plan for i in batch]
    assert lengths == sorted(lengths, reverse=True)
    sizes = [len(batch) for batch in plan]
    assert len(plan) > 1
    assert max(sizes) - min(sizes) <= 1
    assert model.plan([]) == []


def test_a_prompt_beyond_the_positions_is_refused_by_name(tiny_folder: Path) -> None:
    with pytest.raises(UserError, match=r"leaves no room .*512 positions.*'1 \+ 1"):
        opened(tiny_folder).plan([Request(ask=Ask(user="1 + " * 600))])


def test_positions_bound_the_answer(tiny_folder: Path) -> None:
    ask = Ask(user="1 + " * 100)
    completion = opened(tiny_folder).generate([Request(ask=ask, sampling=Sampling(temperature=0, max_tokens=10_000))])[0]
    assert completion.finish is Finish.LENGTH
    assert completion.num_tokens + completion.num_prompt_tokens == 512


def test_the_revision_names_what_changes_answers(tiny_folder: Path, tmp_path: Path) -> None:
    model = opened(tiny_folder)
    shutil.copytree(tiny_folder, copy := tmp_path / "copy")
    assert opened(copy).revision == model.revision
    (copy / "chat_template.jinja").write_text("other")
    shutil.copytree(tiny_folder, changed := tmp_path / "changed")
    with open(changed / "model.safetensors", "rb+") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    others = [opened(copy), opened(changed), opened(tiny_folder, dtype="bfloat16"), opened(tiny_folder, batch_tokens=5)]
    others.append(TransformersModel(str(tiny_folder), threads=2, batch_tokens=100_000))
    assert len({model.revision, *(other.revision for other in others)}) == 6


def test_tokens_are_counted_without_special_ones(tiny_folder: Path) -> None:
    model = opened(tiny_folder)
    assert model.count_tokens("") == 0
    assert model.count_tokens("but wait") == len(model._tokenizer.tokenize("but wait"))


def test_folders_that_cannot_be_loaded_are_refused_with_a_reason(tiny_folder: Path, tmp_path: Path, save: Any) -> None:
    def broken(name: str, *gone: str) -> Path:
        shutil.copytree(tiny_folder, tmp_path / name)
        for file in gone:
            (tmp_path / name / file).unlink()
        return tmp_path / name

    with pytest.raises(UserError, match="does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        opened(tiny_folder / "config.json")
    with pytest.raises(UserError, match=r"no config\.json"):
        opened(broken("a", "config.json"))
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        opened(broken("b", "tokenizer.json"))
    pickled = broken("c", "model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"no \*\.safetensors.*pytorch_model\.bin is not loaded"):
        opened(pickled)
    sharded = broken("d")
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "model-2.safetensors"}}))
    with pytest.raises(UserError, match=r"lacks 1 weight shard.*model-2\.safetensors"):
        opened(sharded)
    with pytest.raises(UserError, match="no chat template"):
        opened(save(tmp_path / "e", template=None)).render(Ask(user="?"))
    with pytest.raises(UserError, match="dtype 'float8'"):
        opened(tiny_folder, dtype="float8")


def test_ids_that_only_the_head_knows_are_never_drawn(tmp_path: Path, tiny_folder: Path) -> None:
    """A head of 1000 rows, of which the tokenizer knows 402, answers as one of 402."""
    from transformers import AutoModelForCausalLM

    wide = tmp_path / "wide"
    shutil.copytree(tiny_folder, wide)
    model = AutoModelForCausalLM.from_pretrained(str(tiny_folder))
    model.resize_token_embeddings(1000, mean_resizing=False)
    model.get_output_embeddings().weight.data[402:] = 9 * model.get_output_embeddings().weight.data[:598]
    model.save_pretrained(str(wide))
    hot = [replace(request, seed=n) for n, request in enumerate(requests(6, Sampling(temperature=1.5, max_tokens=30)))]
    narrow, padded = opened(tiny_folder), opened(wide)
    answers = padded.generate(hot)
    assert [c.token_ids for c in answers] == [c.token_ids for c in narrow.generate(hot)]
    assert padded.logprobs(Ask(user="1?"), ["12"]) == narrow.logprobs(Ask(user="1?"), ["12"])
