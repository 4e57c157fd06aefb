"""SQLite files shared by threads and processes: open, check, migrate, read, write.

The history and the ledger and registry of the local server use this module. One connection writes
and another reads, each with its own lock, so a long read does not delay a write. A write is one
transaction: either it is committed before `SqliteFile.write` returns, or it has no effect, even
after Ctrl-C or a kill. Files that are damaged, newer, or of another program are never changed.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import stat
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from vellum_nb.errors import VellumNBError

__all__ = [
    "MEMORY",
    "TEMPORARY",
    "FileFormat",
    "Snapshot",
    "SqliteFile",
    "Transaction",
    "reading",
]

MEMORY = ":memory:"
TEMPORARY = ""  # unnamed file, deleted when the connection is closed
WAIT_S = 30.0
"""Seconds during which a read or a write waits for a locked file."""

Parameters = Mapping[str, Any]
Migration = Callable[[Any], None]  # called with a Transaction
T = TypeVar("T")
C = TypeVar("C")

_NO_PARAMETERS: Parameters = {}
_CHECKED_BYTES = 8 * 2**20  # larger files are not checked when opened
_SMALLEST_FILE = 512  # bytes of one page; SQLite treats a file of one byte as empty
_CANNOT_OPEN = "it cannot be opened; check that it is a file and that its folder can be written"
# Definitions without expressions, which SQLite does not evaluate.
_PLAIN_TABLE = re.compile(r"CREATE TABLE ", re.IGNORECASE)
_COLUMN = r"\w+( COLLATE (BINARY|NOCASE|RTRIM))?( ASC| DESC)?"
_PLAIN_INDEX = re.compile(
    rf"CREATE (UNIQUE )?INDEX \w+ ON \w+ ?\( ?{_COLUMN}( ?, ?{_COLUMN})* ?\)\Z", re.IGNORECASE
)
_QUOTED = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]""",
    re.DOTALL,
)
_EXECUTED = re.compile(r"\b(AS|CHECK|GENERATED)\b", re.IGNORECASE)
_NOT_UTF8 = "decode to UTF-8"  # message of Python, as the error has no code
_NOT_SQLITE = "it is not an SQLite file and was not changed; choose another file"
_ADVICE = {
    sqlite3.SQLITE_BUSY: f"another program has locked it for more than {WAIT_S:.0f} seconds; "
    "end that program or its transaction and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; change its permissions or choose another file",
    sqlite3.SQLITE_CANTOPEN: _CANNOT_OPEN,
    sqlite3.SQLITE_CORRUPT: "it is damaged and was not changed; put a backup in its place, or "
    "save what can be read with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: _NOT_SQLITE,
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written; check that it is not full, and "
    "keep the file on a local disk, not on a network drive",
}
_ADVICE[sqlite3.SQLITE_LOCKED] = _ADVICE[sqlite3.SQLITE_PROTOCOL] = _ADVICE[sqlite3.SQLITE_BUSY]
_ADVICE[sqlite3.SQLITE_PERM] = _ADVICE[sqlite3.SQLITE_READONLY]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """Format of a file: name in messages, application id, versions, and exception type.

    The first n `migrations` create version n. The sequence is append only. A file of an older
    version is copied before it is migrated.
    """

    name: str
    application_id: int
    migrations: Sequence[Migration]
    error: type[VellumNBError] = VellumNBError
    refuse: Callable[[int], str | None] = lambda _: None
    """Optional reason for refusing a file by its application id."""
    derived: Sequence[str] = ()
    """Statements that create virtual tables outside of migrations."""


class Transaction:
    """An open transaction. Parameters are named (``:name``)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, sql: str, parameters: Parameters = _NO_PARAMETERS) -> list[tuple[Any, ...]]:
        """Return all rows of a statement, such as ``SELECT`` or ``INSERT ... RETURNING``."""
        return _fetch(self._connection, sql, parameters)

    def execute(self, sql: str, parameters: Parameters = _NO_PARAMETERS) -> int:
        """Execute a statement; return the number of changed rows."""
        return self._connection.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Execute a statement once per row of parameters."""
        self._connection.executemany(sql, rows)


