"""Plans of sweeps: cases, runs, leases, and cost."""

from __future__ import annotations

import json
import os
import platform
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.history import query
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.frames import SHOWN, frame_of_rows
from vellum_nb.history.rows import encoded, extract_large, from_micros, micros, restore_large
from vellum_nb.history.store import Row, insert
from vellum_nb.models import Run
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord

if TYPE_CHECKING:
    import pandas as pd

SWEEP = (
    *("id", "deployment", "environment", "workspace", "release_tags", "repeats", "cases"),
    *("signature", "created", "round", "ended", "why", "releases", "options"),
    *("generation", "case_order", "checked", "judge"),
)
CASE = ("position", "case_id", "inputs", "expected", "labels", "large")
REUSED = ("position", "release_tag", "repeat", "run")
_LEASE = 60_000_000  # µs after which a lease that was not renewed is free
_PROC = Path("/proc")
_RECENT = 2_000
_ID, _TIME = SHOWN.index("id"), SHOWN.index("timestamp")
_STATE = "CASE WHEN state = 'STARTED' AND deletion IS NOT NULL THEN 'CANCELLED' ELSE state END"
_LAST_SEEN = "CASE WHEN finished_at > timestamp THEN finished_at ELSE timestamp END"


class PastRun(NamedTuple):
    """What a run took and cost."""

    release_tag: str
    release_id: str | None
    latency_s: float
    cost_usd: float | None


