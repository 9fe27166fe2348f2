"""Words that generation can never produce: an automaton over the decoded text, and the token ban that servers offer.

A word is a maximal run of letters and digits (``str.isalnum``); everything else, underscore and apostrophe included, is a
boundary, and so are both ends of the text. The automaton forbids the token that would complete a banned word *and* its
boundary: after "but" a letter may follow ("butter"), a space, a comma or the end may not. Case never matters. Because the
automaton reads decoded bytes, it does not matter how the tokenizer splits a word.

It cannot run dry: a token after which a banned word could only be ended is forbidden too, so each state keeps an allowed
token; a vocabulary for which that is impossible is refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from stillwise.arrows import Ban
from stillwise.errors import UserError
from stillwise.models.spellings import spelled
from stillwise.records import THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]

# V vocabulary

OTHER_WORD = "\0"
"""Stands for a word that is no beginning of a banned one, until its end."""

_WORD = re.compile(r"[^\W_]+")
_GAP = re.compile(r"[\W_]+")
_TAGS = re.compile(f"{re.escape(THINK_OPEN)}|{re.escape(THINK_CLOSE)}")
_TAG_BYTES = len(THINK_CLOSE)


def fold(text: str) -> str:
    """The text without case, character by character, so that no offset moves; dotted and dotless i are one letter."""
    return "".join(map(_fold_char, text))


def _fold_char(char: str) -> str:
    folded = "i" if char in "\u0130\u0131" else char.casefold()
    return folded if len(folded) == 1 else char


def banned_words_in(text: str, ban: Ban) -> list[str]:
    """Banned words that stand in a text as whole words, folded, within the ban's scope; in order."""
    words = "|".join(re.escape(fold(word)) for word in ban.words)
    pattern = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])")
    regions = _thoughts(text) if ban.scope == "thought" else [text]
    return [found for region in regions for found in pattern.findall(fold(region))]


def _thoughts(text: str) -> Iterator[str]:
    """The parts of a text that stand inside a thought: after an opening tag, up to the next closing one."""
    inside, start = False, 0
    for tag in _TAGS.finditer(text):
        if inside:
            yield text[start : tag.start()]
        inside, start = tag.group() == THINK_OPEN, tag.end()
    if inside:
        yield text[start:]


@dataclass(frozen=True, slots=True)
class State:
    """Where the text stands: the unfinished word, folded, and the bytes of an unfinished character."""

    word: str = ""
    pending: bytes = b""


