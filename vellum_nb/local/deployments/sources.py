"""Source of releases: immutable snapshots of a folder, file or cell, named by their content."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import os
import re
import shutil
import symtable
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from vellum_nb.local.refusals import Refused, bad_request

fcntl: Any = importlib.import_module("fcntl") if os.name != "nt" else None

MODULE = "workflow"
_PREFIX = "vellum_nb_source_"
_TEMPORARY_PREFIX = "vellum_nb-sources-"
_TOO_YOUNG_S = 60.0  # a temporary folder that may not have its lock yet
MAX_FILES = 2_000
MAX_BYTES = 32 * 1024 * 1024
_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})
_ALWAYS_DEFINED = frozenset({*dir(builtins), "__name__", "__file__", "__doc__", "__annotations__"})


class CodeUnavailableError(Exception):
    """The code of a release cannot be loaded any more: it is missing, or was changed."""


@dataclass(frozen=True)
class Snapshot:
    """An immutable copy of source files, named by their content."""

    package: str
    snapshots: Snapshots = field(compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The folder with the files."""
        return self.snapshots.folder_of(self.package)

    @cached_property
    def uses_sdk(self) -> bool:
        """Whether a module of it mentions the Workflows SDK."""
        files = self.snapshots.files_of(self.package).items()
        return any(b"vellum.workflows" in text for name, text in files if name.endswith(".py"))

    def texts(self) -> Mapping[str, str]:
        """Return its text files: path to text, sorted by path."""
        files = self.snapshots.files_of(self.package).items()
        return {
            path: content.decode("utf-8", errors="replace")
            for path, content in files
            if b"\0" not in content
        }

    def check(self) -> None:
        """Raise a `CodeUnavailableError` when its folder is missing or was changed."""
        _read(self.folder)


class Snapshots:
    """Snapshots in a folder; without one in memory, and in a temporary folder once they run."""

    def __init__(self, folder: Path | None = None) -> None:
        temporary = Path(tempfile.gettempdir()) / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        self._is_temporary = folder is None
        self._folder = (folder or temporary).resolve()
        self._lock = threading.Lock()
        self._in_memory: dict[str, Mapping[str, bytes]] = {}
        self._remove: weakref.finalize[Any, Snapshots] | None = None

    def add(self, files: Mapping[str, bytes]) -> Snapshot:
        """Return the snapshot of `files` (path to content), made when it is missing."""
        snapshot = self.get(_name(files))
        if self._is_temporary:
            self._in_memory[snapshot.package] = dict(sorted(files.items()))
        else:
            _write(files, self._folder / snapshot.package)
            snapshot.check()
        return snapshot

    def get(self, name: str) -> Snapshot:
        """Return the snapshot called `name`, whether it exists or not."""
        return Snapshot(PurePosixPath(name).name, self)

    def folder_of(self, name: str) -> Path:
        """Return the folder of a snapshot, written when it is only in memory."""
        folder = self._folder / name
        if self._is_temporary:
            with self._lock:
                if self._remove is None:
                    _remove_abandoned()
                    # The same path again: modules imported from it may import others.
                    self._folder.mkdir(mode=0o700)
                    lock = _lock(self._folder)
                    self._remove = weakref.finalize(self, _remove, self._folder, lock)
                if name in self._in_memory:
                    _write(self._in_memory[name], folder)
        return folder

    def files_of(self, name: str) -> Mapping[str, bytes]:
        """Return the files of a snapshot: path to content; raises a `CodeUnavailableError`."""
        return self._in_memory.get(name) or _read(self.folder_of(name))

    def close(self) -> None:
        """Remove the temporary folder; it is written again when a snapshot runs later."""
        with self._lock:
            if self._remove is not None:
                self._remove()
                self._remove = None


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    if folder.exists():
        return
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, content in files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o400)
        made.replace(folder)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if not folder.exists():  # else another thread or process was first
            raise


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder, or None when another process has it."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _remove_abandoned() -> None:
    """Remove the temporary folders of killed processes, whose locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(OSError):  # another process removes it, or it belongs to another user
            is_old = folder.lstat().st_mtime < time.time() - _TOO_YOUNG_S
            if is_old and (lock := _lock(folder)) is not None:
                _remove(folder, lock)


def module_of(target: object) -> str:
    """Return the module of a function, without the package of its snapshot."""
    return local_module(str(getattr(target, "__module__", None) or ""))


def local_module(module: str) -> str:
    """Return the name of a module, without the package of its snapshot."""
    package, _, rest = module.partition(".")
    return rest if package.startswith(_PREFIX) else module


def strip_packages(text: str) -> str:
    """Return `text` with the modules of snapshots in it named as `local_module` names them."""
    return re.sub(rf"\b{_PREFIX}\w+\.", "", text)


def undefined_names(source: str) -> list[str]:
    """Return the names that a module of this text uses, but neither defines nor imports."""
    try:
        module = symtable.symtable(source, "<cell>", "exec")
    except SyntaxError as exc:
        msg = f"The source is not valid Python: {exc}"
        raise bad_request(msg) from exc
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

    Hidden files, caches and virtual environments are left out.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".py":
            return {f"{MODULE}.py": path.read_bytes()}
    except OSError as exc:
        msg = f"The source {str(path)!r} cannot be read: {exc}"
        raise bad_request(msg) from exc
    what = "is not a .py file" if path.exists() else "does not exist"
    msg = f"{str(path)!r} {what}; deploy a project folder or a .py file"
    raise bad_request(msg)


def check_files(files: Mapping[str, bytes], what: str) -> dict[str, bytes]:
    """Return the files of a project, without those that are left out."""
    counted: dict[str, bytes] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        is_outside = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
        if is_outside or not path.parts:
            msg = f"{name!r:.160} is not a path within {what}"
            raise bad_request(msg)
        if all(map(_counts, path.parts)):
            counted[path.as_posix()] = content
    if len(counted) > MAX_FILES or sum(map(len, counted.values())) > MAX_BYTES:
        raise _too_much(what)
    if not any(name.endswith(".py") for name in counted):
        msg = f"{what} holds no .py file"
        raise bad_request(msg)
    return counted


def _read_folder(folder: Path) -> dict[str, bytes]:
    what = f"The folder {folder.name}"
    files: dict[str, bytes] = {}
    size = 0
    for path in _files_in(folder):
        name = path.relative_to(folder).as_posix()
        if name.encode(errors="replace") != name.encode(errors="surrogatepass"):
            msg = f"{name!r} in {folder.name} is a name that is not text; rename that file"
            raise bad_request(msg)
        if path.is_dir() or not path.resolve().is_relative_to(folder.resolve()):
            msg = f"{name} is a link to a folder or out of {folder.name}; only files are copied"
            raise bad_request(msg)
        size += path.stat().st_size
        if len(files) == MAX_FILES or size > MAX_BYTES:
            so_far = f"{what}, counted up to {name},"
            raise _too_much(so_far)
        files[name] = path.read_bytes()
    return check_files(files, what)


def _too_much(what: str) -> Refused:
    msg = f"{what} has more than {MAX_FILES:,} files or 32 MiB; "
    return bad_request(f"{msg}deploy a folder that holds the workflow alone")


def _read(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        msg = f"its source {folder.name} is missing"
        raise CodeUnavailableError(msg)
    found = (path for path in _files_in(folder) if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    if _name(files) != folder.name:
        msg = f"its source {folder.name} was changed on disk; a release never changes"
        raise CodeUnavailableError(msg)
    return files


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files that count, in order, and links to folders."""
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