class Sweeps:
    """The sweeps of a history, for `vellum_nb.Workspace.sweep`, which documents them for users.

    ``record(begun, ended)`` begins and completes runs, and notifies the subscribers.
    """

    def __init__(self, store: Store, record: Callable[[Sequence[Run], Sequence[Run]], Any]) -> None:
        self._store = store
        self._record = record

    def add(
        self,
        sweep: SweepRecord,
        cases: Iterable[SweepCase],
        *,
        reused: Mapping[Place, str] | None = None,
        allow_duplicate: bool = True,
    ) -> bool:
        """Store the plan of a sweep; `reused`: which runs replace planned ones.

        Unless `allow_duplicate`, nothing is stored and False is returned where there is an
        unfinished sweep of the same plan.
        """
        row = {name: _column(getattr(sweep, name)) for name in SWEEP}
        rows = [_case_row(case) for case in cases]

        def change(tx: Transaction) -> bool:
            unfinished = "SELECT 1 FROM sweeps WHERE signature = :signature AND ended IS NULL"
            if not allow_duplicate and tx.read(unfinished, {"signature": sweep.signature}):
                return False
            tx.execute(insert("sweeps", SWEEP), row)
            for each in rows:
                case = {"sweep": sweep.id, **each}
                case["large"] = extract_large(tx, case, ("inputs",))
                tx.execute(insert("sweep_cases", ("sweep", *CASE)), case)
            _insert_reused(sweep.id, reused or {}, tx)
            return True

        return self._store.write(change)

    def every(self, start: str = "") -> list[SweepRecord]:
        """Return every sweep whose id begins so, newest first."""
        values = {"start": start, "length": len(start)}
        return self._select("substr(id, 1, :length) = :start", values)

    def of_plan(self, signature: str) -> list[SweepRecord]:
        """Return the sweeps of a signature, newest first."""
        return self._select("signature = :signature", {"signature": signature})

    def change(self, sweep_id: str, **fields: Any) -> None:
        """Set `round`, `ended`, `why` or `options` of a sweep."""
        values = {name: _column(value) for name, value in fields.items()}
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        sql = f"UPDATE sweeps SET {assignments} WHERE id = :sweep"
        with suppress(OutOfReachError):
            if not self._store.write(lambda tx: tx.execute(sql, {**values, "sweep": sweep_id})):
                raise _no_sweep(sweep_id)

    def cases(self, sweep_id: str) -> list[SweepCase]:
        """Return the cases of a sweep, in their order."""
        sql = f"SELECT {', '.join(CASE)} FROM sweep_cases WHERE sweep = :sweep ORDER BY position"
        rows = restore_large(self._store, self._store.read(sql, {"sweep": sweep_id}), CASE[:-1])
        return [
            SweepCase(position, case_id, *map(json.loads, texts))
            for position, case_id, *texts in rows
        ]

    def update_cases(self, sweep_id: str, cases: Iterable[SweepCase]) -> None:
        """Store what is expected of the cases of a sweep, and their labels, as they are now."""
        sql = (
            "UPDATE sweep_cases SET expected = :expected, labels = :labels "
            "WHERE sweep = :sweep AND position = :position"
        )
        rows = [{"sweep": sweep_id, **_case_row(case)} for case in cases]
        self._store.write(lambda tx: tx.execute_many(sql, rows))

    def acquire(self, sweep_id: str, token: str = "") -> str:
        """Take the lease of a sweep for this process, under `token` if given; return its token."""
        now = self._store.dialect.now
        sql = (
            "INSERT INTO leases (sweep, token, holder, expires_at) "
            f"VALUES (:sweep, :token, :holder, {now} + :length) ON CONFLICT (sweep) DO UPDATE SET "
            "token = excluded.token, holder = excluded.holder, expires_at = excluded.expires_at "
            f"WHERE leases.expires_at <= {now} OR leases.token = :dead RETURNING token"
        )
        token = token or uuid.uuid4().hex
        lease = {"sweep": sweep_id, "token": token, "holder": _this_process()}

        def change(tx: Transaction) -> str:
            if not tx.read("SELECT 1 FROM sweeps WHERE id = :id", {"id": sweep_id}):
                raise _no_sweep(sweep_id)
            dead = next((token for token, who, *_ in _leases(tx, sweep_id) if _has_ended(who)), "")
            if not tx.read(sql, {**lease, "length": _LEASE, "dead": dead}):
                raise _is_held(sweep_id, _leases(tx, sweep_id))
            return token

        return self._store.write(change)

    def renew(self, sweep_id: str, token: str) -> bool:
        """Keep the lease for another minute; return False while the history is out of reach.

        Where it was not renewed in time and another process has it, it raises.
        """
        sql = (
            f"UPDATE leases SET expires_at = {self._store.dialect.now} + :length "
            "WHERE sweep = :sweep AND token = :token"
        )
        values = {"sweep": sweep_id, "token": token, "length": _LEASE}
        try:
            if self._store.write(lambda tx: tx.execute(sql, values)):
                return True
            held = _leases(self._store, sweep_id)
        except OutOfReachError:
            return False
        raise _is_held(sweep_id, held)

    def release(self, sweep_id: str, token: str) -> None:
        """Give the lease back; does nothing where another process has it."""
        sql = "DELETE FROM leases WHERE sweep = :sweep AND token = :token"
        with suppress(OutOfReachError):  # it expires
            self._store.write(lambda tx: tx.execute(sql, {"sweep": sweep_id, "token": token}))

    def held(self) -> set[str]:
        """Return the ids of the sweeps that a process drives now."""
        sql = f"SELECT sweep, holder FROM leases WHERE expires_at > {self._store.dialect.now}"
        return {sweep_id for sweep_id, who in self._store.read(sql) if not _has_ended(who)}

    def lost(self, sweep_id: str) -> datetime | None:
        """Return when a driver that ended without releasing its lease last renewed it."""
        for _, holder, expires_at, is_expired in _leases(self._store, sweep_id):
            if is_expired or _has_ended(holder):
                return from_micros(expires_at - _LEASE)
        return None

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete `ended` and begin `begun`, in one transaction, then notify the subscribers.

        The row of a run that ended otherwise, by a synchronisation, stays as it is.
        """
        self._record(begun, ended)

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Remove runs that were begun and never sent."""
        dialect = self._store.dialect
        where = f"WHERE state = 'STARTED' AND {dialect.one_of('id', 'ids')}"
        values = {"ids": dialect.listed([run.id for run in runs])}

        def change(tx: Transaction) -> None:
            tx.execute(f"DELETE FROM payloads WHERE seq IN (SELECT seq FROM runs {where})", values)
            tx.execute(f"DELETE FROM runs {where}", values)

        with suppress(OutOfReachError):  # they are looked up by the next one who resumes
            self._store.write(change)

    def mark_moved(
        self, sweep_id: str, release_tag: str, release_id: str, *, since: datetime, until: datetime
    ) -> None:
        """Mark of the runs up to `until` those on a release since `since`, or without an end."""
        sql = (
            "UPDATE runs SET tag_moved = 1 WHERE sweep_id = :sweep AND release_tag = :tag "
            "AND (state = 'STARTED' OR (release_id = :release AND timestamp >= :since)) "
            "AND timestamp <= :until"
        )
        values: dict[str, Any] = {"sweep": sweep_id, "tag": release_tag, "release": release_id}
        values |= {"since": micros(since), "until": micros(until)}
        try:
            self._store.write(lambda tx: tx.execute(sql, values))
        except OutOfReachError as exc:
            msg = (
                f"Release tag {release_tag!r} moved during sweep {sweep_id}, and its runs cannot "
                f"be marked: {exc}"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)

    def states(self, sweep_id: str) -> dict[str, str]:
        """Return the state of each run of a sweep that was begun, by its id; deleted ones too.

        A deleted run whose answer never came is CANCELLED: nobody waits for it.
        """
        sql = f"SELECT id, {_STATE} FROM runs WHERE sweep_id = :sweep"
        return dict(self._store.read(sql, {"sweep": sweep_id}))

    def in_doubt(self, sweep_id: str) -> set[str]:
        """Return the ids of runs that ended without an answer, and may have been executed."""
        where = "doubt IS NOT NULL AND deletion IS NULL"
        sql = f"SELECT id FROM runs WHERE sweep_id = :sweep AND {where}"
        return {run_id for (run_id,) in self._store.read(sql, {"sweep": sweep_id})}

    def tallies(self) -> dict[str, Counter[str]]:
        """Return of each sweep how many runs are in which state, reused ones too."""
        own = (
            f"SELECT sweep_id, {_STATE}, count(*) FROM runs WHERE sweep_id IS NOT NULL "
            "GROUP BY 1, 2"
        )
        reused = (
            "SELECT u.sweep, r.state, count(*) FROM sweep_reused u JOIN runs r ON r.id = u.run "
            "WHERE r.deletion IS NULL GROUP BY u.sweep, r.state"
        )
        found: dict[str, Counter[str]] = {}
        with self._store.snapshot() as snapshot:
            for sweep_id, state, number in (*snapshot.read(own), *snapshot.read(reused)):
                found.setdefault(sweep_id, Counter())[state] += number
        return found

    def deleted(self, sweep_id: str) -> int:
        """Return how many runs of a sweep, own or reused ones, were deleted."""
        sql = (
            "SELECT count(*) FROM runs WHERE deletion IS NOT NULL AND (sweep_id = :sweep "
            "OR id IN (SELECT run FROM sweep_reused WHERE sweep = :sweep))"
        )
        return int(self._store.read(sql, {"sweep": sweep_id})[0][0])

    def last_seen(self, sweep_id: str) -> datetime | None:
        """Return when a run of the sweep last began or ended."""
        sql = f"SELECT max({_LAST_SEEN}) FROM runs WHERE sweep_id = :sweep"
        last = self._store.read(sql, {"sweep": sweep_id})[0][0]
        return None if last is None else from_micros(last)

    def spent(self, sweep_id: str) -> dict[str, tuple[float | None, list[float]]]:
        """Return the cost of the runs of each release tag, and the seconds they took."""
        sql = (
            "SELECT release_tag, cost_usd, latency_s FROM runs WHERE sweep_id = :sweep ORDER BY seq"
        )
        costs: dict[str, float | None] = {}
        latencies: dict[str, list[float]] = {}
        for tag, cost, seconds in self._store.read(sql, {"sweep": sweep_id}):
            costs[tag] = costs.get(tag) if cost is None else (costs.get(tag) or 0) + cost
            latencies.setdefault(tag, []).extend([] if seconds is None else [seconds])
        return {tag: (cost, latencies[tag]) for tag, cost in costs.items()}

    def seconds(self, sweep_id: str) -> float:
        """Return for how long any run of the sweep was under way."""
        sql = (
            "SELECT timestamp, finished_at FROM runs WHERE sweep_id = :sweep "
            "AND finished_at IS NOT NULL ORDER BY timestamp"
        )
        total = until = 0
        for began, ended in self._store.read(sql, {"sweep": sweep_id}):
            total += max(0, ended - max(began, until))
            until = max(until, ended)
        return total / 1e6

    def frame(self, sweep_id: str, *, exclude: Collection[str] = ()) -> pd.DataFrame:
        """Return the runs of a sweep as a frame, newest first, without those of `exclude`.

        A reused run appears as the planned one that it replaces.
        """
        places = {run: place for place, run in self.reused(sweep_id).items()}
        own = query.select({"sweep_id": sweep_id}, self._store)
        others = query.select({"ids": list(places)}, self._store)
        with self._store.snapshot() as snapshot:
            rows = query.read_rows(snapshot, own, SHOWN, missing="mark")
            for row in query.read_rows(snapshot, others, SHOWN, missing="mark") if places else ():
                changed = dict(zip(SHOWN, row, strict=True))
                place = places[changed["id"]]
                changed |= {"release_tag": place.release_tag, "repeat": place.repeat}
                rows.append(tuple(changed.values()))
        rows = [row for row in rows if row[_ID] not in exclude]
        return frame_of_rows(sorted(rows, key=itemgetter(_TIME), reverse=True))

    def past(self, deployment: str) -> list[PastRun]:
        """Return what the latest fulfilled runs of a deployment took and cost, some thousands."""
        sql = (
            "SELECT release_tag, release_id, latency_s, cost_usd FROM runs "
            "WHERE deployment = :deployment AND deletion IS NULL AND state = 'FULFILLED' "
            "AND latency_s IS NOT NULL ORDER BY timestamp DESC, seq DESC LIMIT :most"
        )
        rows = self._store.read(sql, {"deployment": deployment, "most": _RECENT})
        return [PastRun(*row) for row in rows]

    def reusable(
        self, deployment: str, release_id: str, case_ids: Iterable[str]
    ) -> dict[str, list[str]]:
        """Return fulfilled runs on one release: case id to run ids, newest first."""
        dialect = self._store.dialect
        sql = (
            "SELECT case_id, id FROM runs WHERE deployment = :deployment AND tag_moved = 0 "
            "AND release_id = :release AND deletion IS NULL AND state = 'FULFILLED' "
            f"AND {dialect.one_of('case_id', 'ids')} ORDER BY timestamp DESC, seq DESC"
        )
        values = {"deployment": deployment, "release": release_id}
        found: dict[str, list[str]] = {}
        for case_id, run in self._store.read(sql, values | {"ids": dialect.listed(case_ids)}):
            found.setdefault(case_id, []).append(run)
        return found

    def add_reused(self, sweep_id: str, reused: Mapping[Place, str]) -> None:
        """Record which run replaces which planned one; a place that has one does not change."""
        self._store.write(partial(_insert_reused, sweep_id, reused))

    def reused(self, sweep_id: str) -> dict[Place, str]:
        """Return which run replaces which planned one; deleted ones replace none."""
        sql = (
            "SELECT u.position, u.release_tag, u.repeat, u.run FROM sweep_reused u "
            "JOIN runs r ON r.id = u.run WHERE u.sweep = :sweep AND r.deletion IS NULL"
        )
        rows = self._store.read(sql, {"sweep": sweep_id})
        return {Place(*place): run for *place, run in rows}

    def _select(self, where: str, values: Mapping[str, Any]) -> list[SweepRecord]:
        sql = f"SELECT {', '.join(SWEEP)} FROM sweeps WHERE {where} ORDER BY seq DESC"
        return [sweep_of(row) for row in self._store.read(sql, values)]


