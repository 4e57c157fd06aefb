"""The ways in which the local server, or a workflow in it, says no."""

from __future__ import annotations

from vellum_nb.errors import VellumNBError


class Reject(Exception):  # noqa: N818 - the verb reads as what it does
    """Raise it in a callable to reject the run with ``USER_DEFINED_ERROR``.

    Examples
    --------
    >>> def answer(question: str) -> str:
    ...     if not question:
    ...         raise Reject("the question is empty")
    ...     return "42"
    """


class Refused(VellumNBError):  # noqa: N818 - it is what happened to the request
    """A request that is answered with a status other than 200, or a deploy that makes no sense."""

    def __init__(self, status_code: int, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.detail = detail
        self.retry_after = retry_after


class StoreError(Refused):
    """The local server's files cannot be read or written: a full disk, a damaged file."""

    def __init__(self, detail: str) -> None:
        super().__init__(507, detail)
