"""`TableView`: pages of rows rendered by the kernel and displayed by ``static/view.js``.

Messages from the page are untrusted: names are looked up, numbers clipped and texts truncated;
invalid parts are ignored and named in an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import traitlets

from vellum_nb.comparison.actions import Actions
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.history import clean
from vellum_nb.rendering.html import asset, script
from vellum_nb.widgets.base import ThreadSafeWidget, export_target

MAX_TEXT = 500
_MAX_OFFSET = 2**53
_MAX_SETS = 200  # offered names

Chosen = tuple[str | None, Any]
"""The deployment, if it is known, and the cases or runs to add."""


@dataclass(frozen=True, eq=False)
class Window:
    """The rows requested by a view on the page."""

    view: str
    seq: int
    offset: int
    limit: int

    @classmethod
    def of(cls, message: Mapping[str, Any], most: int) -> Window:
        """Return the window of a message, clipped to `most` rows."""
        view = message.get("view")
        return cls(
            view=view[:60] if isinstance(view, str) else "",
            seq=read_int(message.get("seq"), 0, _MAX_OFFSET),
            offset=read_int(message.get("offset"), 0, _MAX_OFFSET),
            limit=read_int(message.get("limit"), 1, most),
        )

    def message(self, rows: list[dict[str, Any]], total: int, recorded: int) -> dict[str, Any]:
        """Return the answer: `rows`, and the numbers of matching and of all rows."""
        place = {"view": self.view, "seq": self.seq, "offset": self.offset}
        return {"kind": "rows", **place, "rows": rows, "total": total, "all": recorded}


@dataclass(frozen=True)
class Format:
    """Export format of a table; `write` is called with the path of the file."""

    label: str
    suffix: str
    write: Callable[[Path], object]


def read_int(value: object, low: int, high: int) -> int:
    """Clip `value` to `low` and `high`; `low` if it is not an integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        return low
    return max(low, min(value, high))


def refuse(why: str) -> NoReturn:
    """Raise the error for an invalid message."""
    msg = f"The table left something out: {why}."
    raise InputError(msg)