def _insert_reused(sweep_id: str, reused: Mapping[Place, str], tx: Transaction) -> None:
    sql = insert("sweep_reused", ("sweep", *REUSED)) + " ON CONFLICT DO NOTHING"
    rows = [
        {"sweep": sweep_id, "run": run, **{name: getattr(place, name) for name in REUSED[:-1]}}
        for place, run in reused.items()
    ]
    tx.execute_many(sql, rows)


def _column(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, dict) and any(isinstance(each, datetime) for each in value.values()):
        value = {name: micros(each) for name, each in value.items()}
    return json.dumps(value) if isinstance(value, dict | tuple) else value


def sweep_of(row: Sequence[Any]) -> SweepRecord:
    """Return the sweep of a row of `SWEEP`."""
    found = dict(zip(SWEEP, row, strict=True))
    try:
        for name in ("release_tags", "releases", "options"):
            found[name] = json.loads(found[name])
        order, checked = found["case_order"], json.loads(found["checked"] or "{}")
        found["case_order"] = None if order is None else tuple(json.loads(order))
        found["checked"] = {tag: from_micros(at) for tag, at in checked.items()}
        found["created"] = from_micros(found["created"])
        found["ended"] = None if found["ended"] is None else from_micros(found["ended"])
        return SweepRecord(**found | {"release_tags": tuple(found["release_tags"])})
    except (ValueError, TypeError, OverflowError) as exc:
        msg = f"Sweep {row[0]!r:.100} in the history is damaged; put a backup in its place"
        raise HistoryError(msg) from exc


