"""What an error says about the fate of an execution. Pure."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from vellum_nb.errors import (
    APIError,
    APIStatusError,
    AuthenticationError,
    RateLimitError,
    ServerError,
)

__all__ = ["Verdict", "is_busy", "said", "verdict"]

_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})

_GIVEN_UP = frozenset({HTTPStatus.REQUEST_TIMEOUT, 460, 499})
"""What gateways say that waited no longer; the last two, of AWS and nginx, are no standard."""


class Verdict(Enum):
    """What follows from an error."""

    AGAIN = "it certainly did not run: send it again"
    HOPELESS = "it did not run, and no other would"
    REFUSED = "it did not run now; it may have before, under the same external id"
    FINAL = "it did not run, and never will"
    DOUBTFUL = "it may have run, or run now"


def verdict(exc: APIError) -> Verdict:
    """Return what follows from `exc`, the answer to an execution.

    Examples
    --------
    >>> verdict(APIError("refused", sent=False)).name, verdict(APIError("reset")).name
    ('AGAIN', 'DOUBTFUL')
    >>> [verdict(APIStatusError("", status_code=n, body=None)).name for n in (103, 405, 499)]
    ['DOUBTFUL', 'FINAL', 'DOUBTFUL']
    """
    if not exc.sent or is_busy(exc):
        return Verdict.AGAIN
    if isinstance(exc, AuthenticationError):
        return Verdict.HOPELESS
    if not isinstance(exc, APIStatusError) or isinstance(exc, ServerError):
        return Verdict.DOUBTFUL
    if exc.status_code in _REFUSED:
        return Verdict.REFUSED
    unsure = exc.status_code in _GIVEN_UP or exc.status_code < HTTPStatus.OK
    return Verdict.DOUBTFUL if unsure else Verdict.FINAL  # 1xx only announces an answer


def is_busy(exc: APIError) -> bool:
    """Return whether the server did nothing because it has too much to do.

    A 503 says so when it names a time to come back; without, it may come from a gateway that lost
    the server's answer.
    """
    if isinstance(exc, RateLimitError):
        return True
    if not isinstance(exc, APIStatusError):
        return False
    named = exc.status_code == HTTPStatus.SERVICE_UNAVAILABLE and exc.retry_after is not None
    return named or exc.status_code == HTTPStatus.TOO_EARLY


def said(exc: APIError) -> str:
    """Return `exc` in a few words."""
    return f"HTTP {exc.status_code}" if isinstance(exc, APIStatusError) else str(exc)
