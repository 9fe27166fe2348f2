"""An endpoint's calls at once follow what it bears; a sick one is left alone and tried again."""

from __future__ import annotations

from stillwise.models.endpoint import CUT, Endpoint, Result, State


def exchange(endpoint: Endpoint, result: Result, now: float, *, began: float | None = None, tokens: int = 10) -> None:
    endpoint.begin()
    endpoint.learn(result, now - 0.1 if began is None else began, now, tokens)


def burst(endpoint: Endpoint, count: int, now: float) -> None:
    """So many calls go out together and all come back throttled."""
    for _ in range(count):
        endpoint.begin()
    for _ in range(count):
        endpoint.learn(Result.THROTTLED, now - 0.1, now)


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


def test_retry_after_is_kept() -> None:
    endpoint = Endpoint("u", 8)
    endpoint.begin()
    endpoint.learn(Result.THROTTLED, 0.0, 1.0, retry_after=5.0)
    assert not endpoint.free(5.9)
    assert endpoint.free(6.1)


def test_growth_stops_where_each_token_takes_much_longer() -> None:
    endpoint = Endpoint("u", 100, limit=20.0)
    for i in range(60):
        exchange(endpoint, Result.ANSWERED, float(i), began=i - 0.1)
    reached = endpoint.limit
    for i in range(60, 200):
        exchange(endpoint, Result.ANSWERED, float(i), began=i - 5.0)
    slow = endpoint.limit
    for i in range(200, 260):
        exchange(endpoint, Result.ANSWERED, float(i), began=i - 5.0)
    assert reached > 20
    assert endpoint.limit == slow


def standing(endpoint: Endpoint) -> str:
    return endpoint.state.value


def test_three_refused_connections_open_the_breaker_and_one_trial_closes_it() -> None:
    endpoint = Endpoint("u", 8)
    for _ in range(3):
        exchange(endpoint, Result.UNREACHABLE, 1.0)
    assert standing(endpoint) == "open"
    assert not endpoint.free(1.2)
    assert endpoint.free(3.0)
    endpoint.begin()
    assert standing(endpoint) == "half-open"
    assert not endpoint.free(3.0), "one trial at a time"
    endpoint.learn(Result.ANSWERED, 3.0, 3.1, 5)
    assert standing(endpoint) == "closed"
    assert endpoint.limit < 8, "it is not flooded at once"


def test_a_failed_trial_waits_longer_and_a_burst_counts_once() -> None:
    endpoint = Endpoint("u", 64)
    for _ in range(64):
        endpoint.begin()
    for _ in range(64):
        endpoint.learn(Result.FAILED, 0.9, 1.0)
    first = endpoint.until - 1.0
    assert first < 1.0
    exchange(endpoint, Result.FAILED, 3.0)
    assert first < endpoint.until - 3.0 < 2.0


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
