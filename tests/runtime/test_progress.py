"""Progress: rate and time left against a hand-turned clock, plain lines in logs, silence when quiet, bars on a terminal."""

from __future__ import annotations

import io
import subprocess
import sys

from stillwise.runtime.progress import Bar, Display, duration, figure


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_display(clock: Clock) -> tuple[Display, io.StringIO]:
    stream = io.StringIO()
    return Display(stream=stream, clock=clock), stream


def test_rate_and_time_left_follow_the_clock() -> None:
    clock = Clock()
    bar = Bar("think", 100, clock, lambda _: None)
    assert (bar.rate, bar.left_s) == (None, None)
    clock.now += 10
    bar.advance(20)
    assert bar.rate == 2.0
    assert bar.left_s == 40.0
    assert bar.elapsed_s == 10.0


def test_the_rate_forgets_what_the_journal_replayed() -> None:
    clock = Clock()
    bar = Bar("think", 10_000, clock, lambda _: None)
    bar.advance(5_000)
    for _ in range(60):
        clock.now += 1
        bar.advance(1)
    assert bar.rate is not None
    assert 0.9 < bar.rate < 1.1


def test_a_log_gets_a_first_line_a_line_every_ten_seconds_and_a_last_line() -> None:
    clock = Clock()
    display, stream = lines_display(clock)
    with display:
        bar = display.open("sample think", 30)
        for _ in range(30):
            clock.now += 1
            bar.advance(1, accuracy=0.5, tokens_per_s=1234.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "sample think: 0/30"
    assert lines[1].startswith("sample think: 10/30  1.0/s  0:10, 0:20 left  accuracy 50.0 %  tokens/s 1,234")
    assert lines[-1].startswith("sample think: 30  1.0/s  0:30")
    assert len(lines) == 4


def test_an_upper_bound_that_is_not_reached_is_closed_by_its_step() -> None:
    display, stream = lines_display(Clock())
    with display:
        with display.step():
            display.open("tries", 400).advance(130)
        assert stream.getvalue().splitlines()[-1].startswith("tries: 130 of at most 400")


def test_nested_bars_close_apart() -> None:
    display, stream = lines_display(Clock())
    with display:
        outer = display.open("stage", 2)
        with display.step():
            display.open("epoch", 5).advance(3)
        outer.advance(2)
    closing = [line for line in stream.getvalue().splitlines() if "0/" not in line]
    assert [line.split(":")[0] for line in closing] == ["epoch", "stage"]


def test_quiet_says_nothing_and_still_counts() -> None:
    stream = io.StringIO()
    with Display(mode="quiet", stream=stream) as display:
        bar = display.open("anything", 3)
        bar.advance(3)
        bar.advance(1)
    assert stream.getvalue() == ""


def test_an_empty_step_is_over_at_once() -> None:
    display, stream = lines_display(Clock())
    with display:
        display.open("nothing to do", 0)
        assert stream.getvalue().splitlines()[-1].startswith("nothing to do: 0")


def test_a_terminal_gets_a_bar_with_rate_and_figures_and_keeps_the_last_line() -> None:
    clock = Clock()
    stream = Terminal()
    with Display(stream=stream, clock=clock) as display:
        bar = display.open("train [stage 1]", 4)
        clock.now += 2
        bar.advance(2, loss=1.25)
        assert "━" in rendered(display)
        assert "2/4  1.0/s  0:02, 0:02 left  loss 1.25" in rendered(display)
        bar.advance(2, loss=0.5)
    assert "train [stage 1]: 4" in stream.getvalue()


def rendered(display: Display) -> str:
    from rich.console import Console

    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(display._render())
    return console.export_text()


def test_figures_and_durations_read_as_words() -> None:
    assert figure("accuracy", 0.4567) == "accuracy 45.7 %"
    assert figure("tokens_per_s", 18000.4) == "tokens/s 18,000"
    assert figure("loss", 0.12345) == "loss 0.123"
    assert duration(59.6) == "1:00"
    assert duration(3723) == "1:02:03"


def test_rich_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, stillwise.runtime.progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
