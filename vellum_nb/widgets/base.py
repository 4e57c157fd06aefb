"""Base of all widgets: strict JSON, thread safety, static HTML, visible exceptions."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Self

import anywidget
import ipywidgets as ipw
from IPython.display import HTML
from ipywidgets.widgets.widget import _instances

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printable
from vellum_nb.rendering.html import NO_MATH
from vellum_nb.widgets.markup import alert_html, page_safe

_VIEW = "application/vnd.jupyter.widget-view+json"
_IDLE_PAUSE_S = 1.0  # pause of a `Debouncer` between calls without a poke
_MAX_PATH_CHARS = 500
_ROUTE = "_reply_subshell_for"  # of ipykernel 7: tests/widgets/test_base.py


class _StrictJson(ipw.DOMWidget):  # type: ignore[misc]  # no types are published for ipywidgets
    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the state as strict JSON, without NaN, infinity or lone surrogates."""
        return page_safe(super().get_state(key=key, drop_defaults=drop_defaults))


class Readable(_StrictJson):
    """Widget that is saved in a notebook as text and static HTML.

    Rerunning its cell closes it, see `close_with_cell`.
    """

    busy: Any = False  # a busy widget stays open

    def __init__(self, *args: Any, **traits: Any) -> None:
        self.maker = _running()[2]  # id of the cell that created it
        self.cells: set[str] = set()  # ids of the cells that display it
        super().__init__(*args, **traits)

    @property
    def is_closed(self) -> bool:
        """True once the widget is closed and cannot be displayed."""
        return self.comm is None

    def stay(self) -> None:
        """Keep the widget open when the running cell ends."""
        close_with_cell(self)

    def _html(self) -> str:
        """Return the static HTML without its wrapper."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._bundle(repr(self), self._html(), **kwargs)

    def static_html(self) -> str:
        """Return the HTML that is displayed without a kernel."""
        return _wrapped(self._html())

    def _marimo_html(self, hint: str) -> Any:
        """Return static HTML for marimo, which cannot display nested ipywidgets."""
        html = f"<p>{escape(hint)}</p>{page_safe(printable(self._html()))}"
        return HTML(html)  # type: ignore[no-untyped-call]

    def _bundle(self, text: str, html: str, **kwargs: Any) -> Any:
        close_with_cell(self, displayed=True)
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(data, dict):
            if _is_unattended():
                data.pop(_VIEW, None)
            data["text/plain"] = text
            data["text/html"] = _wrapped(html)
        return bundle


def _wrapped(html: str) -> str:
    return str(page_safe(f'<div class="{NO_MATH}">{printable(html)}</div>'))


def _is_unattended() -> bool:
    """Return whether the cell runs headless, as in ``nbconvert --execute``.

    A widget view saved in such a notebook would hide the static HTML. Voila also executes cells
    headless, but serves them with their kernel.
    """
    message = _running()[1]
    is_headless = message.get("content", {}).get("allow_stdin") is False
    return is_headless and not os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


class ThreadSafeWidget(Readable, anywidget.AnyWidget):
    """Widget with a script; its state can be changed from several threads.

    The page can set only the traits in `FROM_PAGE`. A lock orders the updates: a page that loads
    its script late (see ``static/kit.js``) requests the whole state while it is being changed.
    """

    FROM_PAGE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **traits: Any) -> None:
        self._sending = threading.RLock()
        super().__init__(**traits)

    def send_state(self, key: Any = None) -> None:
        """Send the state of all traits, or of those in `key`."""
        with self._sending:
            super().send_state(key)

    def send(self, content: Any, buffers: Any = None) -> None:
        """Send a message as strict JSON."""
        super().send(page_safe(content), buffers)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Set the traits in `FROM_PAGE`; ignore all others."""
        accepted = {key: value for key, value in sync_data.items() if key in self.FROM_PAGE}
        if accepted:
            super().set_state(accepted)

    def close(self) -> None:
        """Close the widget and its layout."""
        layout = self.layout
        super().close()
        layout.close()

    def _html(self) -> str:
        return ""


class _Html(_StrictJson, ipw.HTML):  # type: ignore[misc]  # no types are published for ipywidgets
    pass


def styled(widget: Any, classes: str) -> Any:
    """Add CSS classes, separated by spaces, to `widget` and return it."""
    for name in classes.split():
        widget.add_class(name)
    return widget


