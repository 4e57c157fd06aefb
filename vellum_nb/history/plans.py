"""Stored sweeps: plans, cases, leases, states and costs of their runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from vellum_nb.clock import from_micros, micros
from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.escaping import warn
from vellum_nb.history import query, writes
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.frames import SHOWN, frame_of_rows, is_time
from vellum_nb.history.history import History, recorder_of
from vellum_nb.history.leases import Lease, LeaseHeldError, has_ended, held_error, is_own, leases
from vellum_nb.history.recorder import RunRecorder
from vellum_nb.history.rows import (
    CASE,
    REUSED,
    SWEEP,
    case_row,
    cases_of,
    clean,
    column_value,
    damaged,
    extract_large,
    restore_large,
    sweep_of,
)
from vellum_nb.history.store import assigned, insert
from vellum_nb.history.writes import rename_run
from vellum_nb.lazy import pd
from vellum_nb.models import DoubtKind, Run
from vellum_nb.models.sweeps import (
    IN_DOUBT_SQL,
    UNSENT_SQL,
    Place,
    SweepCase,
    SweepRecord,
    conversation_id,
    planned_id,
    planned_ids,
)

_RETRIED_JUDGEMENTS = frozenset({"REJECTED", "FAILED", "CUT_OFF"})
_PAST_RUNS = 2_000
_IDS_PER_QUERY = 2_000
_RUN_IDS = "SELECT id FROM runs WHERE sweep_id = :sweep"
_ADD_SWEEP = f"{insert('sweeps', SWEEP)} ON CONFLICT DO NOTHING"
_ADD_CASE = insert("sweep_cases", ("sweep", *CASE))
_ADD_REUSED = f"{insert('sweep_reused', ('sweep', *REUSED))} ON CONFLICT DO NOTHING"
_ID, _TIME = SHOWN.index("id"), SHOWN.index("timestamp")
_STATE = (
    "CASE WHEN state = 'STARTED' AND deletion IS NOT NULL THEN 'CANCELLED' "
    f"WHEN {UNSENT_SQL} THEN 'UNSENT' ELSE state END"
)
_PLANNED_STATE = (
    "CASE WHEN deletion IS NOT NULL AND (state = 'STARTED' OR doubt IS NOT NULL) THEN 'CANCELLED' "
    "WHEN state = 'CANCELLED' AND doubt IS NOT NULL THEN 'STARTED' "
    "WHEN state <> 'STARTED' AND doubt IS NOT NULL THEN 'IN_DOUBT' "
    "WHEN state = 'CANCELLED' AND deletion IS NULL THEN 'CUT_OFF' "
    f"WHEN {UNSENT_SQL} THEN 'UNSENT' ELSE state END"
)
# A judge repeats deleted runs and runs on a tag that moved, as the next attempt.
_JUDGED_STATE = (
    "CASE WHEN deletion IS NOT NULL OR (tag_moved = 1 AND state <> 'STARTED' AND doubt IS NULL) "
    f"THEN 'CUT_OFF' ELSE {_PLANNED_STATE} END"
)
_LAST_SEEN = "CASE WHEN finished_at > timestamp THEN finished_at ELSE timestamp END"


class PastRun(NamedTuple):
    """Latency and cost of a fulfilled run."""

    release_tag: str
    release_id: str | None
    latency_s: float
    cost_usd: float | None


class SweepLease(Lease):
    """Lease of a sweep, acquired by `Sweeps.acquire`. It fences every write by the driver."""

    def __init__(self, store: Store, sweep: SweepRecord, recorder: RunRecorder) -> None:
        super().__init__(store, sweep.lease_name)
        self._sweep_id, self._recorder = sweep.id, recorder

    def record(
        self,
        *,
        begun: Sequence[Run] = (),
        resent: Sequence[Run] = (),
        doubted: Sequence[Run] = (),
        ended: Sequence[Run] = (),
        sent_within_s: float = 0.0,
    ) -> list[Run] | None:
        """Record changes by the driver of the sweep in one transaction, as `write` does.

        Runs `begun` are about to be sent, as are those `resent`, which lose their doubt. Runs
        `doubted` may have been executed, or can still be sent for `sent_within_s` seconds. Rows of
        runs `ended` are inserted if missing, and do not change if they have ended.

        Return stored runs that must not be sent and now belong to this sweep: those of `begun`
        whose id or external id existed, and those of `resent` that have ended in the meantime.
        Return None if the database cannot be reached and none is about to be sent: `ended` is then
        written to a local file, and `doubted` is not recorded. `OutOfReachError`: it cannot be
        reached, and runs in `begun` and `resent` must not be sent.
        """
        begun = [self._recorder.with_author(run) for run in begun]
        doubts = [(run, sent_within_s) for run in doubted]
        change = partial(_record, begun=begun, resent=resent, doubts=doubts, ended=ended)
        if self._recorder.is_away():
            self._keep(ended, is_sending=bool(begun or resent))
            return None
        try:
            stored_ids = self.write(change)
        except OutOfReachError:
            self._keep(ended, is_sending=bool(begun or resent))
            return None
        self._recorder.notify(run.id for run in (*ended, *doubted, *begun))
        return query.runs_with_ids(self._store, stored_ids) if stored_ids else []

    def _keep(self, ended: Sequence[Run], *, is_sending: bool) -> None:
        """Record ended runs in a local file; raise an error if runs are about to be sent."""
        if is_sending:
            msg = f"The history {self._store.path} cannot be reached: nothing is sent until it can"
            raise OutOfReachError(msg)
        self._recorder.keep_ended(ended)

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Remove runs that were recorded but not sent."""
        dialect = self._store.dialect
        where = f"state = 'STARTED' AND {dialect.one_of('id', 'ids')}"
        values = {"ids": dialect.listed([run.id for run in runs])}
        with suppress(OutOfReachError):  # the next driver looks them up
            self.write(partial(writes.remove_runs, where=where, values=values))

    def keep_answers(self, runs: Sequence[Run]) -> None:
        """Record answers received after the lease was lost, like imported executions.

        Rows in doubt are completed; rows that have ended do not change.
        """
        self._recorder.keep_answers([run for run in runs if not run.in_doubt])

    def change(self, **fields: Any) -> None:
        """Set fields of the sweep, such as `round`, `ended` or `notes`."""
        values = {name: column_value(value) for name, value in fields.items()}
        sql = f"UPDATE sweeps SET {assigned(values)} WHERE id = :sweep"
        if not self.write(lambda tx: tx.execute(sql, {**values, "sweep": self._sweep_id})):
            raise _no_sweep(self._sweep_id)

    def update_cases(self, cases: Iterable[SweepCase]) -> None:
        """Update the expected values and labels of the cases of the sweep."""
        sql = (
            "UPDATE sweep_cases SET expected = :expected, labels = :labels "
            "WHERE sweep = :sweep AND position = :position"
        )
        rows = [{"sweep": self._sweep_id, **case_row(case)} for case in cases]
        self.write(lambda tx: tx.execute_many(sql, rows))

    def add_reused(self, reused: Mapping[Place, str]) -> None:
        """Record the runs that replace planned ones; existing entries do not change."""
        self.write(partial(_insert_reused, self._sweep_id, reused))

    def mark_others(self, release_tag: str, release_id: str, *, since: datetime) -> None:
        """Set `tag_moved` on ended runs that began after `since` on a different release.

        The tag may have moved before they were sent.
        """
        # STARTED runs are sent again on the current release, or Vellum reports their release.
        where = "release_id <> :release AND timestamp >= :since AND state <> 'STARTED'"
        self._mark(release_tag, where, release=release_id, since=micros(since))

    def mark_moved(
        self, release_tag: str, release_id: str, *, since: datetime, until: datetime
    ) -> None:
        """Set `tag_moved` on STARTED runs and on runs of a release sent in this period."""
        where = (
            "(state = 'STARTED' OR (release_id = :release AND timestamp >= :since)) "
            "AND timestamp <= :until"
        )
        values = {"release": release_id, "since": micros(since), "until": micros(until)}
        try:
            self._mark(release_tag, where, **values)
        except OutOfReachError as exc:
            msg = (
                f"Release tag {release_tag!r} moved during sweep {self._sweep_id}, and its runs "
                f"cannot be marked: {exc}"
            )
            warn(msg, stacklevel=2)

    def _mark(self, release_tag: str, where: str, **values: Any) -> None:
        sql = (
            "UPDATE runs SET tag_moved = 1 WHERE sweep_id = :sweep AND release_tag = :tag "
            "AND deployment = (SELECT deployment FROM sweeps WHERE id = :sweep) "
            f"AND {where}"
        )
        names = {"sweep": self._sweep_id, "tag": release_tag}
        self.write(lambda tx: tx.execute(sql, {**names, **values}))


