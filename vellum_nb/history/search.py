"""Full-text search: normalised text in FTS5 (SQLite) or tsvector (PostgreSQL).

Recording a run does not update the index: each search first indexes new runs, in small
transactions. The table `search_due` lists changes of indexed runs. Runs outside the index are
compared by the same words. An index of another normaliser or Unicode version is rebuilt.

The tokenizers of FTS5 do not replace the normaliser: neither ``unicode61`` nor ``trigram`` finds
``strasse`` in "Straße", ``fish`` in "ﬁsh", "京都" in "東京都" or an emoji next to a letter, and
PostgreSQL and the marking of matches in tables need the same words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import warn
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.frames import INT64
from vellum_nb.history.progress import progress_line
from vellum_nb.history.rows import restore_large
from vellum_nb.history.schema import SEARCH_INDEX
from vellum_nb.lazy import pd
from vellum_nb.search_text import BREAK, LONGEST_PHRASE, VERSION, Search, document

Condition: TypeAlias = "tuple[str, dict[str, Any]]"  # SQL that is true or false of a run `r`

_BATCH, _LOADED_TEXTS = 500, 100  # runs per transaction; runs with texts in memory
_SEARCHED_COLUMNS = ("input.", "output.", "error_", "note", "tags")
_SETTING = "search"
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_TEXTS = (
    "SELECT r.seq, r.state, p.inputs, p.outputs, r.error_code, r.error_message, r.note, r.tags, "
    "p.large FROM runs r LEFT JOIN payloads p ON p.seq = r.seq"
)
_NAMES = ("seq", "state", "inputs", "outputs", "error_code", "error_message", "note", "tags")


class _Fts5:
    """Contentless FTS5 table in SQLite; `search_rows` assigns a number to each document."""

    row_table = "search_rows"
    exists = "SELECT 1 FROM sqlite_master WHERE name = 'search_rows'"
    clear = (
        "INSERT INTO search_words (search_words) VALUES ('delete-all')",
        "DELETE FROM search_rows",
    )
    make = SEARCH_INDEX

    @staticmethod
    def add(tx: Transaction, seq: int, text: str) -> None:
        sql = "INSERT INTO search_rows (seq) VALUES (:seq) ON CONFLICT DO NOTHING RETURNING number"
        for (number,) in tx.read(sql, {"seq": seq}):
            sql = "INSERT INTO search_words (rowid, words) VALUES (:number, :text)"
            tx.execute(sql, {"number": number, "text": text})

    @classmethod
    def remove_orphans(cls, tx: Transaction) -> None:
        """Remove all documents: a contentless FTS5 table cannot remove single ones."""
        for statement in cls.clear:
            tx.execute(statement)
        tx.execute("DELETE FROM settings WHERE name = :name", {"name": _SETTING})

    @staticmethod
    def condition(search: Search) -> Condition:
        terms = (f'"{" ".join(t.words)}"{" *" if t.is_prefix else ""}' for t in search.terms)
        sql = (
            "SELECT s.seq FROM search_words w JOIN search_rows s ON s.number = w.rowid "
            "WHERE search_words MATCH :search_terms"
        )
        return f"r.seq IN ({sql})", {"search_terms": " AND ".join(terms)}


class _Tsvector:
    """Column of type tsvector in PostgreSQL with a GIN index, without PostgreSQL's parser.

    Long documents are split into rows, because a tsvector is limited to 1 MB, 255 positions per
    word, and positions up to 16,383. Rows overlap by the length of the longest phrase.
    """

    row_table = "search_words"
    exists = "SELECT 1 WHERE has_table_privilege(to_regclass('search_words'), 'SELECT')"
    clear = ("DELETE FROM search_words",)
    make = (
        "CREATE TABLE search_words "  # noqa: ISC004
        "(seq BIGINT, part BIGINT, words TSVECTOR, PRIMARY KEY (seq, part))",
        "CREATE INDEX search_words_index ON search_words USING gin (words)",
    )
    _words_per_row = 250

    @classmethod
    def add(cls, tx: Transaction, seq: int, text: str) -> None:
        sql = (
            "INSERT INTO search_words (seq, part, words) "
            "VALUES (:seq, :part, CAST(:words AS TSVECTOR)) ON CONFLICT DO NOTHING"
        )
        words, step = text.split(), cls._words_per_row - LONGEST_PHRASE
        starts = range(0, max(1, len(words) - LONGEST_PHRASE), step)
        parts = [cls._vector(words[start : start + cls._words_per_row]) for start in starts]
        rows = [{"seq": seq, "part": part, "words": text} for part, text in enumerate(parts)]
        tx.execute_many(sql, rows)

    @staticmethod
    def remove_orphans(tx: Transaction) -> None:
        """Remove the documents of removed runs."""
        run = "SELECT 1 FROM runs r WHERE r.seq = search_words.seq"
        tx.execute(f"DELETE FROM search_words WHERE NOT EXISTS ({run})")

    @staticmethod
    def condition(search: Search) -> Condition:
        terms, parameters = [], {}
        for at, term in enumerate(search.terms):
            words = " <-> ".join(f"'{word}'" for word in term.words)
            parameters[f"search_{at}"] = words + (":*" if term.is_prefix else "")
            sql = f"SELECT seq FROM search_words WHERE words @@ CAST(:search_{at} AS TSQUERY)"
            terms.append(f"r.seq IN ({sql})")
        return " AND ".join(terms), parameters

    @staticmethod
    def _vector(words: Sequence[str]) -> str:
        places: dict[str, list[str]] = {}
        for at, word in enumerate(words, 1):
            if word != BREAK:
                places.setdefault(word, []).append(str(at))
        return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


_Index: TypeAlias = "type[_Fts5 | _Tsvector]"
_INDEXES: dict[str, _Index] = {"sqlite": _Fts5, "postgresql": _Tsvector}


def condition(store: Store, text: str) -> Condition:
    """Return an SQL condition on a run `r` that is true if it matches, and its parameters.

    New runs are indexed first, with a progress line if this takes long. If the index cannot be
    written, a warning is issued and all runs are compared.
    """
    search = Search.of(text)
    if not search.terms:
        return "FALSE", {}
    index = _INDEXES[store.dialect.name]
    _indexed_upto(store, index)  # raises an error if the history cannot be read
    try:
        with progress_line("Indexing runs for the search", None) as line:

            def show(done: int, total: int) -> None:
                line.total = total
                line.update(done - line.n)

            catch_up(store, show)
    except HistoryError as exc:
        msg = f"The search index cannot be written, so every run is read, which is slow: {exc}"
        warn(msg, stacklevel=2)
    upto = _indexed_upto(store, index)
    new = "r.seq > :upto OR r.seq IN (SELECT seq FROM search_due)"
    where = f"FROM runs r WHERE {'TRUE' if upto is None else new} ORDER BY r.seq"
    new_rows = store.read(f"SELECT r.seq {where}", {} if upto is None else {"upto": upto})
    texts = _texts_of(store, [seq for (seq,) in new_rows])
    matching = [seq for seq, _, *values in texts if search.matches_document(document(*values))]
    sql, parameters = ("FALSE", {}) if upto is None else index.condition(search)
    unindexed = store.dialect.one_of("r.seq", "search_unindexed")
    parameters["search_unindexed"] = store.dialect.listed(matching)
    return f"({sql} OR {unindexed})", parameters


def catch_up(store: Store, on_progress: Callable[[int, int], object] | None = None) -> None:
    """Index new runs in small transactions.

    `on_progress` is called with the number of indexed runs and the total of this call.
    """
    index = _INDEXES[store.dialect.name]
    if _indexed_upto(store, index) is None:
        store.write(partial(_rebuild, index))
    done = 0
    while batch := _next_batch(store, upto := _indexed_upto(store, index) or 0):
        newest = store.read("SELECT coalesce(max(seq), 0) FROM runs")[0][0]
        store.write(partial(_add, index, upto, batch))
        done += len(batch)
        if on_progress is not None:
            on_progress(done, done + max(0, newest - max(seq for seq, _, _ in batch)))


def mark_changed(tx: Transaction, *run_ids: str) -> None:
    """Have the next search index changed runs again."""
    where = tx.dialect.one_of("id", "ids")
    sql = f"INSERT INTO search_due (seq) SELECT seq FROM runs WHERE {where}"
    tx.execute(sql, {"ids": tx.dialect.listed(run_ids)})


def clear(tx: Transaction) -> None:
    """Remove permanently removed runs from the index."""
    index = _INDEXES[tx.dialect.name]
    if tx.read(index.exists):
        index.remove_orphans(tx)


def _indexed_upto(reader: Reader, index: _Index) -> int | None:
    """Return the last indexed row, or None without an index of this version."""
    rows = reader.read("SELECT value FROM settings WHERE name = :name", {"name": _SETTING})
    version, _, upto = str(rows[0][0] if rows else "").rpartition(" ")
    is_usable = version == VERSION and _NUMBER.fullmatch(upto) and int(upto) in INT64
    return int(upto) if is_usable and reader.read(index.exists) else None


def _rebuild(index: _Index, tx: Transaction) -> None:
    tx.serialize("search")
    if _indexed_upto(tx, index) is not None:  # another process was faster
        return
    for statement in index.clear if tx.read(index.exists) else index.make:
        tx.execute(statement)
    sql = (
        "INSERT INTO settings (name, value) VALUES (:name, :value) "
        "ON CONFLICT (name) DO UPDATE SET value = :value"
    )
    tx.execute(sql, {"name": _SETTING, "value": f"{VERSION} 0"})


# Number of the run, number of its last change or 0, and document or None for a STARTED run.
_Batch: TypeAlias = "list[tuple[int, int, str | None]]"


def _next_batch(store: Store, upto: int) -> _Batch:
    """Return the next changed and new runs to index."""
    changed = (
        "SELECT d.seq, max(d.number) FROM search_due d JOIN runs r ON r.seq = d.seq "
        "WHERE r.state <> 'STARTED' AND d.seq <= :upto GROUP BY d.seq ORDER BY d.seq LIMIT :most"
    )
    new = (
        "SELECT r.seq, (SELECT coalesce(max(number), 0) FROM search_due d WHERE d.seq = r.seq) "
        "FROM runs r WHERE r.seq > :upto ORDER BY r.seq LIMIT :most"
    )
    due: dict[int, int] = dict(store.read(changed, {"upto": upto, "most": _BATCH}))
    due |= dict(store.read(new, {"upto": upto, "most": _BATCH - len(due)}))
    return [
        (seq, due[seq], None if state == "STARTED" else document(*texts))
        for seq, state, *texts in _texts_of(store, list(due))
    ]


def _texts_of(store: Store, seqs: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Yield number, state and texts of runs, including large values."""
    for start in range(0, len(seqs), _LOADED_TEXTS):
        batch = store.dialect.listed(seqs[start : start + _LOADED_TEXTS])
        sql = f"{_TEXTS} WHERE {store.dialect.one_of('r.seq', 'seqs')}"
        for row in store.read(sql, {"seqs": batch}):
            yield restore_large(store, [row], _NAMES, missing="mark")[0] if row[-1] else row[:-1]


