"""An endpoint's calls at once follow what it bears; a sick one is left alone and tried again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from stillwise.models.endpoint import CUT, TRIAL_EVERY_S, Endpoint, Result, State


def exchange(endpoint: Endpoint, result: Result, now: float, *, began: float | None = None, tokens: int = 10) -> None:
    left = now - 0.1 if began is None else began
    endpoint.begin(left)
    endpoint.learn(result, left, now, tokens)


def burst(endpoint: Endpoint, count: int, now: float, result: Result = Result.THROTTLED, lasted: float = 0.1) -> None:
    """So many calls go out together and all come back alike."""
    for _ in range(count):
        endpoint.begin(now - lasted)
    for _ in range(count):
        endpoint.learn(result, now - lasted, now, 10)


def test_a_single_429_is_noise() -> None:
    endpoint = Endpoint("u", 64)
    for i in range(200):
        exchange(endpoint, Result.THROTTLED if i % 20 == 0 else Result.ANSWERED, float(i))
    assert endpoint.limit == 64


def test_a_burst_of_429_cuts_once() -> None:
    endpoint = Endpoint("u", 64)
    burst(endpoint, 64, 1.0)
    assert 64 * CUT * 0.5 < endpoint.limit <= 64 * CUT
    first = endpoint.limit
    burst(endpoint, int(first), 1.05)
    assert endpoint.limit == first, "these calls left before the cut could help"
    burst(endpoint, int(first), 2.0)
    assert endpoint.limit < first


def test_the_limit_grows_back_and_never_above_its_ceiling() -> None:
    endpoint = Endpoint("u", 64)
    burst(endpoint, 64, 1.0)
    burst(endpoint, 48, 2.0)
    low = endpoint.limit
    for i in range(2000):
        exchange(endpoint, Result.ANSWERED, 3.0 + i)
    assert low < endpoint.limit <= 64
    assert endpoint.limit > 60


@pytest.mark.parametrize("result", [Result.THROTTLED, Result.FAILED])
def test_retry_after_is_kept(result: Result) -> None:
    endpoint = Endpoint("u", 8)
    endpoint.begin(0.0)
    endpoint.learn(result, 0.0, 1.0, retry_after=5.0)
    assert not endpoint.free(5.9)
    assert endpoint.free(6.1)


@pytest.mark.parametrize("lasted", [5.0, 50.0])
def test_a_server_that_becomes_slow_gets_fewer_calls_and_not_ever_fewer(lasted: float) -> None:
    endpoint = Endpoint("u", 256)
    for i in range(8):
        burst(endpoint, 64, 1.0 + i, Result.ANSWERED)
    assert endpoint.limit == 256
    limits = []
    for i in range(40):
        burst(endpoint, 64, 100.0 + 100 * i, Result.ANSWERED, lasted)
        limits.append(endpoint.limit)
    assert endpoint.limit < 64, "below what was in flight"
    assert all(after >= before * CUT * 0.99 for before, after in pairwise(limits[4:])), "a quarter at a time"
    assert endpoint.limit > 16, "what helps nothing is not repeated for ever"
    for i in range(60):
        burst(endpoint, 64, 10_000.0 + i, Result.ANSWERED)
    assert endpoint.limit > 200, "and all is as before when it is quick again"


def test_a_server_that_only_queues_keeps_its_calls_and_gets_no_more() -> None:
    endpoint = Endpoint("u", 256, limit=100.0)
    for i in range(60):
        burst(endpoint, 4, 1.0 + i, Result.ANSWERED, 0.1)
    reached = endpoint.limit
    for i in range(20):
        burst(endpoint, 100, 100.0 + 10 * i, Result.ANSWERED, 2.5)
    assert reached > 100
    assert reached <= endpoint.limit < reached + 2, "as many tokens a second as ever"


def test_a_tail_and_a_spread_of_latencies_cut_nothing() -> None:
    endpoint, draw = Endpoint("u", 256), random.Random(3)
    for i in range(4000):
        lasted = 0.2 * draw.lognormvariate(0.0, 1.0) * (20.0 if draw.random() < 0.02 else 1.0)
        exchange(endpoint, Result.ANSWERED, 100.0 + i, began=100.0 + i - lasted, tokens=draw.randrange(1, 3000))
    assert endpoint.limit == 256


def test_short_answers_after_long_ones_are_not_slow() -> None:
    endpoint = Endpoint("u", 64)
    for i in range(20):
        burst(endpoint, 64, 100.0 * i + 100, Result.ANSWERED, 1.0)
    for i in range(400):
        exchange(endpoint, Result.ANSWERED, 5000.0 + i, began=5000.0 + i - 0.5, tokens=1)
    assert endpoint.limit == 64


def test_room_is_made_where_others_have_far_more_calls() -> None:
    endpoint = Endpoint("u", 256)
    endpoint.foreign = 10_000
    for i in range(100):
        burst(endpoint, 64, 1.0 + i, Result.ANSWERED)
    assert 256 / 8 * CUT <= endpoint.limit <= 256 / 8
    endpoint.foreign = 0
    for i in range(100):
        burst(endpoint, 64, 200.0 + i, Result.ANSWERED)
    assert endpoint.limit > 200


def standing(endpoint: Endpoint) -> str:
    return endpoint.state.value


def test_three_refused_connections_open_the_breaker_and_one_trial_closes_it() -> None:
    endpoint = Endpoint("u", 8)
    for _ in range(3):
        exchange(endpoint, Result.UNREACHABLE, 1.0)
    assert standing(endpoint) == "open"
    assert not endpoint.free(1.2)
    assert endpoint.free(3.0)
    endpoint.begin(3.0)
    assert standing(endpoint) == "half-open"
    assert not endpoint.free(3.0), "one trial at a time"
    assert endpoint.free(3.0 + TRIAL_EVERY_S), "but an hour-long thought is not the only one"
    endpoint.learn(Result.ANSWERED, 3.0, 3.1, 5)
    assert standing(endpoint) == "closed"
    assert endpoint.limit < 8, "it is not flooded at once"


def test_a_failed_trial_waits_longer_and_a_burst_counts_once() -> None:
    endpoint = Endpoint("u", 64)
    burst(endpoint, 64, 1.0, Result.FAILED)
    first = endpoint.until - 1.0
    assert first < 1.0
    exchange(endpoint, Result.FAILED, 3.0)
    assert first < endpoint.until - 3.0 < 2.0


def test_calls_of_before_neither_block_the_trial_nor_fail_it() -> None:
    endpoint = Endpoint("u", 8)
    endpoint.begin(0.0)
    endpoint.begin(0.0)
    for _ in range(3):
        exchange(endpoint, Result.UNREACHABLE, 1.0)
    assert endpoint.free(3.0)
    endpoint.begin(3.0)
    endpoint.learn(Result.UNKNOWN, 0.0, 3.1)
    assert standing(endpoint) == "half-open"
    endpoint.learn(Result.ANSWERED, 3.0, 3.2, 5)
    assert standing(endpoint) == "closed"
    assert endpoint.in_flight == 1


def test_some_failures_do_not_open_the_breaker() -> None:
    endpoint = Endpoint("u", 8)
    for i in range(100):
        exchange(endpoint, Result.UNKNOWN if i % 2 else Result.ANSWERED, float(i))
    assert endpoint.state is State.CLOSED


def test_a_draining_endpoint_gets_nothing() -> None:
    endpoint = Endpoint("u", 8, draining=True)
    assert not endpoint.free(0.0)


def test_load_of_others_counts_in_routing() -> None:
    mine, shared = Endpoint("a", 8), Endpoint("b", 8)
    mine.in_flight, shared.foreign = 2, 5
    assert mine.outstanding < shared.outstanding
