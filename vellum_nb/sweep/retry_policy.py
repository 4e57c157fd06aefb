"""Retry policy of a planned run: maps the result of an attempt to the next step. Pure.

All attempts at a run have the same external id. A run that was not executed is sent again at once.
A run in doubt is looked up until the server must have listed its execution, and then sent again. A
run whose external id is refused as used was executed: it is looked up for an hour, and never sent
again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.clock import Deadline
from vellum_nb.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    RateLimitError,
    ServerError,
)
from vellum_nb.models import DoubtKind, Run, RunError
from vellum_nb.models.contract import END_STATES

if TYPE_CHECKING:
    from vellum_nb.sweep.plan import PlannedRun

LOOKUP_S = 120.0
"""Seconds for which a run in doubt is looked up before it is sent again, by default."""

SHORTEST_S = 8.0
"""Minimum number of seconds for which a run in doubt is looked up before it is sent again."""

_EXECUTED_LOOKUP_S = 3600.0  # for an execution that has begun
_MIN_LOOKUP_PAUSE_S, _MAX_LOOKUP_PAUSE_S = 0.2, 30.0
_LOOKUP_PAUSE_SHARE = 0.5  # of the time since the first look-up
_MAX_UNKNOWN_SENDS = 6  # sends with an unknown outcome
_MAX_SILENT_LOOKUPS = 12  # in a row, without a usable answer
_REFUSALS = {400, 409, 422}
_LOST_ON_THE_WAY = {408, 460, 499}  # 4xx of proxies that gave up waiting
_SERVER_ERROR = 500
_TOO_EARLY, _UNAVAILABLE = 425, 503
_USED = ("already", "used", "exist", "unique", "duplicate", "taken", "conflict")
_MAX_PROBES = 3  # at once; the delay is that of as many recent ones
_PROBES_PER_WAIT = 4  # in the shortest wait before a run is sent again
_MAX_TIMEOUTS, _MAX_WAITS = 4.0, 15.0  # for which a probe is looked up


class ErrorKind(Enum):
    """Meaning of an error for the requested execution."""

    NOT_EXECUTED = "not executed: it can be sent again"
    UNAUTHORIZED = "not executed, nor would any other run be"
    ID_USED = "executed: its external id was used"
    REFUSED = "not executed by this attempt"
    UNUSABLE = "executed, with an unusable answer"
    UNKNOWN = "possibly executed"


class LookupStatus(Enum):
    """Result of a look-up of an execution that has not ended."""

    RUNNING = "it is still running"
    UNKNOWN = "the server lists no such execution"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Reason why a run is in doubt, and the start of the doubt on the driver's clock.

    `kind` is None if the server refused the run when it was first sent: it is looked up once, in
    case an earlier session sent it.
    """

    why: str
    kind: DoubtKind | None = "SENT"
    refusal: RunError | None = None  # its error if no execution is found
    since: float | None = None  # None: the driver sets it
    silent: int = 0  # look-ups in a row without a usable answer
    unlisted_s: float | None = None  # age at the last look-up of this session that did not find it

    @property
    def executed(self) -> bool:
        """True if the run is known to have been executed."""
        return self.kind == "EXECUTED"


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run to send, or to look up if it has a `doubt`. Its id is its external id.

    The driver sets `doubt_s`, `resend_after` and `send_by` before each attempt.
    """

    run: Run
    inputs: tuple[Mapping[str, Any], ...]  # of the request
    doubt: Doubt | None = None
    planned: PlannedRun | None = None
    tries: int = 0  # attempts to send it
    sends: int = 0  # attempts with an unknown outcome
    resent: bool = False  # after look-ups found no execution of it
    may_resend: bool = True  # while it is in doubt
    force: bool = False  # sent again, once, if this server cannot look it up
    is_probe: bool = False  # an ended run, looked up to measure the listing delay
    doubt_s: float = 0.0  # seconds in doubt at this look-up
    resend_after: float = LOOKUP_S  # seconds in doubt after which it is sent again
    send_by: Deadline | None = None  # it must not be sent later

    @property
    def tag(self) -> str:
        """Release tag of the planned run; a simulated user has one of its own."""
        return self.run.release_tag if self.planned is None else self.planned.place.release_tag


@dataclass(frozen=True, slots=True)
class Finished:
    """The run has ended; `run` is complete."""

    run: Run
    looked_up: bool = False
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The run was not executed, and is sent again as `prepared`."""

    prepared: PreparedRun
    why: str
    after: float | None = None  # seconds; None: exponential backoff
    busy: bool = False  # the server is overloaded: all runs wait
    hopeless: bool = False  # all runs would fail, as with a wrong key


