"""What follows from each attempt at a run, as a table."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vellum_nb import errors
from vellum_nb.models import Run, RunError
from vellum_nb.sweep.retry_policy import (
    Doubt,
    Finished,
    InDoubt,
    LookupStatus,
    PreparedRun,
    Retry,
    after_lookup,
    after_lookup_error,
    after_send_error,
    finished,
    no_lookup,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASE = {"deployment": "d", "release_tag": "v1", "inputs": {}, "case_id": "c", "timestamp": NOW}
RUN = Run(id="1", external_id="1", **CASE)
SENT = PreparedRun(RUN, (), lookup_s=60.0)
USED = "external_id 1 already exists"
UNKNOWN, RUNNING = LookupStatus.UNKNOWN, LookupStatus.RUNNING


def status(code, text="no", **fields):
    kinds = {401: errors.AuthenticationError, 429: errors.RateLimitError, 500: errors.ServerError}
    kind = kinds.get(code, errors.ServerError if code > 500 else errors.APIStatusError)
    return kind(text, status_code=code, **fields)


def whole():
    exc = errors.APIResponseError("It begins with '{'")
    exc.is_whole = True
    return exc


def summary(outcome):
    """Return an outcome in short: its kind, when, and what it is known for."""
    if isinstance(outcome, Finished):
        error = outcome.run.error
        return ("Finished", outcome.run.state, error and error.code)
    doubt = outcome.prepared.doubt
    known = "executed" if doubt is not None and doubt.executed else ""
    return (type(outcome).__name__, outcome.after, known)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.APIConnectionError("refused", sent=False), ("Retry", None, "")),
        (status(503, retry_after=3.0), ("Retry", 3.0, "")),
        (status(425), ("Retry", None, "")),
        (status(401), ("Retry", None, "")),
        (status(408), ("InDoubt", 0.0, "")),
        (status(409, USED), ("InDoubt", 0.0, "executed")),
        (status(400, "text: a value is required"), ("InDoubt", 0.0, "")),
    ],
)
def test_what_follows_from_an_attempt_to_send(error, expected):
    assert summary(after_send_error(SENT, error)) == expected


def doubted(**fields):
    return replace(SENT, doubt=Doubt("reset", **fields))


REFUSED = RunError(code="HTTP_400", message="no")
FAILED = RUN.model_copy(update={"state": "FAILED", "error": RunError(code="TIMEOUT")})


@pytest.mark.parametrize(
    ("prepared", "answer", "expected"),
    [
        (doubted(), UNKNOWN, ("InDoubt", 0.2, "")),
        (doubted(waited_s=20.0), UNKNOWN, ("InDoubt", 10.0, "")),
        (doubted(waited_s=58.0), UNKNOWN, ("InDoubt", 2.0, "")),
        (doubted(waited_s=60.0), UNKNOWN, ("Retry", 0.0, "")),
        (doubted(waited_s=60.0, refusal=REFUSED), UNKNOWN, ("Finished", "FAILED", "HTTP_400")),
        (doubted(waited_s=math.inf, refusal=REFUSED), UNKNOWN, ("Finished", "FAILED", "HTTP_400")),
        (doubted(waited_s=60.0, executed=True), UNKNOWN, ("InDoubt", 30.0, "executed")),
        (doubted(waited_s=3600.0, executed=True), UNKNOWN, ("InDoubt", None, "executed")),
        (doubted(waited_s=50.0), RUNNING, ("InDoubt", 0.2, "executed")),
        (doubted(waited_s=3600.0, executed=True), RUNNING, ("InDoubt", None, "executed")),
        (replace(doubted(), run=FAILED), UNKNOWN, ("InDoubt", 0.2, "")),
    ],
)
def test_what_follows_from_a_look_up(prepared, answer, expected):
    assert summary(after_lookup(prepared, answer)) == expected


@pytest.mark.parametrize(
    ("prepared", "error", "expected"),
    [
        (doubted(), status(429, retry_after=2.0), ("InDoubt", 2.0, "")),
        (doubted(), status(401), ("InDoubt", 0.0, "")),
        (doubted(), status(500), ("InDoubt", 0.25, "")),
        (doubted(silent=10), status(500), ("InDoubt", 10.0, "")),
        (doubted(silent=11), status(500), ("InDoubt", None, "")),
        (doubted(), whole(), ("Finished", "FAILED", "UNKNOWN_FATE")),
    ],
)
def test_what_follows_from_a_look_up_that_fails(prepared, error, expected):
    assert summary(after_lookup_error(prepared, error)) == expected


@pytest.mark.parametrize(
    ("prepared", "expected"),
    [
        (replace(doubted(), force=True), ("Retry", 0.0, "")),
        (replace(doubted(executed=True), force=True), ("Finished", "FAILED", "UNKNOWN_FATE")),
        (replace(doubted(), run=FAILED), ("Finished", "FAILED", "TIMEOUT")),
    ],
)
def test_what_follows_where_a_server_cannot_look_up(prepared, expected):
    assert summary(no_lookup(prepared, "HTTP 403")) == expected


def test_an_upload_is_no_doubt_many_sends_end_and_what_is_found_late_shows_the_lag():
    assert summary(after_send_error(SENT, status(500), upload=True)) == ("Retry", None, "")
    assert isinstance(after_send_error(SENT, status(401), upload=True), Retry)
    outcome = after_send_error(replace(SENT, sends=5), errors.APIConnectionError("reset"))
    assert isinstance(outcome, InDoubt)
    assert outcome.prepared.doubt.refusal.code == "CONNECTION"
    outcome = finished(doubted(waited_s=12.5), {"state": "FULFILLED", "outputs": {}}, found=True)
    assert (outcome.found, outcome.lag_s, outcome.run.error) == (True, 12.5, None)
