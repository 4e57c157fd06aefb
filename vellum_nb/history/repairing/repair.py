"""A damaged history is made whole: what can be read goes into a new file, the old one stays."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.repairing.pages import Pages
from vellum_nb.history.repairing.proof import EMPTY, faults
from vellum_nb.history.repairing.salvage import Salvage
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.sqlite.backups import private
from vellum_nb.history.sqlite.copies import looked_at
from vellum_nb.history.sqlite.files import explained, locate, located
from vellum_nb.history.sqlite.migrations import APPLICATION_ID, SCHEMA_VERSION, migrate

__all__ = ["RepairedHistory", "repair_history"]

_CHUNK = 500
_MARK = "repaired"
_COLUMNS = ", ".join(
    ["r.seq", *(f"r.{name}" for name in SCALARS), *(f"p.{name}" for name in (*PAYLOADS, "large"))]
)
_NAMES = ("seq", *SCALARS, *PAYLOADS, "large")


@dataclass(frozen=True, slots=True, repr=False)
class RepairedHistory:
    """What `repair_history` could save.

    Attributes
    ----------
    path : Path
        The new history.
    source : Path
        The damaged one, left as it is.
    runs : int
        Runs that are in the new one.
    of : int
        Runs that there were, as far as the file still tells.
    lost : tuple of str
        Ids of runs that are lost, where an index still names them.
    cut : tuple of str
        Ids of runs some of whose payloads are lost; ``run.metadata["repaired"]`` names which.
    is_count_sure : bool
        Whether no run can have been there that nothing tells of any more.
    missing : int
        Pages that the file says it has, and that are not there: it was cut off.
    payloads : Path or None
        JSON lines with inputs and outputs whose run is lost, where there are such.
    """

    path: Path
    source: Path
    runs: int
    of: int
    lost: tuple[str, ...]
    cut: tuple[str, ...]
    is_count_sure: bool
    missing: int
    payloads: Path | None = None
    _alone: int = 0

    def __str__(self) -> str:
        least = "" if self.is_count_sure else "at least "
        text = f"{self.runs:,} of {least}{self.of:,} runs of {self.source} are in {self.path}"
        if self.cut:
            text += (
                f"; {len(self.cut):,} of them lost inputs, outputs or other payloads "
                f'(run.metadata["{_MARK}"] names which)'
            )
        if self.runs < self.of:
            text += f"; {self.of - self.runs:,} could not be read"
        if self.payloads is not None:
            text += f"; payloads of {self._alone:,} of them are in {self.payloads}"
        if self.missing:
            text += f"; the file is cut off, {self.missing:,} pages are missing"
        return text

    def __repr__(self) -> str:
        return f"<RepairedHistory: {self}>"


def repair_history(
    path: str | Path | None = None, *, to: str | Path | None = None
) -> RepairedHistory:
    """Save every run that can be read from a damaged history into a new file.

    The damaged file is only read. Its pages are read one by one, also those that SQLite cannot
    reach any more; what was deleted stays deleted. A letter that changed within a text cannot be
    seen: SQLite keeps no checksums.

    Parameters
    ----------
    path : str or Path, optional
        The damaged file; default: as for `History`.
    to : str or Path, optional
        The new file, which must not be there yet. Default: ``runs-repaired.db`` beside `path`.

    Raises
    ------
    HistoryError
        There is no such file, nothing in it can be read, or the new one cannot be written.

    Examples
    --------
    >>> from vellum_nb import History, repair_history
    >>> History("runs.db").close()
    >>> repair_history("runs.db", to="new.db")
    Traceback (most recent call last):
    vellum_nb.errors.HistoryError: Nothing could be saved from ...runs.db: ...
    """
    source = located(path)
    target = Path(locate(to or source.with_name(f"{source.stem}-repaired{source.suffix}")))
    for file in (target, _beside(target)):
        if os.path.exists(file):  # noqa: PTH110  (raises nothing, however long a name is)
            msg = (
                f"There is a file {file} already; name another one for what is saved from {source}"
            )
            raise HistoryError(msg)
    made = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        done, alone = looked_at(source, partial(_repair, source, target, made))
        if alone:
            done = replace(done, payloads=_written(alone, target), _alone=len(alone))
        made.replace(target)
    except sqlite3.Error as exc:
        raise explained(exc, target) from exc
    except OSError as exc:
        msg = f"{source} could not be repaired into {target}: {exc.strerror}"
        raise HistoryError(msg) from exc
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)
    return done


def _repair(
    source: Path, target: Path, made: Path, held: sqlite3.Connection
) -> tuple[RepairedHistory, list[dict[str, Any]]]:
    """Save what can be read into `made`; return also the payloads whose run is lost."""
    # Where SQLite can still read it, it stands still; its own complaint may be no text.
    with suppress(sqlite3.Error, UnicodeDecodeError):
        held.execute("BEGIN")
        held.execute("SELECT count(*) FROM sqlite_master").fetchone()
    made.unlink(missing_ok=True)
    private(made)
    pages = Pages(source)
    _refuse_foreign(pages, source)
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")  # of a full disk a file would stay
        connection.execute("BEGIN")
        migrate(connection)
        salvage = Salvage(pages, connection)
        salvage.take()
        cut = _proofread(connection)
        kept = dict(connection.execute("SELECT seq, id FROM runs"))
        alone = _alone(connection)
        archives = connection.execute("SELECT 1 FROM archives LIMIT 1").fetchall()
        if not (kept or alone or archives):
            raise _nothing(pages, source)
        connection.execute("COMMIT")
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    done = RepairedHistory(
        path=target,
        source=source,
        runs=len(kept),
        of=len({*salvage.ids, *kept, *(row["seq"] for row in alone)}),
        lost=tuple(name for seq, name in sorted(salvage.ids.items()) if name and seq not in kept),
        cut=tuple(cut),
        is_count_sure=salvage.sure and not pages.missing,
        missing=pages.missing,
    )
    return done, alone


def _nothing(pages: Pages, source: Path) -> HistoryError:
    what = "" if pages.has_header else "it is no SQLite file, and "
    return HistoryError(
        f"Nothing could be saved from {source}: {what}no run can be read in its "
        f"{pages.count:,} pages; put a backup in its place"
    )


def _alone(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Take out the payloads whose run is lost, and return them."""
    names = ("seq", *PAYLOADS)
    where = "WHERE seq NOT IN (SELECT seq FROM runs)"
    found = connection.execute(f"SELECT {', '.join(names)} FROM payloads {where} ORDER BY seq")
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    connection.execute(f"DELETE FROM payloads {where}")
    return rows


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.stem}.payloads.jsonl")


