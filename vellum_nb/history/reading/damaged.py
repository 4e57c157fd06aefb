"""What a reader is told when a row cannot be made sense of: one sentence, no traceback of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from json import JSONDecodeError
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pydantic import ValidationError

from vellum_nb.errors import HistoryError

__all__ = ["reading", "told"]


class _Placed(Protocol):
    @property
    def path(self) -> Any: ...


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=_Placed)


def told(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Have a method of a history that reads runs say so where one of them is damaged."""

    @wraps(method)
    def telling(self: S, /, *args: P.args, **options: P.kwargs) -> T:
        with reading(self):
            return method(self, *args, **options)

    return telling


@contextmanager
def reading(history: _Placed) -> Iterator[None]:
    """Say so where a run that is read in the block is damaged."""
    try:
        yield
    except (JSONDecodeError, ValidationError) as exc:
        msg = (
            f"A run of the history {history.path} cannot be read, its row is damaged; "
            "`vellum-nb history check FILE` names it, and `vellum-nb history repair FILE` saves "
            "the others into a new file"
        )
        raise HistoryError(msg) from exc
