"""Retry policy of a planned run: what an attempt's result means, and what is done next. Pure.

All attempts at a run have the same external id. Only what certainly was not executed is sent again
at once; else it is looked up for as long as the server may take to list it. A run whose external id
is refused as used was executed: it is looked up for an hour, and never sent again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeAlias

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

LOOKUP_S = 120.0
"""Seconds for which a run in doubt is looked up before it is sent again, unless more is known."""

_EXECUTED_S = 3600.0  # for which an execution is looked up that has begun
_SHORTEST_S, _LONGEST_S, _GROWTH = 0.2, 30.0, 0.5
_SENDS = 6  # whose outcome is not known
_SILENT = 12  # look-ups in a row without a usable answer
_REFUSALS = {400, 409, 422}
_SERVER_ERROR = 500
_TOO_EARLY, _UNAVAILABLE = 425, 503
_USED = ("already", "used", "exist", "unique", "duplicate", "taken", "conflict")


class ErrorKind(Enum):
    """What an error says about the execution that was requested."""

    NOT_EXECUTED = "it was not executed: it may be sent again"
    UNAUTHORIZED = "it was not executed, and no other run would be"
    ID_USED = "its external id was used: it was executed"
    REFUSED = "it is not executed now; it may have been before"
    UNUSABLE = "it was executed, and its answer cannot be used"
    UNKNOWN = "it may have been executed"


class LookupStatus(Enum):
    """What a look-up says about an execution that has not ended."""

    RUNNING = "it is still running"
    UNKNOWN = "the server lists no such execution"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a run may have been executed, and how it was looked up since."""

    why: str
    executed: bool = False  # certainly
    refusal: RunError | None = None  # how it ends when no execution is found
    waited_s: float = 0.0  # pauses since it was sent last
    silent: int = 0  # look-ups in a row without a usable answer


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is recorded, and sent next; with a `doubt` it is looked up.

    `run` is STARTED, or FAILED where its doubt is of an earlier session; its id is its external id.
    """

    run: Run
    inputs: tuple[Mapping[str, Any], ...]  # as they are sent
    doubt: Doubt | None = None
    tries: int = 0  # attempts to send it
    sends: int = 0  # those whose outcome is not known
    resent: bool = False  # after look-ups found no execution of it
    lookup_s: float = LOOKUP_S  # for which it is looked up before it is sent again
    may_resend: bool = True  # while it is in doubt
    force: bool = False  # sent again, once, where this server cannot look it up


@dataclass(frozen=True, slots=True)
class Finished:
    """It ended: `run` is complete."""

    run: Run
    found: bool = False  # by a look-up
    resent: bool = False
    lag_s: float = 0.0  # for which the server did not list its execution


@dataclass(frozen=True, slots=True)
class Retry:
    """It was not executed, and is sent again, as `prepared`."""

    prepared: PreparedRun
    why: str
    after: float | None = None  # seconds; None: longer after each try
    busy: bool = False  # the server has too much to do: all others wait too
    hopeless: bool = False  # no other run would fare better, as with a wrong key


@dataclass(frozen=True, slots=True)
class InDoubt(Retry):
    """It may have been executed, and is looked up; with `after` None it is left in doubt."""

    after: float | None = 0.0
    answered: bool = True  # the server answers, though it does not list the execution


Outcome: TypeAlias = Finished | Retry | InDoubt


def error_kind(exc: APIError) -> ErrorKind:
    """Return what `exc`, the answer to an execution, says about it."""
    if not exc.sent or is_busy(exc):
        return ErrorKind.NOT_EXECUTED
    if isinstance(exc, APIResponseError) and exc.is_whole:
        return ErrorKind.UNUSABLE
    is_from_vellum = isinstance(exc, APIStatusError) and isinstance(exc.body, Mapping)
    if not is_from_vellum or isinstance(exc, ServerError):  # a proxy knows of no execution
        return ErrorKind.UNKNOWN
    if isinstance(exc, AuthenticationError):
        return ErrorKind.UNAUTHORIZED
    if id_was_used(exc):
        return ErrorKind.ID_USED
    is_refusal = isinstance(exc, APIStatusError) and exc.status_code in _REFUSALS
    return ErrorKind.REFUSED if is_refusal else ErrorKind.UNKNOWN


def doubt_after(exc: APIError) -> DoubtKind | None:
    """Return the doubt that `exc`, the answer to an execution, leaves about the run."""
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
    """Return whether the server did nothing because it has too much to do.

    A 503 says so when it names a time to come back; without, it may come from a gateway that lost
    the server's answer.
    """
    if not isinstance(exc, APIStatusError) or isinstance(exc, RateLimitError):
        return isinstance(exc, RateLimitError)
    return exc.status_code == _TOO_EARLY or (
        exc.status_code == _UNAVAILABLE and exc.retry_after is not None
    )


def summary(exc: APIError) -> str:
    """Return `exc` in a few words."""
    return f"HTTP {exc.status_code}" if isinstance(exc, APIStatusError) else str(exc)


def run_error(exc: APIError) -> RunError:
    """Return the error that a run ends with which `exc` left without an answer."""
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
    """Return the seconds to the next look-up of a run that was looked up for `waited_s`."""
    return min(max(_SHORTEST_S, waited_s * _GROWTH), _LONGEST_S)


def finished(prepared: PreparedRun, how: Mapping[str, Any], *, found: bool = False) -> Finished:
    """Return how a run ended, from fields of `Run`."""
    fields = {"error": None, **how, "finished_at": how.get("finished_at") or datetime.now(UTC)}
    lag = prepared.doubt.waited_s if found and prepared.doubt is not None else 0.0
    run = prepared.run.model_copy(update=fields)
    return Finished(run, found=found, resent=prepared.resent, lag_s=lag)


def after_send_error(prepared: PreparedRun, exc: APIError, *, upload: bool = False) -> Outcome:
    """Return the outcome of an attempt to send; `upload`: of a file, nothing was executed."""
    prepared = replace(prepared, tries=prepared.tries + 1, doubt=None)
    kind, why, error = error_kind(exc), summary(exc), run_error(exc)
    if kind is ErrorKind.NOT_EXECUTED:
        return Retry(prepared, why, _retry_after(exc), busy=is_busy(exc))
    if kind is ErrorKind.UNAUTHORIZED:
        return Retry(prepared, str(exc), hopeless=True)
    if upload and kind is ErrorKind.UNKNOWN and prepared.tries < _SENDS:
        return Retry(prepared, why)
    if upload or kind is ErrorKind.UNUSABLE:
        return _failed(prepared, error)
    if kind is ErrorKind.ID_USED:
        doubt = Doubt(f"the server refuses its external id as used ({why})", executed=True)
        return InDoubt(replace(prepared, doubt=doubt), doubt.why)
    sends = prepared.sends + (kind is ErrorKind.UNKNOWN)
    is_4xx = isinstance(exc, APIStatusError) and exc.status_code < _SERVER_ERROR
    refused = kind is ErrorKind.REFUSED or is_4xx or sends >= _SENDS
    # The first refusal is looked up once: nothing of it can be under way.
    waited = math.inf if kind is ErrorKind.REFUSED and sends == 0 else 0.0
    doubt = Doubt(why, refusal=error if refused else None, waited_s=waited)
    return InDoubt(replace(prepared, doubt=doubt, sends=sends), why)


def after_loss(prepared: PreparedRun, why: str) -> InDoubt:
    """Return the outcome of an attempt that was lost with its worker."""
    sends = prepared.sends + 1
    error = RunError(code="WORKER_LOST", message=f"{why}, {sends} times")
    doubt = Doubt(why, refusal=error if sends >= _SENDS else None)
    lost = replace(prepared, doubt=doubt, tries=prepared.tries + 1, sends=sends)
    return InDoubt(lost, why, answered=False)


def after_lookup(prepared: PreparedRun, status: LookupStatus) -> Outcome:
    """Return the outcome of a look-up that found no ended execution."""
    doubt = prepared.doubt or Doubt(status.value)
    if status is LookupStatus.RUNNING and not doubt.executed:
        doubt = replace(doubt, executed=True, refusal=None, waited_s=0.0)
    why = f"{doubt.why}; {status.value}"
    is_waited_for = doubt.executed and prepared.run.state == "STARTED"
    left = (_EXECUTED_S if is_waited_for else prepared.lookup_s) - doubt.waited_s
    if left > 0:
        pause = min(lookup_pause(doubt.waited_s), left)
        doubt = replace(doubt, waited_s=doubt.waited_s + pause, silent=0)
        return InDoubt(replace(prepared, doubt=doubt), why, pause)
    if doubt.refusal is not None and not doubt.executed:
        return _failed(prepared, doubt.refusal)
    if doubt.executed or not prepared.may_resend:
        return _unresolved(prepared, doubt, why)
    return Retry(replace(prepared, doubt=None, resent=True, force=False), why, after=0.0)


def after_lookup_error(prepared: PreparedRun, exc: APIError) -> Outcome:
    """Return the outcome of a look-up without a usable answer."""
    why = summary(exc)
    if isinstance(exc, APIResponseError) and exc.is_whole:
        return no_lookup(prepared, str(exc))
    if is_busy(exc):
        return InDoubt(prepared, why, _retry_after(exc), answered=False, busy=True)
    if error_kind(exc) is ErrorKind.UNAUTHORIZED:
        return InDoubt(prepared, str(exc), answered=False, hopeless=True)
    doubt = prepared.doubt or Doubt(why)
    silent = doubt.silent + 1
    later = replace(prepared, doubt=replace(doubt, silent=silent))
    if silent >= _SILENT:
        return _unresolved(later, doubt, f"{doubt.why}; look-ups fail: {why}")
    return InDoubt(later, why, min(0.125 * 2**silent, _LONGEST_S / 3), answered=False)


def no_lookup(prepared: PreparedRun, why: str) -> Outcome:
    """Return the outcome where this server or this key cannot look up a run."""
    doubt = prepared.doubt or Doubt(why)
    if prepared.force and not doubt.executed:
        return Retry(replace(prepared, doubt=None, force=False), why, after=0.0)
    message = f"{doubt.why}; and the server cannot look it up: {why}"
    return _failed(prepared, RunError(code="UNKNOWN_FATE", message=message))


def _unresolved(prepared: PreparedRun, doubt: Doubt, why: str) -> Outcome:
    """Leave a run as its row is: STARTED, or FAILED in an earlier session."""
    if prepared.run.state == "STARTED":
        return InDoubt(replace(prepared, doubt=doubt), why, after=None)
    return Finished(prepared.run)


def _failed(prepared: PreparedRun, error: RunError) -> Finished:
    if prepared.run.state != "STARTED":
        return Finished(prepared.run, resent=prepared.resent)
    return finished(prepared, {"state": "FAILED", "error": error})


def _retry_after(exc: APIError) -> float | None:
    return exc.retry_after if isinstance(exc, APIStatusError) else None
