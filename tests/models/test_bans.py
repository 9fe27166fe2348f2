"""Banned words can never be produced; words that contain them can; there is always a way on."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stillwise.arrows import Ask, Ban, Request
from stillwise.errors import UserError
from stillwise.models.bans import Bans, Guard, State, WordAutomaton, banned_words_in
from stillwise.models.pieces import token_pieces
from stillwise.models.spellings import spelled, spelling_variants, spellings
from stillwise.models.transformers import TransformersModel
from stillwise.records import Sampling

WORDS = ("alternatively", "another", "but", "hmm", "verify", "wait")
BANNED = re.compile(rf"(?<![^\W_])(?:{'|'.join(WORDS)})(?![^\W_])", re.IGNORECASE)
EOS = 0
LETTERS = [b"b", b"u", b"t", b"bu", b"ut", b"ter", b"but", b" but", b"Wa", b"it", b" wait", b"hm", b"m", b"H", b"ing"]
SIGNS = [b" ", b"\n", b",", b"'s", b"_", b". But ", b"\xc3", b"\xa9", b"\xe2", b"\x80", b"\xa6", b"\xf0", b"3"]
PIECES = [b"<end>", *LETTERS, *SIGNS]


def walk(guard: Guard, pieces: Sequence[bytes], steps: int, rng: random.Random) -> bytes:
    """A random text of up to ``steps`` allowed tokens."""
    text = b""
    for step in range(steps):
        forbidden = guard.forbidden(step == steps - 1)
        allowed = [i for i in range(len(pieces)) if forbidden is None or not forbidden[i]]
        token = rng.choice(allowed)
        if token == EOS:
            break
        guard.append(token)
        text += pieces[token]
    return text


def word_guard(pieces: Sequence[bytes] = PIECES, **ban: Any) -> Guard:
    guard = Bans(None, pieces, (EOS,)).guard(Ban(words=WORDS, **ban), "")
    assert guard is not None
    return guard


def test_no_random_walk_completes_a_banned_word() -> None:
    rng, texts = random.Random(0), []
    bans = Bans(None, PIECES, (EOS,))
    for _ in range(3000):
        guard = bans.guard(Ban(words=WORDS), "")
        assert guard is not None
        texts.append(walk(guard, PIECES, rng.randrange(1, 30), rng).decode("utf-8", "replace"))
    assert not [text for text in texts if BANNED.search(text)]
    assert [text for text in texts if re.search("butt", text, re.IGNORECASE)], "the walks come near the banned words"
    free = [b"".join(rng.choices(PIECES[1:], k=20)).decode("utf-8", "replace") for _ in range(300)]
    assert sum(bool(BANNED.search(text)) for text in free) > 30, "without a ban the same vocabulary says them"


def test_only_the_boundary_is_forbidden_after_a_banned_word() -> None:
    automaton = WordAutomaton(WORDS, PIECES, (EOS,))
    forbidden = automaton.forbidden(State("but"), False)
    for piece in (b" ", b",", b"'s", b"_", b"\n", b"<end>", b" but"):
        assert forbidden[PIECES.index(piece)], piece
    for piece in (b"ter", b"t", b"ing", b"3"):
        assert not forbidden[PIECES.index(piece)], piece
    assert not automaton.forbidden(State(), False)[PIECES.index(b"but")], "butter must stay possible"
    assert automaton.forbidden(State(), True)[PIECES.index(b"but")], "but the limit is a boundary too"
    assert automaton.forbidden(State("x"), False)[PIECES.index(b". But ")], "a word inside one token counts too"


@pytest.mark.parametrize("text", ["butter", "Rebut", "waiting", "but3", "ahmm", "buté", "verifying"])
def test_words_that_contain_a_banned_one_are_reachable(text: str) -> None:
    automaton = WordAutomaton(WORDS, [b"<end>", *(bytes([b]) for b in range(256))], (EOS,))
    state = State()
    for byte in text.encode():
        assert not automaton.forbidden(state, False)[byte + 1], (text, state)
        state = automaton.after(state, byte + 1)
    assert not automaton.forbidden(state, False)[EOS]


def test_a_token_that_leaves_no_way_on_is_forbidden() -> None:
    pieces = [b"<end>", b" but", b" ", b"\xf4", b"a"]
    assert not WordAutomaton(["but"], pieces, (EOS,)).forbidden(State(), False)[1]
    assert WordAutomaton(["but"], pieces[:4], (EOS,)).forbidden(State(), False)[1], "no letter could follow"
    assert WordAutomaton(["but"], pieces, (EOS,)).forbidden(State("but"), False)[3], "no letter begins with this byte"


def test_a_vocabulary_without_any_way_on_is_refused() -> None:
    with pytest.raises(UserError, match="no token of the vocabulary may follow"):
        WordAutomaton(["but"], [b"<end>", b" "], (EOS,)).forbidden(State("but"), False)


def test_the_start_of_the_answer_counts() -> None:
    guard = Bans(None, PIECES, (EOS,)).guard(Ban(words=WORDS), "I say bu")
    assert guard is not None
    guard.append(PIECES.index(b"t"))
    forbidden = guard.forbidden(False)
    assert forbidden is not None
    assert forbidden[PIECES.index(b" ")]


def test_the_thought_scope_ends_with_the_thought() -> None:
    pieces = [b"<end>", b"<thi", b"nk>", b"</thi", b"but", b" ", b"ter"]
    guard = Bans(None, pieces, (EOS,)).guard(Ban(words=WORDS, scope="thought"), "")
    assert guard is not None
    for outside in (b"but", b" "):
        assert guard.forbidden(False) is None
        guard.append(pieces.index(outside))
    for tag in (b"<thi", b"nk>", b"but"):
        guard.append(pieces.index(tag))
    inside = guard.forbidden(False)
    assert inside is not None
    assert inside[pieces.index(b"</thi")], "but</think> would complete the word"
    assert inside[pieces.index(b" ")]
    for closing in (b"ter", b"</thi", b"nk>", b"but"):
        guard.append(pieces.index(closing))
    assert guard.forbidden(False) is None


@pytest.mark.parametrize(
    ("text", "scope", "found"),
    [
        ("But, butter and WAİT wait", "generation", ["but", "wait", "wait"]),
        ("but <think>wait</think> hmm", "thought", ["wait"]),
        ("rebut another's _but_", "generation", ["another", "but"]),
        ("but1 1but éhmm", "generation", []),
    ],
)
def test_the_scan_finds_whole_words_in_scope(text: str, scope: Any, found: list[str]) -> None:
    assert banned_words_in(text, Ban(words=WORDS, scope=scope)) == found


def test_a_real_vocabulary_without_banned_words_in_thousands_of_sampled_tokens(tiny_folder: Path) -> None:
    texts = _sampled(tiny_folder, Ban(words=WORDS))
    assert sum(map(len, texts)) > 5000
    assert not [text for text in texts if BANNED.search(text)]
    assert len([text for text in _sampled(tiny_folder, None) if BANNED.search(text)]) > 5


def test_a_token_ban_lets_split_words_through(tiny_folder: Path) -> None:
    """The documented difference: servers forbid the usual spellings, another split of the same word gets through."""
    model = TransformersModel(str(tiny_folder), threads=1, batch_tokens=8192)
    tokenizer = model._tokenizer
    guard = Bans(tokenizer, token_pieces(tokenizer, len(tokenizer)), (2,)).guard(Ban(words=("but",), mode="token_ban"), "")
    assert guard is not None
    whole = tokenizer.encode(" but", add_special_tokens=False)
    for token in whole[:-1]:
        guard.append(token)
    forbidden = guard.forbidden(False)
    assert forbidden is not None
    assert forbidden[whole[-1]]
    guard = Bans(tokenizer, token_pieces(tokenizer, len(tokenizer)), (2,)).guard(Ban(words=("but",), mode="token_ban"), "")
    assert guard is not None
    for letter in "but":
        token = tokenizer.convert_tokens_to_ids(letter)
        forbidden = guard.forbidden(False)
        assert forbidden is None or not forbidden[token]
        guard.append(token)


def _sampled(folder: Path, ban: Ban | None) -> list[str]:
    model = TransformersModel(str(folder), threads=1, batch_tokens=100_000)
    sampling = Sampling(temperature=5.0, top_p=1.0, max_tokens=60)
    asks = [Request(ask=Ask(user=f"question {i}", ban=ban), sampling=sampling, seed=i) for i in range(90)]
    return [completion.text for completion in model.generate(asks)]


def test_a_token_ban_knows_what_a_vocabulary_joins_to_a_word(tiny_folder: Path) -> None:
    """A token such as ``wait,`` is a spelling too, where the vocabulary has one; an ending of its own token is none."""
    tokenizer = TransformersModel(str(tiny_folder), threads=1, batch_tokens=8192)._tokenizer
    plain = spellings(tokenizer, ("but",))
    assert plain == spelling_variants(("but",))
    tokenizer.add_tokens(["but, "])
    assert "but, " in spellings(tokenizer, ("but",))
    assert tuple(tokenizer.encode("but, ", add_special_tokens=False)) in spelled(tokenizer, ("but",))
