"""What all widgets of ours are built on: strict JSON, threads, static forms, shown exceptions."""

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
from IPython.core.getipython import get_ipython
from IPython.display import HTML
from ipywidgets.widgets.widget import _instances

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printable
from vellum_nb.rendering.html import NO_MATH
from vellum_nb.widgets.markup import alert_html, page_safe

_VIEW = "application/vnd.jupyter.widget-view+json"
_LONGEST_PAUSE = 1.0  # seconds until the next call of a `Debouncer` that nobody poked
_LONGEST_PATH = 500
_ROUTE = "_reply_subshell_for"


class Readable(ipw.DOMWidget):  # type: ignore[misc]  # no types are published for ipywidgets
    """A widget that is stored in a notebook with its text and its HTML, see `_html`.

    If the cell that made it is run again, it is closed, see `close_with_cell`.
    """

    busy: Any = False  # a busy widget stays open

    def __init__(self, *args: Any, **traits: Any) -> None:
        self.maker = _running()[2]  # the id of the cell that made it
        self.cells: set[str] = set()  # the ids of those that display it
        super().__init__(*args, **traits)

    @property
    def is_closed(self) -> bool:
        """Whether the widget has been closed; no page can show it then."""
        return self.comm is None

    def stay(self) -> None:
        """Have the cell that is running keep the widget, as one that it makes or displays."""
        close_with_cell(self)

    def _html(self) -> str:
        """Return the content of `static_html`."""
        raise NotImplementedError

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the state as strict JSON: without NaN, infinity and half surrogate pairs."""
        return page_safe(super().get_state(key=key, drop_defaults=drop_defaults))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._bundle(repr(self), self._html(), **kwargs)

    def static_html(self) -> str:
        """Return the HTML that replaces the widget if there is no kernel."""
        return _wrapped(self._html())

    def _marimo_html(self, hint: str) -> Any:
        """Return what marimo displays, which cannot draw ipywidgets that hold others."""
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
    """Whether nobody looks at this cell while its kernel runs, as in ``nbconvert --execute``.

    A view that is stored in such a notebook is shown without a kernel, and empty, instead of the
    static HTML. Voila executes cells the same way, for a page that has the kernel.
    """
    find_parent = getattr(get_ipython(), "get_parent", None)
    message = (find_parent() if find_parent else None) or {}
    alone = message.get("content", {}).get("allow_stdin") is False
    return alone and not os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


class ThreadSafeWidget(Readable, anywidget.AnyWidget):
    """A widget with a script, changed from several threads; the page sets only `FROM_PAGE`.

    The state is sent in one piece, so that nothing older arrives after something newer: a page
    whose script came late (see ``static/kit.js``) asks for the whole state while another thread
    goes on changing it.
    """

    FROM_PAGE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **traits: Any) -> None:
        self._sending = threading.RLock()
        super().__init__(**traits)

    def send_state(self, key: Any = None) -> None:
        """Send the whole state, or that of some traits."""
        with self._sending:
            super().send_state(key)

    def send(self, content: Any, buffers: Any = None) -> None:
        """Send a message as strict JSON."""
        super().send(page_safe(content), buffers)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take from the page the traits that it may set."""
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


class _Html(ipw.HTML):  # type: ignore[misc]  # no types are published for ipywidgets
    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:  # noqa: FBT001, FBT002
        return page_safe(super().get_state(key=key, drop_defaults=drop_defaults))


def styled(widget: Any, classes: str) -> Any:
    """Give `widget` CSS classes, separated by spaces; return it."""
    for name in classes.split():
        widget.add_class(name)
    return widget


def note(html: str, classes: str = "") -> Any:
    """Return `html`, which is escaped already, as a widget."""
    return styled(_Html(html), classes)


def button(text: str, classes: str, clicked: Callable[[], object], *, tooltip: str = "") -> Any:
    """Return a button with CSS classes, separated by spaces."""
    made = ipw.Button(description=text, **({"tooltip": tooltip} if tooltip else {}))
    made.on_click(lambda _: clicked())
    return styled(made, classes)


def close_tree(widget: Any) -> None:
    """Close a widget with its children, layouts and styles, which ipywidgets leaves open."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in (getattr(widget, "style", None), getattr(widget, "layout", None)):
        if isinstance(part, ipw.Widget):
            part.close()
    widget.close()


class _Execution:
    """The latest execution of a cell, and the widgets that it made, displayed or returned."""

    def __init__(self, request: str, events: Any, cell: str) -> None:
        self.request = request
        self.used: weakref.WeakSet[Readable] = weakref.WeakSet()
        self._events, self._cell = events, cell
        self._events.register("post_run_cell", self._end)

    def _end(self, result: Any) -> None:
        """Close what the cell made earlier and nothing shows; a busy widget stays until later."""
        if getattr(getattr(result, "info", None), "cell_id", self._cell) != self._cell:
            return  # a `run_cell` inside the cell ended
        self._events.unregister("post_run_cell", self._end)
        if _executions[self._cell] is not self:
            return
        used = {id(each.cells) for each in self.used}  # a panel and its form have the same
        for widget in [each for each in _views if id(each.cells) not in used]:
            widget.cells.discard(self._cell)
            kept = widget.is_closed or widget.busy or widget.cells or _is_held(widget)
            if widget.maker == self._cell and not kept:
                widget.close()


_executions: dict[str, _Execution] = {}  # by cell id
_views: weakref.WeakSet[Readable] = weakref.WeakSet()  # those that `close_with_cell` got


def _is_held(widget: Readable) -> bool:
    """Whether an open widget, such as a box, contains `widget`, so that a page may show it."""
    return any(widget in getattr(each, "children", ()) for each in list(_instances.values()))


def _running() -> tuple[Any, dict[str, Any], str | None]:
    """Return the shell, the message that it executes, and the id of that cell."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = (parent.get("metadata") or {}).get("cellId")
    return shell, parent, cell if isinstance(cell, str) else None


