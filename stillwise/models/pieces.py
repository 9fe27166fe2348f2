"""The bytes that each token adds to the decoded text: what stop strings, bans and the text itself are read from."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

from stillwise.records import THINK_CLOSE, THINK_OPEN

_OPEN, _CLOSE = THINK_OPEN.encode(), THINK_CLOSE.encode()
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the highest id that the tokenizer knows, added tokens included: a head's rows from here on are padding.

    This is ``len(tokenizer)`` where its ids have no gaps.
    """
    highest: int = max(tokenizer.get_vocab().values())
    return highest + 1


def token_pieces(tokenizer: Any, size: int) -> list[bytes]:
    """One byte string for each token id below ``size``; ids that the tokenizer does not know add nothing.

    Concatenating the pieces and decoding them as UTF-8 (bad bytes replaced) gives the text of any token sequence. Special
    tokens stand for their own name.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    of_token = _byte_level if "ByteLevel" in json.dumps(backend.get("decoder")) else _sentencepiece
    added = {item["id"]: item["content"].encode() for item in backend.get("added_tokens", ())}
    pieces = [b""] * size
    for token, index in tokenizer.get_vocab().items():
        if index < size:
            pieces[index] = added[index] if index in added else of_token(token)
    return pieces


def text_of(pieces: Sequence[bytes], token_ids: Sequence[int]) -> str:
    """The text of generated tokens as the continuation of a prompt (a leading space survives)."""
    return b"".join(pieces[i] for i in token_ids).decode("utf-8", "replace")


def thinking_tokens(pieces: Sequence[bytes], token_ids: Sequence[int], start: str) -> int:
    """How many of the tokens stand before the end of the thought: its closing tag included, all of an unclosed one.

    ``start`` is the part of the answer that was not generated; a thought that it holds whole counts nothing.
    """
    parts = [pieces[i] for i in token_ids]
    text = start.encode() + b"".join(parts)
    opened, closed = text.find(_OPEN), text.rfind(_CLOSE)
    if closed < 0 or closed < opened:
        return len(token_ids) if opened >= 0 else 0
    begins = itertools.accumulate(map(len, parts), initial=len(start.encode()))
    return sum(begin < closed + len(_CLOSE) for begin in itertools.islice(begins, len(parts)))


def _byte_level(token: str) -> bytes:
    return b"".join(bytes([_BYTE_OF_CHAR[c]]) if c in _BYTE_OF_CHAR else c.encode() for c in token)


def _sentencepiece(token: str) -> bytes:
    single = _BYTE_TOKEN.match(token)
    return bytes.fromhex(single.group(1)) if single else token.replace("\u2581", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte, inverted: printable bytes stand for themselves, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_BYTE_OF_CHAR = _byte_alphabet()
