"""The archive that a pulled release comes as, as texts."""

from __future__ import annotations

import io
import zipfile
import zlib

from vellum_nb.errors import APIResponseError

__all__ = ["texts_of"]

_MOST_BYTES = 64 * 2**20


def texts_of(archive: bytes, what: str) -> dict[str, str]:
    """Return path to text, by path; a file that is no text is told by its size.

    Raises
    ------
    APIResponseError
        It is no ZIP archive, or one that grows beyond 64 MiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            members = [info for info in files.infolist() if not info.is_dir()]
            if sum(info.file_size for info in members) > _MOST_BYTES:
                msg = f"{what} is an archive of more than {_MOST_BYTES >> 20} MiB; it was not read"
                raise APIResponseError(msg)
            found = {info.filename: _text(files.read(info)) for info in members}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as exc:
        msg = f"{what} is no ZIP archive that can be read: {exc}"
        raise APIResponseError(msg) from exc
    return dict(sorted(found.items()))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are no text)\n"
