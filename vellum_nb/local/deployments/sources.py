"""Source of releases: immutable snapshots of a folder, file or cell, named by their content."""

from __future__ import annotations

import builtins
import hashlib
import itertools
import os
import re
import shutil
import sqlite3
import stat
import symtable
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from vellum_nb.errors import VellumNBError
from vellum_nb.local.refusals import Refused

MODULE = "workflow"
_PREFIX = "vellum_nb_source_"
_TEMPORARY_PREFIX = "vellum_nb-sources-"
_TOO_YOUNG_S = 60.0  # a new temporary folder is locked within this time
MAX_FILES = 2_000
MAX_BYTES = 32 * 1024 * 1024
_MAX_FOLDERS = 50  # within each other
_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})
_ALWAYS_DEFINED = frozenset({*dir(builtins), "__name__", "__file__", "__doc__", "__annotations__"})


class CodeUnavailableError(Exception):
    """The code of a release is missing or was changed."""


@dataclass(frozen=True)
class Snapshot:
    """Immutable copy of source files, in a folder named by their hash."""

    folder: Path

    @property
    def package(self) -> str:
        """Name of the package of its modules."""
        return self.folder.name

    @cached_property
    def uses_sdk(self) -> bool:
        """Whether a module mentions the Workflows SDK."""
        files = self.files().items()
        return any(b"vellum.workflows" in text for name, text in files if name.endswith(".py"))

    def files(self) -> dict[str, bytes]:
        """Return its files by path; raise `CodeUnavailableError` if they were changed."""
        if not self.folder.is_dir():
            msg = f"its source {self.package} is missing"
            raise CodeUnavailableError(msg)
        paths = (path for path in _files_in(self.folder) if path.is_file())
        files = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}
        if _name(files) != self.package:
            msg = f"its source {self.package} was changed on disk; a release never changes"
            raise CodeUnavailableError(msg)
        return files

    def texts(self) -> Mapping[str, str]:
        """Return its text files by path, sorted."""
        files = sorted(self.files().items())
        return {path: text.decode("utf-8", "replace") for path, text in files if b"\0" not in text}


class Snapshots:
    """Snapshots in a folder; default: a temporary one, removed with this object."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
            _remove_abandoned(folder.stat().st_uid)
            weakref.finalize(self, _remove, folder, lock_folder(folder), os.getpid())
        self._folder = folder.resolve()

    def add(self, files: Mapping[str, bytes]) -> Snapshot:
        """Create the snapshot of `files` (path to content) unless it exists; return it."""
        snapshot = self.get(_name(files))
        if not snapshot.folder.exists():
            _write(files, snapshot.folder)
        snapshot.files()
        return snapshot

    def get(self, name: str) -> Snapshot:
        """Return the snapshot `name`, which need not exist."""
        return Snapshot(self._folder / PurePosixPath(name).name)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, content in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o400)
        made.replace(folder)
    except OSError as exc:
        shutil.rmtree(made, ignore_errors=True)
        if not folder.exists():  # another thread or process can be first
            raise Refused(400, f"The source cannot be stored: {exc.strerror}") from exc


def lock_folder(folder: Path) -> sqlite3.Connection:
    """Lock a folder; the system unlocks it when the process ends."""
    path = folder / "server.lock"
    path.touch(mode=0o600)
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as exc:
        db.close()
        msg = f"The folder {folder} cannot be locked for this server ({exc}: server.lock)"
        if exc.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            msg = f"The folder {folder} is used by another server ({exc}); "
            msg += "stop that one, or give this one a folder of its own"
        raise VellumNBError(msg) from exc
    return db


def _remove(folder: Path, lock: sqlite3.Connection, process: int) -> None:
    if process == os.getpid():  # not in a fork
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(owner: int) -> None:
    """Remove temporary folders of killed processes of this user, which are not locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(OSError, VellumNBError):  # it is in use
            status = folder.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == owner
            if is_ours and status.st_mtime < time.time() - _TOO_YOUNG_S:
                _remove(folder, lock_folder(folder), os.getpid())


