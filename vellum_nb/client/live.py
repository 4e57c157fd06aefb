"""The body of an answer, read as it comes, that any thread can close at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from urllib3.exceptions import HTTPError

from vellum_nb.client.failures import cut_off
from vellum_nb.client.transport import Call
from vellum_nb.errors import APIConnectionError

__all__ = ["LiveBody"]

_AT_ONCE = 65_536


class LiveBody:
    """What a server still sends.

    Parameters
    ----------
    what
        The request, as messages name it.
    raw
        The response of urllib3.
    call
        The exchange it belongs to, which can be cut.
    watch
        Whatever is to be closed with it.
    read_timeout
        Seconds that a read waits for data.
    hide
        Takes the key out of bytes.
    """

    def __init__(
        self,
        what: str,
        raw: Any,
        call: Call,
        watch: ExitStack,
        *,
        read_timeout: float | None,
        hide: Callable[[bytes], bytes],
    ) -> None:
        self.what = what
        self.hide = hide
        self._raw = raw
        self._call = call
        self._watch = watch
        self._timeout = read_timeout
        self._busy = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def read(self) -> bytes | APIConnectionError:
        """Wait for data and return it: nothing at the end, or the error that ended it.

        The error is returned, so that it carries none of the request in its context.
        """
        found: bytes | APIConnectionError
        with self._busy:
            try:
                found = self._raw.read1(_AT_ONCE, decode_content=True) or b""
            except (HTTPError, OSError, ValueError) as exc:
                found = cut_off(self.what, exc, read=self._timeout)
            if not isinstance(found, bytes) or not found:
                found = self._ended(found)
            elif self._raw.closed:
                self._call.release()  # all is read: the connection may serve another call now
        if self._closed:
            self._let_go()
        return found

    def hurry(self, seconds: float) -> None:
        """Let no read wait longer than `seconds` from now on."""
        self._call.hurry(seconds)

    def close(self) -> None:
        """Hang up at once, also while another thread reads; calling it again does nothing."""
        self._closed = True
        self._call.cut()
        self._let_go()

    def _ended(self, found: bytes | APIConnectionError) -> bytes | APIConnectionError:
        was_cut = self._call.release()
        self._watch.close()
        self._raw.close()
        if was_cut and not self._closed:
            message = f"{self.what} was cancelled; the server may go on with it."
            return APIConnectionError(message, sent=True)
        return found

    def _let_go(self) -> None:
        """Close the connection, unless a thread reads: the cut wakes it, and it does so itself."""
        if self._busy.acquire(blocking=False):
            try:
                self._call.release()
                self._watch.close()
                self._raw.close()
            finally:
                self._busy.release()
