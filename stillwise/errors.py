"""Every error that a user can meet. Each message says what, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


class StillwiseError(Exception):
    """Root of the errors that are raised on purpose; the command line prints them without a traceback."""

    exit_code = 1


class UserError(StillwiseError):
    """The user's input or machine cannot do what was asked; nothing was overwritten. Exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: dotted path, line (1-based, None if unknown), and the message."""

    where: str
    line: int | None
    what: str


class RecipeError(UserError):
    """A recipe, binding or override that cannot be run as written. Carries every fault found, not only the first."""

    def __init__(self, path: str, faults: Sequence[Fault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda f: (f.line or 0, f.where)))
        rows = [f"  {path}:{f.line or '?'}  {f.where}: {f.what}" for f in self.faults]
        super().__init__("\n".join([f"{len(self.faults)} fault(s) in {path}", *rows]))


class MissingExtra(UserError):
    """A part needs a package that is not installed; names the pip command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'stillwise[{extra}]'")


class RunLocked(UserError):
    """Another process is working in this run folder."""


class CorruptOutput(UserError):
    """A stored shard does not match its manifest; names the file and what to do."""


class TooManyFailures(StillwiseError):
    """More items failed than the recipe's ``max_failure_rate`` allows."""


class BudgetReached(StillwiseError):
    """The next call could cost more than is left of the budget; what was paid for is kept, and a larger budget goes on."""


class StepError(StillwiseError):
    """A part raised while working; names the step, the part and the item."""


@contextmanager
def blame(step: str, part: str, item: str) -> Iterator[None]:
    """Errors raised inside leave as a StepError that names step, part and item; our own errors pass unchanged."""
    try:
        yield
    except StillwiseError:
        raise
    except Exception as err:
        raise StepError(f"step {step!r}, part {part!r}, item {item!r}: {type(err).__name__}: {err}") from err


def nearest(word: str, known: Iterable[str]) -> str:
    """The ending of an error message about an unknown word: the nearest known word, or all of them."""
    import difflib

    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(words) or 'none'}"
