"""Exceptions for refused requests and rejected runs."""

from __future__ import annotations

from vellum_nb.errors import VellumNBError


class Reject(Exception):  # noqa: N818 - a verb, as in `raise Reject`
    """Rejects the run of a callable with ``USER_DEFINED_ERROR``.

    Examples
    --------
    >>> def answer(question: str) -> str:
    ...     if not question:
    ...         raise Reject("the question is empty")
    ...     return "42"
    """


class Refused(VellumNBError):  # noqa: N818 - the outcome of a request
    """A request with a status other than 200, or an invalid deploy."""

    def __init__(self, status_code: int, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.detail = detail
        self.headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}


class StoreError(Refused):
    """Files of the local server cannot be read or written."""

    def __init__(self, detail: str) -> None:
        super().__init__(507, detail)
