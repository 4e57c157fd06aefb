"""`TableView`: pages of rows that the kernel renders and ``static/view.js`` draws.

What a page sends is input from outside: names are looked up, numbers clipped, texts cut; what
cannot be understood is left out and named in an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import traitlets

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.widgets.base import ThreadSafeWidget, export_target
from vellum_nb.widgets.markup import asset, script

MAX_TEXT = 500
_MAX_OFFSET = 2**53


@dataclass(frozen=True, eq=False)
class Window:
    """The rows that a view on the page asks for."""

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
        """Return the answer: `rows`, how many are found, and how many there are in all."""
        place = {"view": self.view, "seq": self.seq, "offset": self.offset}
        return {"kind": "rows", **place, "rows": rows, "total": total, "all": recorded}


@dataclass(frozen=True)
class Format:
    """What a table can be written as; `write` is called with the file."""

    label: str
    suffix: str
    write: Callable[[Path], object]


def read_int(value: object, low: int, high: int) -> int:
    """Return `value` between `low` and `high`; what is no whole number is `low`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return low
    return max(low, min(value, high))


def refuse(why: str) -> NoReturn:
    """Raise the error for a message that cannot be used."""
    msg = f"The table left something out: {why}."
    raise InputError(msg)


class TableView(ThreadSafeWidget):
    """A table of rows to search and page through; `HistoryView` and the grid's table are two.

    The traits named in `QUERY` say what is shown; the page asks with their values, and a view that
    is displayed again, or reloaded, starts with them.
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
        """What is shown now, by the names in `QUERY`."""
        return {name: getattr(self, name) for name in self.QUERY}

    @property
    def most_rows(self) -> int:
        """How many rows may travel at once."""
        return 60

    def show_rows(self, query: dict[str, Any], window: Window, *, again: bool) -> None:
        """Send the rows of `window`; unless `again`, only the window has moved."""
        raise NotImplementedError

    def formats(self) -> dict[str, Format]:
        """Return what Export can write."""
        raise NotImplementedError

    @property
    def exported_rows(self) -> int:
        """How many rows an export has."""
        raise NotImplementedError

    def submit(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call that reads or writes; in this thread, unless a table does otherwise."""
        self.guarded(topic, call)

    def guarded(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call and show in the table what goes wrong; it is seen nowhere else."""
        before = self._failures
        try:
            call()
        except VellumNBError as exc:
            self.fail(exc, topic)
        except Exception as exc:
            self.fail(exc, topic)
            raise
        else:
            if self._topic == topic and self._failures == before:
                self.error = self._topic = ""

    def fail(self, exc: BaseException, topic: str) -> None:
        """Show an error until something else about the same topic works."""
        known = isinstance(exc, VellumNBError)
        with self.lock:
            self._topic, self._failures = topic, self._failures + 1
            self.error = str(exc) if known else f"{type(exc).__name__}: {exc}"

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
        again = query != before or message.get("scroll") is not True

        def answer() -> None:
            self.show_rows(query, window, again=again)
            if problems:
                refuse("; ".join(problems))

        self.submit("rows", answer)

    def _take_query(self, query: object) -> list[str]:
        """Show what a page asks for; return what in it could not be understood."""
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
        def write() -> None:
            try:
                formats = self.formats()
                name = message.get("format", next(iter(formats)))
                if not isinstance(name, str) or name not in formats:
                    refuse(f"the formats are {', '.join(formats)}, not as {name!r:.60}")
                path = export_target(message.get("path"), formats[name].suffix, self.export_folder)
                formats[name].write(path)
                answer = {"path": str(path), "count": self.exported_rows}
            except (OSError, ImportError, VellumNBError) as exc:
                answer = {"error": str(exc)}
            self.send({"kind": "exported", **answer})

        self.submit("action", write)
