"""The report in headless Chromium: no complaint, no request, filters, search, lineage, themes, a phone, paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillwise.evaluate import metrics
from stillwise.evaluate.browse import FILE, browse_section, embedded
from stillwise.evaluate.report import write_report
from stillwise.records import thinking_spans
from tests.evaluate.chromium import BINARY, Tab, chromium
from tests.evaluate.synthetic_run import batches, rich_metrics, score_tables

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BINARY is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> 5 < 6 &amp; wait"
SHOWN = "[...document.querySelectorAll('#trace-list button')].length"


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    """The synthetic traces; the first thought holds an attack."""
    held = batches()
    first = held[3].output.traces[0]
    text = f"<think>{HOSTILE}</think>{HOSTILE}"
    traces = [replace(first, text=text, spans=thinking_spans(text)), *held[3].output.traces[1:]]
    held[3] = replace(held[3], output=replace(held[3].output, traces=traces))
    return browse_section(held, score_tables(traces))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, sample: dict[str, Any]) -> Path:
    """A report with everything on it."""
    folder = tmp_path_factory.mktemp("report")
    (folder / FILE).write_text(embedded(sample), encoding="utf-8")
    write_report(json.loads(metrics.dumps(rich_metrics())), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with chromium() as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, page: Path) -> Iterator[Tab]:
    """The page, freshly opened in a wide light window; what it complains of fails the test."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.resize(1240)
    browser.theme("light")
    browser.open(page)
    assert browser.run("document.getElementById('browser').dataset.ready") == "yes"
    yield browser
    assert browser.complaints == []


def choose(tab: Tab, name: str, value: str) -> None:
    script = f"(() => {{ const e = document.getElementById('filter-{name}'); e.value = {json.dumps(value)};"
    tab.run(f"{script} e.dispatchEvent(new Event('input', {{bubbles: true}})); }})()")
    if name == "text":
        tab.run("new Promise((done) => setTimeout(done, 200))")


def listed(tab: Tab) -> int:
    """How many traces match, as the page says."""
    return int(tab.run("document.getElementById('trace-count').textContent.split(' ')[0].replace(',', '')"))


def view(tab: Tab) -> str:
    return str(tab.run("document.getElementById('trace-view').innerText"))


def test_the_page_loads_nothing_else(tab: Tab, page: Path) -> None:
    assert tab.requests == [page.resolve().as_uri()]


@pytest.mark.parametrize("name", ["in", "paradigm", "level", "outcome"])
def test_every_filter_counts_what_it_says(tab: Tab, sample: dict[str, Any], name: str) -> None:
    levels = {key: problem["level"] for key, problem in sample["problems"].items()}
    values = [levels[trace["problem"]] if name == "level" else trace[name] for trace in sample["traces"]]
    options = tab.run(f"[...document.getElementById('filter-{name}').options].map((one) => one.value).slice(1)")
    assert sorted(options) == sorted(set(values))
    for value in options[:3]:
        choose(tab, name, value)
        assert listed(tab) == values.count(value)


def test_filters_add_up_and_reset(tab: Tab, sample: dict[str, Any]) -> None:
    choose(tab, "in", "think")
    choose(tab, "outcome", "incorrect")
    wanted = [t for t in sample["traces"] if t["in"] == "think" and t["outcome"] == "incorrect"]
    assert listed(tab) == len(wanted) > 0
    assert "incorrect" in view(tab)
    choose(tab, "in", "no_rethink")
    choose(tab, "outcome", "")
    choose(tab, "said", "yes")
    assert listed(tab) == 0
    assert "No trace matches" in view(tab)
    tab.run("document.getElementById('filter-reset').click()")
    assert listed(tab) == sample["shown"]


def test_search_finds_words_of_question_thought_and_solution(tab: Tab, sample: dict[str, Any]) -> None:
    choose(tab, "text", "VERIFY boxed{261}")
    texts = [
        " ".join([sample["problems"][t["problem"]]["question"], t.get("thinking", ""), t.get("solution", "")]).lower()
        for t in sample["traces"]
    ]
    assert listed(tab) == sum("verify" in text and "boxed{261}" in text for text in texts) > 0
    assert "261" in tab.run("[...document.querySelectorAll('mark.hit')].map((one) => one.textContent).join(' ')")
    choose(tab, "text", "(?<![")
    assert listed(tab) == 0


def test_an_attack_in_a_trace_is_text(tab: Tab) -> None:
    choose(tab, "text", "onerror=")
    assert listed(tab) >= 1
    assert "<script>document.title='owned'</script>" in view(tab)
    assert "5 < 6 &amp; wait" in view(tab)
    assert tab.run("document.title") == "Curriculum reasoning distillation · stillwise"
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert tab.run("document.querySelectorAll('script').length") == 2


