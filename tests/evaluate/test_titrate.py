"""A titration finds the least prefix that suffices, counts with one tokenizer, reads only what was generated, and censors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stillwise.arrows import Completion, Progress, Request, Sampled, Scaffold, Tools
from stillwise.evaluate.titrate import Bisection, Linear, Searching, Titration
from stillwise.models.model import Model
from stillwise.models.scripted import ScriptedModel
from stillwise.records import Failure, Finish, Outcome, Problem, Span, Trace, thinking_spans
from stillwise.runtime.caller import JournalledCaller
from stillwise.runtime.executor import Local
from stillwise.runtime.graders import GraderPool
from stillwise.runtime.journal import Journal

SEGMENT = {"kind": "logical_units", "min_words": 2, "check_words": 0}


class Opened:
    """An opener of a model that is there already."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self) -> Model:
        return self.model

    def __hash__(self) -> int:
        return hash(self.model.revision)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opened) and other.model.revision == self.model.revision


class Quiet:
    """A bar that nobody sees."""

    def advance(self, done: int = 1, **figures: float) -> None:
        """Nothing."""


def bar(label: str, total: int) -> Progress:
    return Quiet()


def problem(name: str, level: int | None = 1) -> Problem:
    return Problem.of(f"{name}?", "7", level=level)


def thought(one: Problem, units: int, solution: str = "The answer is \\boxed{7}.") -> Trace:
    lines = "".join(f"Step {k} of the work here.\n" for k in range(1, units + 1))
    text = f"<think>\n{lines}</think>\n\n{solution}"
    return Trace(
        id=f"trace of {one.question}", problem_id=one.id, role="reasoner", model="m", paradigm="think", prompt="", text=text,
        spans=thinking_spans(text), finish=Finish.STOP,
    )  # fmt: skip


def needs(needed: Mapping[str, int]) -> ScriptedModel:
    """A model that is right from a number of steps on, and only in its third sample."""

    def answer(request: Request) -> str:
        given = request.ask.prefill.count("Step")
        seen[request.ask.user, given] = seen.get((request.ask.user, given), 0) + 1
        right = given >= needed[request.ask.user] and seen[request.ask.user, given] == 3
        return "so it must be \\boxed{7}" if right else "\\boxed{8}"

    seen: dict[tuple[str, int], int] = {}
    return ScriptedModel(answer, name=str(sorted(needed.items())))


def run(
    tmp_path: Path, model: ScriptedModel, pairs: Sequence[tuple[Problem, Trace]], **fields: object
) -> tuple[list[Sampled], list[Scaffold], list[Failure]]:
    journal = Journal(tmp_path / "journal.sqlite")
    executor = Local()
    with GraderPool() as graders:
        caller = JournalledCaller(step="titrated", opener=Opened(model), executor=executor, journal=journal)
        callers = {"instructor": caller, "reasoner": caller}
        tools = Tools(step="titrated", seed=0, callers=callers, graders=graders, progress=bar)
        given = {"paradigm": {"kind": "instruct", "instruction": ""}, "segment": SEGMENT, "verify": "maths", **fields}
        found = list(Titration.model_validate(given).probe(pairs, tools))
    journal.close()
    return (
        [item for item in found if isinstance(item, Sampled)],
        [item for item in found if isinstance(item, Scaffold)],
        [item for item in found if isinstance(item, Failure)],
    )


