"""Two histories become one: what the other one knows is taken over, and nothing of ours is lost.

The other is read a few hundred runs at a time, and each lot is one transaction here, so that a
merge that was interrupted is finished by the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.history.joining import joined_plans
from vellum_nb.history.joining.joined_runs import COLUMNS, JOINED, Conflict, Joined, RunJoiner, told
from vellum_nb.history.keeping.archive_notes import bring_in
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Store

__all__ = ["CHANGED", "Lot", "MergeReport", "join", "lots"]

_AT_ONCE = 250
CHANGED = frozenset({"completed", "updated"})
"""What became of runs that were here before, and are others now."""

Lot = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, repr=False)
class MergeReport:
    """What merging another history did.

    Attributes
    ----------
    added, completed, updated, known : int
        Runs that were not here; that were STARTED here and have ended; that got a rating, a note,
        a cost or a trace; that were here as they are.
    deleted : int
        Runs that were deleted here, and stay so until a vacuum forgets that they were.
    sweeps, blind, ratings : int
        Sweeps, blind ratings and single ratings of them that were not here.
    conflicts : tuple of Conflict
        Runs that differ here and there: the `id`, and which `fields`. Ours are kept.
    """

    source: str
    added: int = 0
    completed: int = 0
    updated: int = 0
    known: int = 0
    deleted: int = 0
    sweeps: int = 0
    blind: int = 0
    ratings: int = 0
    conflicts: tuple[Conflict, ...] = field(default=())

    def __str__(self) -> str:
        text = (
            f"{self.added:,} added, {self.completed:,} completed, {self.updated:,} updated, "
            f"{self.known:,} known already"
        )
        for count, what in (
            (self.deleted, "deleted here and left so"),
            (self.sweeps, f"sweep{_s(self.sweeps)} added"),
            (self.blind, f"blind rating{_s(self.blind)} added"),
        ):
            text += f", {count:,} {what}" if count else ""
        return text + told(self.conflicts)

    def __repr__(self) -> str:
        return f"<MergeReport of {self.source}: {self}>"


def lots(read: Read) -> Iterator[Lot]:
    """Yield the runs of another history, a lot at a time, oldest row first."""
    sql = (
        f"SELECT r.seq, {JOINED} FROM runs r JOIN payloads p ON p.seq = r.seq "
        "WHERE r.seq > ? AND p.seq > ? ORDER BY r.seq LIMIT ?"  # PostgreSQL needs both
    )
    last = -(2**62)
    while rows := read(sql, (last, last, _AT_ONCE)):
        last = rows[-1][0]
        yield [dict(zip(COLUMNS, row[1:], strict=True)) for row in rows]


def join(
    store: Store,
    source: str,
    runs: Iterable[Lot],
    read: Read,
    tell: Callable[[str], None],
    *,
    plans: bool = True,
) -> MergeReport:
    """Take over `runs`, and the sweeps and blind ratings that `read` finds; report.

    `tell` is called with the id of each run that was here and changed, after its commit.
    """
    fates: Counter[str] = Counter()
    conflicts: list[Conflict] = []
    renamed: dict[str, str] = {}
    for lot in runs:
        with store.write() as connection:
            joined = RunJoiner(connection, read).join(lot)
            if any(one.fate == "added" for one in joined):
                bring_in(connection)
        for one in joined:
            _note(one, fates, conflicts, renamed)
            if one.fate in CHANGED:
                tell(one.run_id)
    added = joined_plans.join(store, read, renamed) if plans else {}
    return MergeReport(source, **fates, **added, conflicts=tuple(conflicts))


def _note(
    one: Joined, fates: Counter[str], conflicts: list[Conflict], renamed: dict[str, str]
) -> None:
    fates[one.fate] += 1
    if one.conflicts:
        conflicts.append(Conflict(one.run_id, one.conflicts))
    if one.theirs != one.run_id:
        renamed[one.theirs] = one.run_id


def _s(count: int) -> str:
    return "" if count == 1 else "s"
