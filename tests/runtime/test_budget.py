"""Jobs under a budget: it holds whatever is sent, whatever comes back, and over all steps of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from stillwise.errors import BudgetReached
from stillwise.models import http_pool
from stillwise.models.http_spec import NANO, Price
from stillwise.runtime.journal import Journal
from stillwise.runtime.metered import metered
from stillwise.runtime.spending import Purse
from tests.models.conftest import make_tokenizer
from tests.models.serving import Scripted, model_of
from tests.runtime.http_job import asked, caller, calls, ignore


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    held = Journal(tmp_path / "j.sqlite")
    yield held
    held.close()


def paid(journal: Journal) -> Decimal:
    return journal.ledger()["s"]["nano"] / NANO


def test_a_budget_is_never_exceeded_and_goes_on_when_raised(server: Scripted, tmp_path: Path) -> None:
    price = Price(prompt=Decimal("0.4"), completion=Decimal("1.2"))
    server.become(latency=0.01)
    with model_of(server, price=price) as model:
        journal = Journal(tmp_path / "j.sqlite")
        budget = Decimal("0.005")
        with pytest.raises(BudgetReached, match="larger --budget"):
            caller(model, journal, Purse.of(budget, 0)).complete(asked(200), ignore)
        paid, done = journal.ledger()["s"]["nano"], journal.ledger()["s"]["answered"]
        assert int(budget * 10**9) * 0.9 < paid <= int(budget * 10**9)
        assert calls(server) == done < 200
        assert len(caller(model, journal, Purse.of(Decimal(1), paid)).complete(asked(200), ignore)) == 200
        assert calls(server) == 200, "what was paid for is not asked again"
        journal.close()


@dataclass
class Shown:
    """A bar that remembers what it was told last."""

    figures: dict[str, float] = field(default_factory=dict)

    def advance(self, done: int = 1, **figures: float) -> None:
        self.figures = figures


def test_bars_show_tokens_and_money_so_far_and_at_the_end(server: Scripted, journal: Journal) -> None:
    shown = Shown()
    with model_of(server, price=Price(completion=Decimal("2.5"))) as model:
        caller(model, journal).complete(asked(4), ignore)
        again = caller(model, journal, Purse.of(None, journal.ledger()["s"]["nano"]))
        bar = metered(lambda label, total: shown, [again])("s", 20)
        bar.advance(0)
        assert shown.figures == {}, "nothing was asked, and nothing opened"
        answers = again.complete(asked(10), lambda places, _: bar.advance(len(places), correct=0.5))
    read, written = answers[0].num_prompt_tokens, answers[0].num_tokens
    assert {(answer.num_prompt_tokens, answer.num_tokens) for answer in answers} == {(read, written)}
    money = 2.5e-6 * written
    assert shown.figures == {
        "correct": 0.5,
        "tokens": 6 * (read + written),
        "tokens_at_end": 16 * (read + written),
        "cost": pytest.approx(10 * money),
        "cost_at_end": pytest.approx(20 * money),
    }


@pytest.mark.parametrize("start", ["word " * 2000, "7 " * 2000])
def test_what_is_prefilled_counts_before_it_is_sent(server: Scripted, journal: Journal, start: str) -> None:
    requests = [replace(request, ask=replace(request.ask, prefill=start)) for request in asked(64)]
    with model_of(server, price=Price(prompt=Decimal(1000))) as model, pytest.raises(BudgetReached):
        caller(model, journal, Purse.of(Decimal(50), 0)).complete(requests, ignore)
    assert 35 < paid(journal) <= 50, "every call costs two"


def test_a_tokenizer_finds_room_that_bytes_do_not(server: Scripted, journal: Journal, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    requests = [replace(request, ask=replace(request.ask, prefill=" wait" * 2000)) for request in asked(9)]
    priced = {"price": Price(prompt=Decimal(1000)), "tokenizer": str(folder)}
    with model_of(server, **priced) as model, pytest.raises(BudgetReached):
        caller(model, journal, Purse.of(Decimal(5), 0)).complete(requests, ignore)
    assert 3 < paid(journal) <= 5, "ten thousand bytes, two thousand tokens"


def test_hours_of_one_step_are_missing_in_the_next(server: Scripted, journal: Journal) -> None:
    purse = Purse.of(Decimal(1_000_000), 0)
    with model_of(server, price=Price(gpu_hour=Decimal(3600))) as model:
        caller(model, journal, purse).complete(asked(20), ignore)
        assert purse.paid_nano / NANO == paid(journal) > 0
        spent = replace(purse, budget_nano=purse.paid_nano)
        with pytest.raises(BudgetReached):
            caller(model, journal, spent).complete(asked(40), ignore)
    assert calls(server) == 20


def test_replies_without_an_answer_are_paid_for(server: Scripted, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "FIRST_WAIT_S", 0.01)
    server.become(shares={"empty": 0.3})
    with model_of(server, attempts=20, price=Price(completion=Decimal(10))) as model:
        answers = caller(model, journal).complete(asked(40), ignore)
    (tokens,) = {answer.num_tokens for answer in answers}
    ledger, empty = journal.ledger()["s"], server.seen()["faults"]["empty"]
    assert (ledger["answered"], ledger["completion_tokens"]) == (40, tokens * (40 + empty))
    assert paid(journal) == Decimal(10 * ledger["completion_tokens"]) / 10**6


def test_repeating_a_call_that_is_paid_for_and_lost_keeps_to_the_budget(server: Scripted, journal: Journal) -> None:
    server.become(shares={"empty": 1.0})
    price, budget = Price(completion=Decimal(1000)), Decimal("0.99")
    with model_of(server, price=price) as model, pytest.raises(BudgetReached):
        caller(model, journal, Purse.of(budget, 0)).complete(asked(100), ignore)
    assert budget - Decimal("0.1") < paid(journal) <= budget
    assert journal.ledger()["s"]["answered"] == 0