def close_with_cell(widget: Readable, *, displayed: bool = False) -> None:
    """Have `widget` closed when the cell that made it is run again and does not use it.

    The current cell uses it: it makes or returns it or, with `displayed`, displays it. A widget
    stays open while it is busy, another cell displays it or an open widget contains it. A cell
    that uses no widget closes none, nor do front ends that send no cell ids.
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
    """Shows exceptions of callbacks, which Jupyter hides in its log; they are raised all the same.

    Use it as a context manager, or wrap callbacks with `guarded`; `widget` shows the exception.
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

    def __exit__(self, _kind: object, exc: object, _traceback: object) -> None:
        if isinstance(exc, Exception):
            self.widget.value = alert_html(exc)


class SerialExecutor:
    """Runs calls one after the other, in a thread that ends when there are none left."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Callable[[], object]] = deque()  # the first one is under way
        self._changed = threading.Condition()

    def submit(self, call: Callable[[], object]) -> None:
        """Have `call` called soon; returns at once."""
        with self._changed:
            self._calls.append(call)
            if len(self._calls) == 1:
                self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, timeout)

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        """Make the first call, and have another thread make the next one, also after an error."""
        try:
            self._calls[0]()
        finally:
            with self._changed:
                self._calls.popleft()
                if self._calls:
                    self._start()
                self._changed.notify_all()


class Debouncer:
    """Calls `show` soon after a `poke`, and again and again as long as it returns True.

    However many pokes there are, `show` is called once for those that came since it began, never
    twice at once, and never in the thread that poked. The pause between two calls grows with the
    time that a call takes.
    """

    def __init__(self, show: Callable[[], bool | None], *, name: str, least: float = 0.2) -> None:
        self._show, self._name, self._least = show, name, least
        self._changed = threading.Condition()
        self._timer: threading.Timer | None = None
        self._calling: threading.Thread | None = None
        self._poked = self._closed = False
        self._ready_at = 0.0

    def poke(self) -> None:
        """Ask for a call soon; returns at once."""
        with self._changed:
            if not self._poked:
                self._poked = True
                if self._calling is None:
                    self._plan(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing to show any more; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._timer or self._calling), timeout)

    def close(self) -> None:
        """Make no further call; wait for one that is under way, unless it is the caller."""
        with self._changed:
            self._closed, timer = True, self._timer
            self._plan(None)
            if self._calling is not threading.current_thread():
                self._changed.wait_for(lambda: self._calling is None)
        if timer is not None:
            timer.join()

    def _plan(self, pause: float | None) -> None:
        """Have the next call made `pause` after it may be; None: make none."""
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
                return  # cancelled too late
            self._calling, self._timer, self._poked = self._timer, None, False
        began, goes_on = time.monotonic(), False
        try:
            goes_on = bool(self._show())
        finally:
            ended = time.monotonic()
            with self._changed:
                self._ready_at = ended + max(self._least, 2 * (ended - began))
                self._calling = None
                self._plan(0.0 if self._poked else _LONGEST_PAUSE if goes_on else None)


def export_target(name: object, suffix: str, folder: Path | None = None) -> Path:
    """Return the new file in `folder`, by default the working directory, that a page names.

    It gets the ending of its format, and is never a file that exists.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > _LONGEST_PATH:
        msg = f"Give the file a name, such as runs{suffix}"
        raise HistoryError(msg)
    inside = Path(os.path.realpath(folder or Path.cwd()))
    name = name.strip()
    named = name if name.lower().endswith(suffix) else f"{name}{suffix}"
    target = Path(os.path.realpath(inside / Path(named).expanduser()))
    if not target.is_relative_to(inside):
        msg = f"{named} is not in the folder {inside}; files are written there only"
        raise HistoryError(msg)
    if target.exists():
        msg = f"{target} exists already and was left as it is; choose another name"
        raise HistoryError(msg)
    return target


def keep_order(widget: Any) -> None:
    """Let one thread receive the messages of `widget` and all its children, also later ones.

    ipykernel 7.4 hands a message to the thread that last wrote to its widget, so that in a busy
    kernel a click on Run overtakes the text typed before it. JupyterLab asks for one thread for
    all widgets; here it gets it. Other kernels do so by themselves.
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
