"""Public suites of graders, each row under the policy that its tag names; every reference is itself, respelt, never changed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stillwise.boxed import last_boxed
from stillwise.records import Outcome, Problem, Trace, Verdict, thinking_spans
from stillwise.runtime.graders import GraderPool
from stillwise.verify.choice import Choice
from stillwise.verify.maths import Maths
from stillwise.verify.text import Text

pytestmark = pytest.mark.realdata
Real = Callable[[str], Path]
Row = dict[str, Any]
POLICIES: dict[str, dict[str, Any]] = {
    "percent_policy": {"percent": "either"},
    "order_matters": {"order": "ordered"},
    "llm_judge_policy": {"fractions": "reduced"},
    "rounded_gold": {"rounded_reference": True},
    "tiny_values": {},
    "known_math_verify_fp": {},
    "base_subscript": {},
}
"""What a policy row's tag asks for. A row tagged "contested" names no policy: the suites contradict each other there."""


def cases(real: Real, tier: str) -> list[Row]:
    rows = [json.loads(line) for line in real("grader_cases.jsonl").read_text(encoding="utf8").splitlines()]
    return [row for row in rows if row["tier"] == tier]


def pair(reference: str, text: str) -> tuple[Problem, Trace]:
    spans = thinking_spans(text)
    trace = Trace(id="t", problem_id="p", role="r", model="m", paradigm="p", prompt="", text=text, spans=spans)
    return Problem.of("q", reference), trace


def asked(row: Row) -> tuple[Problem, Trace]:
    """A completion as it stands; a bare answer in a box."""
    text = str(row["pred"])
    bare = row["kind"] in ("answer", "hard", "security") and "\\boxed" not in text
    return pair(str(row["gold"]), f"\\boxed{{{text}}}" if bare else text)


