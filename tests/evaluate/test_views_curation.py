"""What curators decided, as tables and a drawing: from the parts' own figures."""

from __future__ import annotations

from stillwise.evaluate.page import sections
from stillwise.evaluate.shape import Metrics
from stillwise.evaluate.view_kinds import Figure, Table
from stillwise.evaluate.views_curation import curation_blocks
from stillwise.problems.decontaminate import Decontaminate
from stillwise.problems.resample import Resample, Share
from stillwise.records import Problem


def mixed() -> Metrics:
    problems = [Problem.of(f"What is {n} + 1?", "1", source="gsm8k" if n % 3 else "gpqa", level=1 + n % 2) for n in range(60)]
    part = Resample(total=20, mix=(Share(domain="maths", share=3), Share(domain="science", share=1)))
    found = part.curate(problems, {}, 0)
    leaks = Decontaminate().curate(problems[:3], {"sums": problems[:1]}, 0)
    return {"curation": {"few": {"kind": "resample", **found.figures}, "clean": {"kind": "decontaminate", **leaks.figures}}}


def test_a_mix_is_drawn_beside_what_came() -> None:
    mix, left, leaks = curation_blocks(mixed())
    assert isinstance(mix, Figure)
    assert isinstance(left, Table)
    assert isinstance(leaks, Table)
    assert sum(int(row[3]) for row in mix.table.body) == 20
    asked = [row[2] for row in mix.table.body if row[0].startswith("science")]
    assert asked == ["12.5 %", "12.5 %"]
    assert ["asked", "20"] in [list(row) for row in left.body]
    assert ["by benchmark, sums, questions found", "1"] in [list(row) for row in leaks.body]


def test_the_page_has_a_chapter_for_it_only_where_something_was_decided() -> None:
    assert "curation" in [section.id for section in sections(mixed())]
    assert "curation" not in [section.id for section in sections({})]
