"""Every exception that vellum_nb raises on purpose.

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
      InputError (ValueError)  inputs do not fit the deployment, names each; or an argument
      HistoryError           the history is locked, damaged or of a newer version; a wrong argument
        OutOfReachError      its server cannot be reached, or accepts no writes
      RegressionError (AssertionError)  a release is worse than its baseline

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

_HIDDEN = (f"{Path(__file__).parent}{os.sep}", contextlib.__file__)  # our frames and what they use
_A_CELL = re.compile(r"ipykernel_\d+|^<ipython-input")
_MOST = 20
_MOST_ROWS = 5


class VellumNBError(Exception):
    """Base of all errors of this package; catch it to catch them all."""

    @printed
    def __str__(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the lines of the reader's own code, and the message."""
        places = []
        for frame in extract_tb(self.__traceback__):
            path = frame.filename
            if not path.startswith(_HIDDEN) and "IPython" not in Path(path).parts:
                place = "The cell" if _A_CELL.search(path) else path
                places.append(f"{place}, line {frame.lineno}: {frame.line}")
        notes = map(printable, getattr(self, "__notes__", []))
        return [*places, f"\x1b[31m{type(self).__name__}\x1b[0m: {self}", *notes]


class APIError(VellumNBError):
    """No usable reply came from the API.

    Attributes
    ----------
    sent : bool
        Whether the request may have reached the server. An execution for which this is True may
        have run; it is never sent again by itself.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APIConnectionError(APIError):
    """The server was refused, unreachable, or cut the connection off."""


class APITimeoutError(APIConnectionError):
    """No answer came within the timeout."""


class APIStatusError(APIError):
    """The server answered with a 4xx or 5xx status.

    Attributes
    ----------
    status_code : int
        The HTTP status.
    body : object
        The decoded JSON body, or its text when it was not JSON.
    retry_after : float or None
        Seconds that the server asks to wait.
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
    """400: the server refuses the request as it is; sending it again changes nothing."""


class AuthenticationError(APIStatusError):
    """401 or 403: the API key is missing, wrong, or lacks this right."""


class NotFoundError(APIStatusError):
    """404: no such deployment, release, release tag or execution."""


class RateLimitError(APIStatusError):
    """429: too many requests, also after the retries."""


class ServerError(APIStatusError):
    """5xx: the server failed."""


class APIResponseError(APIError):
    """The server answered 2xx with a body that does not match the contract.

    Attributes
    ----------
    is_whole : bool
        Whether it is a complete JSON object, so not cut off, nor the page of some gateway.
    """

    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One input that does not fit.

    Attributes
    ----------
    variable : str
        The input variable's key.
    message : str
        What was given and what is expected, as a sentence without the variable's name.
    row : int or None
        Which of many cases has it, from 1; None: one only, or all of them.
    """

    variable: str
    message: str
    row: int | None = None

    @printed
    def __str__(self) -> str:
        return f"{self.variable}: {self.message}"


class InputError(VellumNBError, ValueError):
    """Inputs do not fit the deployment, or an argument is of a wrong kind. Nothing was sent.

    The message names the first twenty problems, each once; `frame` has them all.

    Attributes
    ----------
    problems : tuple of InputProblem
        Every problem found, in the order of the deployment's variables.
    """

    def __init__(self, message: str, problems: Sequence[InputProblem] = ()) -> None:
        super().__init__("\n".join([message, *_lines(problems)]))
        self.problems = tuple(problems)

    def frame(self) -> pd.DataFrame:
        """Return one row per problem: `row` (from 1, where there are many), `variable`, `problem`.

        Examples
        --------
        >>> InputError("2 inputs:", [InputProblem("n", "is missing", row=4)]).frame()
           row variable     problem
        0    4        n  is missing
        """
        import pandas as pd

        rows = pd.array([each.row for each in self.problems], dtype="Int64")
        names = [each.variable for each in self.problems]
        problems = [each.message for each in self.problems]
        return pd.DataFrame({"row": rows, "variable": names, "problem": problems})


class HistoryError(VellumNBError):
    """The history is locked, damaged or of a newer version, or refuses a value; it did not change.

    Attributes
    ----------
    run : Run or None
        The run whose answer came but could not be recorded.
    """

    run: Any = None


class OutOfReachError(HistoryError):
    """The server of the history cannot be reached, or takes no writes.

    Runs that begin and end are recorded locally then; a write under way may have been made.
    """


class RegressionError(VellumNBError, AssertionError):
    """A release is worse than its baseline.

    Attributes
    ----------
    case_ids : tuple of str
        The cases that are worse, those of the first release first, the worst first.
    reasons : tuple of str
        Why it does not pass, one sentence each.
    """

    case_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def _lines(problems: Sequence[InputProblem]) -> list[str]:
    """Return each problem once, with the rows that have it."""
    rows: dict[str, list[int]] = {}
    for each in problems:
        found = rows.setdefault(str(each), [])
        if each.row is not None:
            found.append(each.row)
    lines = [f"  - {text}{_in_rows(found)}" for text, found in list(rows.items())[:_MOST]]
    if len(rows) > _MOST:
        lines.append(f"  … and {len(rows) - _MOST} more; the error's frame() lists them all")
    return lines


def _in_rows(rows: Sequence[int]) -> str:
    if not rows:
        return ""
    named = ", ".join(map(str, rows[:_MOST_ROWS]))
    more = f" and {len(rows) - _MOST_ROWS:,} more" if len(rows) > _MOST_ROWS else ""
    return f" (row{'' if len(rows) == 1 else 's'} {named}{more})"


def _restored(kind: type[VellumNBError], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    """Return a pickled error; `kind` itself may want keywords that `args` do not hold."""
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error
