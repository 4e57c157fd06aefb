"""Which runs a search finds: those that the index knows, and those that are compared here.

Both go by `words`, so that a run is found alike whether it is indexed or not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.history.rows.frames import column
from vellum_nb.history.searching import index
from vellum_nb.history.searching.letters import joined
from vellum_nb.history.searching.sieving import sieved
from vellum_nb.history.searching.words import Search
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Condition, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compared", "condition", "matches"]

_CHUNK = 500
_MANY = 1_000  # to be sifted before they are compared
_FEW = 500  # to be looked for among the newest
_GROWS_S = 2.0
_MOMENT_S, _TOLD_S = 1.0, 0.2
_NAMES = ("seq", "inputs", "outputs", "error_code", "error_message", "note", "tags")
_SEARCHED = ("input.", "output.", "error_", "note", "tags")
_TEXTS = (
    "SELECT r.seq, p.inputs, p.outputs, r.error_code, r.error_message, r.note, r.tags, p.large "
    "FROM runs r JOIN payloads p ON p.seq = r.seq WHERE"
)


def condition(
    store: Store,
    text: str,
    others: str,
    bound: Sequence[object],
    *,
    newest: int | None = None,
    so_far: bool = False,
) -> list[Condition]:
    """Return the conditions of which just one holds for a run that a search finds.

    `others` are the conditions that hold beside it: no other rows are compared. Where only some of
    the `newest` are wanted, it may leave out all others. Unless the search
    is of what the index has `so_far`, the index grows first, for a moment, and what it has yet to
    go back to is compared.
    """
    search = Search.of(text)
    if search.empty:
        return [("FALSE", ())]
    if newest is not None and newest <= _FEW:
        found = _among_the_newest(store, search, others, bound, newest)
        if found is not None:
            return [(store.dialect.one_of("r.seq"), (store.dialect.listed(found),))]
    seen = index.stretch(store) if so_far else index.catch_up(store, _GROWS_S)
    known = index.index_of(store)
    if seen is None or known is None:
        found = _compared(store, search, _chosen(store, others, bound))
        return [(store.dialect.one_of("r.seq"), (store.dialect.listed(found),))]
    seqs = _partly_known(store, search, seen, others, bound)
    if seen.after and not so_far:
        seqs += _chosen(store, f"{others} AND r.seq <= ?", (*bound, seen.after))
    return known.matching(store.read, search, _compared(store, search, seqs))


def compared(store: Store, text: str, seqs: Sequence[int]) -> list[int]:
    """Return which of these runs a search finds, without the index."""
    return _compared(store, Search.of(text), seqs)


def matches(text: str, frame: pd.DataFrame) -> Any:
    """Return for each row of a history frame where a search finds what: column and excerpt."""
    import pandas as pd

    search = Search.of(text)
    columns = [str(name) for name in frame if str(name).startswith(_SEARCHED)]
    found: dict[int, str] = {}
    for name in columns:
        for at, value in enumerate(frame[name].tolist()):
            if at not in found and not pd.isna(value):
                excerpt = search.excerpt(value if isinstance(value, str) else json.dumps(value))
                if excerpt is not None:
                    found[at] = f"{name}: {excerpt}"
    return column([found.get(at, "") for at in range(len(frame))], "text")


def _chosen(store: Store, where: str, bound: Sequence[object]) -> list[int]:
    return [seq for (seq,) in store.read(f"SELECT r.seq FROM runs r WHERE {where}", bound)]


def _among_the_newest(
    store: Store, search: Search, others: str, bound: Sequence[object], wanted: int
) -> list[int] | None:
    """Return the newest runs that `search` finds, None where these are not among twice as many."""
    newest = f"{others} ORDER BY r.timestamp DESC, r.seq DESC LIMIT ?"
    looked = _chosen(store, newest, (*bound, 2 * wanted))
    found = _found_by_words(store, search, looked)
    return found if len(found) >= wanted or len(looked) < 2 * wanted else None


def _partly_known(
    store: Store, search: Search, seen: index.Stretch, others: str, bound: Sequence[object]
) -> list[int]:
    """Return the runs that are newer than the index, or of which it does not know all words.

    Of those with a note or tags only the ones where a word of `search` is in these.
    """
    new = _chosen(store, f"{others} AND r.seq > ?", (*bound, seen.upto))
    due = _chosen(store, f"{others} AND r.seq IN (SELECT seq FROM {index.DUE})", bound)
    noted = store.read(f"SELECT seq, note, tags FROM runs WHERE {index.NOTED}")
    touched = [seq for seq, *texts in noted if search.touches(joined(_noted(*texts)))]
    listed = (*bound, store.dialect.listed(touched))
    return [*new, *due, *_chosen(store, f"{others} AND {store.dialect.one_of('r.seq')}", listed)]


def _compared(store: Store, search: Search, seqs: Sequence[int]) -> list[int]:
    if len(seqs) <= _MANY:
        return _found_by_words(store, search, seqs)
    found, told = list[int](), _Patience(len(seqs))
    by_words = partial(_found_by_words, store, search)
    for done, some in sieved(store, search, sorted(seqs), by_words):
        found += some
        told(done)
    return found


class _Patience:
    """Says on stderr how many runs are compared, where that takes longer than a moment."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._at = time.monotonic() + _MOMENT_S
        self._is_told = False

    def __call__(self, done: int) -> None:
        if sys.stderr is None or (time.monotonic() < self._at and done < self._total):
            return
        if self._is_told or done < self._total:
            what = f"Comparing {self._total:,} runs that are not indexed yet"
            end = "\n" if done == self._total else ""
            sys.stderr.write(f"\r{what}: {done / self._total:.0%}{end}")
            sys.stderr.flush()
            self._is_told = True
            self._at = time.monotonic() + _TOLD_S


def _found_by_words(store: Store, search: Search, seqs: Sequence[int]) -> list[int]:
    found = []
    for start in range(0, len(seqs), _CHUNK):
        chunk = store.dialect.listed(seqs[start : start + _CHUNK])
        sql = f"{_TEXTS} {store.dialect.one_of('r.seq')}"
        rows = large.restored(store.read, store.read(sql, (chunk,)), _NAMES)
        found += [seq for seq, *texts in rows if _finds(search, *texts)]
    return found


def _finds(search: Search, inputs: str, outputs: str, *texts: Any) -> bool:
    *errors, note, tags = texts
    return search.finds_in(index.document(inputs, outputs, *errors, *_noted(note, tags)))


def _noted(note: str | None, tags: str | None) -> list[str]:
    return [*([note] if note else []), *json.loads(tags or "[]")]
