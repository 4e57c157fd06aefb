"""What follows from each attempt at a run, as a table."""

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
    after_loss,
    after_send_error,
    finished,
    no_lookup,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASE = {"deployment": "d", "release_tag": "v1", "inputs": {}, "case_id": "c", "timestamp": NOW}
RUN = Run(id="1", external_id="1", **CASE)
SENT = PreparedRun(RUN, (), resend_after=60.0)
USED = "external_id 1 already exists"
UNKNOWN, RUNNING = LookupStatus.UNKNOWN, LookupStatus.RUNNING
JSON, PAGE = {"detail": "no"}, "<html>no</html>"


def status(code, text="no", *, body=JSON, **fields):
    kinds = {
        401: errors.AuthenticationError,
        403: errors.AuthenticationError,
        429: errors.RateLimitError,
        500: errors.ServerError,
    }
    kind = kinds.get(code, errors.ServerError if code > 500 else errors.APIStatusError)
    return kind(text, status_code=code, body=body, **fields)


def whole():
    exc = errors.APIResponseError("It begins with '{'")
    exc.is_whole = True
    return exc


def summary(outcome):
    """Return an outcome in short: its kind, when, and its doubt."""
    if isinstance(outcome, Finished):
        error = outcome.run.error
        return ("Finished", outcome.run.state, error and error.code, outcome.run.doubt)
    doubt = outcome.prepared.doubt
    return (type(outcome).__name__, outcome.after, doubt and doubt.kind)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.APIConnectionError("refused", sent=False), ("Retry", None, None)),
        (status(503, retry_after=3.0), ("Retry", 3.0, None)),
        (status(425), ("Retry", None, None)),
        (status(401), ("Retry", None, None)),
        (status(408), ("InDoubt", 0.0, "SENT")),
        (status(404), ("InDoubt", 0.0, "SENT")),
        (status(400, body=PAGE), ("InDoubt", 0.0, "SENT")),
        (status(403, body=PAGE), ("InDoubt", 0.0, "SENT")),
        (status(409, USED), ("InDoubt", 0.0, "EXECUTED")),
        (status(400, "text: a value is required"), ("InDoubt", 0.0, None)),
    ],
)
def test_what_follows_from_an_attempt_to_send(error, expected):
    assert summary(after_send_error(SENT, error)) == expected


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (status(404), True),
        (status(404, body=PAGE), True),
        (status(400, body=PAGE), True),
        (status(408), False),
        (status(499, body=PAGE), False),
        (status(502, body=PAGE), False),
        (status(401, body=PAGE), False),
        (errors.APIConnectionError("reset"), False),
    ],
)
def test_only_answers_that_would_be_the_same_again_end_a_run(error, is_final):
    doubt = after_send_error(SENT, error).prepared.doubt
    assert (doubt.refusal is not None) == is_final


@pytest.mark.parametrize("body", [JSON, PAGE])
def test_a_refused_key_is_hopeless_for_all_runs(body):
    assert after_send_error(SENT, status(401, body=body)).hopeless


def test_a_refusal_after_a_lost_call_leaves_the_run_in_doubt():
    outcome = after_send_error(replace(SENT, sends=1), status(400, "a value is required"))
    assert summary(outcome) == ("InDoubt", 0.0, "SENT")


def doubted(age=0.0, **fields):
    return replace(SENT, doubt=Doubt("reset", **fields), doubt_s=age)


REFUSED = RunError(code="HTTP_400", message="no")
FAILED = RUN.model_copy(update={"state": "FAILED", "error": RunError(code="TIMEOUT")})
CANCELLED = RUN.model_copy(update={"state": "CANCELLED", "doubt": "SENT"})


