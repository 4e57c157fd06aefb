"""Why a prompt has no answer, in Vellum's codes."""

from __future__ import annotations

__all__ = ["PromptFailed", "failed_status"]


class PromptFailed(Exception):  # noqa: N818 - it is what happened to the prompt
    """A prompt that is rejected; `code` is one of Vellum's error codes."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_CODES = {
    401: "PROVIDER_CREDENTIALS_UNAVAILABLE",
    403: "PROVIDER_CREDENTIALS_UNAVAILABLE",
    402: "PROVIDER_QUOTA_EXCEEDED",
    408: "REQUEST_TIMEOUT",
    429: "PROVIDER_QUOTA_EXCEEDED",
    504: "REQUEST_TIMEOUT",
}
_CLIENT_ERRORS = range(400, 500)


def failed_status(status: int, message: str) -> PromptFailed:
    """Return what an HTTP status of the model means.

    Examples
    --------
    >>> failed_status(429, "slow down").code
    'PROVIDER_QUOTA_EXCEEDED'
    >>> failed_status(503, "busy").code
    'PROVIDER_ERROR'
    """
    usual = "INVALID_REQUEST" if status in _CLIENT_ERRORS else "PROVIDER_ERROR"
    return PromptFailed(message, code=_CODES.get(status, usual))
