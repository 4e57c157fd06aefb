"""When a run in doubt is sent again, by how late the server lists executions."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vellum_nb.errors import APIConnectionError, BadRequestError, RateLimitError
from vellum_nb.models import Run
from vellum_nb.sweep.retry_policy import (
    Doubt,
    ListingDelay,
    LookupStatus,
    PreparedRun,
    after_lookup,
    after_lookup_error,
    after_send_error,
    finished,
    no_lookup,
)

CASE = {"deployment": "d", "release_tag": "v1", "inputs": {}, "case_id": "c"}
FULFILLED = {"state": "FULFILLED"}
TIMEOUT_S = 120.0


def prepared(run_id):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return PreparedRun(Run(id=run_id, external_id=run_id, timestamp=now, **CASE), ())


def answer(listing, run_id, now):
    """Have the run answered `now`."""
    run = prepared(run_id)
    listing.take_answer(run, finished(run, FULFILLED).run, now, 0.0)


def lose(listing, run_id, now):
    """Have the run become doubtful `now`."""
    run = prepared(run_id)
    listing.take(run, after_send_error(run, APIConnectionError("reset")), now)


def look_up(listing, now, *, is_listed):
    """Look up the only probe that is due `now`."""
    [probe] = listing.probes(now)
    probe = replace(probe, doubt_s=now - probe.doubt.since, resend_after=math.inf)
    found = finished(probe, FULFILLED, looked_up=True)
    outcome = found if is_listed else after_lookup(probe, LookupStatus.UNKNOWN)
    listing.take(probe, outcome, now)


def doubtful(latencies=()):
    """Return the measurement of a server that answered a run, and lost another, at 100 s."""
    listing = ListingDelay(TIMEOUT_S, latencies)
    answer(listing, "answered", 100.0)
    lose(listing, "lost", 100.0)
    return listing


def measured(delay, *, latencies=()):
    """Return the measurement of a server that lists a run when it is `delay` old."""
    listing = doubtful(latencies)
    while not listing.resend_after < math.inf or listing.due < math.inf:
        now = listing.due
        look_up(listing, now, is_listed=now >= 100.0 + delay)
    return listing


@pytest.mark.parametrize(
    ("delay", "longest", "expected"),
    [
        (0.0, 0.0, (8.0, 8.0)),  # at least
        (0.0, 20.0, (20.0, 20.0)),
        (10.0, 20.0, (40.0, 50.0)),
        (70.0, 20.0, (120.0, 120.0)),  # the read timeout is enough
        (110.0, 20.0, (240.0, 340.0)),  # it is not
        (150.0, 0.0, (300.0, 360.0)),
    ],
)
def test_a_run_is_sent_again_after_the_longest_latency_and_twice_the_delay(
    delay, longest, expected
):
    assert expected[0] <= measured(delay, latencies=[longest]).resend_after <= expected[1]


def test_without_a_measurement_a_run_is_sent_again_after_the_read_timeout():
    listing = ListingDelay(TIMEOUT_S)
    lose(listing, "lost", 100.0)
    assert (listing.resend_after, listing.due) == (TIMEOUT_S, math.inf)


def test_nothing_is_sent_again_while_an_answered_run_is_not_listed():
    listing = doubtful()
    look_up(listing, 100.1, is_listed=False)
    assert listing.resend_after == math.inf


def test_the_next_answers_are_looked_up_if_none_came_before_a_doubt():
    listing = ListingDelay(TIMEOUT_S)
    lose(listing, "lost", 100.0)
    answer(listing, "answered", 103.0)
    look_up(listing, 103.5, is_listed=True)
    assert listing.resend_after == 8.0


def test_a_delay_that_grows_is_measured_again_while_a_run_is_in_doubt():
    listing = measured(0.0)
    answer(listing, "second", 104.0)
    lose(listing, "lost later", 104.1)
    look_up(listing, 104.1, is_listed=False)
    assert listing.resend_after == math.inf


def test_an_age_that_the_machine_slept_through_is_no_long_delay():
    listing = doubtful()
    look_up(listing, 100.5, is_listed=False)
    look_up(listing, 9_000.0, is_listed=True)
    assert listing.resend_after <= 2 * TIMEOUT_S


def test_a_server_that_never_lists_is_not_waited_for_for_ever():
    assert measured(math.inf).resend_after == TIMEOUT_S


def test_a_key_that_may_not_look_up_measures_nothing():
    listing = doubtful()
    [probe] = listing.probes(100.0)
    listing.take(probe, no_lookup(probe, "HTTP 403"), 100.1)
    assert (listing.resend_after, listing.due) == (TIMEOUT_S, math.inf)


def test_a_refused_id_proves_that_nothing_has_to_be_listed():
    listing = doubtful()
    look_up(listing, 100.1, is_listed=False)
    run = replace(prepared("lost"), resent=True)
    used = BadRequestError("external_id lost was used before", status_code=400, body={"detail": ""})
    listing.take(run, after_send_error(run, used), 101.0)
    assert listing.resend_after == 8.0


def test_the_lag_of_a_run_in_doubt_that_is_found_raises_the_delay():
    listing = measured(0.0)
    run = prepared("lost")
    lost = after_send_error(run, APIConnectionError("reset")).prepared
    lost = replace(lost, doubt=replace(lost.doubt, since=100.0, unlisted_s=30.0))
    listing.take(lost, finished(lost, FULFILLED, looked_up=True), 140.0)
    assert listing.resend_after == 80.0


def test_a_run_that_is_listed_late_raises_the_delay_without_a_probe():
    listing = ListingDelay(TIMEOUT_S)
    lost = after_send_error(prepared("lost"), APIConnectionError("reset")).prepared
    lost = replace(lost, doubt=replace(lost.doubt, since=100.0, unlisted_s=190.0))
    listing.take(lost, finished(lost, FULFILLED, looked_up=True), 300.0)
    assert listing.resend_after == 400.0


def test_failed_look_ups_do_not_show_that_a_server_never_lists():
    listing = doubtful()
    look_up(listing, 500.0, is_listed=False)
    [probe] = listing.probes(listing.due)
    probe = replace(probe, doubt_s=500.0)
    busy = RateLimitError("busy", status_code=429, retry_after=0.5)
    listing.take(probe, after_lookup_error(probe, busy), 600.0)
    assert listing.resend_after == math.inf


def test_a_doubt_of_an_earlier_session_has_the_delay_measured():
    listing = ListingDelay(TIMEOUT_S)
    doubt = Doubt("it was started", since=-1000.0)
    run = replace(prepared("lost"), doubt=doubt, doubt_s=50.0, resend_after=TIMEOUT_S)
    listing.take(run, after_lookup(run, LookupStatus.UNKNOWN), 100.0)
    answer(listing, "answered", 101.0)
    look_up(listing, 101.1, is_listed=True)
    assert listing.resend_after == 8.0
