"""A part of a journal, made in one transaction that also notes how far the journal is made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.journal_files import JournalFile, Line
from vellum_nb.history.postgres.sql import Speaker
from vellum_nb.history.store.large import within
from vellum_nb.history.store.later import made_later, singly
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Connection, OutOfReachError, Store

__all__ = ["PartStore", "forget_mark", "make_each", "make_part", "say"]


class PartStore(Store, Protocol):
    """A store whose server may be out of reach."""

    def transaction(self) -> AbstractContextManager[Speaker]:
        """Do what `write` does, whether or not other writes wait."""


def make_part(store: PartStore, file: JournalFile, part: Sequence[Line]) -> None:
    """Make the writes of a part, each once; those that are refused are set aside.

    Raises
    ------
    OutOfReachError
        The part is not made.
    """
    try:
        problems = _make_all(store, file, part)
    except OutOfReachError:
        raise
    except HistoryError:  # one of them broke the transaction of all
        problems = [problem for line in part for problem in _make_one(store, file, line)]
    file.mark_made(part, refused=len(problems))
    if problems:
        told = f"{len(problems)} writes were refused, and are kept in {file.aside}"
        say(f"{told}: {problems[0]}")


def make_each(store: PartStore, texts: Sequence[str]) -> tuple[int, list[tuple[str, str]]]:
    """Make writes, one for each run; return how many there are, and which are refused, and why.

    Raises
    ------
    OutOfReachError
        Some may be made.
    """
    parts = [part for text in texts for part in singly(text)]
    problems = [(part, _problem_alone(store, part)) for part in parts]
    return len(parts), [(part, problem) for part, problem in problems if problem]


def _problem_alone(store: PartStore, text: str) -> str | None:
    try:
        with store.transaction() as connection:
            return _problem(store, connection, text)
    except OutOfReachError:
        raise
    except HistoryError as exc:
        return str(exc)


def forget_mark(store: PartStore, file: JournalFile) -> None:
    """Forget how far a journal is made, after all of it is."""
    with suppress(HistoryError), store.transaction() as connection:
        connection.execute("DELETE FROM settings WHERE name = ?", (file.name,))


def say(text: str) -> None:
    """Warn the user."""
    warnings.warn(f"{text}.", RuntimeWarning, stacklevel=2)


def _make_one(store: PartStore, file: JournalFile, line: Line) -> list[str]:
    try:
        return _make_all(store, file, [line])
    except OutOfReachError:
        raise
    except HistoryError:
        _, refused = make_each(store, [line[1]])
        _set_aside(file, refused)
        return [problem for _, problem in refused]


def _make_all(store: PartStore, file: JournalFile, part: Sequence[Line]) -> list[str]:
    refused: list[tuple[str, str]] = []
    with store.transaction() as connection:
        with connection.together():
            done = int(setting(within(connection), file.name) or 0)
            for number, line in part:
                if number > done:
                    problem = _problem(store, connection, line)
                    refused += [(line, problem)] if problem else []
            settle(connection, file.name, str(max(done, part[-1][0])))
        if refused:  # before the part counts as made: a death in between would lose them
            _set_aside(file, refused)
    return [problem for _, problem in refused]


def _problem(store: Store, connection: Connection, line: str) -> str | None:
    try:
        made_later(store, connection, line)
    except (HistoryError, LookupError, TypeError, ValueError) as exc:  # of another version
        return str(exc)
    return None


def _set_aside(file: JournalFile, refused: Sequence[tuple[str, str]]) -> None:
    try:
        file.set_aside(refused)
    except OSError as exc:
        msg = f"{file.aside} cannot be written ({exc.strerror or exc}); make room for it"
        raise OutOfReachError(msg) from exc
