"""A place in a list of tokens: looking, taking, and the small things that are read without a grammar."""

from __future__ import annotations

from stillwise.verify.latex import Token, Unreadable

END = Token("end", "")


class Cursor:
    """Reads tokens from left to right."""

    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.place = 0
        self.depth = self.nested = 0
        self.sign = 1
        self.forked = False
        self.bars = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.place] if self.place < len(self.tokens) else END

    def take(self) -> Token:
        token = self.next
        self.place += 1
        return token

    def at(self, *texts: str) -> bool:
        return self.next.kind in ("op", "sep") and self.next.text in texts

    def skip(self, text: str) -> bool:
        if self.next.kind == "op" and self.next.text == text:
            self.place += 1
            return True
        return False

    def words(self) -> str:
        found = []
        while self.next.kind == "words":
            found.append(self.take().text)
        return " ".join(found)

    def _until_brace(self) -> str:
        text = self.take().text
        if not self.skip("}"):
            raise Unreadable("a power of a unit")
        return text

    def signs(self) -> int:
        sign = 1
        while self.at("+", "-", "±", "∓"):
            text = self.take().text
            self.forked |= text in "±∓"
            sign *= {"+": 1, "-": -1, "±": self.sign, "∓": -self.sign}[text]
        return sign

    def subscript(self) -> str:
        if not self.skip("{"):
            return self.take().text
        found, depth = [], 1
        while depth:
            token = self.take()
            if token is END:
                raise Unreadable("a subscript is never closed")
            depth += (token.text == "{") - (token.text == "}")
            found.append(token.text)
        return " ".join(found[:-1])

    def _name(self) -> str:
        if not self.skip("{"):
            raise Unreadable("an environment without a name")
        found = ""
        while not self.skip("}"):
            token = self.take()
            if token is END:
                raise Unreadable("an environment without a name")
            found += token.text
        return found
