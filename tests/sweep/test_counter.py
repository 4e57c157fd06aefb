from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from vellum_nb.models import Run
from vellum_nb.sweep import progress as module
from vellum_nb.sweep.progress import Counter, Progress


def ended(tag: str = "v1", state: str = "FULFILLED", **fields) -> Run:
    return Run(
        id="r",
        deployment="d",
        release_tag=tag,
        timestamp=datetime.now(UTC),
        inputs={},
        case_id="c",
        state=state,
        **fields,
    )


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that moves when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def counted(counter: Counter) -> Progress:
    return counter.progress("running")


def test_runs_are_counted_by_release_tag():
    counter = Counter(["v1", "v2"], 10)
    counter.had("v1", "FULFILLED")
    counter.had("v1", "REJECTED")
    for tag, state in [("v1", "FULFILLED"), ("v2", "FAILED")]:
        counter.begun(tag)
        counter.ended(ended(tag, state))
    counter.begun("v2")
    v1, v2 = counted(counter).tags
    assert (v1.done, v1.failed, v1.running, v1.to_go) == (2, 1, 0, 7)
    assert (v2.done, v2.failed, v2.running, v2.to_go) == (0, 1, 1, 8)
    assert (counted(counter).found, counter.left, counter.failed) == (2, 16, 2)


def test_cost_and_median_go_on_from_what_earlier_runs_told():
    counter = Counter(["v1"], 10)
    counter.spent("v1", 0.5, [1.0, 1.0, 9.0])
    counter.begun("v1")
    counter.ended(ended(cost_usd=0.25, latency_s=1.5))
    assert (counter.cost, counted(counter).tags[0].median_s) == (0.75, 1.25)
    assert counted(Counter(["v1"], 1)).cost_usd is None


def test_the_rate_is_of_the_last_seconds_and_tells_how_many_are_left(clock):
    counter = Counter(["v1"], 100)
    counter.go()
    for _ in range(40):  # 20 s at two a second
        clock.now += 0.5
        counter.begun("v1")
        counter.ended(ended())
    now = counted(counter)
    assert (now.seconds, now.rate, now.left_s) == (20.0, pytest.approx(2, rel=0.06), 60 / now.rate)
    clock.now += 20  # nothing for a while
    assert counted(counter).rate == 0
    assert counted(counter).left_s is None


def test_a_pause_changes_neither_the_rate_nor_the_seconds(clock):
    counter = Counter(["v1"], 100)
    counter.go()
    for _ in range(10):
        clock.now += 0.5
        counter.begun("v1")
        counter.ended(ended())
    before = counted(counter)
    counter.hold()
    counter.hold()
    clock.now += 3600
    assert counted(counter) == before
    counter.go()
    assert counted(counter) == before
    clock.now += 0.5
    assert counted(counter).rate == pytest.approx(before.rate, rel=0.1)


def test_its_clock_is_the_real_one():
    counter = Counter(["v1"], 1)
    counter.go()
    since = counter.seconds
    time.sleep(0.02)
    assert counter.seconds > since
