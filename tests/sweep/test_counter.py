from __future__ import annotations

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
