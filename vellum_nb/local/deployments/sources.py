"""Source of releases: immutable snapshots of a folder, file or cell, named by their content."""

from __future__ import annotations

import builtins
import hashlib
import os
import re
import shutil
import symtable
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vellum_nb.local.refusals import bad_request

__all__ = [
    "MODULE",
    "Snapshot",
    "Snapshots",
    "SourceError",
    "local_module",
    "module_of",
    "read_source",
    "strip_packages",
    "undefined_names",
]

MODULE = "workflow"
_PREFIX = "vellum_nb_source_"
_MOST_FILES = 2_000
_MOST_BYTES = 32 * 1024 * 1024
_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})


class SourceError(Exception):
    """A snapshot is not there any more, or is not what it was."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable copy of source files in a folder that is named by their content.

    Attributes
    ----------
    folder : Path
        Its name is a name for a Python package too.
    """

    folder: Path

    @property
    def package(self) -> str:
        """The name under which its modules are imported, the same for the same content."""
        return self.folder.name

    @property
    def uses_sdk(self) -> bool:
        """Whether a module of it mentions the Workflows SDK."""
        modules = (path for path in _files_in(self.folder) if path.suffix == ".py")
        return any(b"vellum.workflows" in path.read_bytes() for path in modules)

    def texts(self) -> Mapping[str, str]:
        """Return its text files: path to text, sorted by path.

        Raises
        ------
        SourceError
            When it is gone or was changed.
        """
        found: dict[str, str] = {}
        for path, content in self._checked().items():
            if b"\0" not in content:
                found[path] = content.decode("utf-8", errors="replace")
        return found

    def check(self) -> None:
        """Raise a `SourceError` when it is gone or was changed."""
        self._checked()

    def _checked(self) -> dict[str, bytes]:
        if not self.folder.is_dir():
            msg = f"its source {self.package} is not there any more"
            raise SourceError(msg)
        files = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in _files_in(self.folder)
        }
        if _name(files) != self.package:
            msg = f"its source {self.package} was changed on disk; a release never changes"
            raise SourceError(msg)
        return files


class Snapshots:
    """Keeps snapshots in a folder; without one, in a temporary folder that goes with the object.

    Examples
    --------
    >>> snapshots = Snapshots()
    >>> first = snapshots.keep({"workflow.py": b"def shout(text: str): return text.upper()"})
    >>> second = snapshots.keep({"workflow.py": b"def shout(text: str): return text.upper()"})
    >>> first == second
    True
    >>> list(first.texts())
    ['workflow.py']
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def keep(self, files: Mapping[str, bytes]) -> Snapshot:
        """Return the snapshot of `files` (path to content), made when it is not there."""
        root = self._root()
        snapshot = Snapshot(root / _name(files))
        if not snapshot.folder.exists():
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
            try:
                _write(files, made)
                made.replace(snapshot.folder)
            except OSError:
                shutil.rmtree(made, ignore_errors=True)
                if not snapshot.folder.exists():  # else another process was first
                    raise
        snapshot.check()
        return snapshot

    def get(self, name: str) -> Snapshot:
        """Return the snapshot called `name`, whether it is there or not."""
        return Snapshot(self._root() / PurePosixPath(name).name)

    def _root(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="vellum_nb-sources-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder.resolve()


def module_of(target: object) -> str:
    """Return the module of a function, without the package of the snapshot that it is in.

    Examples
    --------
    >>> module_of(read_source)
    'vellum_nb.local.deployments.sources'
    """
    return local_module(str(getattr(target, "__module__", None) or ""))


def local_module(module: str) -> str:
    """Return the name of a module, without the package of the snapshot that it is in.

    Examples
    --------
    >>> local_module("vellum_nb_source_0123.nodes.rate")
    'nodes.rate'
    """
    package, _, rest = module.partition(".")
    return rest if package.startswith(_PREFIX) else module


def strip_packages(text: str) -> str:
    """Return `text` with the modules of snapshots in it named as `local_module` names them."""
    return re.sub(rf"\b{_PREFIX}\w+\.", "", text)


def read_source(path: Path) -> dict[str, bytes]:
    """Return the files of a project folder, or a ``.py`` file as ``workflow.py``.

    Hidden files, caches and virtual environments are left out.

    Raises
    ------
    VellumNBError
        When there is nothing, too much, or a link that leads out of the folder.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if path.suffix == ".py":
            return {f"{MODULE}.py": path.read_bytes()}
    except OSError as exc:
        msg = f"The source {str(path)!r} cannot be read: {exc}"
        raise bad_request(msg) from exc
    what = "is no .py file" if path.exists() else "is not there"
    msg = f"{str(path)!r} {what}; deploy a project folder or a .py file"
    raise bad_request(msg)


def _folder(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    size = 0
    for path in _files_in(folder, links=True):
        name = path.relative_to(folder).as_posix()
        if name.encode(errors="replace") != name.encode(errors="surrogatepass"):
            msg = f"{name!r} in {folder.name} is a name that is no text; rename that file"
            raise bad_request(msg)
        if path.is_dir() or not path.resolve().is_relative_to(folder.resolve()):
            msg = f"{name} is a link to a folder or out of {folder.name}; only files are copied"
            raise bad_request(msg)
        size += path.stat().st_size
        if len(files) == _MOST_FILES or size > _MOST_BYTES:
            msg = (
                f"The folder {folder.name} has more than {_MOST_FILES:,} files or 32 MiB "
                f"(counted up to {name}); deploy a folder that holds the workflow alone"
            )
            raise bad_request(msg)
        files[name] = path.read_bytes()
    if not any(name.endswith(".py") for name in files):
        msg = f"The folder {folder.name} holds no .py file"
        raise bad_request(msg)
    return files


def _files_in(folder: Path, *, links: bool = False) -> Iterator[Path]:
    """Yield the files that count, in order, and, if asked, links to folders."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _counts(name))
        if links:
            yield from (Path(where, name) for name in folders if Path(where, name).is_symlink())
        for path in (Path(where, name) for name in sorted(names) if _counts(name)):
            if path.suffix not in {".pyc", ".pyo"} and path.is_file():
                yield path


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _SKIPPED


def _name(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{_PREFIX}{digest.hexdigest()[:32]}"


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
    folder.chmod(0o755)


_ALWAYS = frozenset({*dir(builtins), "__name__", "__file__", "__doc__", "__annotations__"})


def undefined_names(source: str) -> list[str]:
    r"""Return the names that a module of this text uses, but neither defines nor imports.

    Examples
    --------
    >>> undefined_names("import json\ndef f(x): return json.dumps(x, indent=WIDTH)")
    ['WIDTH']
    """
    module = symtable.symtable(source, "<cell>", "exec")
    tables = list(_tables(module))
    defined = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported()}
    for table in tables:
        defined |= {
            s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()
        }
    used = {
        s.get_name()
        for table in tables
        for s in table.get_symbols()
        if s.is_referenced() and s.is_global()
    }
    return sorted(used - defined - _ALWAYS)


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
