"""The rules of sending again, without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vellum_nb.client.session import may_resend_after_status, pause, retry_after


@given(status=st.integers(400, 599), wanted=st.none() | st.floats(0, 60))
def test_an_execution_is_sent_again_only_when_it_surely_did_not_run(
    status: int, wanted: float | None
) -> None:
    surely = status == 429 or (status == 503 and wanted is not None)
    assert may_resend_after_status("POST", status, wanted) is surely


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_a_date_ahead_is_the_seconds_until_then() -> None:
    ahead = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert ahead is not None
    assert 85 < ahead <= 90


@given(attempt=st.integers(1, 4), wanted=st.floats(0, 1e9))
def test_a_pause_is_never_shorter_than_asked_nor_longer_than_40_seconds(
    attempt: int, wanted: float
) -> None:
    assert min(wanted, 30) <= pause(attempt, wanted) <= 40
    assert 0.25 <= pause(attempt) <= 2.5
