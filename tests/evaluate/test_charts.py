"""Charts to SVG: the marks stand where the numbers say, words are inert, bytes repeat, themes are the page's."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from stillwise.evaluate import charts
from stillwise.evaluate.charts import (
    Bars,
    Chart,
    Cloud,
    Count,
    Counts,
    Curves,
    Dot,
    Group,
    Heat,
    Histogram,
    Lines,
    Piece,
    Point,
    Series,
    Shares,
)
from stillwise.evaluate.plots import KINDS, draw
from stillwise.evaluate.theme import stand_in

SVG = "{http://www.w3.org/2000/svg}"
HALF = (Point(0.5, 0.4, 0.6), Point(None))
EVERY: dict[str, Chart] = {
    "bars": Bars(title="b", categories=("1", "2"), series=(Series("one", HALF, 0), Series("two", HALF, 1))),
    "lines": Lines(title="l", categories=("1", "2"), series=(Series("one", HALF, 0),)),
    "curves": Curves(title="c", stages=(("first", ((1, 3.0), (9, 1.0))), ("then", ((1, 1.0), (4, 0.5))), ("none", ()))),
    "counts": Counts(title="n", rows=(Count("all", 200, "muted"), Count("half", 100, "s1", "50 %"))),
    "shares": Shares(
        title="s", rows=(("x", (Piece("a", 3, "o-correct"), Piece("b", 1, "s1"))), ("none", (Piece("a", 0, "s0"),)))
    ),
    "cloud": Cloud(title="d", groups=(Group("g", (Dot(10, 0.5, "here", (8, 12), (0.4, 0.6)),), 2),), x_axis="x", x_scale="log"),
    "histogram": Histogram(title="h", edges=(1, 2, 4), series=(("right", (0.25, 0.75), "o-correct"),), axis="x", scale="log"),
    "heat": Heat(title="t", columns=("0", "1"), rows=("4", "5"), cells=((0, 7), (3, 0)), x_axis="RV", y_axis="CD"),
}


def hints(drawing: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(drawing).iter(f"{SVG}title")]


def boxes(drawing: str, colour: str) -> list[tuple[float, float]]:
    """Width and height of every rectangle of a colour."""
    found = []
    for path in ElementTree.fromstring(drawing).iter(f"{SVG}path"):
        if f"fill: var(--{colour})" in (path.get("style") or ""):
            xs, ys = zip(*re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d") or ""), strict=True)
            found.append((max(map(float, xs)) - min(map(float, xs)), max(map(float, ys)) - min(map(float, ys))))
    return found


def test_every_kind_of_chart_is_drawn_here() -> None:
    assert {type(chart) for chart in EVERY.values()} == set(KINDS)


@pytest.mark.parametrize("name", EVERY)
def test_a_drawing_is_small_named_and_in_the_colours_of_the_page(name: str) -> None:
    drawing = draw(EVERY[name])
    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label") == EVERY[name].title
    assert len(drawing) < 14_000
    assert not re.findall(r"#[0-9a-fA-F]{6}(?![0-9a-fA-F])", drawing), "a colour that no theme changes"
    assert set(re.findall(r"var\(--([^)]+)\)", drawing)) <= set(charts.COLOURS)
    assert "nan" not in drawing.lower()
    assert "DejaVu" not in drawing


@pytest.mark.parametrize("name", EVERY)
def test_equal_charts_give_equal_bytes(name: str) -> None:
    assert draw(EVERY[name]) == draw.__wrapped__(EVERY[name])


def test_another_process_and_other_settings_change_no_byte(tmp_path: object) -> None:
    script = (
        "import matplotlib; matplotlib.rcParams.update({'font.size': 30, 'axes.facecolor': 'red', 'svg.fonttype': 'path'})\n"
        "from tests.evaluate.test_charts import EVERY, draw\nprint(''.join(map(draw, EVERY.values())), end='')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(map(draw, EVERY.values()))
    assert done.stderr == ""


def test_bars_are_as_high_as_their_values() -> None:
    chart = Bars(title="t", categories=("1", "2"), series=(Series("a", (Point(0.5), Point(0.25)), 0),))
    (_, half), (_, quarter) = boxes(draw(chart), "s0")
    assert half == pytest.approx(2 * quarter, abs=0.05)
    assert hints(draw(chart)) == ["a, 1: 50 %", "a, 2: 25 %"]


def test_what_was_not_measured_is_a_dash_and_no_bar() -> None:
    drawing = draw(EVERY["bars"])
    assert drawing.count(">–</text>") == 2
    assert len(boxes(drawing, "s0")) == 1
    assert hints(drawing) == ["one, 1: 50 % (40 % to 60 %)", "two, 1: 50 % (40 % to 60 %)"]


def test_shares_fill_the_width_whatever_their_total() -> None:
    [(most, _)], [(rest, _)] = boxes(draw(EVERY["shares"]), "o-correct"), boxes(draw(EVERY["shares"]), "s1")
    assert most / rest == pytest.approx(3, rel=0.03)
    assert len(boxes(draw(EVERY["shares"]), "track")) == 1


def test_counts_stand_against_the_largest() -> None:
    [(whole, _)], [(half, _)] = boxes(draw(EVERY["counts"]), "muted"), boxes(draw(EVERY["counts"]), "s1")
    assert whole == pytest.approx(2 * half, abs=0.05)
    assert "100  50 %" in draw(EVERY["counts"])


def test_a_fuller_cell_is_darker() -> None:
    assert sorted(hints(draw(EVERY["heat"])))[-1] == "CD 5, RV 1: 0 (0 %)"
    strengths = [float(found) for found in re.findall(r"style=\"fill: var\(--accent\); opacity: ([\d.]+)", draw(EVERY["heat"]))]
    assert sorted(strengths)[-2:] == [pytest.approx(0.1 + 0.75 * 3 / 7, abs=0.01), pytest.approx(0.85, abs=0.01)]


def test_hostile_and_foreign_words_are_words() -> None:
    name = "<script>alert(1)</script> $\\frac{1}{0}$ 数学 \u0627"
    drawing = draw(Counts(title=name, rows=(Count(name, 1, "s0", name),)))
    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label") == name
    assert not list(root.iter(f"{SVG}script"))
    assert "$\\frac{1}{0}$ 数学" in drawing


def test_stand_ins_are_as_many_as_colours() -> None:
    assert len({stand_in(name) for name in charts.COLOURS}) == len(charts.COLOURS)


def test_an_empty_chart_is_drawn_without_complaint() -> None:
    for chart in (
        Bars(title="x", categories=(), series=()),
        Lines(title="x", categories=(), series=()),
        Curves(title="x", stages=()),
        Counts(title="x", rows=()),
        Shares(title="x", rows=()),
        Cloud(title="x", groups=(), x_axis="x"),
    ):
        ElementTree.fromstring(draw(chart))
