"""Seeded histories of a sweep: drivers, a server, a database and faults, on one virtual clock.

Drivers are killed, stopped, cut off, suspended, and separated from the database; others take over,
also while the first one still runs. The server loses answers, lists late, cancels executions, and
either refuses used external ids or executes them again. Places are single cases or turns of
conversations, some of which a simulated user ends early. A seed that fails is printed:
``SWEEP_SEED=123 SWEEP_HISTORIES=1 pytest tests/sweep/test_simulation.py`` replays it.
"""

import heapq
import math
import os
import random
from collections import Counter as Tally
from datetime import UTC, datetime, timedelta

import pytest

from vellum_nb.errors import (
    APIConnectionError,
    BadRequestError,
    OutOfReachError,
    RateLimitError,
    ServerError,
)
from vellum_nb.history import LeaseLostError
from vellum_nb.models import Run
from vellum_nb.models.sweeps import ATTEMPTS
from vellum_nb.sweep import driver as driver_module
from vellum_nb.sweep import retry_policy
from vellum_nb.sweep.driver import Driver, is_cut_off
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.progress import Counter
from vellum_nb.sweep.retry_policy import (
    Doubt,
    ListingDelay,
    LookupStatus,
    PreparedRun,
    after_lookup,
    after_lookup_error,
    after_send_error,
    finished,
    not_sent_in_time,
)

