"""`ListingDelay`: delay until a server lists an execution, measured during a sweep. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from vellum_nb.models import Run
from vellum_nb.sweep.retry_policy import Doubt, Finished, InDoubt, Outcome, PreparedRun

SHORTEST_S = 8.0
"""Minimum number of seconds for which a run in doubt is looked up before it is sent again."""

_MAX_PROBES = 3  # at once; the delay is that of as many recent ones
_PROBES_PER_WAIT = 4  # in the shortest wait before a run is sent again
_MAX_TIMEOUTS, _MAX_WAITS = 4.0, 15.0  # for which a probe is looked up
_ANSWERS = frozenset({"FULFILLED", "REJECTED"})


class ListingDelay:
    """Decides after how many seconds a run in doubt is sent again (`resend_after`).

    While a run is in doubt, runs that ended with a direct answer are looked up: the latest one,
    then the next one to end every two seconds. The age of such a *probe* when it is listed is an
    upper bound of the listing delay, as is the age of a run in doubt that is listed late. A run in
    doubt is sent again after the longest latency plus twice that delay, but not before 8 s.

    The read timeout is the maximum, and the default without a measurement. Two exceptions prevent
    a second execution: no run is sent again while a probe is not listed; and if the longest latency
    and the delay exceed the read timeout, the run waits for their sum. The delay is 0 for a server
    that has refused a used external id, as it also refuses a second execution.
    """

    def __init__(self, timeout_s: float, latencies: Iterable[float] = ()) -> None:
        self.timeout_s = max(timeout_s, SHORTEST_S)
        self.resend_after = self.timeout_s
        self._shortest, self._longest = SHORTEST_S, max(latencies, default=0.0)
        self._probed_at = -math.inf
        self._refuses = self._is_useless = False
        self._last: tuple[float, PreparedRun, Run] | None = None
        self._is_wanted = False  # the next run to end becomes a probe
        self._open: set[str] = set()  # probes that are not listed
        self._probes: list[tuple[float, PreparedRun]] = []  # with due times
        self._unlisted: set[str] = set()  # probes that a look-up did not find
        self._bounds: deque[float] = deque(maxlen=_MAX_PROBES)
        self._latest = 0.0  # highest bound of a run that was not listed at first

    @property
    def due(self) -> float:
        """Due time of the next probe."""
        return min((due for due, _ in self._probes), default=math.inf)

    def probes(self, now: float) -> list[PreparedRun]:
        """Remove and return the probes that are due."""
        ready = [prepared for due, prepared in self._probes if due <= now]
        self._probes = [(due, prepared) for due, prepared in self._probes if due > now]
        return ready

    def take_answer(self, prepared: PreparedRun, run: Run, earliest: float, took: float) -> None:
        """Record a direct answer, received at `earliest` or later after `took` seconds."""
        if took > self._longest:
            self._longest = took
            self._update()
        if run.state in _ANSWERS:
            self._last = (earliest, prepared, run)
            if self._is_wanted and not self._is_useless:
                self._add_probe()

    def take(self, prepared: PreparedRun, outcome: Outcome, now: float) -> None:
        """Record the outcome of a look-up, or of a call without an answer."""
        earlier = prepared.doubt
        doubt = None if isinstance(outcome, Finished) else outcome.prepared.doubt
        if prepared.is_probe:
            self._take_probe(prepared, outcome, now)
        elif earlier is None:
            self._refuses = self._refuses or (doubt is not None and doubt.executed)
        elif earlier.unlisted_s is not None and _is_listed(earlier, outcome):
            self._latest = max(self._latest, self._bound(earlier, now))
        if not prepared.is_probe and doubt is not None and doubt.kind == "SENT":
            self._want_probe(now)
        self._update()

    def _want_probe(self, now: float) -> None:
        """Request a probe, unless the delay was measured a moment ago."""
        interval = self._shortest / _PROBES_PER_WAIT
        if self._is_useless or len(self._open) >= _MAX_PROBES or now - self._probed_at < interval:
            return
        self._probed_at, self._is_wanted = now, True
        if self._last is not None and (not self._bounds or now - self._last[0] <= interval):
            self._add_probe()

    def _add_probe(self) -> None:
        if self._last is None:
            return
        since, prepared, run = self._last
        self._last, self._is_wanted = None, False
        self._open.add(run.id)
        doubt = Doubt("it measures the listing delay", since=since)
        probe = replace(prepared, run=run, doubt=doubt, is_probe=True, may_resend=False)
        self._probes.append((since, probe))

    def _take_probe(self, prepared: PreparedRun, outcome: Outcome, now: float) -> None:
        doubt = prepared.doubt or Doubt("")
        if _is_listed(doubt, outcome):
            self._bounds.append(self._bound(doubt, now))
            if doubt.unlisted_s is not None:
                self._latest = max(self._latest, self._bounds[-1])
        elif isinstance(outcome, InDoubt) and outcome.after is not None:
            later = outcome.prepared.doubt or doubt
            is_late = later.unlisted_s is not None
            limit_s = max(_MAX_TIMEOUTS * self.timeout_s, _MAX_WAITS * self._shortest)
            if prepared.doubt_s <= limit_s:
                self._unlisted |= {prepared.run.id} if is_late else set()
                self._probes.append((now + outcome.after, outcome.prepared))
                return
            self._is_useless = self._is_useless or is_late
        else:
            self._is_useless = self._is_useless or isinstance(outcome, Finished)  # unsupported
        self._unlisted.discard(prepared.run.id)
        self._open.discard(prepared.run.id)

    def _bound(self, doubt: Doubt, now: float) -> float:
        """Return an upper bound of the listing delay of a run that is listed now.

        The run was not listed at the age `doubt.unlisted_s`; the machine can have been suspended
        since.
        """
        age = now - (now if doubt.since is None else doubt.since)
        return min(age, max(self.timeout_s, 2 * (doubt.unlisted_s or 0.0)))

    def _update(self) -> None:
        delay = 0.0 if self._refuses else max(self._latest, *self._bounds, 0.0)
        longest = min(self._longest, self.timeout_s)
        wait = longest + 2 * delay
        if longest + delay <= self.timeout_s:
            wait = min(wait, self.timeout_s)
        is_measured = self._refuses or self._bounds
        self.resend_after = max(wait, self._shortest) if is_measured else self.timeout_s
        if self._unlisted and not self._refuses:
            self.resend_after = math.inf


def _is_listed(doubt: Doubt, outcome: Outcome) -> bool:
    """Return whether a look-up was the first to find the execution."""
    if isinstance(outcome, InDoubt):
        later = outcome.prepared.doubt
        return later is not None and later.executed and not doubt.executed
    return isinstance(outcome, Finished) and outcome.looked_up
