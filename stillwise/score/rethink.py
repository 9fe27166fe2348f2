"""How often a model doubts itself: the paper's six words, and what they and the tokens come to by paradigm."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

from stillwise.arrows import Scorer, Tools
from stillwise.records import Problem, Score, Trace

Scope = Literal["thought", "all"]
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class RethinkWords(Scorer):
    """Rethink words per 1,000 words of a trace, counted as whole words in any case."""

    kind: ClassVar[str] = "rethink_words"
    words: tuple[str, ...] = ("alternatively", "another", "but", "hmm", "verify", "wait")
    """The six words that NoRethink forbids (curriculum distillation, §3.1)."""
    scope: Scope = "all"
    """``thought`` counts inside the thinking only, ``all`` in the whole text."""

    def score(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> list[Score]:
        """One rate for each trace; None where the scope holds no words."""
        return [self.rate(trace) for trace in traces]

    def rate(self, trace: Trace) -> Score:
        """The rate of one trace."""
        found, total = count(scoped(trace, self.scope), self.words)
        if total == 0:
            return Score(name=self.kind, value=None, detail="no words")
        return Score(name=self.kind, value=1000 * sum(found.values()) / total, detail=f"{sum(found.values())} of {total} words")


def scoped(trace: Trace, scope: Scope) -> str:
    """The thinking, or the whole text without its thinking tags."""
    if scope == "thought":
        return trace.span("thinking") or ""
    return "\n".join(trace.text[span.start : span.end] for span in trace.spans) if trace.spans else trace.text


def count(text: str, words: Sequence[str]) -> tuple[Counter[str], int]:
    """How often each of the words stands in the text as a whole word, and how many words the text has."""
    return Counter(match[0].casefold() for match in _pattern(tuple(words)).finditer(text)), num_words(text)


def num_words(text: str) -> int:
    """Words of letters; numbers and formulas' signs are none."""
    return sum(1 for _ in _WORD.finditer(text))


@lru_cache(maxsize=32)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)


def rethink_rates(
    traces: Iterable[Trace], scorer: RethinkWords | None = None, count_tokens: Callable[[str], int] | None = None
) -> dict[str, dict[str, Any]]:
    """For each paradigm: traces, mean and median length, rethink words per 1,000 words, and each word's count.

    Length is in tokens as generated where every trace of the paradigm has them, else in ``count_tokens``'s tokens of the
    text, else in words; ``length_unit`` says which. The rate pools all traces: words found over words written.
    """
    counter = scorer or RethinkWords()
    groups: defaultdict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        groups[trace.paradigm].append(trace)
    return {paradigm: _summary(groups[paradigm], counter, count_tokens) for paradigm in sorted(groups)}


def _summary(traces: list[Trace], scorer: RethinkWords, count_tokens: Callable[[str], int] | None) -> dict[str, Any]:
    counts = [count(scoped(trace, scorer.scope), scorer.words) for trace in traces]
    found = sum((each for each, _ in counts), Counter[str]())
    total = sum(each for _, each in counts)
    unit, lengths = _lengths(traces, count_tokens)
    return {
        "traces": len(traces),
        "length_unit": unit,
        "mean_length": statistics.fmean(lengths),
        "median_length": statistics.median(lengths),
        "rethink_per_1000_words": 1000 * found.total() / total if total else None,
        "rethink_words": dict(sorted(found.items())),
        "words": total,
    }


def _lengths(traces: list[Trace], count_tokens: Callable[[str], int] | None) -> tuple[str, list[int]]:
    given = [trace.num_tokens for trace in traces if trace.num_tokens is not None]
    if len(given) == len(traces):
        return "tokens as generated", given
    if count_tokens is not None:
        return "tokens of the text", [count_tokens(trace.text) for trace in traces]
    return "words", [num_words(scoped(trace, "all")) for trace in traces]