HISTORIES = int(os.environ.get("SWEEP_HISTORIES", "10000"))
SEED = int(os.environ.get("SWEEP_SEED", "0"))
PLACES = 4
TIMEOUT_S = 30.0
LONGEST_S = 7.5  # from sending to the end of an execution
LATEST_S = TIMEOUT_S - LONGEST_S  # after its end it is listed, by a server that executes ids again
LEASE_S, MARGIN_S = 60.0, 5.0
FULFILLED = {"state": "FULFILLED", "outputs": {"n": 1}, "output_types": {}}
CANCELLED = {"state": "CANCELLED"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASE = {"deployment": "d", "release_tag": "v1", "inputs": {}, "case_id": "c", "timestamp": NOW}
RUNS = {
    (place, attempt): Run(id=f"{place}.{attempt}", external_id=f"{place}.{attempt}", **CASE)
    for place in range(PLACES)
    for attempt in range(60)
}


def as_turn(run, before):
    """Return a run to send, or one that has failed if the turn `before` has no answer."""
    is_lost = before is not None and before.state != "FULFILLED"
    return run.model_copy(update={"state": "FAILED"}) if is_lost else run


class ViolationError(BaseException):
    """A guarantee does not hold; a driver lets it through."""


def ensure(condition, message):
    if not condition:
        raise ViolationError(message)


class Server:
    """Executes, loses answers, lists late, cancels; refuses used external ids, or repeats them."""

    def __init__(self, dice):
        self.dice = dice
        self.refuses = dice.random() < 0.5
        self.lag = dice.choice([0.0, dice.uniform(0, 100 if self.refuses else LATEST_S)])
        self.lists_running = dice.random() < 0.5
        self.cancels = dice.choice([0.0, 0.0, 0.2])
        self.cancels_on_hangup = dice.random() < 0.3
        self.faults = dice.choice([0.0, 0.1, 0.5])
        self.answers_first, self.executed_before = False, 0  # before the latest session
        self.executed = Tally()
        self.executions = {}  # id: [begin, end, fields of its end]

    def send(self, prepared, now):
        """Return when an attempt ends, and its outcome."""
        faults = ("before", "after", "late", "timeout", "busy", "executed and busy")
        is_first = self.answers_first and self.executed.total() == self.executed_before
        fault = "" if is_first else self._throw(*faults)
        if fault == "before":
            return now + 0.1, after_send_error(prepared, APIConnectionError("reset"))
        if fault == "busy":
            busy = RateLimitError(
                "busy", status_code=429, retry_after=self.dice.choice([0.5, None])
            )
            return now + 0.1, after_send_error(prepared, busy)
        id_ = prepared.run.external_id
        if id_ in self.executions and self.refuses:
            used = BadRequestError(f"external_id {id_} was used", status_code=400, body={"id": id_})
            return now + 0.1, after_send_error(prepared, used)
        takes = self.dice.uniform(0.1, LONGEST_S)
        begin = now + (self.dice.uniform(0, takes) if fault == "late" else 0.0)
        is_cancelled = self.dice.random() < self.cancels and not self.answers_first
        self.executed[id_] += 1
        self.executions[id_] = [begin, now + takes, CANCELLED if is_cancelled else FULFILLED]
        if fault == "executed and busy" and self.refuses:
            busy = ServerError("busy", status_code=503, retry_after=0.5)
            return now + 0.1, after_send_error(prepared, busy)
        if fault == "":
            return now + takes, finished(prepared, self.executions[id_][2])
        lost = now + self.dice.uniform(0, takes)
        if fault != "late":
            self.hang_up(id_, lost)
        return lost, after_send_error(prepared, APIConnectionError("lost"))

    def hang_up(self, id_, now):
        """Cancel an execution that runs, if its client's connection is what it lives by."""
        execution = self.executions.get(id_)
        if self.cancels_on_hangup and execution is not None and execution[1] > now:
            execution[1:] = [now, CANCELLED]

    def look_up(self, prepared, now):
        """Return when a look-up ends, and its outcome."""
        fault = self._throw("error", "busy")
        if fault == "error":
            return now + 0.1, after_lookup_error(prepared, ServerError("down", status_code=500))
        if fault == "busy":
            busy = RateLimitError("busy", status_code=429, retry_after=0.5)
            return now + 0.1, after_lookup_error(prepared, busy)
        begin, end, fields = self.executions.get(prepared.run.external_id, (math.inf, math.inf, {}))
        if end + self.lag <= now:
            return now + 0.1, finished(prepared, fields, looked_up=True)
        is_running = self.lists_running and begin + self.lag <= now < end
        status = LookupStatus.RUNNING if is_running else LookupStatus.UNKNOWN
        return now + 0.1, after_lookup(prepared, status)

    def _throw(self, *faults):
        return self.dice.choice(faults) if self.dice.random() < self.faults else ""


class Until:
    """A deadline on the virtual clock."""

    __slots__ = ("at", "world")

    def __init__(self, world, at):
        self.world, self.at = world, at

    @property
    def left(self):
        return self.at - self.world.now


class Database:
    """Rows, doubts and the lease of the sweep."""

    def __init__(self):
        self.rows, self.since = {}, {}
        self.token, self.ends = None, -math.inf

    def complete(self, run, *, insert=False):
        """Record an end as the history does; an answer is never overwritten."""
        row = self.rows.get(run.id)
        is_missing = row is None and insert
        is_answer = run.doubt is None and run.state != "FAILED"
        if is_missing or (row and (row.state == "STARTED" or (row.in_doubt and is_answer))):
            self.rows[run.id] = run
            self.since.pop(run.id, None)

    def doubt(self, run_id, kind, since):
        row = self.rows.get(run_id)
        if row is not None and row.state == "STARTED":
            self.rows[run_id] = row.model_copy(update={"doubt": kind})
            self.since.setdefault(run_id, since)

    def take_over(self, token, now):
        """Take the lease; what the earlier driver left is in doubt since its lease ended."""
        since = now if self.token is None else min(now, self.ends)
        self.token, self.ends = token, now + LEASE_S
        for row in list(self.rows.values()):
            if row.state == "STARTED" and row.doubt is None:
                self.doubt(row.id, "SENT", since)


class Lease:
    """The lease of one driver: its only way to the database."""

    def __init__(self, session):
        self.session, self.world, self.database = session, session.world, session.world.database
        self.deadline, self.is_lost = Until(self.world, self.world.now + LEASE_S - MARGIN_S), False
        self.doubtful = {}  # when runs became doubtful whose doubt could not be recorded yet

    @property
    def may_send(self):
        return self.deadline.left > 0

    def renew(self):
        if not self.session.is_away:
            self._fence()
        return not self.session.is_away

    def record(self, *, begun=(), resent=(), doubted=(), ended=(), sent_within_s=0.0):
        assert sent_within_s == 0
        self.doubtful |= {run.id: self.world.now for run in doubted if run.id not in self.doubtful}
        if self.session.is_dead:
            return []
        if self.session.is_away:
            if not begun and not resent:
                self.session.pending.extend(ended)
                return None
            has_lease = self.session is self.database.token
            if has_lease and self.world.dice.random() < 0.3:  # the acknowledgement was lost
                self._commit(begun, resent, doubted, ended)
            raise OutOfReachError
        self._fence()
        stored, self.doubtful = self._commit(begun, resent, doubted, ended), {}
        return stored

    def withdraw(self, runs):
        if not self.session.is_dead and not self.session.is_away:
            self._fence()
            server = self.world.server
            for run in runs:  # one that a busy answer hid is refused when it is begun again
                is_unsent = server.refuses or run.id not in server.executed
                ensure(is_unsent, "an executed run was withdrawn")
                del self.database.rows[run.id]

    def keep_answers(self, runs):
        for run in runs if not self.session.is_dead else ():
            self.database.complete(run)

    def _fence(self):
        ensure(not self.is_lost, "a driver wrote after it had lost its lease")
        if self.session is not self.database.token and not self.session.is_dead:
            self.is_lost = True
            raise LeaseLostError
        self.database.ends = self.world.now + LEASE_S
        self.deadline = Until(self.world, self.world.now + LEASE_S - MARGIN_S)

    def _commit(self, begun, resent, doubted, ended):
        database, now = self.database, self.world.now
        for run in ended:
            database.complete(run, insert=True)
        for run in doubted:
            database.doubt(run.id, run.doubt, self.doubtful[run.id])
        for run in resent:
            row = database.rows[run.id]
            if row.in_doubt:
                since = database.since.pop(run.id, -math.inf)  # it may have been out of reach
                ensure(now - since > 7.9, "a run was sent again too soon")
                database.rows[run.id] = run
        stored = [database.rows[run.id] for run in begun if run.id in database.rows]
        database.rows |= {run.id: run for run in begun if run.id not in database.rows}
        return stored


class Session:
    """One process with a driver: its calls, and what happens to it."""

    can_cut = True

    def __init__(self, world):
        self.world, self.dice = world, world.dice
        self.is_dead = self.is_away = False
        self.pending, self.calls, self.number = [], [], 0
        self.wakes = world.now  # when it takes its next turn
        self.asleep_until = 0.0
        self.faults = sorted(
            (world.now + self.dice.expovariate(0.1), kind)
            for kind in self.dice.choices([*FAULTS][:-1], k=world.dice.choice(world.fault_counts))
        )
        world.database.take_over(self, world.now)
        world.server.executed_before = world.server.executed.total()
        self.lease = Lease(self)
        self.driver = self._new_driver()

    def _new_driver(self):
        world, rows = self.world, self.world.database.rows
        states = world.places()
        in_doubt = [run for run in states.values() if run.in_doubt and run.id in rows]
        new = {p: run for p, run in states.items() if run.id not in rows and not world.is_over(p)}
        befores = {place: world.before(place) for place in new}
        ready = [
            PreparedRun(as_turn(run, befores[place]), ())
            for place, run in new.items()
            if befores[place] is None or (befores[place].id in rows and not befores[place].in_doubt)
        ]
        self.attempts = Tally()
        self.counter = Counter(("v1",), len(in_doubt) + len(new))
        return Driver(
            iter(ready),
            self,
            lease=self.lease,
            counter=self.counter,
            options=SweepOptions(concurrency=self.dice.choice([1, 3, None])),
            listing=ListingDelay(TIMEOUT_S, [LONGEST_S]),
            in_doubt=[self._doubtful(run) for run in in_doubt],
            next_attempt=self._next_attempt,
            following=self._following,
            clock=lambda: world.now,
        )

    def _doubtful(self, run):
        since = self.world.database.since.get(run.id, self.world.now)
        return PreparedRun(run, (), Doubt("begun", run.doubt or "SENT", since=since))

    def _following(self, prepared, run):
        place = int(prepared.run.id.split(".")[0]) + 1
        following = self.world.places().get(place)
        is_turn = following is not None and place % self.world.turns > 0
        if not is_turn or following.id in self.world.database.rows or run.doubt is not None:
            return None
        if self.world.ends(run, place - 1):
            self.counter.omit("v1", self.world.turns - place % self.world.turns)
            return None
        return PreparedRun(as_turn(following, run), ())

    def _next_attempt(self, prepared):
        place, attempt = map(int, prepared.run.id.split("."))
        self.attempts[place] += 1
        if self.attempts[place] >= ATTEMPTS:
            return None
        return PreparedRun(RUNS[place, attempt + 1], ())

    # what the driver calls

    def begin(self, prepared):
        if prepared.doubt is not None:
            self._check_age(prepared)
        delay = self.dice.choice([0.0, 0.0, 0.01, self.dice.uniform(0, 10)])  # a file is uploaded
        self._push(self.world.now + (delay if prepared.doubt is None else 0.0), prepared, None)

    def cut(self):
        now, calls, self.calls = self.world.now, self.calls, []
        for _, _, prepared, outcome in calls:
            sent = outcome is not None or prepared.doubt is not None
            error = APIConnectionError("cut off", sent=sent)
            self._push(now, prepared, after_send_error(prepared, error))
            if sent:
                self.world.server.hang_up(prepared.run.id, now)

    def wake(self):
        self.wakes = self.world.now

    def close(self):
        self.calls = []

    def _push(self, at, prepared, outcome):
        self.number += 1
        heapq.heappush(self.calls, (at, self.number, prepared, outcome))

    # what the world calls

    @property
    def next_s(self):
        """When something happens to it next."""
        first = self.calls[0][0] if self.calls else math.inf
        fault = self.faults[0][0] if self.faults else math.inf
        return max(self.asleep_until, min(first, self.wakes, fault))

    def step(self):
        """Let what is due happen, then take a turn; return whether it has ended."""
        now = self.world.now
        if self.faults and self.faults[0][0] <= now:
            FAULTS[self.faults.pop(0)[1]](self)
            if self.is_dead or self.asleep_until > now:
                return self.is_dead
        while self.calls and self.calls[0][0] <= now:
            _, _, prepared, outcome = heapq.heappop(self.calls)
            if outcome is None:
                self._call(prepared)
            else:
                self.driver._take(prepared.run.id, outcome)
        if self.driver._is_over():
            self._end()
            return True
        self.wakes = now + self.driver._sleep()
        return False

    def _call(self, prepared):
        server, now = self.world.server, self.world.now
        if prepared.doubt is not None:
            at, outcome = server.look_up(prepared, now)
        elif prepared.send_by.left <= 0:
            at, outcome = now, not_sent_in_time(prepared)
        else:
            has_lease = self.world.database.token is self
            ensure(has_lease, "a run was sent while another driver had the lease")
            self.world.last_sent[prepared.run.id] = now
            before = self.world.before(int(prepared.run.id.split(".")[0]))
            is_answered = before is None or before.state == "FULFILLED"
            ensure(is_answered, "a turn was sent before the answer to the one before")
            self.world.check_ends()
            at, outcome = server.send(prepared, now)
        self._push(at, prepared, outcome)

    def _check_age(self, prepared):
        """Check that the time in doubt does not restart, and counts nothing before the call."""
        database, now = self.world.database, self.world.now
        age, since = prepared.doubt_s, database.since.get(prepared.run.id, now)
        is_adopted = prepared.doubt.why == "the history had it already"  # its age is not known
        if not prepared.is_probe and not is_adopted and database.token is self:
            sent = self.world.last_sent.get(prepared.run.id, -math.inf)
            ensure(age >= now - since - 0.01, "the time in doubt began again")
            ensure(age <= now - sent, "the time in doubt counts from before the call")

    def _end(self):
        self.driver._put_back()
        error = self.driver.error
        if error is not None and not isinstance(error, LeaseLostError):
            raise error
        is_done = self.driver.why is not None or self.driver._counter.left == 0
        ensure(is_done or self.is_dead, "a driver ended before its runs did")
        self.merge_pending()
        if self.world.database.token is self and not self.is_away:
            self.world.database.token = None

    def merge_pending(self):
        for run in self.pending:
            self.world.database.complete(run)
        self.pending = []

    def kill(self):
        self.is_dead = True
        if self.world.database.token is self and self.dice.random() < 0.5:  # of this machine
            self.world.database.ends = self.world.now

    def suspend(self):
        self.asleep_until = self.world.now + self.dice.choice([3.0, 40.0, 300.0])

    def part(self):
        self.is_away = True
        self.faults.append((self.world.now + self.dice.choice([1.0, 30.0, 100.0]), "heal"))
        self.faults.sort()

    def heal(self):
        self.is_away = False
        self.merge_pending()


FAULTS = {
    "kill": Session.kill,
    "suspend": Session.suspend,
    "part": Session.part,
    "stop": lambda session: session.driver.stop("by hand"),
    "cut": lambda session: session.driver.cut(),
    "heal": Session.heal,
}


class World:
    """A sweep, its server and its drivers, from the first turn until all is done."""

    def __init__(self, seed, turns=None):
        self.dice = random.Random(seed)  # noqa: S311  (not a secret)
        self.now = 0.0
        self.server, self.database = Server(self.dice), Database()
        self.sessions, self.last_sent = [], {}
        self.fault_counts = [0, 1, 1, 2, 3]
        self.turns = turns or self.dice.choice([1, 2, PLACES])  # of a conversation
        steps = range(PLACES) if self.turns > 1 else ()
        self.stops = {place for place in steps if self.dice.random() < 0.15}

    def before(self, place):
        """Return the run that a turn continues; None for the first one."""
        return self.places()[place - 1] if place % self.turns else None

    def ends(self, run, place):
        """Return whether a run is the message with which a user ends the conversation."""
        return place in self.stops and run.state == "FULFILLED"

    def is_over(self, place):
        """Return whether the user ended the conversation before this turn."""
        states, first = self.places(), place - place % self.turns
        return any(self.ends(states[earlier], earlier) for earlier in range(first, place))

    def check_ends(self):
        """Check that nothing is sent after the end of a conversation."""
        sent = {int(id_.split(".")[0]) for id_ in self.last_sent}
        ensure(not any(map(self.is_over, sent)), "a turn was sent after the user had ended")

    def places(self):
        """Return the latest run of each place, or the one that is to be begun next."""
        latest = {}
        for place in range(PLACES):
            attempt = 0
            while (run := self.database.rows.get(f"{place}.{attempt}")) and is_cut_off(run):
                attempt += 1
            latest[place] = run or RUNS[place, attempt]
        return latest

    @property
    def is_done(self):
        ended = {"FULFILLED", "FAILED"}
        return all(run.state in ended or self.is_over(p) for p, run in self.places().items())

    def run(self):
        """Have processes sweep until all is done."""
        arrives, number = 0.0, 0
        while self.sessions or not self.is_done:
            session = min(self.sessions, key=lambda each: each.next_s, default=None)
            if session is None or session.next_s > arrives:
                number += 1
                ensure(number < 300, "it comes to no end")
                self.now = max(self.now, arrives)
                self._arrive(number)
                arrives = self.now + self.dice.expovariate(0.02)
            else:
                self.now = max(self.now, session.next_s)
                if session.step():
                    self.sessions.remove(session)

    def _arrive(self, number):
        """Have another process try to drive the sweep."""
        if number > 40:  # a quiet end
            self.server.faults = self.server.cancels = 0.0
            self.fault_counts = [0]
        free = self.database.token is None or self.database.ends <= self.now
        if free and not self.is_done:
            self.sessions.append(Session(self))

    def check(self):
        """Check that each place has one answer, and nothing was executed twice."""
        rows, executed = self.database.rows, self.server.executed
        ensure(set(executed) <= set(rows), "something else was executed")
        ensure(set(executed.values()) <= {1}, "a run was executed twice")
        self.check_ends()
        for place, run in self.places().items():
            if self.is_over(place):
                continue
            failed = run.state == "FAILED" and run.doubt == "SENT"  # after six lost calls
            ensure(run.state == "FULFILLED" or failed, "a planned run is missing")
            attempts = [rows[id_] for id_ in executed if id_.split(".")[0] == str(place)]
            cut_off = [run for run in attempts if is_cut_off(run)]
            ensure(
                len(attempts) - len(cut_off) <= 1, "a planned run was made again after an answer"
            )


class Jumping(datetime):
    """A wall clock that is set, forwards and backwards, whenever it is read."""

    @classmethod
    def now(cls, tz=None):  # noqa: ARG003  (the signature of datetime)
        return NOW + timedelta(days=random.randint(-9, 9))  # noqa: S311  (not a secret)


@pytest.fixture
def virtual_clock(monkeypatch):
    monkeypatch.setattr(driver_module, "_MAX_TURN_S", 5.0)  # it needs no more turns
    monkeypatch.setattr(driver_module, "datetime", Jumping)
    monkeypatch.setattr(retry_policy, "datetime", Jumping)


def check(world, seed):
    try:
        world.run()
        world.check()
    except ViolationError as exc:
        pytest.fail(f"SWEEP_SEED={seed}: {exc}")


@pytest.mark.slow
@pytest.mark.usefixtures("virtual_clock")
def test_every_planned_run_is_recorded_and_executed_once():
    for seed in range(SEED, SEED + HISTORIES):
        check(World(seed), seed)


@pytest.mark.parametrize("lag", [0, 3, 9, 30, 90])
@pytest.mark.usefixtures("virtual_clock")
def test_a_server_that_lists_late_executes_each_run_once(lag):
    """Also if it lists later than the read timeout, 30 s: the first answer shows that."""
    for seed in range(40):
        world = World(seed, turns=1)  # the first answer of a session shows how late it lists
        world.fault_counts, server = [0], world.server
        server.refuses, server.lag, server.faults, server.answers_first = False, lag, 0.5, True
        check(world, seed)


@pytest.mark.usefixtures("virtual_clock")
def test_next_turn_waits_while_the_answer_is_in_a_local_file():
    """Its row could be committed although the database cannot be reached, without that answer."""
    for seed in range(40):
        world = World(seed, turns=PLACES)
        world.fault_counts, world.stops = [0], set()
        world.server.faults = world.server.cancels = 0.0
        session = Session(world)
        while not session.pending:
            session.is_away = "1.0" in world.last_sent
            world.now = session.next_s
            session.step()
        assert [run.id for run in session.pending] == ["1.0"]
        assert "2.0" not in world.database.rows, f"seed {seed}"