def test_the_least_prefix_and_both_ratios(tmp_path: Path) -> None:
    easy, hard = problem("easy", 2), problem("hard", 5)
    model = needs({"easy?": 1, "hard?": 4})
    sampled, found, failures = run(tmp_path, model, [(easy, thought(easy, 5)), (hard, thought(hard, 5))])
    assert not failures
    assert [(item.group, item.units, item.units_given) for item in found] == [("low", 5, 1), ("high", 5, 4)]
    assert found[0].context_ratio == pytest.approx(6 / 30), "six words a step, five steps"
    assert found[1].context_ratio == pytest.approx(24 / 30)
    assert found[1].generation_ratio == pytest.approx(5 / (6 + 4)), "five words for a step of six and a solution of four"
    assert len(sampled) == 4 * (1 + 4), "four samples of each prefix, none after the solution"
    waves = [one.trace.edit for one in sampled if one.trace.problem_id == hard.id]
    assert waves == [f"titration:{k}/5" for k in range(1, 5) for _ in range(4)]
    assert found[1].solved_by in {one.trace.id for one in sampled}
    assert len({request.seed for request in model.requests}) == len(model.requests)


def test_what_was_never_solved_is_censored_and_stays(tmp_path: Path) -> None:
    one = problem("never", None)
    _, found, failures = run(tmp_path, needs({"never?": 99}), [(one, thought(one, 3))])
    assert not failures
    (item,) = found
    assert (item.censored, item.units_tried, item.units_given, item.solved_by) == ("never_solved", 3, None, None)
    assert item.group == "ungrouped"
    assert item.context_ratio is None
    assert item.generation_ratio is None


def test_an_answer_in_the_prefix_does_not_count(tmp_path: Path) -> None:
    """The whole thought holds the answer in a box; a model that adds nothing has not answered."""
    one = problem("boxed")
    text = "<think>\nFirst we add them up.\nSo it is \\boxed{7} then.\n</think>\n\n\\boxed{7}"
    trace = Trace(
        id="t", problem_id=one.id, role="r", model="m", paradigm="think", prompt="", text=text, spans=thinking_spans(text)
    )
    sampled, found, _ = run(tmp_path, ScriptedModel(lambda request: "done", name="silent"), [(one, trace)])
    assert found[0].censored == "never_solved"
    assert {one.verdict.outcome for one in sampled if one.verdict} == {Outcome.UNDECIDED}
    last = sampled[-1].trace
    assert "\\boxed{7}" in (last.span("prefix") or "")
    assert last.span("answer") == "done"
    assert last.parent == "t"


def test_a_prefix_without_room_is_not_tried(tmp_path: Path) -> None:
    one = problem("long")
    sampled, found, _ = run(tmp_path, needs({"long?": 3}), [(one, thought(one, 5))], max_context_tokens=16)
    assert (found[0].censored, found[0].units_tried) == ("too_long", 2)
    assert len(sampled) == 8
    _, found, _ = run(tmp_path, needs({"long?": 3}), [(one, thought(one, 5))], max_context_tokens=2)
    assert (found[0].censored, found[0].units_tried) == ("too_long", 0)


def test_traces_without_a_thought_are_failures_and_the_first_trace_is_taken(tmp_path: Path) -> None:
    bare, twice = problem("bare"), problem("twice")
    trace = Trace(id="b", problem_id=bare.id, role="r", model="m", paradigm="think", prompt="", text="\\boxed{7}")
    pairs = [(bare, trace), (twice, thought(twice, 2)), (twice, thought(twice, 9))]
    _, found, failures = run(tmp_path, needs({"twice?": 2}), pairs)
    assert [(failure.item, failure.reason) for failure in failures] == [(bare.id, "no_thought")]
    assert [item.units for item in found] == [2]


def test_many_units_are_given_in_fewer_steps(tmp_path: Path) -> None:
    one = problem("many")
    _, found, _ = run(tmp_path, needs({"many?": 10}), [(one, thought(one, 10))], max_prefixes=4)
    assert (found[0].units, found[0].units_given) == (4, 4)
    assert found[0].context_ratio == 1.0, "the last step is the whole thought"


def test_a_second_run_reads_the_journal(tmp_path: Path) -> None:
    one = problem("hard", 4)
    first = run(tmp_path, needs({"hard?": 2}), [(one, thought(one, 3))])
    again = needs({"hard?": 2})
    assert run(tmp_path, again, [(one, thought(one, 3))]) == first
    assert again.calls == 0