@pytest.mark.parametrize(
    ("prepared", "answer", "expected"),
    [
        (doubted(), UNKNOWN, ("InDoubt", 0.2, "SENT")),
        (doubted(20.0), UNKNOWN, ("InDoubt", 10.0, "SENT")),
        (doubted(58.0), UNKNOWN, ("InDoubt", 2.0, "SENT")),
        (doubted(60.0), UNKNOWN, ("Retry", 0.0, None)),
        (doubted(60.0, refusal=REFUSED), UNKNOWN, ("Finished", "FAILED", "HTTP_400", "SENT")),
        (doubted(kind=None, refusal=REFUSED), UNKNOWN, ("Finished", "FAILED", "HTTP_400", None)),
        (doubted(60.0, kind="EXECUTED"), UNKNOWN, ("InDoubt", 30.0, "EXECUTED")),
        (doubted(3600.0, kind="EXECUTED"), UNKNOWN, ("InDoubt", None, "EXECUTED")),
        (doubted(), RUNNING, ("InDoubt", 0.2, "EXECUTED")),
        (doubted(3600.0, kind="EXECUTED"), RUNNING, ("InDoubt", None, "EXECUTED")),
        (replace(doubted(), run=FAILED), UNKNOWN, ("InDoubt", 0.2, "SENT")),
        (replace(doubted(60.0), run=CANCELLED), UNKNOWN, ("Retry", 0.0, None)),
    ],
)
def test_what_follows_from_a_look_up(prepared, answer, expected):
    assert summary(after_lookup(prepared, answer)) == expected


@pytest.mark.parametrize(
    ("prepared", "error", "expected"),
    [
        (doubted(), status(429, retry_after=2.0), ("InDoubt", 2.0, "SENT")),
        (doubted(), status(401), ("InDoubt", 0.0, "SENT")),
        (doubted(), status(500), ("InDoubt", 0.25, "SENT")),
        (doubted(silent=10), status(500), ("InDoubt", 10.0, "SENT")),
        (doubted(silent=11), status(500), ("InDoubt", None, "SENT")),
        (doubted(), whole(), ("Finished", "FAILED", "UNKNOWN_FATE", "SENT")),
    ],
)
def test_what_follows_from_a_look_up_that_fails(prepared, error, expected):
    assert summary(after_lookup_error(prepared, error)) == expected


@pytest.mark.parametrize(
    ("prepared", "expected"),
    [
        (replace(doubted(), force=True), ("Retry", 0.0, None)),
        (
            replace(doubted(kind="EXECUTED"), force=True),
            ("Finished", "FAILED", "UNKNOWN_FATE", "EXECUTED"),
        ),
        (replace(doubted(), run=FAILED), ("Finished", "FAILED", "TIMEOUT", None)),
        (doubted(kind=None, refusal=REFUSED), ("Finished", "FAILED", "HTTP_400", None)),
    ],
)
def test_what_follows_from_a_server_that_cannot_look_up(prepared, expected):
    assert summary(no_lookup(prepared, "HTTP 403")) == expected


def test_a_failed_upload_leaves_no_doubt():
    assert summary(after_send_error(SENT, status(500), upload=True)) == ("Retry", None, None)
    assert isinstance(after_send_error(SENT, status(401), upload=True), Retry)


def test_a_run_whose_calls_are_always_lost_fails():
    outcome = after_send_error(replace(SENT, sends=5), errors.APIConnectionError("reset"))
    assert isinstance(outcome, InDoubt)
    assert outcome.prepared.doubt.refusal.code == "CONNECTION"


def test_a_lost_look_up_does_not_count_as_sent():
    outcome = after_loss(doubted(kind="EXECUTED"), "its worker died")
    assert (outcome.prepared.sends, outcome.prepared.doubt.kind) == (0, "EXECUTED")


def test_an_answer_settles_the_doubt_of_a_run():
    outcome = finished(replace(doubted(), run=CANCELLED), {"state": "FULFILLED"}, looked_up=True)
    assert (outcome.looked_up, outcome.run.error, outcome.run.doubt) == (True, None, None)
