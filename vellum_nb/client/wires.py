"""A connection that never waits, and the request that it carries."""

from __future__ import annotations

import time
from ssl import SSLWantReadError, SSLWantWriteError

from urllib3.connection import HTTPConnection

from vellum_nb.client.exchange import Request
from vellum_nb.client.reply_parser import ReplyParser

__all__ = ["Flight", "Wire"]

_CHUNK = 65536  # bytes
_LATER = (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)
_TOO_LATE = (BrokenPipeError, ConnectionResetError)


class Flight:
    """A request under way.

    Attributes
    ----------
    left : bytes
        What has not been written yet.
    began, heard : float
        When it was asked for, and when the server last gave a sign.
    wire : Wire or None
        What carries it. From then on the server may have received it.
    """

    __slots__ = ("began", "heard", "key", "left", "request", "wire")

    def __init__(self, key: str, request: Request, left: bytes) -> None:
        self.key, self.request, self.left = key, request, left
        self.began = self.heard = time.perf_counter()
        self.wire: Wire | None = None


class Wire:
    """An open connection, which carries one request at a time."""

    __slots__ = ("closed", "connection", "flight", "is_writing", "parser", "sock")

    def __init__(self, connection: HTTPConnection) -> None:
        connection.sock.settimeout(0)
        self.connection = connection
        self.sock = connection.sock
        self.parser = ReplyParser()
        self.flight: Flight | None = None
        self.is_writing = self.closed = False

    def write(self) -> None:
        """Write as much of the request as can be written now.

        Raises
        ------
        OSError
            The connection is lost.
        """
        flight = self.flight
        if flight is None or not flight.left:
            return
        try:
            flight.left = flight.left[self.sock.send(flight.left) :]
        except _LATER:
            pass
        except _TOO_LATE:
            flight.left = b""  # the server may have answered before it hung up

    def go_on(self) -> bool:
        """Write what is left and read what is there; return whether the answer is complete.

        Raises
        ------
        OSError
            It will not be.
        """
        self.write()
        try:
            ended = self.parser.feed(self.sock.recv(_CHUNK))
            pending = getattr(self.sock, "pending", None)
            while pending is not None and pending():  # TLS has decrypted more
                ended = self.parser.feed(self.sock.recv(_CHUNK))
        except _LATER:
            return self.parser.is_complete
        return ended
