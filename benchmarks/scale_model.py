"""The simulation behind docs/scale.md: sweeps in several processes against one limited server.

Every process decides with the real `AdaptiveConcurrency` how many calls are under way. Time is
simulated; the dice are seeded.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import NamedTuple

from vellum_nb.sweep.concurrency import AdaptiveConcurrency

ENDED, BUSY, LOST, WAKE, CRASH, DEATH = range(6)
REFUSED = 0.02  # seconds that a 429 takes
RESTART = 90.0  # seconds until a lost process sweeps again
NOT_ARRIVED = 0.02  # share of lost calls that the server never began


@dataclass(frozen=True)
class World:
    """What is simulated: processes, their workers, the server's limits, and what goes wrong."""

    calls: int
    processes: int
    at_once: int = 128
    latency: float = 2.0
    limit: float | None = None  # executions a second, else 429 with Retry-After: 1
    capacity: float = 1e9  # executions at once, above which all get slower
    top: float = 600.0  # calls a second that one process can make
    resets: float = 0.0005  # share of calls whose answer is lost
    workers: int = 8  # of each process
    worker_dies: float = 3_600.0  # seconds, on average, between deaths of workers of a process
    process_dies: float = 6 * 3_600.0
    seed: int = 7


@dataclass
class Process:
    """One sweep: how much is left, and how it paces itself."""

    left: int
    pace: AdaptiveConcurrency
    flying: int = 0
    again: int = 0  # to be sent once more
    epoch: int = 0
    free: float = 0.0
    woken: float = -1.0
    died: list[float] = field(default_factory=list)


class Event(NamedTuple):
    """What happens to a process, or to a call that it began, and when."""

    when: float
    kind: int
    number: int
    began: float = 0.0
    epoch: int = 0
    worker: int = 0


class Simulation:
    """Runs a world to its end; what it counts is in the attributes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = random.Random(world.seed)
        self.executed = self.sent = self.busy = self.found = self.deaths = self.crashes = 0
        self.kept = 0
        self.flying = self.most = 0
        self.now = self._filled = 0.0
        self._tokens = world.limit or 0.0
        self._heap: list[Event] = []
        self._spread = [min(self.dice.lognormvariate(0, 0.5), 8) for _ in range(65_536)]
        share, rest = divmod(world.calls, world.processes)
        self.all = [
            Process(share + (n < rest), self._pace(), died=[-1.0] * world.workers)
            for n in range(world.processes)
        ]

    def run(self) -> Simulation:
        """Let all calls end."""
        for number in range(self.world.processes):
            self._push(0.0, WAKE, number)
            self._push(self._dies(self.world.process_dies), CRASH, number)
            self._push(self._dies(self.world.worker_dies), DEATH, number)
        on = (self._ended, self._refused, self._looked_up, self._woke, self._crashed, self._died)
        heap, calls = self._heap, self.world.calls
        while self.kept < calls:
            event = heapq.heappop(heap)
            self.now, process = event.when, self.all[event.number]
            on[event.kind](process, event)
            self._fill(process, event.number)
        return self

    def _pace(self) -> AdaptiveConcurrency:
        return AdaptiveConcurrency(most=self.world.at_once)

    def _dies(self, every: float) -> float:
        return self.now + self.dice.expovariate(1 / every)

    def _push(self, *event):
        heapq.heappush(self._heap, Event(*event))

    def _fill(self, process, number):
        now = self.now
        if now < process.free - 1.0:  # it is down, or has more to send than it can
            return
        room = process.pace.room(process.flying, now)
        while room > 0 and (process.again or process.left):
            if process.again:
                process.again -= 1
            else:
                process.left -= 1
            room -= 1
            self._start(process, number)
        waits = process.pace.not_before
        if now < waits and process.woken < waits:
            process.woken = waits
            self._push(waits, WAKE, number)

    def _start(self, process, number):
        world = self.world
        at = max(self.now, process.free)
        process.free = at + 1 / world.top
        process.flying += 1
        self.sent += 1
        worker = self.sent % world.workers
        if world.limit is not None and not self._allowed(at):
            self._push(at + REFUSED, BUSY, number, at, process.epoch, worker)
            return
        self.flying += 1
        self.most = max(self.most, self.flying)
        slower = max(1.0, self.flying / world.capacity)
        took = world.latency * self._spread[self.sent & 65_535] * slower
        kind = LOST if self.dice.random() < world.resets else ENDED
        if kind == ENDED or self.dice.random() >= NOT_ARRIVED:
            self.executed += 1
            self._push(at + took, kind, number, at, process.epoch, worker)
        else:
            self.flying -= 1
            self._push(at + REFUSED, LOST, number, -1.0, process.epoch, worker)

    def _allowed(self, at):
        limit = self.world.limit
        self._tokens = min(limit, self._tokens + max(0.0, at - self._filled) * limit)
        self._filled = max(self._filled, at)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _ended(self, process, event):
        """Keep an answer; it is looked up where who waited for it is gone."""
        self.flying -= 1
        self.kept += 1
        if event.epoch != process.epoch:  # the next process looks it up
            self.found += 1
            return
        process.flying -= 1
        if event.began <= process.died[event.worker]:
            self.found += 1
        else:
            process.pace.ended(event.began, self.now, process.flying + 1)

    def _refused(self, process, event):
        self.busy += 1
        process.again += 1
        if event.epoch == process.epoch:
            process.flying -= 1
            process.pace.busy(event.began, self.now, 1.0)

    def _looked_up(self, process, event):
        """Look up a call whose answer was lost; only what never arrived is sent again."""
        if event.epoch == process.epoch:
            process.flying -= 1
        if event.began >= 0:
            self.flying -= 1
            self.kept += 1
            self.found += 1
        else:
            process.again += 1

    def _woke(self, process, _event):
        process.woken = -1.0

    def _crashed(self, process, event):
        self.crashes += 1
        process.epoch += 1
        process.flying = 0
        process.pace = self._pace()
        process.free = self.now + RESTART
        self._push(process.free, WAKE, event.number)
        self._push(self._dies(self.world.process_dies), CRASH, event.number)

    def _died(self, process, event):
        self.deaths += 1
        process.died[self.dice.randrange(self.world.workers)] = self.now
        self._push(self._dies(self.world.worker_dies), DEATH, event.number)