def set_class(widget: Any, name: str, *, on: bool) -> None:
    """Add or remove a CSS class."""
    (widget.add_class if on else widget.remove_class)(name)


def note(html: str, classes: str = "") -> Any:
    """Return a widget that displays `html`, which must be escaped."""
    return styled(_Html(html), classes)


def button(text: str, classes: str, clicked: Callable[[], object], *, tooltip: str = "") -> Any:
    """Create a button with CSS classes, separated by spaces."""
    widget = ipw.Button(description=text, **({"tooltip": tooltip} if tooltip else {}))
    widget.on_click(lambda _: clicked())
    return styled(widget, classes)


def close_tree(widget: Any) -> None:
    """Close a widget with its children, layouts and styles."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in (getattr(widget, "style", None), getattr(widget, "layout", None)):
        if isinstance(part, ipw.Widget):
            part.close()
    widget.close()


class _Execution:
    """Latest execution of a cell, and the widgets that it created, displayed or returned."""

    def __init__(self, request: str, events: Any, cell: str) -> None:
        self.request = request
        self.used: weakref.WeakSet[Readable] = weakref.WeakSet()
        self._events, self._cell = events, cell
        self._events.register("post_run_cell", self._end)

    def _end(self, result: Any) -> None:
        """Close the idle widgets of earlier executions that no cell displays."""
        if getattr(getattr(result, "info", None), "cell_id", self._cell) != self._cell:
            return  # end of a nested `run_cell`
        self._events.unregister("post_run_cell", self._end)
        if _executions[self._cell] is not self:
            return
        used = {id(widget.cells) for widget in self.used}  # a panel shares `cells` with its form
        for widget in [widget for widget in _views if id(widget.cells) not in used]:
            widget.cells.discard(self._cell)
            is_idle = not (widget.is_closed or widget.busy or widget.cells)
            if widget.maker == self._cell and is_idle and not _is_contained(widget):
                widget.close()


_executions: dict[str, _Execution] = {}  # by cell id
_views: weakref.WeakSet[Readable] = weakref.WeakSet()  # passed to `close_with_cell`


def _is_contained(widget: Readable) -> bool:
    """Return whether an open widget, such as a box, contains `widget`."""
    # `Widget.widgets` is deprecated, and `get_manager_state` fails if a box has a closed child.
    containers = list(_instances.values())
    return any(widget in getattr(container, "children", ()) for container in containers)


def running_shell() -> Any:
    """Return IPython's shell, or None outside of it."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _running() -> tuple[Any, dict[str, Any], str | None]:
    """Return the shell, the message it executes and the id of that cell."""
    shell = running_shell()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = (parent.get("metadata") or {}).get("cellId")
    return shell, parent, cell if isinstance(cell, str) else None


def close_with_cell(widget: Readable, *, displayed: bool = False) -> None:
    """Close `widget` when its cell is run again without creating, returning or displaying it.

    The widget stays open while it is busy, displayed by another cell or inside an open container.
    Front ends that send no cell ids close no widgets.
    """
    shell, parent, cell = _running()
    if cell is None:
        return
    execution = _executions.get(cell)
    request = parent["header"]["msg_id"]
    if execution is None or execution.request != request:
        execution = _executions[cell] = _Execution(request, shell.events, cell)
    execution.used.add(widget)
    _views.add(widget)
    if displayed:
        widget.cells.add(cell)


class ErrorBoundary:
    """Context manager that displays exceptions of callbacks, which Jupyter only logs.

    `widget` displays the exception, which is still raised.
    """

    def __init__(self) -> None:
        self.widget = note("", "vnb-trouble")

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap `callback` to display its exceptions."""

        def call(*args: object) -> None:
            with self:
                callback(*args)

        return call

    def clear(self) -> None:
        """Remove the displayed exception."""
        self.widget.value = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, exc: object, _traceback: object) -> None:
        if isinstance(exc, Exception):
            self.widget.value = alert_html(exc)


class SerialExecutor:
    """Runs calls one at a time in a thread that ends when the queue is empty."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Callable[[], object]] = deque()  # the first one is running
        self._changed = threading.Condition()

    def submit(self, call: Callable[[], object]) -> None:
        """Queue `call` without waiting for it."""
        with self._changed:
            self._calls.append(call)
            if len(self._calls) == 1:
                self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the queue is empty; return False on a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, timeout)

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        """Run the first call and start a thread for the next one, even after an error."""
        try:
            self._calls[0]()
        finally:
            with self._changed:
                self._calls.popleft()
                if self._calls:
                    self._start()
                self._changed.notify_all()


