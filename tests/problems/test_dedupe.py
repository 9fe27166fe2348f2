"""Duplicates: what is one problem, what is another, who stays, and that MinHash estimates what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from stillwise.problems.buffers import Texts
from stillwise.problems.clusters import Clusters
from stillwise.problems.dedupe import Dedupe, Near
from stillwise.problems.file import File
from stillwise.problems.gym import Micro
from stillwise.problems.perturb import PERTURBATIONS, delimiters, wrapper
from stillwise.problems.sketch import Bands, boilerplate, informative, jaccard, minhash, sketch
from stillwise.problems.words import tokenise
from stillwise.records import AnswerKind, Problem
from stillwise.verify.compare import same
from stillwise.verify.policy import Policy
from stillwise.verify.symbolic import symbolically_same

DATA = Path(__file__).parents[3] / "shared" / "data"
STORY = "Nora plants {a} rows of {b} beans each and gives {c} beans to her neighbour. How many beans does she keep in the end?"


def problem(question: str, answer: str | None = "1", **rest: object) -> Problem:
    return Problem.of(question, answer, answer_kind=AnswerKind.NUMBER, **rest)


def dropped(*problems: Problem, part: Dedupe | None = None) -> set[str]:
    curated = (part or Dedupe()).curate(problems, {}, 0)
    assert {failure.reason for failure in curated.dropped} <= {"duplicate"}
    return {failure.item for failure in curated.dropped}


def stories(count: int) -> list[Problem]:
    rng = Random(1)
    numbers = [(rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 99)) for _ in range(count)]
    return [problem(STORY.format(a=a, b=b, c=c), str(a * b - c)) for a, b, c in dict.fromkeys(numbers)]


def test_other_numbers_make_another_problem() -> None:
    assert dropped(*stories(300)) == set()


def test_wrapped_and_reset_copies_go_and_the_first_stays() -> None:
    originals = stories(200)
    copies = [problem(wrapper(p.question, Random(i)), p.answer) for i, p in enumerate(originals)]
    copies += [problem(delimiters(p.question, Random(i)), p.answer) for i, p in enumerate(originals)]
    assert dropped(*originals, *copies) == {copy.id for copy in copies} - {p.id for p in originals}


def test_generated_sums_of_equal_template_are_no_duplicates() -> None:
    sums = [p for p in Micro(per_level=200, family="basic_arithmetic").problems() if isinstance(p, Problem)]
    curated = Dedupe().curate([replace(p, answer=None) for p in sums], {}, 0)
    answers = {p.id: p.answer for p in sums}
    pairs = [(failure.item, failure.detail.split()[1].rstrip(":")) for failure in curated.dropped]
    assert all(answers[gone] == answers[kept] for gone, kept in pairs)
    assert len(pairs) <= 3, "a bracket around the whole makes no other sum; anything else does"


def test_plain_answers_that_differ_keep_near_duplicates_apart() -> None:
    long = "A train leaves the old station at noon and runs 40 miles an hour for 3 hours before it stops near a wide river. "
    a, b = problem(long + "How far did it go?", "120"), problem(long + "How far did it get?", "120.0")
    other = problem(long + "How far can it go?", "80")
    assert dropped(a, b, other, part=Dedupe(near=Near(threshold=0.7))) == {b.id}


@pytest.mark.parametrize(
    ("a", "b", "one"),
    [
        (r"\$425", r"\$1012.50", False),
        ("60", r"4,\!989,\!600", False),
        (r"\dfrac{13}{51}", r"\dfrac{1}{52}", False),
        ("6", r"\frac{189}{2}\sqrt{3}", False),
        ("3", "none", False),
        (r"\dfrac12", "0.5", True),
        (r"\$1,000", "1000", True),
        (r"\text{blue}", "blue", True),
        (r"\mathbf{2340}", "2340", True),
        ("2340", None, True),
    ],
)
def test_equal_questions_are_one_problem_only_with_one_answer(a: str, b: str | None, one: bool) -> None:
    assert len(dropped(problem(STORY, a), problem(STORY.upper(), b))) == one


def test_two_answers_do_not_meet_through_a_problem_without_one() -> None:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(44)]
    chain = [problem(" ".join(words[i : i + 40]), answer) for i, answer in ((0, "5"), (2, None), (4, "7"))]
    assert dropped(*chain) == {chain[1].id}
    assert dropped(chain[1], chain[0], chain[2]) == {chain[1].id}
    exact = [problem(STORY, None), problem(STORY.upper(), "5"), problem(STORY.lower(), "7"), problem(f"{STORY} ", "7.0")]
    assert dropped(*exact) == {exact[0].id, exact[3].id}


@pytest.mark.parametrize("name", ["numbered", "separators", "fractions", "raised", "digits"])
def test_numbered_copies_and_numbers_set_otherwise_are_found(name: str) -> None:
    text = (
        "Nora has two dozen of {a} beans, plants 12{b:03},000 of them in x^2 rows and $\\frac12$ in each of \\frac{{{a}}}{{7}}."
    )
    originals = [problem(text.format(a=i + 30, b=i), None) for i in range(60)]
    copies = [problem(PERTURBATIONS[name](p.question, Random(i)), None) for i, p in enumerate(originals)]
    assert dropped(*originals, *copies) == {copy.id for copy in copies}


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not here")
@pytest.mark.parametrize("file", ["math_train_7474", "math_test_5000"])
def test_no_real_problem_goes_for_one_with_another_answer(file: str) -> None:
    held = {p.id: p for p in File(path=str(DATA / f"{file}.jsonl")).problems() if isinstance(p, Problem)}
    gone = Dedupe().curate(list(held.values()), {}, 0).dropped
    pairs = [(held[failure.detail.split()[1].rstrip(":")].answer, held[failure.item].answer) for failure in gone]
    assert pairs
    assert [pair for pair in pairs if not alike(*pair)] == []


def alike(a: str | None, b: str | None) -> bool:
    """Whether Math-Verify, which the part never asks, or the reader here calls them the same answer; an unknown one is any."""
    policy = Policy(mode="recall")
    return None in (a, b) or bool(same(a or "", b or "", policy) or symbolically_same(a or "", b or "", policy)[0])


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not here")
@pytest.mark.parametrize("name", ["numbered", "separators", "fractions", "raised", "digits"])
def test_real_copies_are_found(name: str) -> None:
    held = [p for p in File(path=str(DATA / "math_train_7474.jsonl")).problems() if isinstance(p, Problem)][:1000]
    made = [PERTURBATIONS[name](p.question, Random(i)) for i, p in enumerate(held)]
    copies = [problem(question, None) for question, p in zip(made, held, strict=True) if question != p.question]
    assert len(dropped(*held, *copies) & {copy.id for copy in copies}) >= 0.99 * len(copies) > 0


def test_the_keeper_is_stated() -> None:
    bare, levelled = problem(STORY, None), problem(STORY.upper(), None, level=3)
    answered = problem(STORY.lower(), "7")
    short, long = problem("Add 5 and 7.", "12"), problem('Add: "5" and [7]!!', "12")
    assert dropped(bare, levelled) == {bare.id}
    assert dropped(bare, answered) == {bare.id}
    assert dropped(long, short) == {short.id}
    assert dropped(long, short, part=Dedupe(keep=("shorter",))) == {long.id}


def test_without_near_only_equal_tokens_count() -> None:
    words = STORY.split()
    a, b = problem(" ".join(words)), problem(" ".join([*words[:-1], "end,", "then?"]))
    c = problem(STORY.lower() + "!")
    assert dropped(a, b, c, part=Dedupe(near=Near(threshold=0.7))) == {b.id, c.id}
    assert dropped(a, b, c, part=Dedupe(near=None)) == {c.id}


def test_templates_with_the_same_numbers_are_told_apart_by_their_answers() -> None:
    pairs = [(i, i * 7 % 31 + 40) for i in range(100)]
    sums = [problem(f"What do we get in the end when we add the numbers {a} and {b}?", str(a + b)) for a, b in pairs]
    products = [problem(f"Give us the product of the two whole numbers {a} and {b}.", str(a * b)) for a, b in pairs]
    assert dropped(*sums, *products) <= {products[i].id for i, (a, b) in enumerate(pairs) if a * b == a + b}


def test_links_are_transitive_and_names_do_not_matter() -> None:
    letters = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]
    chain = [problem(" ".join(letters[i : i + 40]), None) for i in range(0, 12, 3)]
    assert len(dropped(*chain, part=Dedupe(near=Near(threshold=0.7)))) == 3
    backward = Dedupe(near=Near(threshold=0.7)).curate(chain[::-1], {}, 0)
    assert {failure.item for failure in backward.dropped} == {p.id for p in chain[:-1]}


def test_nothing_and_empty_questions() -> None:
    assert dropped() == set()
    assert len(dropped(problem("?"), problem("!"), problem("word"))) == 1


def test_sketches_come_in_any_batches() -> None:
    texts = [p.question for p in stories(150)] * 2
    found = []
    for size in (7, 1000):
        with Clusters(0.8, 24) as clusters:
            for begin in range(0, len(texts), size):
                clusters.add(sketch(tokenise(Texts.of(texts[begin : begin + size])), Bands(), np.zeros(0, np.uint64)))
            found.append(clusters.components(np.zeros(len(texts), bool), lambda a, b: True).tolist())
    assert found[0] == found[1] == [*range(len(texts) // 2)] * 2


def test_boilerplate_is_found_and_left_out() -> None:
    wrapped = Texts.of(
        [f"State the final answer to the following arithmetic problem: {i} + {i * 7 % 31} =" for i in range(200)]
    )
    tokens = tokenise(wrapped)
    left = informative(tokens, boilerplate(tokens, 0.02))
    assert np.diff(left.bounds).max() <= 5 < np.diff(tokens.bounds).min()


@pytest.mark.parametrize("overlap", [0.3, 0.6, 0.9])
def test_minhash_estimates_the_jaccard_index_as_datasketch_and_rensa_do(overlap: float) -> None:
    datasketch, rensa = pytest.importorskip("datasketch"), pytest.importorskip("rensa")
    rng = np.random.default_rng(5)
    pool = rng.choice(2**32, 1000, replace=False).astype(np.uint32)
    shared = int(400 * overlap)
    a, b = np.sort(pool[:400]), np.sort(np.concatenate([pool[:shared], pool[500 : 900 - shared]]))
    exact = jaccard(a, b)
    signature = minhash(np.concatenate([a, b]), np.array([0, len(a), len(a) + len(b)]), 512)
    theirs = [datasketch.MinHash(512), datasketch.MinHash(512)]
    rust = [rensa.RMinHash(512, 1), rensa.RMinHash(512, 1)]
    for held, mine, other in zip((a, b), theirs, rust, strict=True):
        names = [str(value) for value in held.tolist()]
        mine.update_batch([name.encode() for name in names])
        other.update(names)
    estimates = (float((signature[0] == signature[1]).mean()), theirs[0].jaccard(theirs[1]), rust[0].jaccard(rust[1]))
    assert all(abs(estimate - exact) < 0.08 for estimate in estimates), (exact, estimates)
