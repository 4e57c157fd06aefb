"""Writes that may be made later: by name and with plain values, so that a journal can hold them.

A write that is made later may have been made already: the answer to it was lost with the
connection. So each of them says how it is made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from vellum_nb.history.rows.rows import (
    PAYLOADS,
    SCALARS,
    from_micros,
    micros,
    payload_row,
    run_of,
    scalar_row,
)
from vellum_nb.history.store.store import Connection, Dialect, Row, Store
from vellum_nb.models import Run

__all__ = ["later", "made_later", "named", "packed", "singly"]

P = ParamSpec("P")
Write = Callable[Concatenate[Store, P], None]

_WRITES: dict[str, Callable[..., None]] = {}
_SINGLY: dict[str, Callable[..., Iterable[Sequence[Any]]]] = {}


def later(
    again: Callable[..., None] | None = None,
    *,
    each: Callable[..., Iterable[Sequence[Any]]] | None = None,
) -> Callable[[Write[P]], Write[P]]:
    """Let a write wait for a server that is out of reach.

    `again` is called instead of it when it is made later; by default it is the write itself. One
    that is of several runs may be refused for one of them: `each` returns the arguments of the
    writes of which it consists.
    """

    def decorate(write: Write[P]) -> Write[P]:
        name = write.__name__
        _WRITES[name] = again or write
        if each is not None:
            _SINGLY[name] = each

        @wraps(write)
        def made(store: Store, /, *args: P.args, **named: P.kwargs) -> None:
            if store.journal is None:
                write(store, *args, **named)
            else:
                store.journal.make(store, name, lambda: write(store, *args, **named), args, named)

        return made

    return decorate


def made_later(store: Store, connection: Connection, text: str) -> None:
    """Make the write that `packed` made a text of, in the caller's transaction."""
    name, args, named = json.loads(text)
    within = _Within(store, connection)
    _WRITES[name](within, *_unpacked(args), **_unpacked(named))


def packed(name: str, args: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Return a write as one line of ASCII."""
    return json.dumps([name, _packed(args), _packed(dict(named))], separators=(",", ":"))


def singly(text: str) -> list[str]:
    """Return the texts of the writes of which a write consists."""
    name, args, given = json.loads(text)
    if name not in _SINGLY:
        return [text]
    try:
        parts = _SINGLY[name](*_unpacked(args), **_unpacked(given))
    except (LookupError, TypeError, ValueError):  # of another version
        return [text]
    return [packed(name, part, {}) for part in parts]


def named(text: str) -> tuple[str, tuple[str, ...]]:
    """Return what a write is called, and the ids of its runs."""
    name, args, _ = json.loads(text)
    whole = [found["run"]["id"] for found in _objects(args) if "run" in found]
    return name, tuple(whole or [arg for arg in args[:1] if isinstance(arg, str)])


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value if isinstance(value, list) else ():
        yield from _objects(item)


class _Within:
    """A store whose writes are part of a transaction that is under way."""

    journal = None
    closed = False

    def __init__(self, store: Store, connection: Connection) -> None:
        self._connection = connection
        self.dialect: Dialect = store.dialect
        self.path: Path | str = store.path

    @contextmanager
    def write(self) -> Iterator[Connection]:
        yield self._connection

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Do nothing: the transaction is another's."""


def _packed(value: Any) -> Any:
    if isinstance(value, Run):
        return {"run": scalar_row(value) | payload_row(value)}
    if isinstance(value, datetime):
        return {"time": micros(value)}
    if isinstance(value, list | tuple | dict):
        if isinstance(value, dict):
            return {"map": {key: _packed(item) for key, item in value.items()}}
        return [_packed(item) for item in value]
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "run":
        return run_of([held.get(name) for name in (*SCALARS, *PAYLOADS)])
    if kind == "time":
        return from_micros(held)
    return {key: _unpacked(item) for key, item in held.items()}