def _record(
    tx: Transaction,
    *,
    begun: Sequence[Run],
    resent: Sequence[Run],
    doubts: Sequence[tuple[Run, float]],
    ended: Sequence[Run],
) -> list[str]:
    """Record runs of a sweep; return the ids of stored runs that must not be sent."""
    for run in ended:
        writes.end(tx, run)
    for run, sent_within_s in doubts:
        writes.doubt(tx, run, sent_within_s)
    unsent = [run for run in resent if not writes.resend(tx, run)]
    stored = writes.insert_runs(tx, [*begun, *unsent])
    for run in stored:
        writes.adopt_run(tx, run)
    return [clean(run.id) for run in stored]


class Sweeps:
    """The stored sweeps of a history, for `vellum_nb.Workspace.sweep`."""

    def __init__(self, history: History) -> None:
        self._recorder = recorder_of(history)
        self._store = self._recorder.store

    def add(
        self,
        sweep: SweepRecord,
        cases: Iterable[SweepCase],
        *,
        reused: Mapping[Place, str] | None = None,
    ) -> bool:
        """Store the plan of a sweep; `reused` maps planned runs to the runs that replace them.

        Return False if another process has already stored a sweep with the same signature and
        generation.
        """
        row = {name: column_value(getattr(sweep, name)) for name in SWEEP}
        rows = [case_row(case) for case in cases]

        def change(tx: Transaction) -> bool:
            if not tx.execute(_ADD_SWEEP, row):
                return False
            for row_of_case in rows:
                case = {"sweep": sweep.id, **row_of_case}
                case["large"] = extract_large(tx, case, ("inputs",))
                tx.execute(_ADD_CASE, case)
            _insert_reused(sweep.id, reused or {}, tx)
            return True

        return self._store.write(change)

    def learn(self, sweep: SweepRecord) -> None:
        """Fill in missing values of workspace, environment and releases of a sweep."""
        sql = (
            "UPDATE sweeps SET workspace = coalesce(workspace, :workspace), "
            "environment = coalesce(environment, :environment), releases = :releases "
            "WHERE id = :id"
        )

        def change(tx: Transaction) -> None:
            for (text,) in tx.read("SELECT releases FROM sweeps WHERE id = :id", {"id": sweep.id}):
                with damaged(f"Sweep {sweep.id!r:.100}"):
                    stored = {tag: release for tag, release in json.loads(text).items() if release}
                releases = column_value({**sweep.releases, **stored})
                row = {"workspace": sweep.workspace, "environment": sweep.environment}
                tx.execute(sql, {**row, "releases": releases, "id": sweep.id})

        self._store.write(change)

    @property
    def identity(self) -> object:
        """Key shared by all open histories on the same file or database."""
        return self._store.identity

    def every(self, start: str = "") -> list[SweepRecord]:
        """Return the sweeps with an id that starts with `start`, newest first."""
        values = {"start": start, "length": len(start)}
        return self._select("substr(id, 1, :length) = :start", values)

    def of_plan(self, signature: str) -> list[SweepRecord]:
        """Return the sweeps with this signature, newest first."""
        return self._select("signature = :signature", {"signature": signature})

    def ordered(self, deployment: str) -> list[tuple[SweepRecord, list[str]]]:
        """Return the sweeps of a deployment with a random case order, and their case ids."""
        where = "deployment = :deployment AND case_order IS NOT NULL"
        sweeps = self._select(where, {"deployment": deployment})
        return [(sweep, _case_ids(self._store, sweep.id)) for sweep in sweeps]

    def cases(self, sweep_id: str) -> list[SweepCase]:
        """Return the cases of a sweep, in their order."""
        sql = f"SELECT {', '.join(CASE)} FROM sweep_cases WHERE sweep = :sweep ORDER BY position"
        rows = restore_large(self._store, self._store.read(sql, {"sweep": sweep_id}), CASE[:-1])
        planned = self._store.read(
            "SELECT cases FROM sweeps WHERE id = :sweep", {"sweep": sweep_id}
        )
        return cases_of(rows, sweep_id, planned[0][0] if planned else len(rows))

    def acquire(
        self, sweep: SweepRecord, *, adopt: bool = True, acts_elsewhere: bool = False
    ) -> SweepLease:
        """Acquire the lease of a sweep, or raise a `HistoryError`; see `Lease.acquire`.

        With `adopt`, stored runs with the external id of a planned run become runs of this sweep.
        In the same transaction, unfinished runs of an earlier driver are marked as in doubt, since
        the last time it could have sent them. Cancelled runs in doubt become STARTED until they
        are looked up.
        """

        def prepare(tx: Transaction, sent_until: int | None) -> None:
            if not tx.read("SELECT 1 FROM sweeps WHERE id = :id", {"id": sweep.id}):
                raise _no_sweep(sweep.id)
            # The driver adopts the runs of conversations with a simulated user.
            has_user = "user" in sweep.options.get("conversation", {})
            if adopt and sweep.judge is None and not has_user:
                _adopt_all(tx, sweep)
            _adopt_judgements(tx, sweep)
            of_sweep = "sweep_id IN (SELECT id FROM sweeps WHERE id = :sweep OR judge = :judge)"
            names = {"sweep": sweep.id, "judge": sweep.judge}
            sql = (
                "UPDATE runs SET state = 'STARTED', error_code = NULL, error_message = NULL, "
                f"finished_at = NULL WHERE {of_sweep} "
                "AND state = 'CANCELLED' AND doubt IS NOT NULL"
            )
            tx.execute(sql, names)
            sql = (
                "UPDATE runs SET doubt = 'SENT', doubt_since = "
                f"coalesce(CAST(:since AS BIGINT), {tx.dialect.now}) "
                f"WHERE {of_sweep} AND state = 'STARTED' AND doubt IS NULL"
            )
            tx.execute(sql, {**names, "since": sent_until})

        lease = SweepLease(self._store, sweep, self._recorder)
        lease.acquire(prepare, acts_elsewhere=acts_elsewhere)
        return lease

    def held(self) -> set[str]:
        """Return the ids of the sweeps with a current lease of a live process."""
        sql = (
            "SELECT s.id, l.token, l.holder FROM leases l JOIN sweeps s "
            "ON s.id = l.sweep OR (s.judge = l.sweep AND s.ended IS NULL) "
            f"WHERE l.expires_at > {self._store.dialect.now}"
        )
        rows = self._store.read(sql)
        return {sweep_id for sweep_id, token, holder in rows if not has_ended(token, holder)}

    def held_elsewhere(self, sweep: SweepRecord) -> LeaseHeldError | None:
        """Return the error that names another process that drives the sweep, if any."""
        for lease in leases(self._store, sweep.lease_name):
            token, holder, _, is_expired = lease
            if not (is_expired or is_own(holder) or has_ended(token, holder)):
                return held_error(sweep.lease_name, [lease])
        return None

    def lost(self, sweep: SweepRecord) -> datetime | None:
        """Return the last activity of a driver that ended without releasing its lease."""
        for token, holder, _, is_expired in leases(self._store, sweep.lease_name):
            if is_expired or has_ended(token, holder):
                return self.last_seen(sweep.id) or sweep.created
        return None

    def states(self, sweep_id: str) -> dict[str, str]:
        """Return the states of all begun runs of a sweep by id, including deleted runs.

        STARTED: unanswered or cancelled here, to be looked up. IN_DOUBT: failed without an answer,
        possibly executed. CUT_OFF: the execution was cancelled. CANCELLED: deleted without an
        answer. UNSENT: a turn of a conversation that had ended.
        """
        sql = (
            f"SELECT r.id, CASE WHEN s.judge IS NULL THEN {_PLANNED_STATE} ELSE {_JUDGED_STATE} END"
            " FROM runs r LEFT JOIN sweeps s ON s.id = r.sweep_id WHERE r.sweep_id = :sweep"
        )
        return dict(self._store.read(sql, {"sweep": sweep_id}))

    def judgements(self, sweep: SweepRecord) -> tuple[dict[str, str], dict[Place, str]]:
        """Return states by run id and answers by place for the planned runs of a judge."""
        stored = _judgements(self._store, sweep)
        answers = {run.place: run.id for run in stored if run.state == "FULFILLED"}
        return {run.planned_id: run.state for run in stored}, answers

    def begun(self, sweep_id: str) -> int:
        """Return the number of runs begun by a sweep, without ended runs adopted by a judge.

        Turns that were not sent do not count.
        """
        sql = (
            "SELECT count(*) FROM runs r JOIN sweeps s ON s.id = r.sweep_id "
            "WHERE s.id = :sweep AND "
            f"(s.judge IS NULL OR r.timestamp >= s.created OR {IN_DOUBT_SQL}) "
            f"AND NOT coalesce({UNSENT_SQL}, FALSE)"
        )
        return int(self._store.read(sql, {"sweep": sweep_id})[0][0])

    def doubts(self, sweep_id: str) -> dict[str, tuple[DoubtKind, float]]:
        """Return kind and age in seconds of the doubts of a sweep, by run id.

        A negative age is the time during which another process can still send the run.
        """
        now = self._store.dialect.now
        sql = (
            f"SELECT id, coalesce(doubt, 'SENT'), coalesce({now} - doubt_since, 0) FROM runs "
            f"WHERE sweep_id = :sweep AND {IN_DOUBT_SQL}"
        )
        rows = self._store.read(sql, {"sweep": sweep_id})
        return {run_id: (kind, age / 1e6) for run_id, kind, age in rows}

    def ids_in_doubt(self) -> list[str]:
        """Return the ids of all runs in doubt, within and outside sweeps."""
        sql = f"SELECT id FROM runs WHERE {IN_DOUBT_SQL} AND deletion IS NULL"
        return [run_id for (run_id,) in self._store.read(sql)]

    def begin_doubt(self, run_id: str) -> float:
        """Start the doubt of a STARTED run; return the age of its doubt in seconds."""
        now = self._store.dialect.now
        sql = (
            f"UPDATE runs SET doubt = 'SENT', doubt_since = {now} "
            "WHERE id = :id AND state = 'STARTED' AND doubt IS NULL"
        )
        self._store.write(lambda tx: tx.execute(sql, {"id": run_id}))
        sql = f"SELECT coalesce({now} - doubt_since, 0) FROM runs WHERE id = :id"
        ages = [float(age) for (age,) in self._store.read(sql, {"id": run_id})]
        return max(0.0, *ages) / 1e6 if ages else 0.0

    def tallies(self) -> dict[str, Counter[str]]:
        """Return run counts by state for each sweep, including reused runs."""
        planned = (
            f"SELECT sweep_id, {_STATE}, count(*) FROM runs WHERE sweep_id IS NOT NULL "
            "GROUP BY 1, 2"
        )
        reused = (
            "SELECT u.sweep, r.state, count(*) FROM sweep_reused u JOIN runs r ON r.id = u.run "
            "WHERE r.deletion IS NULL GROUP BY u.sweep, r.state"
        )
        counts: dict[str, Counter[str]] = {}
        with self._store.snapshot() as snapshot:
            for sweep_id, state, number in (*snapshot.read(planned), *snapshot.read(reused)):
                counts.setdefault(sweep_id, Counter())[state] += number
        return counts

    def deleted(self, sweep_id: str) -> int:
        """Return the number of deleted runs of a sweep, including reused runs."""
        sql = (
            "SELECT count(*) FROM runs WHERE deletion IS NOT NULL AND (sweep_id = :sweep "
            "OR id IN (SELECT run FROM sweep_reused WHERE sweep = :sweep))"
        )
        return int(self._store.read(sql, {"sweep": sweep_id})[0][0])

    def last_seen(self, sweep_id: str) -> datetime | None:
        """Return the latest start or end of a run of the sweep."""
        sql = f"SELECT max({_LAST_SEEN}) FROM runs WHERE sweep_id = :sweep"
        last = self._store.read(sql, {"sweep": sweep_id})[0][0]
        return from_micros(last) if is_time(last) else None  # damaged if not a time

    def spent(self, sweep_id: str) -> list[tuple[str, str | None, float | None, float | None]]:
        """Return id, release tag, cost and latency of the runs of a sweep, oldest first.

        The tag is None for runs of a simulated user.
        """
        sql = (
            "SELECT r.id, CASE WHEN r.deployment = s.deployment THEN r.release_tag END, "
            "r.cost_usd, r.latency_s FROM runs r JOIN sweeps s ON s.id = r.sweep_id "
            "WHERE r.sweep_id = :sweep ORDER BY r.seq"
        )
        rows = self._store.read(sql, {"sweep": sweep_id})
        return [(run_id, tag, cost, s) for run_id, tag, cost, s in rows]

    def stops(
        self, sweep: SweepRecord, deployment: str, is_stop: Callable[[Run], bool]
    ) -> list[str]:
        """Return the ids of the runs of a simulated user that ended their conversation."""
        filters: query.Filters = {"sweep_id": sweep.id, "deployment": deployment}
        filters["state"] = "FULFILLED"
        with self._store.snapshot() as snapshot:
            runs = query.read_runs(snapshot, query.select(filters, self._store))
        return [run.id for run in runs if is_stop(run)]

    def seconds(self, sweep_id: str) -> float:
        """Return the time in seconds during which at least one run was executing."""
        sql = (
            "SELECT timestamp, finished_at FROM runs WHERE sweep_id = :sweep "
            "AND finished_at IS NOT NULL ORDER BY timestamp"
        )
        total = until = 0
        for began, ended in self._store.read(sql, {"sweep": sweep_id}):
            if not (is_time(began) and is_time(ended)):  # damaged
                continue
            total += max(0, ended - max(began, until))
            until = max(until, ended)
        return total / 1e6

    def frame(
        self, sweep_id: str, deployment: str | None = None, *, exclude: Collection[str] = ()
    ) -> pd.DataFrame:
        """Return the runs of a sweep as a frame, newest first, without the ids in `exclude`.

        A reused run has the release tag and the repeat of the planned run that it replaces.
        """
        places = {run: place for place, run in self.reused(sweep_id).items()}
        planned = query.select({"sweep_id": sweep_id, "deployment": deployment}, self._store)
        reused = query.select({"ids": list(places)}, self._store)
        with self._store.snapshot() as snapshot:
            rows = query.read_rows(snapshot, planned, SHOWN, missing="mark")
            for row in query.read_rows(snapshot, reused, SHOWN, missing="mark") if places else ():
                changed = dict(zip(SHOWN, row, strict=True))
                place = places[changed["id"]]
                changed |= {"release_tag": place.release_tag, "repeat": place.repeat}
                rows.append(tuple(changed.values()))
        rows = [row for row in rows if row[_ID] not in exclude]
        return frame_of_rows(sorted(rows, key=itemgetter(_TIME), reverse=True))

    def past(self, deployment: str) -> list[PastRun]:
        """Return latency and cost of the newest fulfilled runs of a deployment."""
        sql = (
            "SELECT release_tag, release_id, latency_s, cost_usd FROM runs "
            "WHERE deployment = :deployment AND deletion IS NULL AND state = 'FULFILLED' "
            "AND latency_s IS NOT NULL ORDER BY timestamp DESC, seq DESC LIMIT :most"
        )
        rows = self._store.read(sql, {"deployment": deployment, "most": _PAST_RUNS})
        return [PastRun(*row) for row in rows]

    def reusable(
        self, deployment: str, release_id: str, case_ids: Iterable[str], judge: str | None = None
    ) -> dict[str, list[str]]:
        """Return the ids of fulfilled runs on one release by case id, newest first.

        Runs of the judge `judge` are excluded: each answers one planned run.
        """
        dialect = self._store.dialect
        sql = (
            "SELECT case_id, id FROM runs WHERE deployment = :deployment AND tag_moved = 0 "
            "AND release_id = :release AND deletion IS NULL AND state = 'FULFILLED' "
            f"AND {dialect.one_of('case_id', 'ids')} AND (sweep_id IS NULL OR "
            "sweep_id NOT IN (SELECT id FROM sweeps WHERE judge = :judge)) "
            "ORDER BY timestamp DESC, seq DESC"
        )
        values = {"deployment": deployment, "release": release_id, "judge": judge}
        run_ids: dict[str, list[str]] = {}
        for case_id, run_id in self._store.read(sql, values | {"ids": dialect.listed(case_ids)}):
            run_ids.setdefault(case_id, []).append(run_id)
        return run_ids

    def times(self, run_ids: Iterable[str]) -> tuple[datetime, datetime] | None:
        """Return the times at which the first and the last of these runs began."""
        dialect = self._store.dialect
        sql = f"SELECT min(timestamp), max(timestamp) FROM runs WHERE {dialect.one_of('id', 'ids')}"
        ((first, last),) = self._store.read(sql, {"ids": dialect.listed(run_ids)})
        return None if first is None else (from_micros(first), from_micros(last))

    def reused(self, sweep_id: str) -> dict[Place, str]:
        """Return the ids of runs that replace planned runs, by place, without deleted runs."""
        sql = (
            "SELECT u.position, u.release_tag, u.repeat, u.run FROM sweep_reused u "
            "JOIN runs r ON r.id = u.run "
            "JOIN sweep_cases c ON c.sweep = u.sweep AND c.position = u.position "
            "WHERE u.sweep = :sweep AND r.deletion IS NULL"
        )
        rows = self._store.read(sql, {"sweep": sweep_id})
        return {Place(*place): run for *place, run in rows}

    def _select(self, where: str, values: Mapping[str, Any]) -> list[SweepRecord]:
        sql = f"SELECT {', '.join(SWEEP)} FROM sweeps WHERE {where} ORDER BY seq DESC"
        sweeps = [sweep_of(row) for row in self._store.read(sql, values)]
        case_ids = {s.id: tuple(_case_ids(self._store, s.id)) for s in sweeps if s.judge}
        return [s.model_copy(update={"case_ids": case_ids[s.id]}) if s.judge else s for s in sweeps]