class Snapshot(Transaction):
    """A consistent read on a separate connection, for one thread."""

    def stream(
        self, sql: str, parameters: Parameters = _NO_PARAMETERS, *, rows: int = 1000
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in lists of at most `rows`; invalid UTF-8 is read as bytes."""
        batches = 0
        for factory in (str, text_or_bytes):  # the second is slow
            self._connection.text_factory = factory
            cursor = self._connection.execute(sql, parameters)
            try:
                for _ in range(batches):
                    cursor.fetchmany(rows)
                while batch := cursor.fetchmany(rows):
                    batches += 1
                    yield batch
            except sqlite3.OperationalError as exc:
                if _NOT_UTF8 not in str(exc) or factory is text_or_bytes:
                    raise
            else:
                return

    def cancel(self) -> None:
        """Cancel the running query from another thread."""
        self._connection.interrupt()


class Converting:
    """Translate exceptions with `convert`; re-raise unchanged if it returns None."""

    def __init__(self, convert: Callable[[Exception], VellumNBError | None]) -> None:
        self._convert = convert

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        error = self._convert(exc) if isinstance(exc, Exception) else None
        if error is not None:
            raise error from None  # its message includes the details of `exc`


class Link(Generic[C]):
    """A connection, opened on first use, with a lock. Reopens a lost connection."""

    def __init__(
        self, opener: Callable[[], C], is_lost: Callable[[C], bool] = lambda _: False
    ) -> None:
        self.lock = threading.RLock()
        self.in_write = False
        self.connection: C | None = None  # with a method close
        self._opener, self._is_lost = opener, is_lost

    def open(self) -> C:
        """Return the connection; the caller holds the lock."""
        if self.connection is None or self._is_lost(self.connection):
            self.connection = None
            self.connection = self._opener()
        return self.connection

    def close(self) -> None:
        """Close the connection when no thread uses it; the next use reopens it."""
        with self.lock:
            if self.connection is not None:
                self.connection.close()  # type: ignore[attr-defined]
                self.connection = None

    def renew(self) -> None:
        """Discard the inherited connection in a forked process, without closing it."""
        _INHERITED.append(self.connection)
        self.lock, self.in_write, self.connection = threading.RLock(), False, None


class SqliteFile:
    """An SQLite file of one `FileFormat`, created if missing.

    Threads and processes can share the file. After a fork, parent and child open separate
    connections. `path` can be `MEMORY` or `TEMPORARY`. With `read_only`, the file must exist and is
    not changed; with `fsync`, each write waits for the disk. `FileFormat.error` is raised if the
    file is damaged, newer, of another program, or cannot be opened.
    """

    transaction_class: ClassVar[type[Transaction]] = Transaction
    snapshot_class: ClassVar[type[Snapshot]] = Snapshot

    def __init__(
        self,
        path: Path | str,
        file_format: FileFormat,
        *,
        read_only: bool = False,
        fsync: bool = False,
    ) -> None:
        self.path = path
        self._fsync = bool(fsync)
        self.closed = False
        self._format = file_format
        self._read_only = read_only
        self._had_log = True  # logs of other connections are not removed
        self._forked = False
        self._writer = Link(self._open_writer)
        self._reader = Link(self._open_reader) if isinstance(path, Path) else self._writer
        with self._errors(OSError):
            if isinstance(path, Path):
                self._prepare(path)
                self._had_log = not read_only or has_log_files(path)
                self._inspect(path)
            if not read_only:
                with self._writer.lock:
                    self._writer.open()
        self._identity = self._file_now()
        survive_forks(self)

    def read(self, sql: str, parameters: Parameters = _NO_PARAMETERS) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        deadline = time.monotonic() + WAIT_S
        with self._errors(), self._reader.lock:
            run = partial(_fetch, self._usable(self._reader), sql, parameters)
            return retry_while_locked(run, deadline)

    def write(self, change: Callable[[Any], T]) -> T:
        """Call `change` in one transaction, commit, and return the result.

        An error or Ctrl-C rolls the transaction back. The call waits up to `WAIT_S` seconds for a
        locked file.
        """
        deadline = time.monotonic() + WAIT_S
        link = self._writer
        with self._errors(), link.lock:
            if link.in_write:
                msg = f"A write to the {self._format.name} {self.path} began within another write"
                raise self._format.error(msg)
            connection = self._usable(link)
            _roll_back(connection)  # left open by a second Ctrl-C
            try:
                link.in_write = True
                retry_while_locked(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
                result = change(self.transaction_class(connection))
                connection.execute("COMMIT")
            finally:
                link.in_write = False
                try:
                    _roll_back(connection)
                finally:  # in case of Ctrl-C before the rollback
                    _roll_back(connection)
            return result

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        """Provide a consistent read for the block without blocking writers. Memory is copied."""
        with self._errors():
            with self._reader.lock:
                usable = self._usable(self._reader)
                connection = self._open_reader() if isinstance(self.path, Path) else _copy(usable)
            with closing(connection):
                connection.execute("BEGIN")
                state = "SELECT count(*) FROM sqlite_master"
                retry_while_locked(partial(connection.execute, state))
                yield self.snapshot_class(connection)

    @property
    def identity(self) -> object:
        """Key shared by all stores on the same file."""
        return self._identity or id(self)

    def size(self) -> int:
        """Return the size in bytes without the write-ahead log."""
        pages, page_size = self.read("SELECT * FROM pragma_page_count, pragma_page_size")[0]
        return int(pages * page_size)

    def vacuum(self) -> None:
        """Return unused space to the disk."""
        with self._errors(), self._writer.lock:
            connection = self._usable(self._writer)
            retry_while_locked(partial(connection.execute, "VACUUM"))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def backup(self, target: Path) -> None:
        """Copy a consistent state to the new file `target` without blocking writers."""
        with self._errors(), self.snapshot() as state:
            try:
                copy_database(state._connection, target)  # noqa: SLF001  (of this module)
            except OSError as exc:
                msg = f"The copy {target!s:.300} cannot be written: {exc.strerror or exc}"
                raise self._format.error(msg) from exc

    def close(self) -> None:
        """Close the file after running statements; a second call has no effect."""
        is_first, self.closed = not self.closed, True
        self._reader.close()
        self._writer.close()
        if is_first and not self._had_log and isinstance(self.path, Path):
            remove_log(self.path)

    def __del__(self) -> None:
        if hasattr(self, "_writer") and not self._forked:
            self.close()

    def prepare_connection(self, connection: sqlite3.Connection) -> None:
        """Prepare a new connection; for subclasses."""

    def links(self) -> list[Link[Any]]:
        """Return the connections to lock during a fork."""
        return [self._writer, self._reader]

    def before_fork(self) -> None:
        """Close idle connections, which a child process must not inherit."""
        for link in self.links():
            connection = link.connection
            if isinstance(self.path, Path) and connection and not connection.in_transaction:
                link.close()

    def after_fork(self) -> None:
        """Discard inherited connections in a forked child process."""
        self._forked = not isinstance(self.path, Path)
        for link in self.links():
            link.renew()

    def _usable(self, link: Link[sqlite3.Connection]) -> sqlite3.Connection:
        """Return the connection of the locked `link`; raise an error if the file was replaced."""
        noun = f"The {self._format.name} {self.path}"
        if self.closed:
            msg = f"{noun} was closed; open it again"
            raise self._format.error(msg)
        if self._forked:
            msg = f"{noun} belongs to the process that made it; a forked process needs a file"
            raise self._format.error(msg)
        if self._file_now() != self._identity:
            msg = (
                f"{noun} was deleted, moved or replaced since it was opened; put it back, or open "
                "it again. Nothing was read or written"
            )
            raise self._format.error(msg)
        return link.open()

    def _file_now(self) -> tuple[int, int] | None:
        """Return the identity of the file at the path, which can change."""
        if not isinstance(self.path, Path):
            return None
        try:
            status = os.stat(self.path)  # noqa: PTH116 - faster, and called for each query
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _errors(self, *more: type[Exception]) -> Converting:
        """Translate errors of SQLite and of unsupported values to the error of the format."""
        kinds: tuple[type[Exception], ...] = (sqlite3.Error, UnicodeError, OverflowError, *more)
        return Converting(lambda exc: self._explained(exc) if isinstance(exc, kinds) else None)

    def _explained(self, exc: Exception) -> VellumNBError:
        noun = f"The {self._format.name} {self.path!s:.300} cannot be used"
        if isinstance(exc, UnicodeDecodeError) or _NOT_UTF8 in str(exc):
            # Python's message contains the text, which can be long or secret.
            return self._format.error(
                f"{noun}: {_ADVICE[sqlite3.SQLITE_CORRUPT]} (a text is not UTF-8)"
            )
        if isinstance(exc, UnicodeError | OverflowError):
            return self._format.error(f"A value cannot be stored or looked for: {exc}")
        if isinstance(exc, OSError):
            return self._format.error(f"{noun}: {_CANNOT_OPEN} ({exc.strerror or exc})")
        advice = _ADVICE.get(_code(exc), "SQLite refused the statement")
        return self._format.error(f"{noun}: {advice} ({exc})")

    def _prepare(self, path: Path) -> None:
        """Create folder and file for their owner only; raise an error if it is not a file."""
        try:
            if not self._read_only:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_CREAT | os.O_EXCL | os.O_RDWR  # O_EXCL: see _inspect
                with suppress(FileExistsError):
                    os.close(os.open(os.path.realpath(path), flags, 0o600))
            status = path.stat()
        except ValueError as exc:  # a NUL in the name
            raise OSError(str(exc)) from exc
        if not stat.S_ISREG(status.st_mode):
            msg = "not a regular file"
            raise OSError(msg)
        if status.st_nlink > 1:
            msg = (
                f"The {self._format.name} {path} has {status.st_nlink} names (hard links): SQLite "
                "would keep a log for each and damage the file. Copy it, and open the copy"
            )
            raise self._format.error(msg)
        if 0 < status.st_size < _SMALLEST_FILE:
            msg = f"The {self._format.name} {path} cannot be used: {_NOT_SQLITE}"
            raise self._format.error(msg)

    def _inspect(self, path: Path) -> None:
        """Raise an error for a damaged, newer or foreign file, without changing it.

        Only SQLite opens the file: POSIX releases the locks of all connections of the process when
        any handle of the file is closed.
        """
        with closing(open_read_only(path)) as connection:
            retry_while_locked(lambda: self._check(connection, path))

    def _check(self, connection: sqlite3.Connection, path: Path) -> None:
        connection.execute("BEGIN")  # consistent, as another process can create the file
        try:
            self._refuse_unfit(connection)
            size = path.stat().st_size
            is_torn = size % _pragma(connection, "page_size") > 0 and not _has_log(path)
            if size <= _CHECKED_BYTES or is_torn:
                outcome = str(_pragma(connection, "quick_check(1)")).splitlines()[-1]
                if outcome != "ok" or is_torn:
                    raise sqlite3.DatabaseError(_DAMAGED)
        finally:
            connection.execute("ROLLBACK")

    def _refuse_unfit(self, connection: sqlite3.Connection) -> None:
        version, ours = _pragma(connection, "user_version"), self._format
        if _is_empty(connection):
            return
        application_id = _pragma(connection, "application_id")
        if application_id != ours.application_id:
            foreign = "it is a database of another program and was not changed; choose another"
            reason = ours.refuse(application_id) or foreign
        elif version > len(ours.migrations):
            reason = f"it was written by a newer vellum_nb (version {version}); upgrade to read it"
        else:
            reason = schema_problem(connection, ours, self.transaction_class) or ""
        if reason:
            msg = f"The {ours.name} {self.path} cannot be used: {reason}"
            raise ours.error(msg)

    def _open_reader(self) -> sqlite3.Connection:
        if self._read_only and isinstance(self.path, Path):
            connection = self._upgraded(open_read_only(self.path))
        else:
            connection = _connect(str(self.path))
        self.prepare_connection(connection)
        retry_while_locked(partial(connection.execute, "PRAGMA query_only = ON"))
        return connection

    def _upgraded(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return `connection`, or one to a migrated copy if the file has an older version."""
        if not 0 < _pragma(connection, "user_version") < len(self._format.migrations):
            return connection
        copy = _connect(TEMPORARY)
        with closing(connection):
            connection.backup(copy)
        self.prepare_connection(copy)
        copy.execute("BEGIN")
        self._migrate(copy)
        copy.execute("COMMIT")
        return copy

    def _open_writer(self) -> sqlite3.Connection:
        if self._read_only:
            msg = f"The {self._format.name} {self.path} was opened read-only"
            raise self._format.error(msg)
        connection = _connect(str(self.path))
        self.prepare_connection(connection)
        deadline = time.monotonic() + WAIT_S
        mode = "WAL" if isinstance(self.path, Path) else "MEMORY"
        # Small pages, as a recorded run changes eleven pages, which are written to the log.
        level = "FULL" if self._fsync else "NORMAL"
        settings = ("page_size = 2048", f"synchronous = {level}", f"fullfsync = {self._fsync:d}")
        try:
            more = ("wal_autocheckpoint = 8000", f"journal_mode = {mode}")
            for pragma in (*settings, *more):
                retry_while_locked(partial(_pragma, connection, pragma), deadline)
            retry_while_locked(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
            self._migrate(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Migrate the file to the newest version; the caller holds the write lock and commits."""
        self._refuse_unfit(connection)
        version, target = _pragma(connection, "user_version"), len(self._format.migrations)
        if version == target:
            return
        if isinstance(self.path, Path) and version and not self._read_only:
            copy = _copy_beside(self.path, version)
            if sys.stderr is not None:
                sys.stderr.write(
                    f"The {self._format.name} {self.path} is upgraded from version {version} to "
                    f"{target}; a copy of the old one is {copy}\n"
                )
        for migrate in self._format.migrations[version:]:
            migrate(self.transaction_class(connection))
        connection.execute(f"PRAGMA application_id = {self._format.application_id}")
        connection.execute(f"PRAGMA user_version = {target}")


def _fetch(
    connection: sqlite3.Connection, sql: str, parameters: Parameters
) -> list[tuple[Any, ...]]:
    """Return all rows; text that is not UTF-8 is returned as bytes."""
    try:
        return connection.execute(sql, parameters).fetchall()
    except sqlite3.OperationalError as exc:
        if _NOT_UTF8 not in str(exc) or not sql.lstrip().startswith("SELECT"):
            raise
    connection.text_factory = text_or_bytes
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.text_factory = str


def text_or_bytes(content: bytes) -> str | bytes:
    """Return text, or bytes if it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def schema_problem(
    connection: sqlite3.Connection, file_format: FileFormat, transaction_class: type[Transaction]
) -> str | None:
    """Return the reason for refusing a file with a different schema, or None.

    SQLite executes definitions in a file: triggers, views, virtual tables, generated columns,
    checks and indexed expressions. Additional definitions must be plain tables and indexes.
    """
    version = _pragma(connection, "user_version")
    migrations = tuple(file_format.migrations)
    ours = _statements(migrations, version, transaction_class)  # type: ignore[arg-type]  # hashable
    sql = "SELECT sql, lower(tbl_name) FROM sqlite_master WHERE sql IS NOT NULL"
    definitions = {_one_line(text): (text, table) for text, table in connection.execute(sql)}
    defined, tables = definitions.keys(), set(map(_table_of, ours))
    for text in sorted(defined - ours - set(map(_one_line, file_format.derived))):
        sql, table = definitions[text]
        if not _is_plain(sql, is_of_ours=table in tables):
            return (
                f"it defines {text!r:.120}, which no {file_format.name} has: such a definition can "
                "change data or never end. Nothing was changed; if you trust the file, remove this "
                "with sqlite3, else use a backup"
            )
    names = {table for _, table in definitions.values()}
    for text in sorted(text for text in ours - defined if text.startswith("CREATE TABLE")):
        if (name := _table_of(text)) in names:
            return (
                f"its table {name} was changed by another program. Nothing was changed now; undo "
                f"that with sqlite3 (a column that was added: ALTER TABLE {name} DROP COLUMN ...), "
                "and keep columns of your own in a table of your own"
            )
        raise sqlite3.DatabaseError(_DAMAGED) from ValueError(text)
    return None


def _is_plain(sql: str, *, is_of_ours: bool) -> bool:
    """Return True for a table or an index without expressions."""
    bare = _one_line(_QUOTED.sub(lambda match: " " if match["comment"] else " q ", sql))
    if _EXECUTED.search(bare):
        return False
    index = _PLAIN_INDEX.match(bare)
    # A unique index on one of our tables could reject writes.
    is_harmless_index = index is not None and not (index[1] and is_of_ours)
    return is_harmless_index or _PLAIN_TABLE.match(bare) is not None


def _table_of(definition: str) -> str:
    """Return the table created by a statement of ours, or an empty text."""
    made = re.match(r"CREATE TABLE [\"'`\[]?(\w+)", definition)
    return made[1].lower() if made else ""


@lru_cache(maxsize=32)
def _statements(
    migrations: tuple[Migration, ...],
    version: int,
    transaction_class: Callable[[sqlite3.Connection], Transaction],
) -> frozenset[str]:
    """Return the definitions in a file of this version."""
    with closing(_connect(MEMORY)) as connection:
        for migrate in migrations[: max(0, version)]:
            migrate(transaction_class(connection))
        sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        return frozenset(_one_line(text) for (text,) in connection.execute(sql))


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def has_log_files(path: Path) -> bool:
    """Return True if the write-ahead log or its index exists; the file can be open elsewhere."""
    return any(path.with_name(f"{path.name}{ending}").exists() for ending in ("-wal", "-shm"))


def remove_log(path: Path) -> None:
    """Let SQLite remove an empty log created by a reader, unless it is in use.

    SQLite removes the log when a writable connection is closed. This would also roll back an
    unfinished transaction in a `-journal`, so files with a journal are skipped.
    """
    if not has_log_files(path) or path.with_name(f"{path.name}-journal").exists():
        return
    damage = sqlite3.Error, UnicodeError  # the message about a damaged schema can be invalid UTF-8
    with suppress(*damage), closing(open_read_only(path)) as reader:
        if _pragma(reader, "journal_mode") != "wal":
            return
    with suppress(*damage), closing(_connect(f"{_uri(path)}?mode=rw", uri=True)) as writer:
        _pragma(writer, "schema_version")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading, and remove the log if the reader created it."""
    had_log = has_log_files(path)
    try:
        with closing(open_read_only(path)) as connection:
            yield connection
    finally:
        if not had_log:
            remove_log(path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading, also in a read-only folder if it is not open elsewhere."""
    uri = f"{_uri(path)}?mode=ro"
    connection = _connect(uri, uri=True)
    try:
        _pragma(connection, "schema_version")
    except sqlite3.Error as exc:  # other errors are raised again by the check of the file
        codes = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
        if _code(exc) in codes and not _has_log(path):
            connection.close()
            return _connect(f"{uri}&immutable=1", uri=True)
    return connection


def retry_while_locked(call: Callable[[], T], deadline: float | None = None) -> T:
    """Return `call()`; retry until `deadline` (default: for `WAIT_S`) while the file is locked.

    The busy handler of SQLite sleeps for increasing times, and one of several writers starves.
    Short random pauses are fair.
    """
    deadline = time.monotonic() + WAIT_S if deadline is None else deadline
    while True:
        try:
            return call()
        except sqlite3.OperationalError as exc:
            is_locked = _code(exc) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not is_locked or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311  (not a secret)


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database to the new file `target`, readable only by its owner."""
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # reserves the name
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            source.backup(copy)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


_DAMAGED = "database disk image is malformed"


def _code(exc: BaseException) -> int:
    """Return the primary result code of SQLite, or 0 for errors raised by Python."""
    code: int = getattr(exc, "sqlite_errorcode", None) or 0
    return code & 0xFF or (sqlite3.SQLITE_CORRUPT if str(exc) == _DAMAGED else 0)


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    # The timeout also applies to the first PRAGMA.
    connection = sqlite3.connect(
        target, timeout=0.02, isolation_level=None, check_same_thread=False, uri=uri
    )
    connection.execute("PRAGMA trusted_schema = OFF")  # disables functions with side effects
    return connection


def _uri(path: Path) -> str:
    return path.absolute().as_uri()


def _pragma(connection: sqlite3.Connection, pragma: str) -> Any:
    rows = connection.execute(f"PRAGMA {pragma}").fetchall()
    return rows[0][0] if rows else None


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Return True for a new, empty file."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    marks = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    return not tables and not any(marks)


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    copy = _connect(MEMORY)
    connection.backup(copy)
    return copy


def _copy_beside(path: Path, version: int) -> Path:
    """Copy a file before its migration; existing copies are not overwritten."""
    name = f"{path.name}.v{version}-backup-{datetime.now(UTC):%Y-%m-%d}"
    with closing(_connect(str(path))) as source:
        for number in range(1, 1000):
            copy = path.with_name(name if number == 1 else f"{name}-{number}")
            with suppress(FileExistsError):
                copy_database(source, copy)
                return copy
    msg = f"there are too many copies {name}"
    raise OSError(msg)


_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()
_INHERITED: list[object] = []
_FORK_WAIT_S = 5.0
_at_fork: list[Link[Any]] = []


def survive_forks(store: Any) -> None:
    """Register a store with `links`, `before_fork` and `after_fork` for forks."""
    _OPEN.add(store)


def _before_fork() -> None:
    """Lock all connections: a child process would wait forever for a thread that uses one."""
    for store in list(_OPEN):
        locked = (link for link in store.links() if link.lock.acquire(timeout=_FORK_WAIT_S))
        _at_fork.extend(locked)
    for store in list(_OPEN):
        store.before_fork()


def _after_fork_in_parent() -> None:
    while _at_fork:
        _at_fork.pop().lock.release()


def _after_fork_in_child() -> None:
    _at_fork.clear()
    for store in list(_OPEN):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