@dataclass(frozen=True, slots=True)
class InDoubt(Retry):
    """The run is in doubt, and is looked up, or left in doubt if `after` is None."""

    after: float | None = 0.0
    answered: bool = True  # the server answered the look-up


Outcome: TypeAlias = Finished | Retry | InDoubt


def error_kind(exc: APIError) -> ErrorKind:
    """Classify the error of an execution request."""
    if not exc.sent or is_busy(exc):
        return ErrorKind.NOT_EXECUTED
    if isinstance(exc, APIResponseError) and exc.is_whole:
        return ErrorKind.UNUSABLE
    is_from_vellum = isinstance(exc, APIStatusError) and isinstance(exc.body, Mapping)
    if not is_from_vellum or isinstance(exc, ServerError):  # proxies know no executions
        return ErrorKind.UNKNOWN
    if isinstance(exc, AuthenticationError):
        return ErrorKind.UNAUTHORIZED
    if id_was_used(exc):
        return ErrorKind.ID_USED
    is_refusal = isinstance(exc, APIStatusError) and exc.status_code in _REFUSALS
    return ErrorKind.REFUSED if is_refusal else ErrorKind.UNKNOWN


def doubt_after(exc: APIError) -> DoubtKind | None:
    """Return the doubt about a run after the error of its execution request."""
    kind = error_kind(exc)
    if kind is ErrorKind.ID_USED:
        return "EXECUTED"
    return "SENT" if kind is ErrorKind.UNKNOWN else None


def id_was_used(exc: APIError) -> bool:
    """Return whether `exc` refuses an external id because an execution has it."""
    if not isinstance(exc, APIStatusError) or exc.status_code not in _REFUSALS:
        return False
    text = str(exc).lower()
    names_id = "external_id" in text or "external id" in text
    return names_id and any(word in text for word in _USED)


def is_busy(exc: APIError) -> bool:
    """Return whether the server refused the request because it is overloaded.

    This includes a 503 with Retry-After. Without it, a gateway can have lost the answer.
    """
    if not isinstance(exc, APIStatusError) or isinstance(exc, RateLimitError):
        return isinstance(exc, RateLimitError)
    return exc.status_code == _TOO_EARLY or (
        exc.status_code == _UNAVAILABLE and exc.retry_after is not None
    )


def summary(exc: APIError) -> str:
    """Return a short message."""
    return f"HTTP {exc.status_code}" if isinstance(exc, APIStatusError) else str(exc)


def cancelled(doubt: DoubtKind | None) -> dict[str, Any]:
    """Return the fields of a run that was cancelled by us."""
    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    return {"state": "CANCELLED", "error": error, "doubt": doubt}


def run_error(exc: APIError) -> RunError:
    """Return the error of a run without an answer."""
    if isinstance(exc, APITimeoutError):
        code = "TIMEOUT"
    elif isinstance(exc, APIConnectionError):
        code = "CONNECTION"
    elif isinstance(exc, APIStatusError):
        code = f"HTTP_{exc.status_code}"
    else:
        code = "BAD_RESPONSE"
    return RunError(code=code, message=str(exc))


def lookup_pause(waited_s: float) -> float:
    """Return the seconds to the next look-up, `waited_s` after the first."""
    return min(max(_MIN_LOOKUP_PAUSE_S, abs(waited_s) * _LOOKUP_PAUSE_SHARE), _MAX_LOOKUP_PAUSE_S)


