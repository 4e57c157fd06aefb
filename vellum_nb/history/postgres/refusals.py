"""What PostgreSQL's errors mean for who uses a history, and whether waiting may help."""

from __future__ import annotations

import psycopg

from vellum_nb.errors import HistoryError
from vellum_nb.history.store.store import OutOfReachError, RefusedError

__all__ = ["PATIENCE_S", "explained"]

PATIENCE_S = 30
"""How long a statement waits for a lock."""

_ADVICE = {
    "25006": "the server takes no writes (it is a standby, or read-only); name the other one",
    "3F000": "the schema is not there; make it, or leave it out of the URL",
    "42501": "the user may not do that; ask for the rights on its schema and tables",
    "42P01": "a table of it is gone; bring it back from the server's backup",
    "53100": "the server's disk is full; free some space and try again",
    "55P03": f"another program has kept it locked for more than {PATIENCE_S} s; end that program",
    "57014": (
        "the server ended the statement; where it took too long, raise the user's "
        "statement_timeout, or add ?options=-cstatement_timeout%3D0 to the URL"
    ),
}
_OF_THE_VALUES = frozenset({"0A", "21", "22", "23", "54", "P0"})
"""Classes of errors that come again, however long one waits. All others are the server's."""


def explained(exc: psycopg.Error, path: str, *, is_lost: bool) -> HistoryError:
    """Return the error that tells the user what `exc` means and what to do.

    One after which writes may wait for better times is an `OutOfReachError`.
    """
    text = " ".join(str(exc).split())
    if is_lost:
        msg = f"The connection to the history {path} was lost; try again ({text})"
        return OutOfReachError(msg)
    state = exc.sqlstate or ""
    kind = RefusedError if state[:2] in {"", *_OF_THE_VALUES} else OutOfReachError
    advice = _ADVICE.get(state, "PostgreSQL refused it")
    return kind(f"The history {path} cannot be used: {advice} ({text})")