class Debouncer:
    """Calls `show` after a `poke`, and repeatedly while it returns True.

    Pokes during a call, or in the `delay` before it, are merged into one call. Calls never overlap
    and run in a timer thread; the pause between them grows with their duration.
    """

    def __init__(
        self,
        show: Callable[[], bool | None],
        *,
        name: str,
        least: float = 0.2,
        delay: float = 0.0,
    ) -> None:
        self._show, self._name, self._least, self._delay = show, name, least, delay
        self._changed = threading.Condition()
        self._timer: threading.Timer | None = None
        self._calling: threading.Thread | None = None
        self._poked = self._closed = False
        self._ready_at = 0.0

    def poke(self) -> None:
        """Schedule a call without waiting for it."""
        with self._changed:
            if not self._poked:
                self._poked = True
                if self._calling is None:
                    self._plan(self._delay)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no call is scheduled or running; return False on a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._timer or self._calling), timeout)

    def close(self) -> None:
        """Cancel scheduled calls; wait for a running one, unless it is the caller."""
        with self._changed:
            self._closed, timer = True, self._timer
            self._plan(None)
            if self._calling is not threading.current_thread():
                self._changed.wait_for(lambda: self._calling is None)
        if timer is not None:
            timer.join()

    def _plan(self, pause: float | None) -> None:
        """Schedule the next call `pause` seconds after the earliest time; None cancels it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if pause is not None and not self._closed:
            due = max(0.0, self._ready_at - time.monotonic()) + pause
            self._timer = threading.Timer(due, self._call)
            self._timer.name, self._timer.daemon = self._name, True
            self._timer.start()
        self._changed.notify_all()

    def _call(self) -> None:
        with self._changed:
            if self._timer is not threading.current_thread():
                return  # the timer fired while it was cancelled
            self._calling, self._timer, self._poked = self._timer, None, False
        began, goes_on = time.monotonic(), False
        try:
            goes_on = bool(self._show())
        finally:
            ended = time.monotonic()
            with self._changed:
                self._ready_at = ended + max(self._least, 2 * (ended - began))
                self._calling = None
                self._plan(0.0 if self._poked else _IDLE_PAUSE_S if goes_on else None)


def export_target(name: object, suffix: str, folder: Path | None = None) -> Path:
    """Return the path of a new file in `folder`, by default the working directory.

    The suffix is appended if it is missing. Paths outside the folder and existing files are
    rejected.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > _MAX_PATH_CHARS:
        msg = f"Give the file a name, such as runs{suffix}"
        raise HistoryError(msg)
    inside = Path(os.path.realpath(folder or Path.cwd()))
    name = name.strip()
    named = name if name.lower().endswith(suffix) else f"{name}{suffix}"
    target = Path(os.path.realpath(inside / Path(named).expanduser()))
    if not target.is_relative_to(inside):
        msg = f"{named} is outside the folder {inside}; choose a path inside it"
        raise HistoryError(msg)
    if target.exists():
        msg = f"{target} already exists; choose another name"
        raise HistoryError(msg)
    return target


def keep_order(widget: Any) -> None:
    """Receive the messages of `widget` and all its children in the thread that JupyterLab requests.

    ipykernel 7.4 instead routes a message to the thread that last wrote to its widget. In a busy
    kernel a click on Run would then overtake the text typed before it. No public API sets the
    route; a kernel without this private method honours the request.
    """
    comm = getattr(widget, "comm", None)
    if getattr(comm, _ROUTE, _as_requested) is _as_requested:
        return
    setattr(comm, _ROUTE, _as_requested)
    if widget.has_trait("children"):
        widget.observe(_keep_children, "children")
        for child in widget.children:
            keep_order(child)


def _keep_children(change: Any) -> None:
    for child in change["new"]:
        keep_order(child)


def _as_requested(_data: object, subshell_id: str | None) -> str | None:
    return subshell_id
