"""The page and the terminal's table: complete, self-contained, safe with hostile text, and honest about what has not run."""

from __future__ import annotations

import copy
import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from stillwise.evaluate import page as pages
from stillwise.evaluate.charts import Count, Counts
from stillwise.evaluate.plots import draw
from stillwise.evaluate.report import LIMIT, DrawnFigure, Room, render, table, tables_markdown, write_report
from stillwise.evaluate.view_kinds import Figure, Table
from stillwise.evaluate.views import paradigm_figure

VOID = {"meta", "link", "img", "br", "input"}
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&</pre>"


class Page(HTMLParser):
    """Tags with their attributes, and unclosed elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()


def test_the_page_is_one_file_with_one_script_and_no_address(run: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(run, path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "img", "iframe", "object"})
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]
    assert not [attrs for _, attrs in page.tags if "src" in attrs or not (attrs.get("href") or "#").startswith("#")]
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert {item.name for item in tmp_path.iterdir()} == {"report.html", "tables.md", "tables.json"}


def test_the_policy_names_the_only_script(run: dict[str, Any]) -> None:
    text = render(run)
    [script] = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    named = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{named}'" in text
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest"):
        assert way not in script


def test_every_drawing_is_well_formed_and_named(run: dict[str, Any]) -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(run), flags=re.DOTALL)
    assert len(drawings) == 11
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
        assert "#0a0b" not in drawing, "a stand-in colour was not replaced"
        assert "nan" not in drawing.lower()


def test_the_page_holds_the_numbers_of_the_run(run: dict[str, Any]) -> None:
    text = render(run)
    after = run["evaluation"]["after"]["benchmarks"]["sums"]["pass_at_1"]["value"]
    share = run["selection"]["common"]["share_by_level"]["5"]
    change = run["comparison"][0]["difference"]["value"]
    for words in (
        f"{100 * after:.1f}\u00a0%",
        f"{100 * share:.1f} % of “common” is level 5",
        "24 % in the paper",
        f"{100 * change:+.1f}",
    ):
        assert words in text
    assert "stillwise run curriculum --micro" in text
    assert "16384" in text
    assert "not solved by every mode" in text
    assert "2.13.0" in text
    assert '<div class="thinking"><i>thinking</i>' in text


def test_equal_metrics_give_equal_bytes(run: dict[str, Any]) -> None:
    assert render(run) == render(copy.deepcopy(run))


def hostile(value: Any) -> Any:
    """Every text of the metrics, keys of free naming included, replaced by an attack."""
    if isinstance(value, dict):
        return {
            (HOSTILE if key in {"common", "instruct", "before", "sums", "distilled"} else key): hostile(v)
            for key, v in value.items()
        }
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_text_is_escaped_everywhere(run: dict[str, Any]) -> None:
    text = render(hostile(run))
    tags = [tag for tag, _ in Page(text).tags]
    assert "img" not in tags
    assert tags.count("script") == 1
    assert text.count("&lt;script&gt;") > 50


@pytest.mark.parametrize(
    "section", ["recipe", "problems", "sampling", "selection", "training", "evaluation", "comparison", "examples"]
)
def test_any_section_may_be_missing(run: dict[str, Any], section: str) -> None:
    less = {key: value for key, value in run.items() if key != section}
    assert Page(render(less)).open == []
    assert table(less)


def test_an_empty_run_says_what_has_not_run_and_shows_nothing_else() -> None:
    text = render({})
    assert "Not part of this run: evaluation, sampling of traces, selection, training." in text
    assert "<svg" not in text
    assert "<figure" not in text
    assert 'id="browser"' not in text
    assert table({}) == "Nothing has been measured yet."


def test_only_before_has_run_yet(run: dict[str, Any]) -> None:
    less = {**run, "evaluation": {"before": run["evaluation"]["before"]}, "comparison": []}
    assert "Paired differences" not in render(less)
    assert "before" in table(less)


def test_the_table_shows_before_after_and_the_paired_difference(run: dict[str, Any]) -> None:
    text = table(run)
    row = next(line for line in text.splitlines() if line.startswith("all"))
    before, after = (run["evaluation"][name]["benchmarks"]["sums"]["pass_at_1"] for name in ("before", "after"))
    for found in (before, after):
        assert f"{100 * found['value']:.1f} ± {100 * found['se']:.1f}" in row
    low, high = run["comparison"][0]["difference"]["ci"]
    assert f"[{100 * low:+.1f}, {100 * high:+.1f}]" in row
    assert text.index("\nlevel 1") < text.index("\nlevel 5") < text.index("\nall")
    assert text.index("instruct") < text.index("think")
    assert max(map(len, text.splitlines())) <= 120


def test_several_benchmarks_get_a_table_each_and_the_average(run: dict[str, Any]) -> None:
    more = copy.deepcopy(run)
    for section in more["evaluation"].values():
        for key in ("benchmarks", "per_problem"):
            section[key]["other"] = section[key]["sums"]
    text = table(more)
    assert "pass@1 on other" in text
    assert "unweighted average over benchmarks" in text
    assert "Accuracy on other by level" in render(more)


def test_a_level_that_one_model_lacks_is_a_gap(run: dict[str, Any]) -> None:
    less = copy.deepcopy(run)
    del less["evaluation"]["before"]["benchmarks"]["sums"]["by_level"]["5"]
    del less["sampling"]["think"]["by_level"]["3"]
    assert not re.search(r"(?i)\bnan\b", render(less).partition("<script>")[0])
    assert "–" in next(line for line in table(less).splitlines() if line.startswith("level 5"))


def test_a_derived_output_is_counted_but_not_drawn_as_a_mode(run: dict[str, Any]) -> None:
    more = copy.deepcopy(run)
    more["sampling"]["think_solution"] = {**copy.deepcopy(more["sampling"]["think"]), "derived": True}
    found, before = paradigm_figure(more), paradigm_figure(run)  # type: ignore[arg-type]
    assert found is not None
    assert before is not None
    assert list(found.legend) == list(before.legend)
    assert len(found.body) == len(before.body) + 6
    assert render(more).count(">think_solution</text>") == 2
    assert len(found.drawings) == len(before.drawings) == 2


def test_what_does_not_fit_is_said_and_stands_in_the_tables(run: dict[str, Any], tmp_path: Path) -> None:
    more = copy.deepcopy(run)
    sums = more["evaluation"]["after"]["benchmarks"]["sums"]
    more["evaluation"]["after"]["benchmarks"] = {f"benchmark {i:03}": sums for i in range(30)}
    more["failures"] = {f"step {i}": {"reason " * 100: 1} for i in range(2_000)}
    write_report(more, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(text.encode()) < LIMIT
    assert "rows; all of them stand in tables.md." in text
    assert Page(text).open == []
    whole = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "benchmark 029" in whole
    assert whole.count("| step ") >= 2_000


def test_a_drawing_without_room_is_named() -> None:
    chart = Counts(title="n", rows=(Count("all", 200, "muted"),))
    full = Figure(title="t", drawings=[("a", chart), ("b", chart)], note="A note.")
    found = Room(drawings=len(draw(chart)) + 1).block(full)
    assert isinstance(found, DrawnFigure)
    assert [small for small, _ in found.drawings] == ["a"]
    assert found.note == "A note. Drawings left out, as the page is full: 1."


def test_the_tables_hold_what_the_page_shows(run: dict[str, Any], tmp_path: Path) -> None:
    write_report(run, tmp_path / "report.html")
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    held = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    after = run["evaluation"]["after"]["benchmarks"]["sums"]["pass_at_1"]
    cell = f"{100 * after['value']:.1f} ± {100 * after['se']:.1f}"
    assert f"| {cell} |" in text
    [accuracy] = [one for one in held if one["title"] == "Accuracy on sums by level"]
    assert cell in [row[3] for row in accuracy["rows"]]
    assert all(len(row) == len(one["head"]) for one in held for row in one["rows"])
    assert [one["title"] for one in held] == re.findall(r"^### (.*)$", text, flags=re.MULTILINE)


def test_a_hostile_word_breaks_no_markdown_table(run: dict[str, Any]) -> None:
    text = tables_markdown("t", pages.tables(hostile(run)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 50
    assert not [line for line in text.splitlines() if line and line[0] not in "|#" and line.endswith("|")]


def test_a_long_cell_is_cut_on_the_page_only() -> None:
    cut = Room().rows(Table(title="t", head=("a",), body=[["x" * 1_000]]))
    assert cut.body[0][0].endswith("…")
    assert len(cut.body[0][0]) == 300


def test_several_benchmarks_stand_in_one_table_with_their_average(run: dict[str, Any]) -> None:
    more = copy.deepcopy(run)
    for section in more["evaluation"].values():
        section["benchmarks"]["other"] = section["benchmarks"]["sums"]
    more["order"]["benchmarks"] = ["sums", "other"]
    [summary] = [one for _, one in pages.tables(more) if one.title == "All benchmarks"]  # type: ignore[arg-type]
    assert summary.head == ("model", "sums", "other", "average")
    assert [row[0] for row in summary.body] == ["before", "after"]
    assert "All benchmarks" not in render(run)


def test_votes_stand_together_where_there_are_several_samples(run: dict[str, Any]) -> None:
    [votes] = [one for _, one in pages.tables(run) if one.title == "Several samples together"]  # type: ignore[arg-type]
    majority = run["evaluation"]["after"]["benchmarks"]["sums"]["maj_at_n"]
    assert f"{100 * majority['value']:.1f} ± {100 * majority['se']:.1f}" in votes.body[1]
    less = copy.deepcopy(run)
    for section in less["evaluation"].values():
        section["benchmarks"]["sums"]["samples"] = section["benchmarks"]["sums"]["problems"]
    assert "Several samples together" not in render(less)
