"""Which runs a search finds: those that the index knows, and those that are compared here.

Both go by `words`, so that a run is found alike whether it is indexed or not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.history.rows.frames import column
from vellum_nb.history.searching import index
from vellum_nb.history.searching.letters import joined
from vellum_nb.history.searching.words import Search
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compared", "condition", "matches"]

_CHUNK = 500
_MOMENT_S = 1.0
_NAMES = ("seq", "inputs", "outputs", "error_code", "error_message", "note", "tags")
_SEARCHED = ("input.", "output.", "error_", "note", "tags")
_TEXTS = (
    "SELECT r.seq, p.inputs, p.outputs, r.error_code, r.error_message, r.note, r.tags, p.large "
    "FROM runs r JOIN payloads p ON p.seq = r.seq WHERE"
)


def condition(
    store: Store, text: str, others: str, bound: Sequence[object], *, so_far: bool = False
) -> tuple[str, tuple[object, ...]]:
    """Return the SQL of a search, and what it binds.

    `others` are the conditions that hold beside it: no other rows are compared. Unless the search
    is of what the index has `so_far`, the index is brought up to date first.
    """
    search = Search.of(text)
    if search.empty:
        return "FALSE", ()
    seen = index.stretch(store) if so_far else index.catch_up(store, _Patience())
    found = _found(store, search, seen, others, bound)
    known = index.index_of(store)
    if seen is None or known is None:
        return store.dialect.one_of("r.seq"), (store.dialect.listed(found),)
    return known.matching(store.read, search, found)


class _Patience:
    """Says on stderr how far the index is, where that takes longer than a moment."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr is not None and time.monotonic() - self._start > _MOMENT_S:
            end = "\n" if total - done < 2 * index.SLICE else ""
            text = f"\rReading {total:,} runs for the first search: {done / total:.0%}{end}"
            sys.stderr.write(text)
            sys.stderr.flush()


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


def _found(
    store: Store,
    search: Search,
    seen: index.Stretch | None,
    others: str,
    bound: Sequence[object],
) -> list[int]:
    """Return the runs that the index does not know, or not all of, and that `search` finds.

    Those that it has yet to go back to are left out.
    """
    chosen = f"SELECT r.seq FROM runs r WHERE {others}"
    if seen is None:
        return _compared(store, search, [seq for (seq,) in store.read(chosen, bound)])
    new = store.read(f"{chosen} AND r.seq > ?", (*bound, seen.upto))
    due = store.read(f"{chosen} AND r.seq IN (SELECT seq FROM {index.DUE})", bound)
    noted = store.read(f"SELECT seq, note, tags FROM runs WHERE {index.NOTED}")
    touched = [seq for seq, *texts in noted if search.touches(joined(_noted(*texts)))]
    sql = f"{chosen} AND {store.dialect.one_of('r.seq')}"
    kept = store.read(sql, (*bound, store.dialect.listed(touched)))
    return _compared(store, search, [seq for (seq,) in [*new, *due, *kept]])


def _compared(store: Store, search: Search, seqs: Sequence[int]) -> list[int]:
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