class TableView(ThreadSafeWidget):
    """Table of rows to search and page through; base of `HistoryView` and the grid.

    The traits in `QUERY` define the displayed rows. The page sends their values with its requests;
    a redisplayed or reloaded view starts with them.
    """

    QUERY: ClassVar[tuple[str, ...]] = ("search",)

    _esm = traitlets.Unicode(script("view.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("view.css")).tag(sync=True)

    kind = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    search = traitlets.Unicode("").tag(sync=True)
    _head = traitlets.Dict().tag(sync=True)
    _first = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self.lock = threading.RLock()
        self.export_folder: Path | None = None
        self._topic, self._failures = "", 0
        self.actions: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "rows": self._on_rows,
            "export": self._on_export,
        }
        super().__init__(**traits)
        self.on_msg(self._on_message)

    def close(self) -> None:
        """Close the table and drop its rows."""
        super().close()
        self._first = {}

    @property
    def query(self) -> dict[str, Any]:
        """The current values of the traits in `QUERY`."""
        return {name: getattr(self, name) for name in self.QUERY}

    @property
    def most_rows(self) -> int:
        """The maximum number of rows per message."""
        return 60

    def show_rows(self, query: dict[str, Any], window: Window, *, reread: bool) -> None:
        """Send the rows of `window`; without `reread`, only the window has moved."""
        raise NotImplementedError

    def formats(self) -> dict[str, Format]:
        """Return the export formats."""
        raise NotImplementedError

    @property
    def exported_rows(self) -> str:
        """What an export has, such as "12 runs"."""
        raise NotImplementedError

    def submit(self, topic: str, call: Callable[[], None]) -> None:
        """Run `call`, which reads or writes; subclasses can use another thread."""
        self.guarded(topic, call)

    def guarded(self, topic: str, call: Callable[[], None]) -> None:
        """Run `call` and show its errors in the table."""
        before = self._failures
        try:
            call()
        except Exception as exc:
            self.fail(exc, topic)
            if not isinstance(exc, VellumNBError):
                raise
        else:
            if self._topic == topic and self._failures == before:
                self.error = self._topic = ""

    def fail(self, exc: BaseException, topic: str) -> None:
        """Show an error until a later call on the same topic succeeds."""
        is_ours = isinstance(exc, VellumNBError)
        with self.lock:
            self._topic, self._failures = topic, self._failures + 1
            self.error = str(exc) if is_ours else f"{type(exc).__name__}: {exc}"

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        message = content if isinstance(content, dict) else {}
        kind = message.get("kind")
        action = self.actions.get(kind) if isinstance(kind, str) else None

        def act() -> None:
            if action is None:
                refuse(f"it does not know the message {kind!r:.60}")
            action(message)

        with self.lock:
            self.guarded("rows" if kind == "rows" else "action", act)

    def _on_rows(self, message: Mapping[str, Any]) -> None:
        before, problems = self.query, self._take_query(message.get("query"))
        query, window = self.query, Window.of(message, self.most_rows)
        is_new = query != before or message.get("scroll") is not True

        def answer() -> None:
            self.show_rows(query, window, reread=is_new)
            if problems:
                refuse("; ".join(problems))

        self.submit("rows", answer)

    def _take_query(self, query: object) -> list[str]:
        """Set the traits in `QUERY` from a request of the page; return its invalid parts."""
        problems = []
        with self.hold_sync():
            for name in self.QUERY:
                if isinstance(query, dict) and name in query:
                    try:
                        setattr(self, name, query[name])
                    except traitlets.TraitError as exc:
                        problems.append(str(exc)[:200])
        return problems

    @traitlets.validate("search")
    def _valid_search(self, proposal: Mapping[str, Any]) -> str:
        return str(proposal["value"])[:MAX_TEXT]

    def _on_export(self, message: Mapping[str, Any]) -> None:
        def write() -> str:
            formats = self.formats()
            name = message.get("format", next(iter(formats)))
            if not isinstance(name, str) or name not in formats:
                refuse(f"an export is saved as {' or '.join(formats)}, not as {name!r:.60}")
            path = export_target(message.get("path"), formats[name].suffix, self.export_folder)
            formats[name].write(path)
            return f"Wrote {self.exported_rows} to {path}"

        self.submit("action", lambda: self.send_outcome(write))

    def send_outcome(self, act: Callable[[], str]) -> None:
        """Send the text that `act` returns, or its error, to the open panel of the page."""
        try:
            answer = {"text": act()}
        except (OSError, ImportError, VellumNBError) as exc:
            answer = {"error": str(exc)}
        self.send({"kind": "outcome"} | {part: clean(text) for part, text in answer.items()})


def offer_case_sets(
    table: TableView,
    actions: Actions,
    chosen: Callable[[Mapping[str, Any]], Chosen],
    submit: Callable[[Callable[[], None]], None],
) -> None:
    """Let the page of `table` list case sets, and add cases to one.

    `chosen` reads the cases from a message of the page; `submit` calls a function in a thread.
    """

    def show_names(message: Mapping[str, Any]) -> None:
        names = actions.case_sets(chosen(message)[0])[:_MAX_SETS]
        table.send({"kind": "case_sets", "names": list(map(clean, names))})

    def add(message: Mapping[str, Any]) -> None:
        def act() -> str:
            name = message.get("name")
            if not isinstance(name, str) or len(name) > MAX_TEXT:
                refuse(f"{name!r:.60} is not the name of a case set")
            return actions.add_cases(name.strip(), *chosen(message))

        table.send_outcome(act)

    def in_thread(call: Callable[[Mapping[str, Any]], None], message: Mapping[str, Any]) -> None:
        submit(lambda: table.guarded("action", lambda: call(message)))

    table.actions |= {
        "case_sets": lambda message: in_thread(show_names, message),
        "add_to_set": lambda message: in_thread(add, message),
    }