def right(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.CORRECT


def scored(rows: list[Row], found: list[Verdict], name: str) -> tuple[int, int]:
    """Rows with the expected verdict, and false positives; prints what differs."""
    odd = [(row, verdict) for row, verdict in zip(rows, found, strict=True) if right(verdict) != row["expected"]]
    false = sum(right(verdict) for _, verdict in odd)
    print(
        f"{name}: {len(rows) - len(odd)} of {len(rows)} as expected ({1 - len(odd) / len(rows):.2%}), {false} false positives"
    )
    for row, verdict in odd:
        print(f"  {row['id']} {verdict.outcome.value} {verdict.extracted!r} {row['gold'][:60]!r}")
    return len(rows) - len(odd), false


@pytest.mark.parametrize("mode", ["recall", "precision"])
def test_the_core_tier(mode: str, real: Real) -> None:
    rows = cases(real, "core")
    with GraderPool(workers=1) as pool:
        found = pool.verify(Maths.model_validate({"mode": mode}), [asked(row) for row in rows])
    good, false = scored(rows, found, f"core, {mode}")
    assert Outcome.FAILED not in {verdict.outcome for verdict in found}
    assert false <= 2
    # Precision takes marked answers only, and some completions of the suites mark none.
    assert good >= (0.98 if mode == "recall" else 0.95) * len(rows)


def test_the_hard_tier_is_a_recall_score(real: Real) -> None:
    rows = cases(real, "hard")
    with GraderPool(workers=1) as pool:
        good, false = scored(rows, pool.verify(Maths(mode="recall"), [asked(row) for row in rows]), "hard, recall")
    assert good >= 0.6 * len(rows)
    assert false == 0


def policy_of(row: Row) -> dict[str, Any]:
    stated: dict[str, Any] = {"mode": "recall"}
    for tag in row["tags"]:
        name, _, value = tag.partition("=")
        if name == "precision":
            stated["float_rounding"] = int(value)
        elif name != "lang":
            stated.update(POLICIES[name])
    return stated


def test_every_policy_row_under_its_policy(real: Real) -> None:
    rows = [row for row in cases(real, "policy") if "contested" not in row["tags"]]
    assert len(rows) >= 18
    with GraderPool(workers=1) as pool:
        found = [pool.verify(Maths.model_validate(policy_of(row)), [asked(row)])[0] for row in rows]
    good, _ = scored(rows, found, "policy")
    assert good == len(rows)


def test_every_security_row_has_no_effect(real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    rows = cases(real, "security")
    for text in (True, False):
        pairs = [asked(row) if text else pair(str(row["gold"]), str(row["pred"])) for row in rows]
        with GraderPool(workers=1, timeout_s=2) as pool:
            found = pool.verify(Maths(mode="recall"), pairs)
        assert not any(map(right, found))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tier", "verifier"), [("mcq", Choice(anchored_only=False)), ("text", Text(anchored_only=False))])
def test_choices_and_texts(tier: str, verifier: Choice | Text, real: Real) -> None:
    rows = cases(real, tier)
    found = [verifier.verify(*pair(str(row["gold"]), str(row["pred"]))) for row in rows]
    assert scored(rows, found, tier) == (len(rows), 0)


def references(real: Real) -> dict[str, list[str]]:
    """Every reference of five public sets."""

    def rows(name: str) -> list[Row]:
        return [json.loads(line) for line in real(name).read_text(encoding="utf8").splitlines()]

    return {
        "MATH-5000": [last_boxed(row["solution"]) or "" for row in rows("math_test_5000.jsonl")],
        "GSM8K": [row["answer"].partition("#### ")[2] for row in rows("gsm8k_test.jsonl")],
        "OlympiadBench": [", ".join(row["final_answer"]) for row in rows("olympiadbench_oe_to_maths_en_675.jsonl")],
        "SVAMP": [str(row["Answer"]) for row in rows("svamp_1000.jsonl")],
        "Omni-MATH": [str(row["answer"]) for row in rows("omni_math_num_500.jsonl")],
    }


def respelt(gold: str) -> Iterator[str]:
    """The reference in other clothes."""
    bare = re.sub(r"(?<!\\)\$", "", gold)
    yield f"so it is \\boxed{{{gold}}}"
    yield f"\\boxed{{{gold}}} is the answer. I hope that 3 examples help!"
    yield f"\\boxed{{{gold.replace(chr(92) + 'frac', chr(92) + 'dfrac')}}}"
    yield f"\\boxed{{ ${bare}$. }}"
    if re.fullmatch(r"-?\d{4,}", gold):
        yield from (f"\\boxed{{{int(gold):,}}}".replace(",", comma) for comma in (",", "{,}", r",\!", r"\,"))
    if re.fullmatch(r"-?\d+", gold):
        yield from (f"\\boxed{{{gold}.0}}", f"\\boxed{{{gold} \\text{{ in total}}}}", f"The answer is {gold}.")
    if not re.search(r"[=<>,_]|\\(?:text|mbox|in|le|ge)|begin", gold):
        yield f"\\boxed{{x = {bare}}}"


def changed(gold: str) -> Iterator[str]:
    """Other answers that look alike."""
    numbers = list(re.finditer(r"\d+", gold))
    for match in {numbers[0], numbers[-1]} if numbers else ():
        yield f"\\boxed{{{gold[: match.start()]}{int(match[0]) + 1}{gold[match.end() :]}}}"
    if gold.startswith("-"):
        yield f"\\boxed{{{gold[1:]}}}"
    if numbers and not re.search(r"[=<>,\[\]]|\\(?:text|mbox|cup)|begin", gold):
        yield f"\\boxed{{{gold}1}}" if "\\$" in gold else "\\boxed{" + gold.replace("$", "") + " + 1}"


def check(golds: dict[str, list[str]]) -> None:
    for mode in ("precision", "recall"):
        for name, mine in golds.items():
            same = [pair(gold, text) for gold in mine if gold for text in respelt(gold)]
            other = [pair(gold, text) for gold in mine if gold for text in changed(gold)]
            with GraderPool(workers=1) as pool:
                kept = pool.verify(Maths.model_validate({"mode": mode}), same)
                lost = pool.verify(Maths.model_validate({"mode": mode}), other)
            print(f"{name}, {mode}: respelt {dict(Counter(map(right, kept)))}, changed {dict(Counter(map(right, lost)))}")
            assert [(p.answer, t.text) for (p, t), verdict in zip(same, kept, strict=True) if not right(verdict)] == []
            assert [(p.answer, t.text) for (p, t), verdict in zip(other, lost, strict=True) if right(verdict)] == []


def test_references_are_themselves_respelt_and_never_changed(real: Real) -> None:
    check({name: Random(0).sample(mine, 150) for name, mine in references(real).items()})


@pytest.mark.slow
def test_every_reference_is_itself_respelt_and_never_changed(real: Real) -> None:
    check(references(real))