def finished(prepared: PreparedRun, end: Mapping[str, Any], *, looked_up: bool = False) -> Finished:
    """Return the outcome of a run that ended with these fields of `Run`."""
    fields: dict[str, Any] = {"error": None, "doubt": None, **end}
    fields["finished_at"] = end.get("finished_at") or datetime.now(UTC)
    run = prepared.run.model_copy(update=fields)
    return Finished(run, looked_up=looked_up, resent=prepared.resent)


def not_sent_in_time(prepared: PreparedRun) -> Retry:
    """Return the outcome of an attempt that began after its `send_by`, and did not send."""
    why = "calls begin later than the lease of the sweep allows: is a worker's clock ahead?"
    return Retry(prepared, why)


def after_send_error(prepared: PreparedRun, exc: APIError, *, upload: bool = False) -> Outcome:
    """Return the outcome of a failed request; with `upload`, of a file, before the execution."""
    prepared = replace(prepared, tries=prepared.tries + 1, doubt=None)
    kind, why, error = error_kind(exc), summary(exc), run_error(exc)
    if kind is ErrorKind.NOT_EXECUTED:
        return Retry(prepared, why, _retry_after(exc), busy=is_busy(exc))
    if kind is ErrorKind.UNAUTHORIZED:
        return Retry(prepared, str(exc), hopeless=True)
    if upload and kind is ErrorKind.UNKNOWN and prepared.tries < _MAX_UNKNOWN_SENDS:
        return Retry(prepared, why, hopeless=isinstance(exc, AuthenticationError))
    if upload or kind is ErrorKind.UNUSABLE:
        return _failed(prepared, error, None)
    return _in_doubt(prepared, exc, kind)


def _in_doubt(prepared: PreparedRun, exc: APIError, kind: ErrorKind) -> InDoubt:
    why, error = summary(exc), run_error(exc)
    if kind is ErrorKind.ID_USED:
        doubt = Doubt(f"the server refuses its external id as used ({why})", "EXECUTED")
        return InDoubt(replace(prepared, doubt=doubt), doubt.why)
    if kind is ErrorKind.REFUSED:
        was_sent = prepared.sends > 0 or prepared.resent
        doubt = Doubt(why, "SENT" if was_sent else None, refusal=error)
        return InDoubt(replace(prepared, doubt=doubt), why)
    sends = prepared.sends + 1
    doubt = Doubt(why, refusal=error if _is_final(exc) or sends >= _MAX_UNKNOWN_SENDS else None)
    lost = replace(prepared, doubt=doubt, sends=sends)
    return InDoubt(lost, why, hopeless=isinstance(exc, AuthenticationError))


def _is_final(exc: APIError) -> bool:
    """Return whether another attempt would get the same answer."""
    if not isinstance(exc, APIStatusError) or isinstance(exc, AuthenticationError):
        return False
    return exc.status_code < _SERVER_ERROR and exc.status_code not in _LOST_ON_THE_WAY


def after_loss(prepared: PreparedRun, why: str) -> InDoubt:
    """Return the outcome of an attempt that was lost with its worker."""
    if prepared.doubt is not None:  # a look-up
        later = replace(prepared, tries=prepared.tries + 1)
        return InDoubt(later, why, answered=False)
    sends = prepared.sends + 1
    error = RunError(code="WORKER_LOST", message=f"{why}, {sends} times")
    doubt = Doubt(why, refusal=error if sends >= _MAX_UNKNOWN_SENDS else None)
    lost = replace(prepared, doubt=doubt, tries=prepared.tries + 1, sends=sends)
    return InDoubt(lost, why, answered=False)


