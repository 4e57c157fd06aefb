"""An answer, put together from the bytes of a connection as they come."""

from __future__ import annotations

from http.client import RemoteDisconnected
from io import BytesIO

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPHeaderDict, HTTPResponse

from vellum_nb.client.exchange import Answer

__all__ = ["MisreadError", "ReplyParser"]

_LONGEST_HEAD = 2**18  # bytes
_FIRST_FINAL = 200
_DELIMITED = frozenset({b"content-length", b"transfer-encoding"})
_LENIENT = (
    "headers",
    "chunked_length",
    "transfer_encoding",
    "version",
    "data_after_close",
    "optional_lf_after_cr",
    "optional_cr_before_lf",
    "optional_crlf_after_chunk",
    "spaces_after_chunk_size",
)
"""What `http.client`, which reads the answers of all other calls, puts up with as well."""


class MisreadError(ConnectionError):
    """The answer is no HTTP, or none that is read here."""


class ReplyParser:
    r"""Reads the answers of one connection, one after the other.

    Attributes
    ----------
    is_complete : bool
        Whether an answer is there.
    keeps_alive : bool
        Whether the connection can serve again, once the answer is complete.

    Examples
    --------
    >>> parser = ReplyParser()
    >>> parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
    False
    >>> parser.feed(b"}"), parser.answer().content, parser.keeps_alive
    (True, b'{}', True)
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**{f"lenient_{name}": True for name in _LENIENT})
        self.keeps_alive = False
        self.renew()

    def renew(self) -> None:
        """Wait for the next answer."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._status = self._taken = 0
        self.is_complete = False

    def feed(self, data: bytes) -> bool:
        """Take what came, ``b""`` at the end; return whether an answer is complete.

        Raises
        ------
        ConnectionError
            None will come.
        """
        if not data:
            return self._at_end()
        self._taken += len(data)
        self._parse(data)
        if not self._status and self._taken > _LONGEST_HEAD:
            msg = "the answer has no end of its headers"
            raise ConnectionError(msg)
        return self.is_complete

    def answer(self) -> Answer:
        """Return the answer that is complete.

        Raises
        ------
        urllib3.exceptions.HTTPError
            Its body is not encoded as it says.
        """
        headers = HTTPHeaderDict()
        for name, value in self._headers:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        content = b"".join(self._body)
        if "Content-Encoding" in headers:
            coded = HTTPResponse(BytesIO(content), headers, preload_content=False)
            content = coded.read(decode_content=True)
        return Answer(self._status, headers, content)

    def on_message_begin(self) -> None:
        """Note that an answer begins; there is one only to each request."""
        if self.is_complete:
            msg = "nothing was asked"
            raise ConnectionError(msg)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header; what follows a body is none, and says nothing of it."""
        if not self._status:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the body follows."""
        self._status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        """Note a part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Note the end of an answer; one of 1xx only announces another."""
        if self._status < _FIRST_FINAL:
            self.renew()
            return
        self.keeps_alive = self._parser.should_keep_alive()
        self.is_complete = True

    def _parse(self, data: bytes) -> None:
        why = None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            why = "the server changes to another protocol"
        except HttpParserError as exc:
            self.keeps_alive = False
            why = None if self.is_complete else f"the answer is no HTTP: {exc}"
        if why is not None:  # raised here: of a chain, its first error would be told
            raise MisreadError(why)

    def _at_end(self) -> bool:
        """Note that the connection ended, which ends a body of unknown length."""
        self.keeps_alive = False
        names = {name.lower() for name, _ in self._headers}
        if self.is_complete or (self._status and names.isdisjoint(_DELIMITED)):
            self.is_complete = True
            return True
        if self._taken:
            msg = "the connection broke off in the midst of the answer"
            raise ConnectionError(msg)
        msg = "Remote end closed connection without response"
        raise RemoteDisconnected(msg)