def _written(rows: list[dict[str, Any]], target: Path) -> Path:
    path = _beside(target)
    with path.open("x", encoding="utf-8") as file:
        path.chmod(0o600)
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return path


def _refuse_foreign(pages: Pages, source: Path) -> None:
    first = pages.read(1)
    if first is None or not pages.has_header:
        return
    version, application = (int.from_bytes(first[at : at + 4], "big") for at in (60, 68))
    if application == APPLICATION_ID and SCHEMA_VERSION < version < 1000:  # noqa: PLR2004
        msg = (
            f"The history {source} has schema version {version}, and this vellum_nb knows versions "
            f"up to {SCHEMA_VERSION}; update vellum_nb to repair it"
        )
        raise HistoryError(msg)


def _proofread(connection: sqlite3.Connection) -> list[str]:
    """See to it that every run can be read; return the ids of those that lost payloads."""
    cut = []
    for row in _rows(connection):
        wrong = faults(row) if row["inputs"] is not None else list(EMPTY)
        if set(wrong) <= {*PAYLOADS, "large"}:
            if wrong:
                _cut(connection, row, wrong)
                cut.append(row["id"])
        else:
            connection.execute("DELETE FROM runs WHERE seq = ?", (row["seq"],))
            connection.execute("DELETE FROM payloads WHERE seq = ?", (row["seq"],))
    return cut


def _rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    last = -(1 << 63)
    sql = (
        f"SELECT {_COLUMNS} FROM runs r LEFT JOIN payloads p ON p.seq = r.seq "
        f"WHERE r.seq > ? ORDER BY r.seq LIMIT {_CHUNK}"
    )
    while found := connection.execute(sql, (last,)).fetchall():
        for row in found:
            yield dict(zip(_NAMES, row, strict=True))
        last = found[-1][0]


def _cut(connection: sqlite3.Connection, row: Mapping[str, Any], wrong: list[str]) -> None:
    """Leave out what cannot be read, and say so in the run's metadata."""
    kept = {name: row[name] for name in (*PAYLOADS, "large")} | dict.fromkeys(wrong)
    metadata = json.loads(kept["metadata"] or "{}") | {_MARK: f"lost: {', '.join(wrong)}"}
    kept |= {name: kept[name] or text for name, text in EMPTY.items()}
    kept |= {"metadata": json.dumps(metadata), "seq": row["seq"]}
    names = ", ".join(kept)
    marks = ", ".join(f":{name}" for name in kept)
    connection.execute(f"INSERT OR REPLACE INTO payloads ({names}) VALUES ({marks})", kept)