def after_lookup(prepared: PreparedRun, status: LookupStatus) -> Outcome:
    """Return the outcome of a look-up that found no ended execution."""
    doubt, age = prepared.doubt or Doubt(status.value), prepared.doubt_s
    why = f"{doubt.why}; {status.value}"
    if status is LookupStatus.RUNNING:
        doubt = replace(doubt, kind="EXECUTED", refusal=None)
    else:
        doubt = replace(doubt, unlisted_s=age)
    doubt = replace(doubt, silent=0)
    remaining_s = _lookup_s(prepared, doubt) - age
    if remaining_s > 0:
        return InDoubt(replace(prepared, doubt=doubt), why, min(lookup_pause(age), remaining_s))
    if doubt.refusal is not None and not doubt.executed:
        return _failed(prepared, doubt.refusal, doubt.kind)
    if doubt.executed or not prepared.may_resend:
        return _unresolved(prepared, doubt, why)
    return Retry(replace(prepared, doubt=None, resent=True, force=False), why, after=0.0)


def _lookup_s(prepared: PreparedRun, doubt: Doubt) -> float:
    """Return the seconds for which a run in doubt is looked up."""
    if doubt.kind is None:
        return 0.0
    is_waited_for = doubt.executed and prepared.run.state != "FAILED"
    return _EXECUTED_LOOKUP_S if is_waited_for else prepared.resend_after


def after_lookup_error(prepared: PreparedRun, exc: APIError) -> Outcome:
    """Return the outcome of a look-up without a usable answer."""
    why = summary(exc)
    if isinstance(exc, APIResponseError) and exc.is_whole:
        return no_lookup(prepared, str(exc))
    if is_busy(exc):
        return InDoubt(prepared, why, _retry_after(exc), answered=False, busy=True)
    if isinstance(exc, AuthenticationError):
        return InDoubt(prepared, str(exc), answered=False, hopeless=True)
    doubt = prepared.doubt or Doubt(why)
    silent = doubt.silent + 1
    later = replace(prepared, doubt=replace(doubt, silent=silent))
    if silent >= _MAX_SILENT_LOOKUPS:
        return _unresolved(later, doubt, f"{doubt.why}; look-ups fail: {why}")
    return InDoubt(later, why, min(0.125 * 2**silent, _MAX_LOOKUP_PAUSE_S / 3), answered=False)


def no_lookup(prepared: PreparedRun, why: str) -> Outcome:
    """Return the outcome of a look-up that this server or key does not support."""
    doubt = prepared.doubt or Doubt(why)
    if doubt.kind is None and doubt.refusal is not None:
        return _failed(prepared, doubt.refusal, None)
    if prepared.force and not doubt.executed:
        return Retry(replace(prepared, doubt=None, resent=True, force=False), why, after=0.0)
    message = f"{doubt.why}; and the server cannot look it up: {why}"
    return _failed(prepared, RunError(code="UNKNOWN_FATE", message=message), doubt.kind)


def _unresolved(prepared: PreparedRun, doubt: Doubt, why: str) -> Outcome:
    """Keep the row of a run: in doubt, or FAILED in an earlier session."""
    if prepared.run.state == "FAILED":
        return Finished(prepared.run)
    return InDoubt(replace(prepared, doubt=doubt), why, after=None)


def _failed(prepared: PreparedRun, error: RunError, doubt: DoubtKind | None) -> Finished:
    if prepared.run.state == "FAILED":
        return Finished(prepared.run, resent=prepared.resent)
    return finished(prepared, {"state": "FAILED", "error": error, "doubt": doubt})


def _retry_after(exc: APIError) -> float | None:
    return exc.retry_after if isinstance(exc, APIStatusError) else None


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
        if run.state in END_STATES:
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
            if (later.unlisted_s or 0.0) <= limit_s:  # failed look-ups show nothing
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
        self.resend_after = max(wait, self._shortest if is_measured else self.timeout_s)
        if self._unlisted and not self._refuses:
            self.resend_after = math.inf


def _is_listed(doubt: Doubt, outcome: Outcome) -> bool:
    """Return whether a look-up was the first to find the execution."""
    if isinstance(outcome, InDoubt):
        later = outcome.prepared.doubt
        return later is not None and later.executed and not doubt.executed
    return isinstance(outcome, Finished) and outcome.looked_up
