"""Light rows of very many runs: what a comparison counts by; what was said is read when shown.

Where all that was said is little, it is read at once: then the runs may go, and the history close.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vellum_nb.history.reading.payloads import REMEMBERED, Payloads, Read
from vellum_nb.history.reading.query import NEWEST_FIRST, Selection
from vellum_nb.history.reading.records import AT_ONCE, Record, records_of
from vellum_nb.history.rows.rows import FRAMED, LIGHT, SCALARS
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Reader, Row, Store
from vellum_nb.models import Run

__all__ = ["SAID", "WHOLE", "hold_few", "light_records"]

SAID = FRAMED[:3]  # inputs, outputs, output_types
WHOLE = (*SCALARS, *FRAMED)
_LIGHT_AT = [WHOLE.index(name) for name in LIGHT]
_PAYLOADS, _BOTH = "payloads p", "runs r JOIN payloads p ON p.seq = r.seq"
_FEW = 10_000  # runs; of more the rows themselves take more memory than what was said


def light_records(
    store: Store, reader: Reader, chosen: Selection, trace: Callable[[Run], Any]
) -> list[Record]:
    """Return the records of the runs that are `chosen`, newest first.

    `reader` reads all that is read at once; it may be of one state.
    """
    sql = f"SELECT r.seq FROM runs r WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    numbers = [seq for (seq,) in reader.read(sql, (*chosen.bound, chosen.limit))]
    said = partial(_by_number, store, SAID, _PAYLOADS)
    whole = partial(_by_number, store, WHOLE, _BOTH)
    payloads = Payloads(said, whole, trace)
    held = _all_of_few(reader, numbers)
    if held is None:
        return records_of(numbers, partial(_by_number, store, LIGHT, _BOTH), payloads)
    _hold(payloads, held)
    light = {seq: tuple(row[at] for at in _LIGHT_AT) for seq, row in held.items()}
    return records_of(numbers, lambda _: light, payloads)


def _all_of_few(reader: Reader, numbers: Sequence[int]) -> dict[int, Row] | None:
    """Return whole rows, or None where they are more than is remembered."""
    if len(numbers) > _FEW:
        return None
    found: dict[int, Row] = {}
    room = REMEMBERED
    for start in range(0, len(numbers), AT_ONCE):
        rows = _rows(reader, WHOLE, _BOTH, numbers[start : start + AT_ONCE])
        room -= sum(_size(row) for row in rows) + _size_of_large(reader, rows)
        if room < 0:
            return None
        found |= _restored(reader, WHOLE, rows)
    return found


def hold_few(payloads: Payloads, numbers: Sequence[int], read: Read) -> None:
    """Hold what was said in these runs where it is little; `read` reads whole rows of some."""
    if len(numbers) > _FEW:
        return
    found: dict[int, Row] = {}
    room = REMEMBERED
    for start in range(0, len(numbers), AT_ONCE):
        rows = read(numbers[start : start + AT_ONCE])
        room -= sum(map(_size, rows.values()))
        if room < 0:
            return
        found |= rows
    _hold(payloads, found)


def _hold(payloads: Payloads, rows: Mapping[int, Row]) -> None:
    payloads.whole.hold(rows)
    payloads.said.hold({number: _said_of(row) for number, row in rows.items()})


def _by_number(
    reader: Reader, names: Sequence[str], source: str, wanted: Sequence[int]
) -> dict[int, Row]:
    """Return columns of rows, by the numbers of the rows; those that are gone are left out."""
    return _restored(reader, names, _rows(reader, names, source, wanted))


def _rows(reader: Reader, names: Sequence[str], source: str, wanted: Sequence[int]) -> list[Row]:
    """Return columns of rows, then where their large values are, then the number of the row."""
    columns = [f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*names, "large")]
    sql = f"SELECT {', '.join(columns)}, p.seq FROM {source} WHERE {reader.dialect.one_of('p.seq')}"
    return reader.read(sql, (reader.dialect.listed(wanted),))


def _restored(reader: Reader, names: Sequence[str], rows: Sequence[Row]) -> dict[int, Row]:
    whole = large.restored(reader.read, [row[:-1] for row in rows], names)
    return {row[-1]: full for row, full in zip(rows, whole, strict=True)}


def _size(row: Row) -> int:
    return sum(map(len, filter(None, row[len(SCALARS) : len(WHOLE)])))


def _size_of_large(reader: Reader, rows: Sequence[Row]) -> int:
    """Return how many bytes the large values of rows have, in each that names them."""
    named = [hashes for row in rows if (hashes := large.hashes(row[-2]))]
    sizes = large.sizes(reader.read, set().union(*named))
    return sum(sizes.get(each, 0) for hashes in named for each in hashes)


def _said_of(row: Row) -> Row:
    return row[len(SCALARS) : len(SCALARS) + len(SAID)]
