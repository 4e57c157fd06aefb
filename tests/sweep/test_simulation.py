"""Seeded histories of a sweep: a model server, a virtual clock and faults, in one thread.

In each, sessions end in every way, and others go on, until all is done. A seed that fails is
printed: ``SWEEP_SEED=123 SWEEP_HISTORIES=1 pytest tests/sweep/test_simulation.py`` replays it.
"""

import heapq
import os
import random
from datetime import UTC, datetime

import pytest

from vellum_nb.errors import APIConnectionError, BadRequestError, RateLimitError, ServerError
from vellum_nb.models import Run
from vellum_nb.sweep.driver import Driver
from vellum_nb.sweep.plan import SweepOptions
from vellum_nb.sweep.progress import Counter
from vellum_nb.sweep.retry_policy import (
    Doubt,
    LookupStatus,
    PreparedRun,
    after_lookup,
    after_lookup_error,
    after_send_error,
    finished,
)

HISTORIES = int(os.environ.get("SWEEP_HISTORIES", "10000"))
SEED = int(os.environ.get("SWEEP_SEED", "0"))
RUNS = 5
LOOKUP_S = 30.0
FULFILLED = {"state": "FULFILLED", "outputs": {"n": 1}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class CrashError(BaseException):
    """The process was killed."""


class Server:
    """Executes, loses answers, lists late; refuses used external ids, or executes again."""

    def __init__(self, dice):
        self.dice = dice
        self.refuses = dice.random() < 0.5
        # A server that does not refuse keeps within the look-up time: request, run and listing.
        self.lag = dice.uniform(0, 100 if self.refuses else LOOKUP_S / 3)
        self.faults = dice.choice([0.0, 0.1, 0.5])
        self.executed = {}
        self.ends = {}
        self.listed = {}

    def send(self, prepared, now):
        """Return when an attempt ends, and its outcome."""
        fault = self._throw("before", "after", "late", "timeout", "busy", "executed and busy")
        if fault == "before":
            return now + 0.1, after_send_error(prepared, APIConnectionError("reset"))
        if fault == "busy":
            after = self.dice.choice([0.5, None])
            busy = RateLimitError("busy", status_code=429, retry_after=after)
            return now + 0.1, after_send_error(prepared, busy)
        id_ = prepared.run.external_id
        if id_ in self.executed and self.refuses:
            used = BadRequestError(f"external_id {id_} was used before", status_code=400)
            return now + 0.1, after_send_error(prepared, used)
        begin = now + (self.dice.uniform(0, LOOKUP_S / 3) if fault == "late" else 0.0)
        takes = self.dice.uniform(0.1, LOOKUP_S / 4)
        self.executed[id_] = self.executed.get(id_, 0) + 1
        self.ends[id_] = begin + takes
        self.listed.setdefault(id_, begin + self.lag)
        if fault == "executed and busy" and self.refuses:
            busy = ServerError("busy", status_code=503, retry_after=0.5)
            return now + 0.1, after_send_error(prepared, busy)
        if fault == "":
            return begin + takes, finished(prepared, FULFILLED)
        return now + takes / 2, after_send_error(prepared, APIConnectionError("lost"))

    def look_up(self, prepared, now):
        """Return when a look-up ends, and its outcome."""
        fault = self._throw("error", "busy")
        if fault == "error":
            return now + 0.1, after_lookup_error(prepared, ServerError("down", status_code=500))
        if fault == "busy":
            busy = RateLimitError("busy", status_code=429, retry_after=0.5)
            return now + 0.1, after_lookup_error(prepared, busy)
        id_ = prepared.run.external_id
        if self.listed.get(id_, now + 1) > now:
            return now + 0.1, after_lookup(prepared, LookupStatus.UNKNOWN)
        if self.ends[id_] > now:
            return now + 0.1, after_lookup(prepared, LookupStatus.RUNNING)
        return now + 0.1, finished(prepared, FULFILLED, found=True)

    def _throw(self, *faults):
        return self.dice.choice(faults) if self.dice.random() < self.faults else ""


class Process:
    """One session's calls and records, on a virtual clock; it may be killed at any of its waits."""

    can_cut = True

    def __init__(self, world, server, *, lives):
        self.world, self.server, self.lives = world, server, lives
        self.calls = []
        self.number = 0

    def begin(self, prepared):
        act = self.server.send if prepared.doubt is None else self.server.look_up
        until, outcome = act(prepared, self.world["now"])
        self.number += 1
        heapq.heappush(self.calls, (until, self.number, prepared.run.id, outcome))

    def ended(self, timeout):
        self.lives -= 1
        if self.lives == 0:
            raise CrashError
        until = self.world["now"] + timeout
        if not self.calls or self.calls[0][0] > until:
            self.world["now"] = until
            return []
        self.world["now"] = max(self.world["now"], self.calls[0][0])
        _, _, run_id, outcome = heapq.heappop(self.calls)
        return [(run_id, outcome)]

    def record(self, *, begun=(), ended=()):
        if self.lives != 0:
            for run in begun:
                assert run.id not in self.world["rows"], "a run was begun twice"
                self.world["rows"][run.id] = run
            for run in ended:
                if self.world["rows"][run.id].state == "STARTED":
                    self.world["rows"][run.id] = run

    def withdraw(self, runs):
        if self.lives != 0:
            for run in runs:
                assert run.id not in self.server.executed, "an executed run was withdrawn"
                del self.world["rows"][run.id]

    def wake(self):
        pass

    cut = close = wake


CASE = {"deployment": "d", "release_tag": "v1", "inputs": {}, "case_id": "c", "timestamp": NOW}
PLANNED = [Run(id=id_, external_id=id_, **CASE) for id_ in map("run-{}".format, range(RUNS))]


def session(world, server, dice):
    """Drive what is left, until it ends or is killed."""
    process = Process(world, server, lives=dice.choice([-1, -1, dice.randint(1, 60)]))
    rows, begun = world["rows"], Doubt("it was begun")
    counter = Counter(("v1",), sum(rows.get(r.id, r).state == "STARTED" for r in PLANNED))
    driver = Driver(
        (PreparedRun(run, (), lookup_s=LOOKUP_S) for run in PLANNED if run.id not in rows),
        process,
        recorder=process,
        counter=counter,
        options=SweepOptions(concurrency=dice.choice([1, 3, None])),
        in_doubt=[
            PreparedRun(run, (), begun, lookup_s=LOOKUP_S)
            for run in rows.values()
            if run.state == "STARTED"
        ],
        clock=lambda: world["now"],
    )
    driver.run()  # in this thread
    if driver.error is not None and not isinstance(driver.error, CrashError):
        raise driver.error


def check(seed):
    dice = random.Random(seed)  # noqa: S311  (not a secret)
    world, server = {"now": 0.0, "rows": {}}, Server(dice)
    for number in range(200):
        rows = world["rows"]
        if len(rows) == RUNS and all(run.state != "STARTED" for run in rows.values()):
            break
        if number > 50:
            server.faults = 0.0
        session(world, server, dice)
        world["now"] += dice.uniform(0, 30)
    states = {run.state for run in rows.values()}
    assert (len(rows), states) == (RUNS, {"FULFILLED"}), "a planned run is missing"
    assert set(server.executed) == set(rows), "something else was executed"
    assert set(server.executed.values()) == {1}, "a run was executed twice"


@pytest.mark.slow
def test_every_planned_run_is_recorded_and_executed_once():
    for seed in range(SEED, SEED + HISTORIES):
        try:
            check(seed)
        except AssertionError as exc:
            pytest.fail(f"SWEEP_SEED={seed}: {exc}")
