"""Traces made shorter: by a judging teacher, by bisection with the student, by chunks that a student does not need."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import pytest

from stillwise.arrows import Ask, Request
from stillwise.errors import UserError
from stillwise.models.direct import Direct
from stillwise.models.scripted import ScriptedModel
from stillwise.records import AnswerKind, Failure, Outcome, Problem, Trace, thinking_spans
from stillwise.rewrite.by_difficulty import ByDifficulty
from stillwise.rewrite.chunks import CHUNK, Chunked, SkipChunks, average, score, searched
from stillwise.rewrite.segment import LogicalUnits
from stillwise.rewrite.shortest import MOST_STEPS, ShortestPrefix
from tests.asking import scripted, tools_for

PROBLEM = Problem.of("What is 20 + 22?", "42", answer_kind=AnswerKind.NUMBER)
LINES = LogicalUnits(min_words=1, check_words=0)


def trace(thought: str, name: str = "t") -> Trace:
    text = f"<think>\n{thought}\n</think>\n\nSo \\boxed{{42}}."
    return Trace(
        id=name, problem_id=PROBLEM.id, role="teacher", model="m", paradigm="think", prompt="p", text=text,
        spans=thinking_spans(text), num_tokens=40, num_thinking_tokens=30,
    )  # fmt: skip


def steps(count: int) -> Trace:
    return trace("\n".join(f"Step {n} is done." for n in range(1, count + 1)))


# --- difficulty-aware prompting


def dap(*answers: str) -> list[Trace | Failure]:
    """What becomes of a long trace with each of these answers of the teacher."""
    left = list(answers)
    part = ByDifficulty()
    model = scripted(lambda request: left.pop(0))
    return part.rewrite_all([(PROBLEM, trace("word " * 30, f"{i}")) for i in range(len(answers))], tools_for(reasoner=model))


def test_the_judged_difficulty_names_the_edit_and_the_answer_is_the_thoughts_own() -> None:
    made = dap(
        "Difficulty: easy\nAdd: \\boxed{42}",
        "**Difficulty: Medium**\n\nAdd both numbers.\n20 + 22 = 42: \\boxed{42}",
        "<think>hm, hard?</think>difficulty: hard\nAnalysis. Plan. Steps. A check: it was wrong, \\boxed{41}",
    )
    kept = [one for one in made if isinstance(one, Trace)]
    assert [one.edit for one in kept] == ["easy", "medium", "hard"]
    assert kept[1].text == "<think>\nAdd both numbers.\n20 + 22 = 42: \\boxed{42}\n</think>\n\n\\boxed{42}"
    lengths = [one.num_tokens or 0 for one in kept]
    assert lengths == sorted(lengths)
    verdicts = ByDifficulty().until.decide([(PROBLEM, one) for one in kept], tools_for())
    assert [verdict.outcome for verdict in verdicts] == [Outcome.CORRECT, Outcome.CORRECT, Outcome.INCORRECT]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Add: \\boxed{42}", "undecided_difficulty"),
        ("Difficulty: easy or hard\nAdd: \\boxed{42}", "undecided_difficulty"),
        ("Difficulty: easy\nAdd.", "no_answer"),
        ("Difficulty: hard\n" + "word " * 40 + "\\boxed{42}", "not_shorter"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_reason(answer: str, reason: str) -> None:
    (made,) = dap(answer)
    assert isinstance(made, Failure)
    assert made.reason == reason


def test_one_prompt_holds_problem_trace_and_the_three_templates() -> None:
    model = scripted(lambda request: "Difficulty: easy\n\\boxed{42}")
    ByDifficulty().rewrite(PROBLEM, trace("a long thought"), tools_for(reasoner=model))
    (request,) = model.model.requests
    assert all(f"Template for {name}:" in request.ask.user for name in ("easy", "medium", "hard"))
    assert PROBLEM.question in request.ask.user
    assert "a long thought" in request.ask.user


# --- bisection with the student as validator


def counted(request: Request) -> int:
    """How many steps a validating request holds."""
    return (request.ask.user.partition("<steps>")[2] or request.ask.prefill).count("Step ")


def student(valid: Callable[[int], bool]) -> Direct[ScriptedModel]:
    return scripted(lambda request: "\\boxed{42}" if valid(counted(request)) else "\\boxed{7}")


def at_least(least: int) -> Callable[[int], bool]:
    return lambda k: k >= least


def cut(count: int, valid: Callable[[int], bool], **fields: str) -> tuple[Trace | Failure, Direct[ScriptedModel]]:
    model = student(valid)
    return ShortestPrefix.model_validate({"segment": LINES, **fields}).rewrite(
        PROBLEM, steps(count), tools_for(student=model)
    ), model


def length(made: Trace | Failure) -> int:
    assert isinstance(made, Trace)
    return made.text.count("Step ")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_a_monotone_student_gets_the_shortest_prefix_in_few_calls(count: int) -> None:
    for least in range(1, count + 1):
        made, model = cut(count, at_least(least))
        assert length(made) == least
        assert len(model.model.requests) <= math.ceil(math.log2(count)) + 1


def test_a_student_that_is_not_monotone_gets_a_prefix_that_suffices() -> None:
    for seed in range(40):
        right = {k for k in range(1, 10) if Random(seed * 100 + k).random() < 0.5} | {9}
        made, _ = cut(9, right.__contains__)
        assert length(made) in right


def test_a_thought_that_never_suffices_is_dropped_for_this_student() -> None:
    made, model = cut(6, lambda k: False)
    assert isinstance(made, Failure)
    assert (made.reason, len(model.model.requests)) == ("never_sufficient", 1)
    bare = replace(trace(""), text="42", spans=thinking_spans("42"))
    lost = ShortestPrefix().rewrite(PROBLEM, bare, tools_for(student=student(lambda k: True)))
    assert isinstance(lost, Failure)
    assert lost.reason == "no_thought"


@pytest.mark.parametrize("given", ["prompt", "prefill"])
def test_the_solution_stays_and_the_thought_is_a_beginning(given: str) -> None:
    made, model = cut(5, lambda k: k >= 2, given=given)
    assert isinstance(made, Trace)
    assert made.text == "<think>\nStep 1 is done.\nStep 2 is done.\n</think>\n\nSo \\boxed{42}."
    assert (steps(5).span("thinking") or "").startswith((made.span("thinking") or "").rstrip())
    assert (made.parent, made.edit, made.num_tokens) == ("t", "shortest_prefix:2/5", len(made.text.split()))
    asks = [request.ask for request in model.model.requests]
    assert all(("</think>" in ask.prefill) == (given == "prefill") for ask in asks)
    whole, _ = cut(3, lambda k: k >= 3, given=given)
    assert isinstance(whole, Trace)
    assert whole.text == steps(3).text


# --- chunks


@dataclass(frozen=True)
class Likes:
    """A student whose token log-probabilities are given; a token is a word."""

    nats: Sequence[float]

    revision: str = "likes"

    def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
        return [tuple(self.nats[: len(answer.split())]) for answer in answers]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def chunked(source: Trace, nats: Sequence[float] = (), **fields: object) -> Trace:
    tools = replace(tools_for(), callers={"student": Likes(nats)})  # type: ignore[dict-item]
    made = Chunked.model_validate({"segment": LINES, "search": bool(nats), **fields}).rewrite(PROBLEM, source, tools)
    assert isinstance(made, Trace)
    return made


def chunks(made: Trace) -> list[str]:
    return [made.text[span.start : span.end] for span in made.spans if span.kind == CHUNK]


@pytest.mark.parametrize(("count", "wanted", "sizes"), [(7, 3, [2, 2, 3]), (6, 3, [2, 2, 2]), (2, 3, [1, 1]), (5, 1, [5])])
def test_average_chunks_are_even_and_together_the_whole_text(count: int, wanted: int, sizes: list[int]) -> None:
    source = steps(count)
    made = chunked(source, chunks=wanted)
    held = chunks(made)
    assert [one.count("Step ") for one in held[:-1]] == sizes
    assert "".join(held) == made.text == source.text
    assert held[-1].startswith("</think>")
    assert made.edit == "average_chunks"


def test_the_search_never_raises_its_score_and_keeps_every_step() -> None:
    for seed in range(50):
        random = Random(seed)
        tokens = [random.randint(1, 5) for _ in range(9)]
        sums, counts = [0.0], [0]
        for number in tokens:
            counts.append(counts[-1] + number)
            sums.append(sums[-1] + sum(random.expovariate(1) for _ in range(number)))
        means = (sums, counts)
        for wanted in (1, 2, 4, 9):
            begun = average(9, wanted)
            found = searched(begun, means, 10)
            assert score(found, means) <= score(begun, means) + 1e-12
            assert len(found) == len(begun)
            assert (found[0], found[-1]) == (0, 9)
            assert all(a < b for a, b in pairwise(found))


def test_a_boundary_moves_to_where_the_student_is_surprised() -> None:
    # "<think>" and four words a step: the first step alone is unlikely, so a chunk of its own costs least in all.
    nats = [-1.0, *[-5.0] * 4, *[-1.0] * 12, -1.0, -1.0]
    assert [one.count("Step ") for one in chunks(chunked(steps(4), nats, chunks=2))[:-1]] == [3, 1]
    nats = [-1.0, *[-1.0] * 12, *[-5.0] * 4, -1.0, -1.0]
    assert [one.count("Step ") for one in chunks(chunked(steps(4), nats, chunks=2))[:-1]] == [1, 3]


def test_a_trace_too_long_for_the_student_keeps_average_chunks_and_a_server_is_refused() -> None:
    class Full(Likes):
        def logprobs(self, ask: Ask, answers: Sequence[str]) -> list[tuple[float, ...]]:
            return [() for _ in answers]

    tools = replace(tools_for(), callers={"student": Full(())})  # type: ignore[dict-item]
    made = Chunked(segment=LINES).rewrite(PROBLEM, steps(6), tools)
    assert isinstance(made, Trace)
    assert made.edit == "average_chunks"
    with pytest.raises(UserError, match="gives no log-probabilities"):
        Chunked(segment=LINES).rewrite(PROBLEM, steps(6), tools_for(student=student(lambda k: True)))


def needs(*wanted: str) -> Direct[ScriptedModel]:
    """A student that is right where all of these stand in what it is given."""
    return scripted(lambda request: "\\boxed{42}" if all(word in request.ask.prefill for word in wanted) else "\\boxed{7}")


def skipped(source: Trace, model: Direct[ScriptedModel], **fields: object) -> Trace:
    made = SkipChunks.model_validate({"given": "prefill", **fields}).rewrite(PROBLEM, source, tools_for(student=model))
    assert isinstance(made, Trace)
    return made


def test_only_the_chunk_that_the_student_needs_and_the_answer_stay() -> None:
    source = chunked(steps(4), chunks=4)
    for number in range(1, 5):
        made = skipped(source, needs(f"Step {number} "))
        assert chunks(made) == [f"<think>\nStep {number} is done.\n", "</think>\n\nSo \\boxed{42}."]
        assert "".join(chunks(made)) == made.text
        assert made.edit == "skip_chunks:1/4"


def test_what_turns_out_to_be_needed_comes_back() -> None:
    source = chunked(steps(4), chunks=4)
    assert skipped(source, needs("Step 1 ", "Step 3 ")).text.count("Step ") == 2
    unchanged = skipped(source, needs("Step 1 ", "Step 2 ", "Step 3 ", "Step 4 "))
    assert (unchanged.text, chunks(unchanged)) == (source.text, chunks(source))


def test_one_chunk_stays_unless_all_may_go() -> None:
    source = chunked(steps(3), chunks=3)
    assert skipped(source, needs()).text.count("Step ") == 1
    bare = skipped(source, needs(), keep_one=False)
    assert chunks(bare) == ["<think>\n</think>\n\nSo \\boxed{42}."]


def test_plans_know_what_is_asked_at_most() -> None:
    source, model = chunked(steps(4), chunks=4), needs()
    SkipChunks(given="prefill", max_chunks=2, keep_one=False).rewrite(PROBLEM, source, tools_for(student=model))
    assert len(model.model.requests) == SkipChunks(max_chunks=2).calls == 2
    assert Chunked().calls == 0
    assert ShortestPrefix().calls == math.ceil(math.log2(MOST_STEPS)) + 1


def test_chunks_are_tried_together_and_a_trace_without_any_is_a_failure() -> None:
    model = needs()
    sources = [chunked(replace(steps(4), id=f"{n}"), chunks=4) for n in range(3)]
    made = SkipChunks(given="prefill").rewrite_all(
        [*((PROBLEM, one) for one in sources), (PROBLEM, steps(2))], tools_for(student=model)
    )
    assert [one.reason for one in made if isinstance(one, Failure)] == ["no_chunks"]
    assert model.model.calls <= 4
