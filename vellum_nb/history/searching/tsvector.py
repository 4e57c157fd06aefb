"""The index of words in PostgreSQL: rows of ``tsvector`` under a GIN index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from vellum_nb.history.searching.letters import BREAK
from vellum_nb.history.searching.words import LONGEST_PHRASE, Needle, Search
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Condition, Connection

__all__ = ["Tsvector", "parts"]

_TABLE = "search_words"
_HAS = f"EXISTS (SELECT 1 FROM {_TABLE} w WHERE w.seq = r.seq AND w.words @@ CAST(? AS TSQUERY))"
_LOOKED_UP = f"SELECT seq FROM {_TABLE} WHERE words @@ CAST(? AS TSQUERY) LIMIT ?"
_FEW = 2_000
_MOST_WORDS = 8_000  # a tsvector counts places up to 16,383, and is no larger than 1 MB
_MOST_PLACES = 250  # of one word it keeps 255
_MOST_LETTERS = 225_000  # of four bytes at most


class Tsvector:
    """The statements of tsvector: no parser and no dictionary of PostgreSQL sees the words."""

    make: Sequence[str] = (
        f"DROP TABLE IF EXISTS {_TABLE}",
        f"CREATE TABLE {_TABLE} (seq BIGINT, part BIGINT, words TSVECTOR, PRIMARY KEY (seq, part))",
        f"CREATE INDEX {_TABLE}_found ON {_TABLE} USING gin (words)",
    )
    exists = f"SELECT 1 WHERE has_table_privilege(to_regclass('{_TABLE}'), 'SELECT')"

    def add(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Add the words of runs; a long document takes several rows."""
        rows = [
            (seq, number, vector)
            for seq, document in documents
            for number, vector in enumerate(parts(document))
        ]
        sql = f"INSERT INTO {_TABLE} (seq, part, words) VALUES (?, ?, CAST(? AS TSVECTOR))"
        connection.executemany(sql, rows)

    def take(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Take the words of runs out again."""
        sql = f"DELETE FROM {_TABLE} WHERE seq = ?"
        connection.executemany(sql, [(seq,) for seq, _ in documents])

    def tidy(self, connection: Connection) -> None:
        """Do nothing: what was taken out is gone with a ``VACUUM``."""

    def matching(self, read: Read, search: Search, others: Sequence[int]) -> list[Condition]:
        """Return the conditions one of which holds for `r.seq`; the last is that of `others`.

        A rare word is looked up here; a page of common ones is tried run by run. PostgreSQL takes
        any beginning of a word for a common one, and would do neither among the `others`.
        """
        words = tuple(map(_query, search.needles))
        term = " AND ".join([_HAS] * len(words))
        bound: tuple[object, ...] = words
        for word in words:
            found = read(_LOOKED_UP, (word, _FEW + 1))
            if len(found) <= _FEW:
                term, bound = f"{term} AND r.seq = ANY(?)", (*words, [seq for (seq,) in found])
                break
        if not others:
            return [(term, bound)]
        rest = f"{term} AND r.seq <> ALL(?)", (*bound, list(others))
        return [rest, ("r.seq = ANY(?)", (list(others),))]


def parts(document: str) -> Iterator[str]:
    """Yield a document as texts of tsvectors, which none of its limits cuts.

    Each begins with the last words of the one before, so that no phrase falls between two.

    Examples
    --------
    >>> list(parts(" refund ¶ our refund "))
    ["'refund':1,4 'our':3"]
    """
    words = document.split()
    start, letters, counts = 0, 0, Counter[str]()
    for at, word in enumerate(words):
        full = at - start == _MOST_WORDS or letters > _MOST_LETTERS
        if full or counts[word] == _MOST_PLACES:
            yield _vector(words[start:at])
            start = max(start + 1, at - LONGEST_PHRASE)
            counts = Counter(words[start:at])
            letters = sum(map(len, words[start:at]))
        counts[word] += 1
        letters += len(word)
    yield _vector(words[start:])


def _vector(words: Sequence[str]) -> str:
    places: dict[str, list[str]] = {}
    for at, word in enumerate(words, 1):
        if word != BREAK:
            places.setdefault(word, []).append(str(at))
    return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


def _query(needle: Needle) -> str:
    return " <-> ".join(f"'{word}'" for word in needle.words) + (":*" if needle.open else "")
