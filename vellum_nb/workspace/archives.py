"""The archive that a pulled release comes as, as texts."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from pathlib import PureWindowsPath

from vellum_nb.errors import APIResponseError

__all__ = ["texts_of"]

_MOST_BYTES = 64 * 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    struct.error,
)


def texts_of(archive: bytes, what: str) -> dict[str, str]:
    """Return path to text, by path; a file that is no text is told by its size.

    Raises
    ------
    APIResponseError
        It is no ZIP archive, one that grows beyond 64 MiB, or one with paths that lead out of the
        folder that somebody may write it to.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            members = [info for info in files.infolist() if not info.is_dir()]
            if sum(info.file_size for info in members) > _MOST_BYTES:
                msg = f"{what} is an archive of more than {_MOST_BYTES >> 20} MiB; it was not read"
                raise APIResponseError(msg)
            found = {info.filename: _text(_content(files, info)) for info in members}
    except _UNREADABLE as exc:
        msg = f"{what} is no ZIP archive that can be read: {exc}"
        raise APIResponseError(msg) from exc
    astray = [path for path in found if _leads_out(path)]
    if astray:
        msg = f"{what} has paths that lead out of its folder, {astray[0]!r:.60}; it was not read"
        raise APIResponseError(msg)
    return dict(sorted(found.items()))


def _content(files: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a file; one that is longer than it says grows no further."""
    with files.open(info) as file:
        return file.read(info.file_size + 1)


def _leads_out(path: str) -> bool:
    windows = PureWindowsPath(path)  # it understands both kinds of slashes
    return bool(windows.anchor) or ".." in windows.parts


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are no text)\n"
