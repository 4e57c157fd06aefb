"""What keeps a history for years: deleting with a way back, vacuum, archives, merging copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from vellum_nb.errors import HistoryError
from vellum_nb.history.doors import reading
from vellum_nb.history.joining import joining
from vellum_nb.history.joining.joined_runs import Conflict
from vellum_nb.history.joining.merge import SyncReport, merge
from vellum_nb.history.keeping import archive_notes, archived, archiving, deleting, undeleting
from vellum_nb.history.keeping.archive_files import ArchiveFile
from vellum_nb.history.keeping.vacuuming import Vacuumed, vacuum
from vellum_nb.history.methods.recording import RecordMethods
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.damaged import told
from vellum_nb.history.reading.query import Ids
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.places import DatabaseUrl, guarded
from vellum_nb.history.store.refused import Retried
from vellum_nb.models import Run
from vellum_nb.models.plain import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KeepMethods"]


class KeepMethods(RecordMethods):
    """The keeping half of `vellum_nb.History`."""

    @property
    def size(self) -> int:
        """Bytes of the history, without what waits in SQLite's log."""
        return self._store.size()

    @told
    def delete(self, ids: Ids, *, why: str = "") -> deleting.Deletion:
        """Move the runs with these ids aside; return how many there were, and what they were.

        Runs may be given as well, or a frame of them with its column `id`. `undelete` brings them
        back until `vacuum` is called. The list must be given and not be empty: nothing is deleted
        by a filter that was forgotten. `why` is for `deletions`.

        Examples
        --------
        >>> from vellum_nb import History
        >>> with History(":memory:") as history:
        ...     history.delete(["nobody"])
        <Deletion: no run has these ids>
        """
        with self._telling():
            return deleting.delete(self._store, ids, why)

    def undelete(self, deletion: int | None = None) -> undeleting.Restored:
        """Bring back the runs of a deletion: the last one, or the one of this number.

        A run whose id or external id was taken meanwhile stays deleted, and is named.
        """
        number = deletion.number if isinstance(deletion, deleting.Deletion) else deletion
        with self._telling():
            return undeleting.bring_back(self._store, number)

    def deletions(self) -> pd.DataFrame:
        """Return one row for each deletion that `undelete` can take back, newest first.

        Columns: `deletion` (its number), `deleted_at`, `runs`, `deployments`, `first` and `last`
        (when its runs were sent), `why`.
        """
        return deleting.deletions(self._store)

    def vacuum(self) -> Vacuumed:
        """Forget deletions for good, drop what no run needs, and make the file smaller.

        Other processes may have the history open; a writer is waited for. Needs as much free
        space as the history takes.
        """
        return vacuum(self._store)

    @told
    def archive(
        self, *, before: datetime | date | str, path: str | Path | None = None
    ) -> archiving.Archive:
        """Move the runs that were sent before a time to a Parquet file, every field of them.

        ``frame(archived=True)`` reads them there, `unarchive` brings them back. Runs that are
        STARTED stay, and those of sweeps and blind ratings under way. Needs pyarrow.

        Parameters
        ----------
        before
            UTC when no zone is given.
        path
            The file, which must not be there. Default: beside the history, named after `before`.
        """
        chosen = None if path is None else Path(path)
        with self._telling():
            return archiving.archive(self._store, before, chosen)

    def archives(self) -> pd.DataFrame:
        """Return one row for each archive: `path`, `created`, `runs`, `first`, `last`, `there`."""
        return archive_notes.archives(self._store)

    def unarchive(self, path: str | Path | archiving.Archive) -> joining.MergeReport:
        """Bring the runs of an archive back, as `merge` does; the file stays where it is."""
        given = path.path if isinstance(path, archiving.Archive) else path
        if given is None:
            msg = f"There is nothing to bring back: {path!r}"
            raise HistoryError(msg)
        file = ArchiveFile.at(Path(given).expanduser().absolute())
        lots = archived.lots(self._store, file)
        report = self._joined(file.path.name, lots, self._store.read, plans=False)
        with self._store.write() as connection:
            archive_notes.forget(connection, file)
        return report

    def refused(self) -> pd.DataFrame:
        """Return one row for each write that the server refused and that is kept here.

        Columns: `write` (what was to be done), `runs` (their ids), `problem` (why it was refused),
        `path` (the file). There are none where the history is a file.
        """
        journal = self._store.journal
        rows = journal.refused() if journal else []
        return frame_of_cells(
            {
                "write": [row.write for row in rows],
                "runs": [", ".join(row.runs) for row in rows],
                "problem": [row.problem for row in rows],
                "path": [str(row.path) for row in rows],
            }
        )

    def retry_refused(self) -> Retried:
        """Try the writes of `refused` once more, in their order, each run by itself.

        What is refused again stays kept. A note or rating that was refused replaces one that was
        written since; an answer never replaces another.
        """
        journal = self._store.journal
        with self._telling():
            return journal.retry(self._store) if journal else Retried(0)

    @overload
    def merge(self, other: str | Path | RecordMethods) -> joining.MergeReport: ...

    @overload
    def merge(self, other: Sequence[Run]) -> SyncReport: ...

    def merge(
        self, other: str | Path | RecordMethods | Sequence[Run]
    ) -> joining.MergeReport | SyncReport:
        """Take over another history, a copy of this one for example; what is known stays.

        Runs are known by their id, then by execution id and external id. One that is STARTED here
        and has ended there is completed. Notes and tags of both are put together, a rating that
        differs becomes a line of the note. A run that differs otherwise stays as it is here, and
        is reported. Sweeps and blind ratings come along. A second call adds nothing.

        Parameters
        ----------
        other : path, URL, History or list of Run
            A file or server is only read, and its history may be of an older version. From a list,
            runs that have ended are taken, in one transaction; those that are STARTED are counted
            as running.
        """
        other = guarded(other)  # before anything can fail: a traceback may show what is here
        if isinstance(other, DatabaseUrl):
            with reading(other) as read:
                return self._joined(str(other), joining.lots(read), read)
        if isinstance(other, str | Path):
            with reading(Path(other).expanduser().absolute()) as read:
                return self._joined(Path(other).name, joining.lots(read), read)
        if isinstance(other, RecordMethods):
            read = other._store.read  # noqa: SLF001  (of this class)
            return self._joined(str(other._store.path), joining.lots(read), read)  # noqa: SLF001
        with self._telling():
            merged = merge(self._store, _runs(other), reads.COLUMNS)
        for one in merged:
            if one.fate in joining.CHANGED:
                self._tell(one.run_id)
        differ = [Conflict(one.run_id, one.conflicts) for one in merged if one.conflicts]
        fates = Counter[str](one.fate for one in merged)
        return SyncReport(**fates, conflicts=tuple(differ))

    def _joined(
        self, source: str, lots: Iterable[joining.Lot], read: Read, *, plans: bool = True
    ) -> joining.MergeReport:
        with self._telling():
            return joining.join(self._store, source, lots, read, self._tell, plans=plans)


def _runs(other: Any) -> list[Run]:
    runs = list(other) if isinstance(other, Iterable) else [other]
    wrong = [run for run in runs if not isinstance(run, Run)]
    if wrong:
        given = wrong[0] if isinstance(other, list | tuple) else other
        msg = (
            "merge wants another history (its file, its URL or a History) or a list of Run, "
            f"not {shown(given)}"
        )
        raise HistoryError(msg)
    return runs
