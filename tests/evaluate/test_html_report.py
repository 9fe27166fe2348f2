"""The page and the terminal's table: complete, self-contained, safe with hostile text, and honest about what has not run."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from stillwise.evaluate import charts
from stillwise.evaluate.charts import Part, Point, Scale, Series
from stillwise.evaluate.report import render, table, write_report
from stillwise.evaluate.views import paradigm_figure

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
        if tag not in {"meta", "link", "img", "br", "rect", "line", "circle", "polyline"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in {"rect", "circle"}:
            return
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()


def test_the_page_is_one_file_without_scripts_or_addresses(run: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(run, path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not [attrs for _, attrs in page.tags if {"src", "href"} & set(attrs)]
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_every_drawing_is_well_formed_and_named(run: dict[str, Any]) -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(run), flags=re.DOTALL)
    assert len(drawings) == 7
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
        assert "nan" not in drawing.lower()


def test_the_page_holds_the_numbers_of_the_run(run: dict[str, Any]) -> None:
    text = render(run)
    after = run["evaluation"]["after"]["benchmarks"]["sums"]["pass_at_1"]["value"]
    share = run["selection"]["common"]["share_by_level"]["5"]
    change = run["comparison"][0]["difference"]["value"]
    for words in (
        f"{100 * after:.1f} %",
        f"{100 * share:.1f} % of “common” is level 5",
        "24 % in the paper",
        f"{100 * change:+.1f}",
    ):
        assert words in text
    assert "stillwise run curriculum --micro" in text
    assert "16384" in text
    assert "not solved by every mode" in text
    assert "2.13.0" in text
    assert '<div class="thinking">' in text


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
    tags = {tag for tag, _ in Page(text).tags}
    assert tags.isdisjoint({"script", "img"})
    assert text.count("&lt;script&gt;") > 50


@pytest.mark.parametrize(
    "section", ["recipe", "problems", "sampling", "selection", "training", "evaluation", "comparison", "examples"]
)
def test_any_section_may_be_missing(run: dict[str, Any], section: str) -> None:
    less = {key: value for key, value in run.items() if key != section}
    assert Page(render(less)).open == []
    assert table(less)


def test_an_empty_run_says_what_has_not_run() -> None:
    text = render({})
    for words in (
        "No evaluation has run yet",
        "No traces were sampled",
        "No student was trained",
        "No answers were graded",
        "No example traces",
        "Nothing was dropped",
    ):
        assert words in text
    assert "<svg" not in text
    assert table({}) == "Nothing has been measured yet."


def test_only_before_has_run_yet(run: dict[str, Any]) -> None:
    less = {**run, "evaluation": {"before": run["evaluation"]["before"]}, "comparison": []}
    assert "No two models were compared" in render(less)
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
    assert "nan" not in render(less).lower()
    assert "–" in next(line for line in table(less).splitlines() if line.startswith("level 5"))


def test_a_derived_output_is_counted_but_not_drawn_as_a_mode(run: dict[str, Any]) -> None:
    more = copy.deepcopy(run)
    more["sampling"]["think_solution"] = {**copy.deepcopy(more["sampling"]["think"]), "derived": True}
    found, before = paradigm_figure(more), paradigm_figure(run)  # type: ignore[arg-type]
    assert found is not None
    assert before is not None
    assert found.legend == before.legend
    assert len(found.body) == len(before.body) + 6
    assert render(more).count(">think_solution</text>") == 2


def test_scales_map_and_tick() -> None:
    scale = Scale(0, 1, 100, 0)
    assert (scale(0), scale(1), scale(0.25)) == (100, 0, 75)
    assert scale.ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Scale(0, 0, 0, 10).ticks()
    assert Scale(0, 337, 0, 1).ticks() == [0, 100, 200, 300]


def test_bars_are_as_high_as_their_values() -> None:
    drawing = charts.grouped_bars(["1", "2"], [Series("a", [Point(0.5), Point(None)], 0)], "t")
    rects = ElementTree.fromstring(drawing).findall("{http://www.w3.org/2000/svg}rect")
    height = charts.HEIGHT - charts.BOTTOM - charts.TOP
    assert [float(rect.get("height") or 0) for rect in rects] == [pytest.approx(height / 2)]


def test_stacked_shares_fill_the_width_whatever_their_total() -> None:
    drawing = charts.stacked([("x", [Part("a", 3, "red"), Part("b", 1, "blue")]), ("none", [Part("a", 0, "red")])], "t")
    widths = [float(r.get("width") or 0) for r in ElementTree.fromstring(drawing).findall("{http://www.w3.org/2000/svg}rect")]
    whole = charts.WIDTH - charts.LABEL_WIDTH - charts.RIGHT
    assert widths[:2] == pytest.approx([whole * 0.75 - 1, whole * 0.25 - 1], abs=0.1)
    assert widths[2] == 0