def _insert_reused(sweep_id: str, reused: Mapping[Place, str], tx: Transaction) -> None:
    rows = [
        {"sweep": sweep_id, "run": run, **{name: getattr(place, name) for name in REUSED[:-1]}}
        for place, run in reused.items()
    ]
    tx.execute_many(_ADD_REUSED, rows)


def _no_sweep(sweep_id: str) -> HistoryError:
    return HistoryError(f"The history has no sweep {sweep_id!r}; ws.sweeps() lists all")


def _case_ids(reader: Reader, sweep_id: str) -> list[str]:
    sql = "SELECT case_id FROM sweep_cases WHERE sweep = :id ORDER BY position"
    return [case_id for (case_id,) in reader.read(sql, {"id": sweep_id})]


def _adopt_all(tx: Transaction, sweep: SweepRecord) -> None:
    """Move stored runs with the external id of a planned run into the sweep."""
    sql = (
        "SELECT case_id, previous_execution_id, turn FROM sweep_cases WHERE sweep = :id "
        "ORDER BY position"
    )
    cases = tx.read(sql, {"id": sweep.id})
    run_ids = {run_id for (run_id,) in tx.read(_RUN_IDS, {"sweep": sweep.id})}
    sql = (
        f"SELECT id, external_id FROM runs WHERE {tx.dialect.one_of('external_id', 'ids')} "
        "AND (sweep_id IS NULL OR sweep_id <> :sweep)"
    )
    remaining = planned_ids(sweep, run_ids)
    while planned := dict(islice(remaining, _IDS_PER_QUERY)):
        values = {"sweep": sweep.id, "ids": tx.dialect.listed(planned)}
        for stored_id, external_id in tx.read(sql, values):
            place = planned[external_id]
            case_id, previous, turn = cases[place.position]
            fields = {"sweep_id": sweep.id, "repeat": place.repeat}
            fields |= {"release_tag": place.release_tag, "case_id": case_id}
            if turn:
                fields |= {"turn": turn, "conversation_id": conversation_id(sweep, place, turn)}
            else:
                fields["previous_execution_id"] = previous
            rename_run(tx, stored_id, external_id, fields)