def _case_row(case: SweepCase) -> dict[str, Any]:
    names, where = CASE[2:-1], f"case {case.position}"
    texts = {name: encoded(dict(getattr(case, name)), name, where) for name in names}
    return {"position": case.position, "case_id": case.case_id, **texts}


# A driver renews its lease while it works, by the database's clock, so that two hosts can never
# hold it at once. On one Linux machine the lease of a process that has ended is free at once.


def _leases(reader: Reader, sweep_id: str) -> list[Row]:
    """Return token, holder, end, and whether it has come."""
    sql = (
        "SELECT token, holder, expires_at, "
        f"CASE WHEN expires_at <= {reader.dialect.now} THEN 1 ELSE 0 END "
        "FROM leases WHERE sweep = :sweep"
    )
    return reader.read(sql, {"sweep": sweep_id})


def _no_sweep(sweep_id: str) -> HistoryError:
    return HistoryError(f"The history has no sweep {sweep_id!r}; ws.sweeps() lists all")


def _is_held(sweep_id: str, leases: Sequence[Row]) -> HistoryError:
    if not leases:
        return HistoryError(f"The lease of sweep {sweep_id} was released; resume the sweep")
    holder = json.loads(leases[0][1])
    is_mine = holder == json.loads(_this_process())
    where = "in this process" if is_mine else f"in process {holder['pid']} on {holder['host']}"
    return HistoryError(
        f"Sweep {sweep_id} is running {where}; wait until it ends or stop it there (a process "
        "that was killed loses it within a minute), or start another with restart=True"
    )


def _this_process() -> str:
    return json.dumps({"host": platform.node(), "pid": os.getpid(), "machine": _machine()})


@cache
def _machine() -> str | None:
    """Return what no other machine, boot or container has; None where the system has no such id."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None


def _has_ended(holder: str) -> bool:
    """Return whether the holder is known to have ended: a process of this machine."""
    known = json.loads(holder)
    if _machine() is None or known["machine"] != _machine():
        return False
    try:
        stat = (_PROC / str(known["pid"]) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}