def test_generated_thoughts_and_opened_ones_are_not_read_for_an_answer(tmp_path: Path) -> None:
    one = problem("deep")
    thinking = ScriptedModel(lambda request: "<think>\\boxed{7}</think> \\boxed{8}", name="thinks")
    assert run(tmp_path, thinking, [(one, thought(one, 1))])[1][0].censored
    opened = ScriptedModel(lambda request: "\\boxed{7}", name="opened", template="{user}<think>\n")
    sampled, found, _ = run(tmp_path, opened, [(one, thought(one, 1))])
    assert found[0].censored, "the thought that the template opened was never closed"
    assert Span(kind="solution", start=0, end=0) not in sampled[0].trace.spans
    closed = ScriptedModel(lambda request: "</think>\\boxed{7}", name="closed", template="{user}<think>\n")
    assert run(tmp_path, closed, [(one, thought(one, 1))])[1][0].units_given == 1


class Dropping(ScriptedModel):
    """Answers that never come: one of the first prefix, all of the second."""

    def generate(self, batch: Sequence[Request]) -> list[Completion]:
        """The scripted answers, some of them lost."""
        answers = zip(batch, super().generate(batch), strict=True)
        return [replace(a, text="", failure="timed_out") if self._lost(r) else a for r, a in answers]

    def _lost(self, request: Request) -> bool:
        given = request.ask.prefill.count("Step")
        return given == 2 or (given == 1 and self.requests[0] is request)


def test_answers_that_never_came_are_failures_and_not_wrong_ones(tmp_path: Path) -> None:
    one = problem("lost")
    model = Dropping(lambda request: "\\boxed{8}", name="dropping")
    sampled, found, failures = run(tmp_path, model, [(one, thought(one, 5))])
    assert (len(sampled), [failure.reason for failure in failures]) == (3, ["timed_out"] * 5)
    assert (found[0].censored, found[0].units_tried) == ("no_answer", 2)


def test_a_thought_may_be_given_as_a_thought_and_closed(tmp_path: Path) -> None:
    one = problem("tagged")
    fields = {"before": "<think>\n", "after": "</think>\n\n"}
    model = needs({"tagged?": 2})
    sampled, found, _ = run(tmp_path, model, [(one, thought(one, 3))], **fields)
    assert found[0].units_given == 2
    prefix = sampled[-1].trace.span("prefix") or ""
    assert prefix.startswith("<think>\nStep 1")
    assert prefix.endswith("</think>\n\n")
    assert found[0].prefix_tokens == 12, "the tags are not the thought's"
    left_open = ScriptedModel(lambda request: "\\boxed{7}", name="left open")
    assert run(tmp_path, left_open, [(one, thought(one, 1))], before="<think>\n")[1][0].censored


def tried(search: Searching, works: set[int]) -> list[int]:
    order = []
    while search.next is not None:
        order.append(search.next)
        search.told(search.next in works)
    return order


@pytest.mark.parametrize("count", range(9))
def test_linear_search_tries_every_prefix_until_one_works(count: int) -> None:
    for least in range(1, count + 2):
        search = Linear(count)
        assert tried(search, {least}) == list(range(1, min(least, count) + 1))
        assert search.found == (least if least <= count else None)


@pytest.mark.parametrize("count", range(1, 20))
def test_bisection_ends_at_a_prefix_that_works_beside_one_that_does_not(count: int) -> None:
    most = Titration(search="bisection", max_prefixes=count).most_prefixes
    for least in range(1, count + 2):
        search = Bisection(count)
        order = tried(search, set(range(least, count + 1)))
        assert search.found == (least if least <= count else None), "exact where success is monotone"
        assert len(order) <= most
    island = Bisection(8)
    tried(island, {1, 4, 7, 8})
    assert island.found == 4, "not monotone: it works, and 1 would have been less"
    assert Linear(0).next is None
