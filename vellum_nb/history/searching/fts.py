"""The index of words in an SQLite file: FTS5 without the texts themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vellum_nb.history.searching.words import Search
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Condition, Connection

__all__ = ["Fts"]

_TABLE = "search_words"
_LISTED = "SELECT value FROM json_each(?)"
_OPTIONS = "words, content='', columnsize=0, tokenize='ascii'"


class Fts:
    """The statements of FTS5; documents are words between spaces, so its own ``ascii`` will do."""

    make: Sequence[str] = (
        f"DROP TABLE IF EXISTS {_TABLE}",
        f"CREATE VIRTUAL TABLE {_TABLE} USING fts5({_OPTIONS})",
        f"INSERT INTO {_TABLE} ({_TABLE}, rank) VALUES ('automerge', 8)",
    )
    exists = f"SELECT 1 FROM sqlite_master WHERE name = '{_TABLE}'"

    def add(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Add the words of runs."""
        connection.executemany(f"INSERT INTO {_TABLE} (rowid, words) VALUES (?, ?)", documents)

    def take(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Take the words of runs out again; without the texts, it wants to be told which."""
        sql = f"INSERT INTO {_TABLE} ({_TABLE}, rowid, words) VALUES ('delete', ?, ?)"
        connection.executemany(sql, documents)

    def tidy(self, connection: Connection) -> None:
        """Drop what was taken out, which FTS5 only marks so until its parts are merged."""
        connection.execute(f"INSERT INTO {_TABLE} ({_TABLE}) VALUES ('optimize')")

    def matching(
        self,
        read: Read,  # noqa: ARG002  (SQLite needs no help)
        search: Search,
        others: Sequence[int],
    ) -> list[Condition]:
        """Return the one condition for `r.seq`, which holds for `others`, too."""
        needles = (f'"{" ".join(one.words)}"{" *" if one.open else ""}' for one in search.needles)
        sql, bound = f"SELECT rowid FROM {_TABLE} WHERE {_TABLE} MATCH ?", " AND ".join(needles)
        if not others:
            return [(f"r.seq IN ({sql})", (bound,))]
        return [(f"r.seq IN ({sql} UNION ALL {_LISTED})", (bound, json.dumps(list(others))))]