class WordAutomaton:
    """Which tokens each state forbids, and where each token leads; computed when a state is first met."""

    def __init__(self, words: Sequence[str], pieces: Sequence[bytes], eos: Sequence[int]) -> None:
        self.words = frozenset(fold(word) for word in words)
        self._eos = list(eos)
        self._prefixes = frozenset(w[:n] for w in self.words for n in range(len(w) + 1))
        self._infixes = frozenset(w[i:j] for w in self.words for i in range(len(w)) for j in range(i + 1, len(w) + 1))
        self._filler = self._letter_of_no_word()
        self._shapes, self._shape_of_V = self._classify(pieces)
        self._after: dict[tuple[State, int], tuple[State, bool]] = {}
        self._forbidden: dict[tuple[State, bool], Bools] = {}

    def _letter_of_no_word(self) -> str:
        letters = {letter for word in self.words for letter in word}
        return next(c for c in map(chr, range(0x30, 0x10000)) if c.isalnum() and fold(c) == c and c not in letters)

    def _classify(self, pieces: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
        index: dict[bytes, int] = {}
        shape_of_V = [index.setdefault(self._shape(piece), len(index)) for piece in pieces]
        return list(index), shape_of_V

    def _shape(self, piece: bytes) -> bytes:
        """A short piece with the same effect in every state; a vocabulary of 150,000 has a few hundred shapes."""
        try:
            text = fold(piece.decode())
        except UnicodeDecodeError:
            return piece

        def kept(run: re.Match[str]) -> str:
            known = self._infixes if run.start() == 0 else self._prefixes
            return run.group() if run.group() in known else self._filler

        return _GAP.sub(" ", _WORD.sub(kept, text)).encode()

    def read(self, state: State, data: bytes) -> tuple[State, bool]:
        """The state after these bytes, and whether a banned word was completed on the way."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        word, completed = state.word, False
        for char in decoder.decode(state.pending + data):
            if char.isalnum():
                longer = word + _fold_char(char)
                word = longer if longer in self._prefixes else OTHER_WORD
            else:
                completed |= word in self.words
                word = ""
        return State(word, decoder.getstate()[0]), completed

    def after(self, state: State, token: int) -> State:
        """The state after a token, allowed or not."""
        return self._step(state, self._shape_of_V[token])[0]

    def _step(self, state: State, shape: int) -> tuple[State, bool]:
        key = (state, shape)
        if key not in self._after:
            self._after[key] = self.read(state, self._shapes[shape])
        return self._after[key]

    def _escapable(self, state: State) -> bool:
        """Whether one token leads out of a complete banned word without ending it."""
        steps = (self._step(state, shape) for shape in range(len(self._shapes)))
        return any(not completed and after.word not in self.words for after, completed in steps)

    def _forbids(self, state: State, shape: int, last: bool) -> bool:
        after, completed = self._step(state, shape)
        return completed or (after.word in self.words and (last or not self._escapable(after)))

    def forbidden(self, state: State, last: bool) -> Bools:
        """forbidden_V of a state; ``last`` where the token limit ends the text after the next token."""
        key = (state, last)
        if key not in self._forbidden:
            self._forbidden[key] = self._forbidden_row(state, last)
        return self._forbidden[key]

    def _forbidden_row(self, state: State, last: bool) -> Bools:
        import numpy as np

        by_shape = np.array([self._forbids(state, shape, last) for shape in range(len(self._shapes))])
        forbidden_V: Bools = by_shape[np.array(self._shape_of_V)]
        forbidden_V[self._eos] = state.word in self.words
        if forbidden_V.all():
            raise UserError(
                f"no token of the vocabulary may follow {state.word!r} under the banned words {sorted(self.words)}; "
                "ban fewer words or use mode token_ban"
            )
        return forbidden_V


class Guard(Protocol):
    """One row's view of a ban while it is generated."""

    def forbidden(self, last: bool) -> Bools | None:
        """forbidden_V for the next token, or None where all are allowed; equal answers are one object."""

    def append(self, token: int) -> None:
        """Take note of the chosen token."""


@dataclass
class WordGuard:
    """Guards one row by the automaton."""

    automaton: WordAutomaton
    state: State

    def forbidden(self, last: bool) -> Bools | None:
        """forbidden_V in the row's state."""
        return self.automaton.forbidden(self.state, last)

    def append(self, token: int) -> None:
        """Move to the next state."""
        self.state = self.automaton.after(self.state, token)


class TokenSequences:
    """Token sequences that are forbidden as servers do it: the last token of one, once the ones before it were generated."""

    def __init__(self, sequences: Sequence[tuple[int, ...]], size: int) -> None:
        self._size = size
        self._last_of: dict[tuple[int, ...], set[int]] = {}
        for sequence in sequences:
            self._last_of.setdefault(sequence[:-1], set()).add(sequence[-1])
        self._lengths = sorted({len(begin) for begin in self._last_of})
        self._masks: dict[tuple[tuple[int, ...], ...], Bools | None] = {}

    def forbidden(self, generated: Sequence[int]) -> Bools | None:
        """forbidden_V after these generated tokens."""
        tails = (tuple(generated[len(generated) - n :]) for n in self._lengths if n <= len(generated))
        met = tuple(tail for tail in tails if tail in self._last_of)
        if met not in self._masks:
            self._masks[met] = self._mask(met)
        return self._masks[met]

    def _mask(self, met: tuple[tuple[int, ...], ...]) -> Bools | None:
        import numpy as np

        mask_V = np.zeros(self._size, dtype=np.bool_)
        mask_V[sorted(set().union(*(self._last_of[begin] for begin in met)))] = True
        return mask_V if met else None


@dataclass
class TokenGuard:
    """Guards one row by token sequences."""

    sequences: TokenSequences
    generated: list[int] = field(default_factory=list)

    def forbidden(self, last: bool) -> Bools | None:
        """forbidden_V after what was generated."""
        return self.sequences.forbidden(self.generated)

    def append(self, token: int) -> None:
        """Remember the token."""
        self.generated.append(token)


@dataclass
class ThoughtGuard:
    """A guard that forbids only inside a thought; it reads the tags from the decoded text, however they are split."""

    inner: Guard
    pieces: Sequence[bytes]
    inside: bool = False
    tail: bytes = b""

    def forbidden(self, last: bool) -> Bools | None:
        """The inner guard's answer inside a thought, None elsewhere."""
        return self.inner.forbidden(last) if self.inside else None

    def append(self, token: int) -> None:
        """Move the inner guard, and enter or leave the thought."""
        self.inner.append(token)
        self.read(self.pieces[token])

    def read(self, data: bytes) -> None:
        """Enter or leave a thought by the last tag that these bytes complete."""
        text = self.tail + data
        opened, closed = text.rfind(THINK_OPEN.encode()), text.rfind(THINK_CLOSE.encode())
        if max(opened, closed) >= 0:
            self.inside = opened > closed
        self.tail = text[-_TAG_BYTES:]


@dataclass
class Bans:
    """Makes guards for one vocabulary; automata are shared by rows with equal words."""

    tokenizer: Any
    pieces: Sequence[bytes]
    eos: tuple[int, ...]
    _automata: dict[tuple[str, ...], WordAutomaton] = field(default_factory=dict)
    _sequences: dict[tuple[str, ...], TokenSequences] = field(default_factory=dict)

    def guard(self, ban: Ban | None, start: str) -> Guard | None:
        """The guard of a row whose answer already begins with ``start`` (opened and prefilled), or None without a ban."""
        if ban is None or not ban.words:
            return None
        inner = self._token_guard(ban.words) if ban.mode == "token_ban" else self._word_guard(ban.words, start)
        if ban.scope == "generation":
            return inner
        guard = ThoughtGuard(inner, self.pieces)
        guard.read(start.encode())
        return guard

    def _word_guard(self, words: tuple[str, ...], start: str) -> WordGuard:
        if words not in self._automata:
            self._automata[words] = WordAutomaton(words, self.pieces, self.eos)
        automaton = self._automata[words]
        return WordGuard(automaton, automaton.read(State(), start.encode())[0])

    def _token_guard(self, words: tuple[str, ...]) -> TokenGuard:
        if words not in self._sequences:
            self._sequences[words] = TokenSequences(spelled(self.tokenizer, words), len(self.pieces))
        return TokenGuard(self._sequences[words])
