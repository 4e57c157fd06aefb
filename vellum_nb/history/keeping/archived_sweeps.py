"""What archives have of sweeps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from vellum_nb.history.keeping.archive_notes import hidden
from vellum_nb.history.keeping.archived_places import Files, here_of, in_later, with_sweep
from vellum_nb.history.store.store import Reader

__all__ = ["known", "states_of_sweep", "tallies"]

_TALLIED = ("id", "state", "sweep_id")
_TAKEN = (
    "SELECT u.run, s.id FROM sweep_reused u JOIN sweeps s ON s.seq = u.sweep "
    "LEFT JOIN runs r ON r.id = u.run WHERE r.id IS NULL"
)
_AT_ONCE = 5_000


def states_of_sweep(reader: Reader, files: Files, sweep_id: str) -> dict[str, str]:
    """Return the state of each archived run of a sweep, by the run's id."""
    found: dict[str, str] = {}
    for file in with_sweep(reader, files, sweep_id):
        rows = file.only(_TALLIED)
        gone = hidden(reader, file)
        found |= {run: state for run, state, of in rows if of == sweep_id and run not in gone}
    return found


def known(reader: Reader, files: Files, sweep_id: str, run_ids: Iterable[str]) -> set[str]:
    """Return which of these runs, that a sweep took over, are in an archive."""
    wanted, found = set(run_ids), set[str]()
    if wanted:
        for file in with_sweep(reader, files, sweep_id):
            ids = {run_id for (run_id,) in file.only(("id",)) if run_id in wanted}
            found |= ids - hidden(reader, file)
    return found


def tallies(reader: Reader, files: Files) -> dict[str, Counter[str]]:
    """Return of each sweep how many runs are in which state and only in these files.

    Those that it took over count, too.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    takers: defaultdict[str, list[str]] = defaultdict(list)
    for run_id, sweep_id in reader.read(_TAKEN) if files else ():
        takers[run_id].append(sweep_id)
    for number, file in enumerate(files):
        others = in_later(file, files[number + 1 :]) | hidden(reader, file)
        rows = [(run, state, of, takers.get(run, [])) for run, state, of in file.only(_TALLIED)]
        rows = [row for row in rows if row[0] not in others and (row[2] or row[3])]
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            here = here_of(reader, [run for run, *_ in some])
            for run, state, own, taken in some:
                for sweep_id in [*([own] if own else []), *taken] if run not in here else ():
                    found[sweep_id][state] += 1
    return found
