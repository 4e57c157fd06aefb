import heapq

import pytest

from vellum_nb.sweep.driver import AdaptiveConcurrency

LATENCY = 0.05


def drive(pace: AdaptiveConcurrency, calls: int, a_second: float = 1e9) -> tuple[float, list[int]]:
    """Return when so many calls have ended on a server on paper, and the limits on the way."""
    now, number, free, limits = 0.0, 0, 0.0, [pace.limit]
    under_way: list[tuple[float, int, float]] = []
    while calls:
        for _ in range(min(pace.room(len(under_way), now), calls - len(under_way))):
            number += 1
            free = max(free, now) + 1 / a_second
            heapq.heappush(under_way, (free + LATENCY, number, now))
        now, _, began = heapq.heappop(under_way)
        calls -= 1
        pace.ended(began, now, len(under_way) + 1)
        limits.append(pace.limit)
    return now, limits


def test_it_grows_from_16_to_the_most_on_a_server_that_keeps_up():
    seconds, limits = drive(AdaptiveConcurrency(most=128), 4000)
    assert (limits[0], limits[-1], max(limits)) == (16, 128, 128)
    assert seconds < 2.0  # 1.6 at best


@pytest.mark.parametrize(("a_second", "low", "high"), [(400, 16, 40), (1200, 50, 125)])
def test_it_grows_no_further_than_helps(a_second, low, high):
    seconds, limits = drive(AdaptiveConcurrency(most=1000), 6000, a_second)
    later = limits[len(limits) // 2 :]
    assert low <= min(later) <= max(later) <= high
    assert seconds < 1.15 * 6000 / a_second


def test_one_trouble_lowers_it_once_however_many_calls_meet_it():
    pace = AdaptiveConcurrency(most=128)
    assert pace.busy(0.0, 1.0, None)
    for _ in range(15):
        assert not pace.busy(0.5, 1.1, None)  # begun before it was lowered
    assert pace.limit == 11
    assert pace.busy(1.5, 2.0, None)
    assert pace.limit == 7


def test_a_fixed_concurrency_only_waits():
    pace = AdaptiveConcurrency(5)
    assert not pace.busy(0.0, 1.0, 2.0)
    for moment in range(100):
        pace.ended(float(moment), moment + 0.1, 5)
    assert (pace.limit, pace.most, pace.room(3, 2.0), pace.room(3, 3.0)) == (5, 5, 0, 2)
