"""The exports of a history: which runs and columns go into what file, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, Unpack

from vellum_nb.history.exporting.export import csv_of_stream, jsonl_of_stream
from vellum_nb.history.exporting.export_progress import progress_line
from vellum_nb.history.exporting.naming import refuse_misnamed
from vellum_nb.history.exporting.parquet import arrow, parquet_of_stream
from vellum_nb.history.exporting.shape import chosen_names
from vellum_nb.history.exporting.streams import Stream
from vellum_nb.history.exporting.unknown import warn_of_unknown
from vellum_nb.history.keeping.archive_notes import spare
from vellum_nb.history.keeping.archived import both
from vellum_nb.history.methods.recording import RecordMethods
from vellum_nb.history.reading.damaged import told
from vellum_nb.history.reading.query import Filters, select
from vellum_nb.history.reading.source import Source
from vellum_nb.history.store.replacing import replacing, replacing_bytes

__all__ = ["ExportMethods"]


@dataclass(frozen=True, slots=True)
class _Export:
    """What is asked for."""

    writer: str
    path: str | Path | None
    columns: str | Sequence[str] | None
    progress: bool | None
    archived: bool
    filters: Filters


class ExportMethods(RecordMethods):
    """The half of `vellum_nb.History` that writes files."""

    @told
    def to_csv(
        self,
        path: str | Path,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        archived: bool = False,
        **filters: Unpack[Filters],
    ) -> Path:
        r"""Write the frame as CSV that `vellum_nb.read_csv` reads back to the same frame.

        The file is what the history was when the export began, however much is recorded
        meanwhile, and needs little memory, however many runs there are. It takes the place of an
        old one when it is whole.

        Parameters
        ----------
        path : str or Path
            Where to.
        columns : str or sequence of str, optional
            Which columns, in this order. Default: all, as in `frame`.
        progress : bool, optional
            Whether to show on standard error how far it is. Default: where that takes long.
        archived
            Whether runs in archives are meant as well. They are put into a file for temporary
            files meanwhile.
        **filters
            Which runs; as in `runs`.

        Raises
        ------
        HistoryError
            The file cannot be written, is named after another format (``.jsonl``, ``.parquet``),
            or there is no such column. The old file stays.

        Warns
        -----
        UserWarning
            The file has no run, as none is of that deployment, release tag or author.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> with vnb.History(":memory:") as history:
        ...     path = history.to_csv("runs.csv", columns=["release_tag", "state"])
        >>> path.read_text()
        '"release_tag","state"\n'
        """
        with replacing(path) as file:
            self._csv(file, _Export("to_csv", path, columns, progress, archived, filters))
        return Path(path)

    @told
    def to_jsonl(
        self,
        path: str | Path,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        archived: bool = False,
        **filters: Unpack[Filters],
    ) -> Path:
        """Write one run a line, as JSON that ``Run.model_validate_json`` reads back.

        With `columns`, a line is an object of these columns in this order, with null where the
        run has no value, and structured values as they are. `vellum_nb.read_jsonl` reads both to
        the same frame. All else is as in `to_csv`.
        """
        with replacing(path) as file:
            self._jsonl(file, _Export("to_jsonl", path, columns, progress, archived, filters))
        return Path(path)

    @told
    def to_parquet(
        self,
        path: str | Path,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        archived: bool = False,
        **filters: Unpack[Filters],
    ) -> Path:
        """Write the frame as Parquet; needs pyarrow, from the extra ``fast``.

        A column of mixed types is written as JSON text, which `vellum_nb.read_parquet` reads back
        to the same values; all others come back in any reader. All else is as in `to_csv`.
        """
        arrow("to_parquet")
        with (
            replacing_bytes(path) as file,
            self._stream(
                _Export("to_parquet", path, columns, progress, archived, filters)
            ) as stream,
        ):
            parquet_of_stream(stream, file)
        return Path(path)

    @told
    def write_csv(
        self,
        file: TextIO,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        archived: bool = False,
        **filters: Unpack[Filters],
    ) -> None:
        """Write what `to_csv` writes to an open file."""
        self._csv(file, _Export("write_csv", None, columns, progress, archived, filters))

    @told
    def write_jsonl(
        self,
        file: TextIO,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        archived: bool = False,
        **filters: Unpack[Filters],
    ) -> None:
        """Write what `to_jsonl` writes to an open file."""
        self._jsonl(file, _Export("write_jsonl", None, columns, progress, archived, filters))

    def _csv(self, file: TextIO, export: _Export) -> None:
        with self._stream(export) as stream:
            csv_of_stream(stream, file, anew=export.path is not None and file.seekable())

    def _jsonl(self, file: TextIO, export: _Export) -> None:
        with self._stream(export, 1 if export.columns is None else 2) as stream:
            jsonl_of_stream(stream, file.write)

    @contextmanager
    def _stream(self, export: _Export, passes: int = 2) -> Iterator[Stream]:
        """Hold the runs of an export; each is read in so many passes."""
        chosen = chosen_names(export.columns)
        if export.path is not None:
            spare(self._store, export.path)
            refuse_misnamed(export.path, export.writer)
        title = "export" if export.path is None else Path(export.path).name
        with ExitStack() as stack:
            if export.archived:
                places = both(stack, self._store, export.filters)
            else:
                selection = select(export.filters, self._store)
                places = [(stack.enter_context(self._store.snapshot()), selection)]
            source = Source(*places)
            warn_of_unknown(source, export.filters, title)
            rows = 0 if export.progress is False else source.count()
            tick = stack.enter_context(progress_line(title, rows * passes, export.progress))
            yield Stream(source, chosen, tick)
