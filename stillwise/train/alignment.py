"""Two tokenisations of one text, aligned by bytes: the basis of every loss between models with different tokenizers.

Decoded pieces are never compared: a token may hold part of a character, and equal text may come from different bytes. Every
token has the bytes that it stands for; where a token of one side and a token of the other end at the same byte, a group
ends. Groups partition both sequences, in order, and are as short as they can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from stillwise.errors import StillwiseError, UserError


@dataclass(frozen=True, slots=True)
class Group:
    """A stretch of bytes that both sides cut at its ends: half-open ranges of tokens."""

    ours: tuple[int, int]
    theirs: tuple[int, int]


def aligned(ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[Group]:
    """The finest groups of two tokenisations of the same bytes; StillwiseError where the bytes differ.

    A token without bytes (a control token that both sides strip) belongs to the group that is open where it stands.
    """
    if b"".join(ours) != b"".join(theirs):
        raise StillwiseError(f"two tokenisations of different bytes: {_difference(b''.join(ours), b''.join(theirs))}")
    ends, others = _last_at(ours), _last_at(theirs)
    groups: list[Group] = []
    i = j = 0
    for byte in sorted(ends.keys() & others.keys()):
        groups.append(Group((i, ends[byte]), (j, others[byte])))
        i, j = ends[byte], others[byte]
    return groups


def _last_at(pieces: Sequence[bytes]) -> dict[int, int]:
    """Byte offset to the number of tokens that have ended there (those without bytes included)."""
    offsets = accumulate(len(piece) for piece in pieces)
    return {offset: number for number, offset in enumerate(offsets, start=1) if offset}


def _difference(a: bytes, b: bytes) -> str:
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"from byte {at}: {a[at : at + 20]!r} and {b[at : at + 20]!r}"


@lru_cache(maxsize=1)
def byte_of_character() -> dict[str, int]:
    """The byte for which each character of a byte-level BPE vocabulary stands (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


def byte_table(tokenizer: Any) -> dict[int, bytes]:
    """The bytes of every token: byte-level BPE and added tokens exactly, SentencePiece's pieces by its ``▁`` and ``<0x..>``."""
    added = {token: str(entry.content) for token, entry in tokenizer.added_tokens_decoder.items()}
    words = {token: word for word, token in tokenizer.get_vocab().items() if token not in added}
    # Added tokens may be written with the mark of the other sort.
    level = None if any("▁" in word for word in words.values()) else byte_of_character()
    return {**{token: _piece(word, level) for token, word in words.items()}, **{t: w.encode() for t, w in added.items()}}


def token_bytes(table: Mapping[int, bytes], ids: Sequence[int]) -> list[bytes]:
    """The bytes of each token of a sequence."""
    missing = next((token for token in ids if token not in table), None)
    if missing is not None:
        raise UserError(f"token id {missing} is not in the tokenizer's vocabulary")
    return [table[token] for token in ids]


def _piece(word: str, level: dict[str, int] | None) -> bytes:
    if level is not None and all(character in level for character in word):
        return bytes(level[character] for character in word)
    if len(word) == 6 and word.startswith("<0x") and word.endswith(">"):
        return bytes([int(word[3:5], 16)])
    return word.replace("▁", " ").encode()
