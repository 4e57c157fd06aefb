"""Sweeps and blind ratings of another history come into this one, after its runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vellum_nb.history.rows.plans import BLIND, CASE, PAIR, RATING, REUSED, SAID, SWEEP
from vellum_nb.history.store.large import Read, copied, hashes
from vellum_nb.history.store.store import Connection, Store

__all__ = ["join"]

_SWEEP = (*SWEEP, "holder")
Row = Mapping[str, Any]


def join(store: Store, read: Read, renamed: Mapping[str, str]) -> Counter[str]:
    """Take over sweeps and blind ratings; `renamed` are runs that have another id here.

    Returns how many of `sweeps`, `blind` and `ratings` were not here.
    """
    added: Counter[str] = Counter()
    for number, sweep in _every(read, "sweeps", _SWEEP):
        with store.write() as connection:
            added["sweeps"] += _Joiner(connection, read, renamed).sweep(number, sweep)
    for number, blind in _every(read, "blind", BLIND):
        with store.write() as connection:
            joiner = _Joiner(connection, read, renamed)
            added["blind"] += joiner.blind(number, blind)
            added["ratings"] += joiner.ratings(number, blind["id"])
    return added


def _every(read: Read, table: str, names: Sequence[str]) -> Iterator[tuple[int, Row]]:
    for seq, *row in read(f"SELECT seq, {', '.join(names)} FROM {table} ORDER BY seq", ()):
        yield seq, dict(zip(names, row, strict=True))


class _Joiner:
    def __init__(self, connection: Connection, read: Read, renamed: Mapping[str, str]) -> None:
        self._connection = connection
        self._read = read
        self._renamed = renamed

    def sweep(self, number: int, sweep: Row) -> bool:
        """Take over a sweep; return whether it was not here."""
        ours = self._ours("sweeps", _SWEEP, sweep["id"])
        if ours is None:
            self._add("sweeps", sweep)
            here = self._number("sweeps", sweep["id"])
            for case in self._theirs("sweep_cases", "sweep", number, CASE):
                copied(self._connection, self._read, hashes(case["large"]))
                self._add("sweep_cases", {"sweep": here, **case})
        else:
            self._set("sweeps", sweep["id"], _of_both(ours, sweep))
            here = self._number("sweeps", sweep["id"])
        for place in self._theirs("sweep_reused", "sweep", number, REUSED):
            self._add("sweep_reused", {"sweep": here, **place, "run": self._run(place["run"])})
        return ours is None

    def blind(self, number: int, blind: Row) -> bool:
        """Take over a blind rating without what was said; return whether it was not here."""
        ours = self._ours("blind", BLIND, blind["id"])
        if ours is not None:
            if ours["ended"] is None and blind["ended"] is not None:
                self._set("blind", blind["id"], {"ended": blind["ended"]})
            return False
        self._add("blind", blind)
        here = self._number("blind", blind["id"])
        for pair in self._theirs("blind_pairs", "session", number, PAIR):
            runs = {name: self._run(pair[name]) for name in ("first", "second")}
            self._add("blind_pairs", {"session": here, **pair, **runs})
        return True

    def ratings(self, number: int, blind_id: str) -> int:
        """Take over what was said; return how much of it was not here.

        Where a pair is rated here, the rating from there is kept as one that was taken back.
        """
        here = self._number("blind", blind_id)
        theirs = list(self._theirs("blind_ratings", "session", number, RATING))
        known = {_said(row): row for row in self._ratings_here(here)}
        for rating in theirs:
            if _said(rating) in known:
                self._late(known[_said(rating)], rating)
        rated = {row["position"] for row in self._ratings_here(here) if _counts(row)}
        new = [rating for rating in theirs if _said(rating) not in known]
        for rating in new:
            outvoted = _counts(rating) and rating["position"] in rated
            undone = {"undone": rating["rated"]} if outvoted else {}
            self._add("blind_ratings", {"session": here, **rating, **undone})
        return len(new)

    def _late(self, ours: Row, theirs: Row) -> None:
        """Take over that a rating was taken back or sent since."""
        for name in ("undone", "sent"):
            if ours[name] is None and theirs[name] is not None:
                sql = f"UPDATE blind_ratings SET {name} = ? WHERE seq = ?"
                self._connection.execute(sql, (theirs[name], ours["seq"]))

    def _ratings_here(self, here: int) -> list[Row]:
        names = ("seq", *RATING)
        sql = f"SELECT {', '.join(names)} FROM blind_ratings WHERE session = ? ORDER BY seq"
        rows = self._connection.execute(sql, (here,)).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _run(self, run_id: str) -> str:
        return self._renamed.get(run_id, run_id)

    def _theirs(self, table: str, owner: str, number: int, names: Sequence[str]) -> Iterator[Row]:
        order = "seq" if table == "blind_ratings" else ", ".join(names[:3])
        sql = f"SELECT {', '.join(names)} FROM {table} WHERE {owner} = ? ORDER BY {order}"
        for row in self._read(sql, (number,)):
            yield dict(zip(names, row, strict=True))

    def _ours(self, table: str, names: Sequence[str], name: str) -> Row | None:
        sql = f"SELECT {', '.join(names)} FROM {table} WHERE id = ?"
        row = self._connection.execute(sql, (name,)).fetchone()
        return None if row is None else dict(zip(names, row, strict=True))

    def _number(self, table: str, name: str) -> int:
        sql = f"SELECT seq FROM {table} WHERE id = ?"
        found: int = self._connection.execute(sql, (name,)).fetchone()[0]
        return found

    def _add(self, table: str, row: Row) -> None:
        marks = ", ".join("?" * len(row))
        sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        self._connection.execute(sql, tuple(row.values()))

    def _set(self, table: str, name: str, changes: Row) -> None:
        settings = ", ".join(f"{column} = ?" for column in changes)
        sql = f"UPDATE {table} SET {settings} WHERE id = ?"
        self._connection.execute(sql, (*changes.values(), name))


def _of_both(ours: Row, theirs: Row) -> Row:
    """Return what a sweep that is here and there has come to."""
    mine, others = json.loads(ours["releases"]), json.loads(theirs["releases"])
    releases = others | {tag: release for tag, release in mine.items() if release is not None}
    ended = ours["ended"] if ours["ended"] is not None else theirs["ended"]
    return {
        "round": max(ours["round"], theirs["round"]),
        "ended": ended,
        "why": ours["why"] if ended is None else None,
        "releases": json.dumps(mine | releases),
    }


def _said(rating: Row) -> tuple[Any, ...]:
    return tuple(rating[name] for name in SAID)


def _counts(rating: Row) -> bool:
    return rating["undone"] is None and rating["choice"] != "skip"