class _Judgement(NamedTuple):
    """A stored run with the id of a planned run of a judge."""

    planned_id: str
    place: Place
    id: str
    sweep_id: str | None
    state: str


def _judgements(reader: Reader, sweep: SweepRecord) -> list[_Judgement]:
    """Return the stored attempts of the planned runs of a judge."""
    sql = (
        f"SELECT external_id, id, sweep_id, {_JUDGED_STATE} FROM runs "
        f"WHERE {reader.dialect.one_of('external_id', 'ids')}"
    )
    stored: list[_Judgement] = []
    places, attempt = list(sweep.places()), 0
    while places:
        ids = {planned_id(sweep, place, 0, attempt): place for place in places}
        rows = reader.read(sql, {"ids": reader.dialect.listed(ids)})
        runs = [_Judgement(name, ids[name], *row) for name, *row in rows]
        stored += runs
        places = [run.place for run in runs if run.state in _RETRIED_JUDGEMENTS]
        attempt += 1
    return stored


def _adopt_judgements(tx: Transaction, sweep: SweepRecord) -> None:
    """Reuse answers of earlier sweeps of a judge; move its unanswered runs into this sweep."""
    runs = [] if sweep.judge is None else _judgements(tx, sweep)
    runs = [run for run in runs if run.sweep_id != sweep.id]
    answers = {run.place: run.id for run in runs if run.state == "FULFILLED"}
    _insert_reused(sweep.id, answers, tx)
    for run in runs:
        if run.place not in answers:
            fields = {"sweep_id": sweep.id, "repeat": run.place.repeat}
            fields["case_id"] = sweep.case_ids[run.place.position]
            rename_run(tx, run.id, run.planned_id, fields)
