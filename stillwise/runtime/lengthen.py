"""What becomes of answers that the token limit cut: continued from where they stopped, or drawn again with more room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stillwise.arrows import Completion, OnBatch, Request, Tools, Truncated
from stillwise.records import Finish, derive_seed
from stillwise.runtime.around import Around


def lengthened(tools: Tools, role: str, truncated: Truncated, extra_tokens: int) -> Tools:
    """The tools with a role whose truncated answers are asked for once more; the same tools for ``keep``."""
    if truncated == "keep":
        return tools
    caller = Lengthened(tools.callers[role], truncated, extra_tokens)
    return replace(tools, callers={**tools.callers, role: caller})


@dataclass(frozen=True)
class Lengthened(Around):
    """Implements ``arrows.Caller`` round another."""

    truncated: Truncated
    extra_tokens: int

    def complete(self, requests: Sequence[Request], on_batch: OnBatch) -> list[Completion]:
        """One completion for each request; cut ones are asked for again when all the others are known."""
        cut: dict[int, Completion] = {}

        def sort(places: Sequence[int], answers: Sequence[Completion]) -> None:
            cut.update((place, a) for place, a in zip(places, answers, strict=True) if _is_cut(a))
            _hand([(p, a) for p, a in zip(places, answers, strict=True) if not _is_cut(a)], on_batch)

        answers = self.inner.complete(requests, sort)
        todo = sorted(cut)
        again = [self._again(requests[place], cut[place]) for place in todo]

        def join(places: Sequence[int], rest: Sequence[Completion]) -> None:
            joined = [(todo[place], self._joined(cut[todo[place]], a)) for place, a in zip(places, rest, strict=True)]
            _hand(joined, on_batch)

        if again:
            for place, rest in zip(todo, self.inner.complete(again, join), strict=True):
                answers[place] = self._joined(cut[place], rest)
        return answers

    def _again(self, request: Request, answer: Completion) -> Request:
        seed = derive_seed(request.seed, self.truncated)
        if self.truncated == "resample":
            limit = request.sampling.max_tokens + self.extra_tokens
            return replace(request, seed=seed, sampling=replace(request.sampling, max_tokens=limit))
        ask = replace(request.ask, prefill=request.ask.prefill + answer.text)
        return replace(request, ask=ask, seed=seed, sampling=replace(request.sampling, max_tokens=self.extra_tokens))

    def _joined(self, first: Completion, rest: Completion) -> Completion:
        if self.truncated == "resample" or rest.failure:
            return rest if not rest.failure else first
        ids = None if first.token_ids is None or rest.token_ids is None else (*first.token_ids, *rest.token_ids)
        thinking = _sum(first.num_thinking_tokens, rest.num_thinking_tokens)
        return replace(
            rest,
            text=first.text + rest.text,
            num_prompt_tokens=first.num_prompt_tokens,
            num_tokens=first.num_tokens + rest.num_tokens,
            num_thinking_tokens=thinking,
            token_ids=ids,
        )


def _sum(first: int | None, rest: int | None) -> int | None:
    return None if first is None or rest is None else first + rest


def _is_cut(answer: Completion) -> bool:
    return answer.finish is Finish.LENGTH and not answer.failure


def _hand(pairs: Sequence[tuple[int, Completion]], on_batch: OnBatch) -> None:
    if pairs:
        on_batch([place for place, _ in pairs], [answer for _, answer in pairs])