def _add(index: _Index, upto: int, batch: _Batch, tx: Transaction) -> None:
    """Add documents, unless another process has updated the index in the meantime."""
    newest = max(upto, *(seq for seq, _, _ in batch))
    sql = "UPDATE settings SET value = :value WHERE name = :name AND value = :old"
    states = {"value": f"{VERSION} {newest}", "old": f"{VERSION} {upto}"}
    if not tx.execute(sql, {"name": _SETTING, **states}):
        return
    for seq, number, text in batch:
        if number:
            tx.execute(f"DELETE FROM {index.row_table} WHERE seq = :seq", {"seq": seq})
            sql = "DELETE FROM search_due WHERE seq = :seq AND number <= :number"
            tx.execute(sql, {"seq": seq, "number": number})
        if text is None:
            tx.execute("INSERT INTO search_due (seq) VALUES (:seq)", {"seq": seq})
        else:
            index.add(tx, seq, text)


def match_column(text: str, frame: pd.DataFrame) -> list[str]:
    """Return the first matching column and an excerpt for each row of a history frame."""
    search = Search.of(text)
    matches = [""] * len(frame)
    for name in (str(name) for name in frame if str(name).startswith(_SEARCHED_COLUMNS)):
        values = zip(frame[name].tolist(), frame[name].isna().tolist(), strict=True)
        for at, (value, is_missing) in enumerate(values):
            if not matches[at] and not is_missing:
                excerpt = search.excerpt(value if isinstance(value, str) else json.dumps(value))
                matches[at] = f"{name}: {excerpt}" if excerpt is not None else ""
    return matches
