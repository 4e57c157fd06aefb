"""What all widgets of ours are built on: threads, faults in callbacks, static forms."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anywidget
import ipywidgets as ipw

from vellum_nb.widgets.markup import alert_html

__all__ = [
    "Debouncer",
    "ErrorBoundary",
    "Readable",
    "SerialExecutor",
    "ThreadSafeWidget",
    "close_tree",
    "keep_order",
    "note",
    "static_html",
]


class Readable(ipw.DOMWidget):  # type: ignore[misc]  # no types are published for ipywidgets
    """A widget that goes into a notebook with its text and its HTML, see `_html`."""

    def _html(self) -> str:
        """Return what stands in place of the widget where there is no kernel."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(data, dict):
            data["text/plain"] = repr(self)
            data["text/html"] = self._html()
        return bundle


def static_html(widget: Any) -> str:
    """Return the HTML that stands in place of `widget` where there is no kernel."""
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    return str((data or {}).get("text/html", ""))


class ThreadSafeWidget(anywidget.AnyWidget):
    """Sends its state in one piece, so that nothing older than it comes after something newer.

    A page that was late (see ``static/hearing.js``) asks for the whole state, and the kernel
    answers in one thread while another goes on changing it.
    """

    def __init__(self, **traits: Any) -> None:
        self._sending = threading.RLock()
        super().__init__(**traits)

    def send_state(self, key: Any = None) -> None:
        """Send the whole state, or that of some traits."""
        with self._sending:
            super().send_state(key)


class SerialExecutor:
    """Runs calls in turn, in a thread that ends when there are none left.

    Examples
    --------
    >>> done = []
    >>> errands = SerialExecutor("example")
    >>> errands.do(lambda: done.append("first"))
    >>> errands.do(lambda: done.append("second"))
    >>> errands.wait(5), done
    (True, ['first', 'second'])
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._idle = threading.Condition()
        self._is_working = False

    def do(self, call: Callable[[], None]) -> None:
        """Have `call` called soon; returns at once."""
        with self._idle:
            self._calls.append(call)
            if not self._is_working:
                self._is_working = True
                self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; return whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._is_working, timeout)

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        try:
            while (call := self._next()) is not None:
                call()
        except BaseException:
            with self._idle:
                self._start()  # what was asked for after the fault is done all the same
            raise

    def _next(self) -> Callable[[], None] | None:
        with self._idle:
            if self._calls:
                return self._calls.popleft()
            self._is_working = False
            self._idle.notify_all()
            return None


_MOST = 1.0  # seconds until the next call when nothing was heard


class Debouncer:
    """Calls `show` soon after a `poke`, and again and again as long as it returns True.

    However many pokes there are, `show` is called once for those that came since it began, never
    twice at once, and never in the thread that poked. Its thread ends when there is nothing more
    to show. The pause between two calls grows with the time that a call takes.

    Parameters
    ----------
    show : callable
        Shows what is so now.
    name : str
        The thread's name.
    least : float
        Seconds between two calls at least.

    Examples
    --------
    >>> done = threading.Event()
    >>> pump = Debouncer(done.set, name="example")
    >>> pump.poke()
    >>> done.wait(5)
    True
    >>> pump.close()
    """

    def __init__(self, show: Callable[[], bool | None], *, name: str, least: float = 0.2) -> None:
        self._show = show
        self._name = name
        self._least = least
        self._changed = threading.Condition()
        self._poked = False
        self._closed = False
        self._ready_at = 0.0
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Ask for a call soon; returns at once."""
        with self._changed:
            self._poked = True
            if self._thread is None and not self._closed:
                self._start()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing to show any more; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def close(self) -> None:
        """Make no further call; wait for one that is under way, unless it is the caller."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._thread is not threading.current_thread():
                self._changed.wait_for(lambda: self._thread is None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._once():
                pass
        except BaseException:
            with self._changed:
                self._end()
                if self._poked and not self._closed:
                    self._start()  # what was asked for after the fault is shown all the same
            raise

    def _once(self) -> bool:
        """Show when it is time, and wait for the next; return whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, self._ready_at - time.monotonic())
            if self._closed:
                return self._end()
            self._poked = False
        began = time.monotonic()
        try:
            goes_on = self._show()
        finally:
            ended = time.monotonic()
            self._ready_at = ended + max(self._least, 2 * (ended - began))
        with self._changed:
            if not (goes_on or self._poked):
                return self._end()
            pause = self._ready_at - time.monotonic() + _MOST
            self._changed.wait_for(lambda: self._closed or self._poked, pause)
        return True

    def _end(self) -> bool:
        self._thread = None
        self._changed.notify_all()
        return False


_ROUTE = "_reply_subshell_for"


def keep_order(widget: Any) -> None:
    """Have one thread hear `widget` and all its children, also later ones, in turn.

    ipykernel 7.4 hands what a widget says to the thread that last wrote to this widget, so that
    in a busy kernel a click on Run overtakes the text typed before it. JupyterLab asks for one
    thread for all widgets; here it gets it. Other kernels do so by themselves.
    """
    comm = getattr(widget, "comm", None)
    if getattr(comm, _ROUTE, _as_asked) is _as_asked:
        return
    setattr(comm, _ROUTE, _as_asked)
    if widget.has_trait("children"):
        widget.observe(_keep_children, "children")
        for child in widget.children:
            keep_order(child)


def _keep_children(change: Any) -> None:
    for child in change["new"]:
        keep_order(child)


def _as_asked(_data: object, subshell_id: str | None) -> str | None:
    return subshell_id


def note(html: str, *classes: str) -> Any:
    """Return `html` as a widget; the caller has escaped it."""
    widget = ipw.HTML(html)
    for name in classes:
        widget.add_class(name)
    return widget


def close_tree(widget: Any) -> None:
    """Close a widget with its children, layouts and styles: ipywidgets leaves those open."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in (getattr(widget, "style", None), getattr(widget, "layout", None)):
        if isinstance(part, ipw.Widget):
            part.close()
    widget.close()


class ErrorBoundary:
    """Shows exceptions of callbacks: Jupyter hides them in the log.

    Use it as a context manager, or wrap callbacks with `guarded`. The exception goes on its way.

    Attributes
    ----------
    widget : ipywidgets.HTML
        Where they are shown.
    """

    def __init__(self) -> None:
        self.widget = note("", "vnb-trouble")

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return `callback` with its exceptions shown."""

        def call(*args: object) -> None:
            with self:
                callback(*args)

        return call

    def clear(self) -> None:
        """Show nothing any more."""
        self.widget.value = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, Exception):
            self.widget.value = alert_html(exc)
