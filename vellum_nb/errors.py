"""Exceptions of vellum_nb.

::

    VellumNBError
      APIError               no usable reply
        APIConnectionError   refused, unreachable, cut off
          APITimeoutError
        APIStatusError       4xx/5xx: .status_code .body
          BadRequestError    400
          AuthenticationError 401, 403
          NotFoundError      404
          RateLimitError     429
          ServerError        5xx
        APIResponseError     2xx with a body that does not match the contract
      InputError (ValueError)  invalid inputs, all of which it names, or an invalid argument
      HistoryError           the history is locked, damaged or of a newer version; invalid argument
        OutOfReachError      its server cannot be reached, or accepts no writes
      RegressionError (AssertionError)  a release is worse than its baseline
      InconclusiveError (AssertionError)  the cases cannot decide whether it is

A rejected run is a value, not an exception: see `vellum_nb.Run`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from vellum_nb.escaping import printable, printed

if TYPE_CHECKING:
    import pandas as pd

_HIDDEN = (f"{Path(__file__).parent}{os.sep}", contextlib.__file__)  # frames that users do not need
_A_CELL = re.compile(r"ipykernel_\d+|^<ipython-input")
_MAX_PROBLEMS = 20
_MAX_ROWS = 5


class VellumNBError(Exception):
    """Base class of all errors of this package."""

    @printed
    def __str__(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))

    def _render_traceback_(self) -> list[str]:
        """Return the traceback that IPython displays: lines of the user's code, and the message."""
        places = []
        for frame in extract_tb(self.__traceback__):
            path = frame.filename
            if not path.startswith(_HIDDEN) and "IPython" not in Path(path).parts:
                place = "The cell" if _A_CELL.search(path) else path
                places.append(f"{place}, line {frame.lineno}: {frame.line}")
        notes = map(printable, getattr(self, "__notes__", []))
        return [*places, f"\x1b[31m{type(self).__name__}\x1b[0m: {self}", *notes]


class APIError(VellumNBError):
    """The API gave no usable reply.

    Attributes
    ----------
    sent : bool
        True if the request could have reached the server. Such an execution could have run; it is
        never retried automatically.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APIConnectionError(APIError):
    """The connection was refused, impossible or cut off."""


class APITimeoutError(APIConnectionError):
    """The server gave no answer within the timeout."""


class APIStatusError(APIError):
    """The server answered with a 4xx or 5xx status.

    Attributes
    ----------
    status_code : int
        The HTTP status.
    body : object
        The decoded JSON body, or its text if it is not JSON.
    retry_after : float or None
        Seconds to wait, from the server.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: object = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status_code = status_code
        self.body = body


class BadRequestError(APIStatusError):
    """400: the request is invalid; a retry gives the same answer."""


class AuthenticationError(APIStatusError):
    """401 or 403: the API key is missing, wrong, or not authorized."""


class NotFoundError(APIStatusError):
    """404: no such deployment, release, release tag or execution."""


class RateLimitError(APIStatusError):
    """429: too many requests, even after the retries."""


class ServerError(APIStatusError):
    """5xx: the server failed."""


class APIResponseError(APIError):
    """The server answered 2xx with a body that does not match the contract.

    Attributes
    ----------
    is_whole : bool
        True if the body is a complete JSON object: neither cut off nor the page of a gateway.
    """

    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class InputProblem:
    """An invalid input.

    Attributes
    ----------
    variable : str
        The input variable's key.
    message : str
        The given value and the expected kind, as a sentence without the name of the variable.
    row : int or None
        Number of the case, from 1; None for a single case or for all of them.
    suggestion : str
        The most similar valid name, if the name is not valid.
    """

    variable: str
    message: str
    row: int | None = None
    suggestion: str = ""

    @printed
    def __str__(self) -> str:
        return f"{self.variable}: {self.message}"


class InputError(VellumNBError, ValueError):
    """Invalid inputs of a deployment, or an invalid argument. Nothing was sent.

    The message names the first twenty problems; `frame` returns all of them.

    Attributes
    ----------
    problems : tuple of InputProblem
        All problems, in the order of the variables of the deployment.
    columns : tuple of CaseColumn
        The columns of the invalid table of cases, as in `SweepPlan.columns`; else empty.
    """

    columns: tuple[Any, ...] = ()

    def __init__(self, message: str, problems: Sequence[InputProblem] = ()) -> None:
        super().__init__("\n".join([message, *_lines(problems)]))
        self.problems = tuple(problems)

    def frame(self) -> pd.DataFrame:
        """Return a row per problem: `row` (number of the case, if many), `variable`, `problem`.

        Examples
        --------
        >>> InputError("2 inputs:", [InputProblem("n", "is missing", row=4)]).frame()
           row variable     problem
        0    4        n  is missing
        """
        import pandas as pd

        rows = pd.array([problem.row for problem in self.problems], dtype="Int64")
        names = [problem.variable for problem in self.problems]
        problems = [problem.message for problem in self.problems]
        return pd.DataFrame({"row": rows, "variable": names, "problem": problems})


class HistoryError(VellumNBError):
    """The history is locked, damaged or of a newer version, or a value is invalid. Nothing changed.

    Attributes
    ----------
    run : Run or None
        The run with an answer that could not be recorded.
    """

    run: Any = None


class OutOfReachError(HistoryError):
    """The server of the history cannot be reached, or accepts no writes.

    Runs are then recorded locally. The outcome of the failed write is unknown.
    """


class RegressionError(VellumNBError, AssertionError):
    """A release is worse than its baseline.

    Attributes
    ----------
    case_ids : tuple of str
        The cases that are worse, by release, the worst first.
    reasons : tuple of str
        Reasons of the failure, as sentences.
    """

    case_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class InconclusiveError(VellumNBError, AssertionError):
    """The cases cannot decide whether a release is worse than its baseline.

    Attributes
    ----------
    reasons : tuple of str
        Reasons, as sentences.
    """

    reasons: tuple[str, ...] = ()


def _lines(problems: Sequence[InputProblem]) -> list[str]:
    """Return a line per distinct problem, with its rows."""
    rows: dict[str, list[int]] = {}
    for problem in problems:
        problem_rows = rows.setdefault(str(problem), [])
        if problem.row is not None:
            problem_rows.append(problem.row)
    lines = [
        f"  - {text}{_in_rows(problem_rows)}"
        for text, problem_rows in list(rows.items())[:_MAX_PROBLEMS]
    ]
    if len(rows) > _MAX_PROBLEMS:
        lines.append(
            f"  … and {len(rows) - _MAX_PROBLEMS} more; the error's frame() lists them all"
        )
    return lines


def _in_rows(rows: Sequence[int]) -> str:
    if not rows:
        return ""
    named = ", ".join(map(str, rows[:_MAX_ROWS]))
    more = f" and {len(rows) - _MAX_ROWS:,} more" if len(rows) > _MAX_ROWS else ""
    return f" (row{'' if len(rows) == 1 else 's'} {named}{more})"


def _restored(kind: type[VellumNBError], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    """Restore a pickled error without calling `kind`, which can require keywords."""
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error
