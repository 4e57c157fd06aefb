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
    >>> verdict(APIStatusError("early", status_code=103, body=None)).name
    'DOUBTFUL'
    """
    if not exc.sent or is_busy(exc):
        return Verdict.AGAIN
    if isinstance(exc, AuthenticationError):
        return Verdict.HOPELESS
    if not isinstance(exc, APIStatusError) or isinstance(exc, ServerError):
        return Verdict.DOUBTFUL
    if exc.status_code in _REFUSED:
        return Verdict.REFUSED
    if exc.status_code == HTTPStatus.REQUEST_TIMEOUT or exc.status_code < HTTPStatus.OK:
        return Verdict.DOUBTFUL  # 1xx only announces an answer, which was not read
    return Verdict.FINAL


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
