"""How words are usually spelled in a vocabulary: what a ban of token sequences, a server's or ours, can forbid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from stillwise.models.pieces import token_pieces

_WORD_AND_MORE = re.compile(r"([^\W\d_]+)([\W_].*)", re.DOTALL)


def spelling_variants(words: Sequence[str]) -> list[str]:
    """Each word as given, lower, capitalised and upper, with and without a leading space."""
    return list(dict.fromkeys(lead + form for form in _forms(words) for lead in ("", " ")))


def spellings(tokenizer: Any, words: Sequence[str]) -> list[str]:
    """The variants, and each of them with what this vocabulary joins to its end in one token (``Wait,`` with its comma)."""
    forms = _forms(words)
    endings = {form: set[str]() for form in forms}
    for head, more in _heads_and_more(tokenizer):
        for form in forms:
            if form.endswith(head):
                endings[form].add(more)
    found = spelling_variants(words)
    for form in forms:
        plain = [tokenizer.encode(lead + form, add_special_tokens=False) for lead in ("", " ")]
        for more in sorted(endings[form]):
            texts = [lead + form + more for lead in ("", " ")]
            joined = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
            # Where the ending stays a token of its own, the word before it is forbidden already.
            found += [t for t, ids, bare in zip(texts, joined, plain, strict=True) if ids[: len(bare)] != bare]
    return list(dict.fromkeys(found))


def spelled(tokenizer: Any, words: Sequence[str]) -> list[tuple[int, ...]]:
    """The token sequences of these spellings."""
    texts = spellings(tokenizer, words)
    return list(dict.fromkeys(tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts))


def _forms(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(form for word in words for form in (word, word.lower(), word.capitalize(), word.upper())))


def _heads_and_more(tokenizer: Any) -> Iterator[tuple[str, str]]:
    """Tokens in which something else follows a word or its end, as these two parts."""
    for piece in token_pieces(tokenizer, len(tokenizer)):
        found = _WORD_AND_MORE.fullmatch(piece.decode("utf-8", "ignore"))
        if found:
            yield found[1], found[2]