def module_of(target: object) -> str:
    """Return the module of a function, without the package of its snapshot."""
    return local_module(str(getattr(target, "__module__", None) or ""))


def local_module(module: str) -> str:
    """Return the name of a module, without the package of its snapshot."""
    package, _, local_name = module.partition(".")
    return local_name if package.startswith(_PREFIX) else module


def strip_packages(text: str) -> str:
    """Remove the packages of snapshots from module names in `text`."""
    return re.sub(rf"\b{_PREFIX}\w+\.", "", text)


def undefined_names(source: str) -> list[str]:
    """Return the names that a module uses, but neither defines nor imports."""
    try:
        module = symtable.symtable(source, "<cell>", "exec")
    except SyntaxError as exc:
        raise Refused(400, f"The source is not valid Python: {exc}") from exc
    tables = [module]
    for table in tables:  # it grows
        tables += table.get_children()
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    defined = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported()}
    defined |= {s.get_name() for s in symbols if s.is_declared_global() and s.is_assigned()}
    used = {s.get_name() for s in symbols if s.is_referenced() and s.is_global()}
    return sorted(used - defined - _ALWAYS_DEFINED)


def read_source(path: Path) -> dict[str, bytes]:
    """Return the files of a project folder, or a ``.py`` file as ``workflow.py``.

    Hidden files, caches and virtual environments are skipped.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".py":
            return {f"{MODULE}.py": path.read_bytes()}
    except OSError as exc:
        raise Refused(400, f"The source {str(path)!r} cannot be read: {exc}") from exc
    problem = "is not a .py file" if path.exists() else "does not exist"
    raise Refused(400, f"{str(path)!r} {problem}; deploy a project folder or a .py file")


def check_files(files: Mapping[str, bytes], label: str) -> dict[str, bytes]:
    """Return the files of a project, without skipped ones."""
    counted: dict[str, bytes] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        is_outside = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
        if is_outside or not path.parts:
            raise Refused(400, f"{name!r:.160} is not a path within {label}")
        if len(path.parts) > _MAX_FOLDERS + 1:
            msg = f"{name!r:.160} is in more than {_MAX_FOLDERS} folders; move the file up"
            raise Refused(400, msg)
        if name.encode(errors="replace") != name.encode(errors="surrogatepass"):
            raise Refused(400, f"{name!r:.160} is a name that is not text; rename that file")
        if all(map(_counts, path.parts)):
            counted[path.as_posix()] = content
    if len(counted) > MAX_FILES or sum(map(len, counted.values())) > MAX_BYTES:
        raise _too_much(label)
    if not any(name.endswith(".py") for name in counted):
        raise Refused(400, f"{label} holds no .py file")
    return counted


def _read_folder(folder: Path) -> dict[str, bytes]:
    label = f"The folder {folder.name}"
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in itertools.islice(_files_in(folder), MAX_FILES + 1)
    }
    for name, path in paths.items():
        if path.is_dir() or not path.resolve().is_relative_to(folder.resolve()):
            msg = f"{name} is a link to a folder or out of {folder.name}; only files are copied"
            raise Refused(400, msg)
    if len(paths) > MAX_FILES or sum(path.stat().st_size for path in paths.values()) > MAX_BYTES:
        raise _too_much(label)
    return check_files({name: path.read_bytes() for name, path in paths.items()}, label)


def _too_much(label: str) -> Refused:
    msg = f"{label} has more than {MAX_FILES:,} files or 32 MiB; "
    return Refused(400, f"{msg}deploy a folder that holds the workflow alone")


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files, without skipped ones, and links to folders, in order."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(filter(_counts, folders))
        yield from (path for name in folders if (path := Path(where, name)).is_symlink())
        yield from (
            path
            for name in sorted(names)
            if _counts(name) and (path := Path(where, name)).is_file()
        )


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _SKIPPED and not name.endswith((".pyc", ".pyo"))


def _name(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{_PREFIX}{digest.hexdigest()[:32]}"
