"""The program in an answer: the last fenced block that says it is Python, else the last block."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*\n", re.MULTILINE)
_PYTHON = frozenset({"python", "py", "python3", "py3"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    code: str
    closed: bool = True
    """False where the answer ends before the fence does."""

    @property
    def is_python(self) -> bool:
        """Whether the fence names Python."""
        return self.language in _PYTHON


def blocks(text: str) -> list[Block]:
    """All fenced blocks in order; one that is indented (in a list) comes without its indentation."""
    found: list[Block] = []
    at = 0
    while opening := _FENCE.search(text, at):
        indent, fence, language = opening.groups()
        closing = re.compile(rf"^[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE).search(text, opening.end())
        code = text[opening.end() : closing.start() if closing else len(text)]
        found.append(Block(language.casefold(), textwrap.dedent(code) if indent else code, closing is not None))
        at = closing.end() if closing else len(text)
    return found


def find_code(solution: str) -> tuple[str, str] | None:
    """The program and the rule that found it (``python_block``, ``last_block``; ``…_open`` where the fence never closes)."""
    filled = [block for block in blocks(solution) if block.code.strip()]
    tagged = [block for block in filled if block.is_python]
    if not filled:
        return None
    chosen = (tagged or filled)[-1]
    rule = "python_block" if tagged else "last_block"
    return chosen.code, rule if chosen.closed else f"{rule}_open"
