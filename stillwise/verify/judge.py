"""A model as judge of equivalence, with a strict verdict, both orders, and its agreement with the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from stillwise.arrows import Ask, Request, Tools, Verifier
from stillwise.parts import Role
from stillwise.records import Outcome, Problem, Sampling, Trace, Verdict, derive_seed
from stillwise.runtime.prompts import excerpt, only_object, packaged, schema
from stillwise.verify.answers import Found, comparable, decided, undecided

Pair = tuple[Problem, Trace]
_DECIDED = (Outcome.CORRECT, Outcome.INCORRECT)
VERDICT = schema(equivalent={"type": "boolean"}, reason={"type": "string"})
"""The form of a reply, for servers that can hold a model to it."""


class Judge(Verifier):
    """Whether a model finds the answer and the reference equivalent (notes of HardVerify-Math: rules miss such answers).

    The reply must be one JSON object with a boolean; anything else is UNDECIDED, never a guess. With ``both_orders`` the two
    answers change places and only an agreement counts.
    """

    kind: ClassVar[str] = "judge"
    by: Role = "judge"
    """The role whose model judges."""
    prompt: str = "judge-1"
    """The packaged text that is asked, with its version."""
    both_orders: bool = True
    """Ask with the answers swapped too: equivalence is symmetric, models are not."""
    rules: Verifier | None = None
    """A verifier whose verdict stands beside the judge's, for the agreement; none by default."""
    ask: Literal["all", "undecided"] = "all"
    """undecided: the judge hears only what the rules could not decide, whose verdicts stand."""
    anchored_only: bool = False
    """Accept only an answer that the model marked."""
    max_tokens: int = 512
    """Length of a reply; a longer one is UNDECIDED."""
    max_question_chars: int = 4000
    """A longer question is shown by its two ends."""

    def verify(self, problem: Problem, trace: Trace) -> Verdict:
        """UNDECIDED with the reason: without a model only the rules' verdict could be had."""
        found = comparable(problem, trace, self.anchored_only, self._grader("no model"), prose=True)
        return found if isinstance(found, Verdict) else undecided(found, self._grader("no model"), "a judge needs its model")

    def decide(self, pairs: Sequence[Pair], tools: Tools) -> list[Verdict]:
        """The judge's verdicts, each with what the rules said; in the order of the pairs."""
        beside = self.rules.decide(pairs, tools) if self.rules else [None] * len(pairs)
        grader = self._grader(tools.callers[self.by].revision)
        found = [comparable(problem, trace, self.anchored_only, grader, prose=True) for problem, trace in pairs]
        asked = [i for i, item in enumerate(found) if isinstance(item, Found) and self._is_asked(beside[i])]
        answers = [(pairs[i][0], item.text) for i in asked if isinstance(item := found[i], Found)]
        replies = self._replies(answers, tools)
        judged = {i: replies[n] for n, i in enumerate(asked)}
        verdicts = []
        for i, item in enumerate(found):
            rule = beside[i]
            if i in judged and isinstance(item, Found):
                verdicts.append(_of_replies(judged[i], item, grader, rule))
            else:
                verdicts.append(
                    rule if rule is not None else item if isinstance(item, Verdict) else undecided(item, grader, "")
                )
        return verdicts

    def _is_asked(self, rule: Verdict | None) -> bool:
        return self.ask == "all" or rule is None or rule.outcome not in _DECIDED

    def _replies(self, asked: Sequence[tuple[Problem, str]], tools: Tools) -> list[list[bool | None]]:
        """What each order of each pair was judged, None where the reply was no verdict."""
        prompt, orders = packaged("stillwise.verify", self.prompt), (0, 1) if self.both_orders else (0,)
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=self.max_tokens)
        requests = []
        for problem, answer in asked:
            for order in orders:
                first, second = (problem.answer or "", answer)[:: -1 if order else 1]
                question = excerpt(problem.question, self.max_question_chars)
                text = prompt.filled(question=question, first=first, second=second)
                seed = derive_seed(tools.seed, tools.step, self.by, self.prompt, problem.id, answer, order)
                requests.append(Request(ask=Ask(user=text, schema=VERDICT), sampling=sampling, seed=seed))
        answers = tools.callers[self.by].complete(requests, lambda places, completions: None) if requests else []
        said = [equivalent(answer.text) for answer in answers]
        return [said[n : n + len(orders)] for n in range(0, len(said), len(orders))]

    def _grader(self, revision: str) -> str:
        return f"{self.prompt}/{revision}"


def equivalent(reply: str) -> bool | None:
    """The verdict of a reply: one JSON object whose ``equivalent`` is a boolean; None for anything else."""
    found = only_object(reply.rpartition("</think>")[2])
    value = None if found is None else found.get("equivalent")
    return value if isinstance(value, bool) else None


def _of_replies(said: Sequence[bool | None], found: Found, grader: str, rule: Verdict | None) -> Verdict:
    beside = "" if rule is None else f"; rules ({rule.grader}): {rule.outcome.value}"
    if None in said:
        return undecided(found, grader, f"the reply is no verdict{beside}")
    if len(set(said)) > 1:
        return undecided(found, grader, f"the two orders disagree{beside}")
    return decided(bool(said[0]), found, grader, beside.removeprefix("; ") or None)


def agreement(judged: Sequence[Verdict], ruled: Sequence[Verdict]) -> Mapping[str, Any]:
    """How a judge and the rules agree: pairs that both decided, their share of equal verdicts, Cohen's kappa, and the table."""
    table = Counter((a.outcome.value, b.outcome.value) for a, b in zip(judged, ruled, strict=True))
    both = [
        (a.outcome, b.outcome) for a, b in zip(judged, ruled, strict=True) if a.outcome in _DECIDED and b.outcome in _DECIDED
    ]
    n = len(both)
    same = sum(a is b for a, b in both) / n if n else None
    chance = sum(
        (sum(a is outcome for a, _ in both) / n) * (sum(b is outcome for _, b in both) / n) for outcome in _DECIDED if n
    )
    kappa = None if same is None or chance == 1 else (same - chance) / (1 - chance)
    counts = {f"{judge} / {rules}": count for (judge, rules), count in sorted(table.items())}
    return {"both_decided": n, "agree": same, "kappa": kappa, "judge / rules": counts}
