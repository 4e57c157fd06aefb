"""From the bytes of a multipart/form-data body to the one file in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message

from vellum_nb.local.refusals import bad_request

__all__ = ["Part", "file_part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file as it was sent."""

    filename: str
    media_type: str
    content: bytes = field(repr=False)


def file_part(content_type: str, body: bytes, name: str = "file") -> Part:
    r"""Return the part of a form that is called `name`.

    Raises
    ------
    VellumNBError
        When the body is no form, or has no such part.

    Examples
    --------
    >>> head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    >>> part = file_part("multipart/form-data; boundary=x", head + b"hello\r\n--x--\r\n")
    >>> part.filename, part.content
    ('a.txt', b'hello')
    """
    header = _headers(f"Content-Type: {content_type}".encode("latin-1", "replace"))
    boundary = header.get_param("boundary")
    if (
        header.get_content_type() != "multipart/form-data"
        or not boundary
        or not isinstance(boundary, str)
    ):
        msg = f"The body is {content_type or 'of no type'!r:.80}; multipart/form-data is expected"
        raise bad_request(msg)
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    chunks = (b"\r\n" + body).split(delimiter)
    if len(chunks) < 3 or not chunks[-1].startswith(b"--"):  # noqa: PLR2004 - before, part, after
        msg = "The multipart body is cut off, or has no part"
        raise bad_request(msg)
    for chunk in chunks[1:-1]:
        head, separator, content = chunk.partition(b"\r\n\r\n")
        headers = _headers(head)
        if separator and headers.get_param("name", header="content-disposition") == name:
            kind = headers.get("content-type", "").partition(";")[0].strip()
            return Part(headers.get_filename("upload"), kind, content)
    msg = f"The multipart body has no part {name!r}"
    raise bad_request(msg)


def _headers(head: bytes) -> Message:
    message = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, colon, value = line.partition(":")
        if colon and key.strip():
            message[key.strip()] = value.strip()
    return message