def test_even_a_script_that_got_in_would_not_run(tab: Tab) -> None:
    tab.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title=1'; document.body.append(s); })()"
    )
    assert tab.run("document.title") != "1"
    assert any("Content Security Policy" in words for words in tab.complaints)
    tab.complaints.clear()


def test_an_edit_is_read_beside_its_parent(tab: Tab) -> None:
    choose(tab, "in", "think_solution")
    text = view(tab)
    assert "Edit: think solution." in text
    assert "Parent: think, sample" in text
    assert tab.run("document.querySelectorAll('#trace-view article').length") == 2
    assert "Wait" in tab.run("[...document.querySelectorAll('mark.gone')].map((one) => one.textContent).join(' ')")
    assert tab.run("document.querySelectorAll('article mark.new').length") == 0
    banned = tab.run("[...document.querySelectorAll('article mark.banned')].map((one) => one.textContent)")
    assert banned == ["Wait", "verify"]
    assert "says verify ×1, wait ×1" in text
    tab.run("document.querySelector('#trace-view .facts button').click()")
    assert tab.run("document.querySelector('#trace-view article h4').innerText").startswith("think ·")
    assert "Edited into: think_solution, sample" in view(tab)


def test_another_trace_of_the_problem_can_be_laid_beside(tab: Tab) -> None:
    choose(tab, "in", "instruct")
    assert tab.run("document.querySelectorAll('#trace-view article').length") == 1
    tab.run(
        "(() => { const e = document.getElementById('trace-beside'); e.value = e.options[1].value;"
        " e.dispatchEvent(new Event('input')); })()"
    )
    assert tab.run("document.querySelectorAll('#trace-view article').length") == 2


def test_the_list_is_read_with_the_keyboard_and_grows(tab: Tab, sample: dict[str, Any]) -> None:
    assert sample["shown"] > 100 == tab.run(SHOWN)
    tab.run("document.getElementById('trace-more').click()")
    assert tab.run(SHOWN) == min(200, sample["shown"])
    before = tab.run(
        "[...document.querySelectorAll('#trace-list button')].findIndex((b) => b.getAttribute('aria-current') === 'true')"
    )
    tab.run(
        "document.querySelector('#trace-list').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true}))"
    )
    after = tab.run(
        "[...document.querySelectorAll('#trace-list button')].findIndex((b) => b.getAttribute('aria-current') === 'true')"
    )
    assert after == before + 1


@pytest.mark.parametrize("width", [360, 768, 1240])
def test_no_width_scrolls_sideways(tab: Tab, width: int) -> None:
    tab.resize(width)
    assert tab.run("document.documentElement.scrollWidth") <= width
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    small = (
        "[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height).filter((h) => h > 0 && h < 9)"
    )
    assert tab.run(small) == [], "letters too small to read"


def contrast(tab: Tab, selector: str) -> float:
    """WCAG contrast of an element's colour against the nearest background."""
    script = """(() => {
      const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
      const paint = (c) => (numbers(c)[3] === 0 ? null : numbers(c).slice(0, 3));
      const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
      const one = document.querySelector(SELECTOR), style = getComputedStyle(one);
      const ink = paint(one instanceof SVGElement ? style.fill : style.color);
      let under = one, ground = null;
      while (under && !ground) { ground = paint(getComputedStyle(under).backgroundColor); under = under.parentElement; }
      const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    })()"""
    return float(tab.run(script.replace("SELECTOR", json.dumps(selector))))


WORDS = (
    "body p",
    ".card span",
    "figcaption",
    "svg text",
    "thead th",
    "td",
    ".outcome",
    "#trace-list .start",
    "mark.banned",
    "nav a",
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_in_both_themes(tab: Tab, theme: str) -> None:
    tab.theme(theme)
    choose(tab, "in", "think_solution")
    dark = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] < 60")
    assert dark is (theme == "dark")
    assert {selector: found for selector in WORDS if (found := contrast(tab, selector)) < 4.5} == {}


def test_paper_is_light_and_shows_what_is_folded(tab: Tab) -> None:
    tab.theme("dark", "print")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run("getComputedStyle(document.querySelector('.filters')).display") == "none"
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("[...document.querySelectorAll('details')].every((one) => one.open)")
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert not tab.run("[...document.querySelectorAll('details')].some((one) => one.open)")
    assert len(tab.call("Page.printToPDF")["data"]) > 10_000


def test_every_drawing_is_seen(tab: Tab) -> None:
    boxes = tab.run("[...document.querySelectorAll('figure svg')].map((one) => one.getBoundingClientRect().width)")
    assert len(boxes) > 15
    assert all(width > 250 for width in boxes)
    assert "none" not in tab.run("[...document.querySelectorAll('figure svg')].map((one) => getComputedStyle(one).display)")
