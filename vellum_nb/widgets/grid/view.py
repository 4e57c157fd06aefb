"""`ComparisonView`: the grid of a comparison, and one case in full under it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import ipywidgets as ipw
import traitlets

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.rendering.html import clipped, value_html
from vellum_nb.rendering.values import value_text
from vellum_nb.widgets.base import (
    Debouncer,
    ErrorBoundary,
    Readable,
    SerialExecutor,
    ThreadSafeWidget,
    close_tree,
    note,
)
from vellum_nb.widgets.form import FORM_STYLE
from vellum_nb.widgets.grid.head import Callbacks, export_result, head
from vellum_nb.widgets.grid.order import (
    QUALITIES,
    CaseOrder,
    GridQuery,
    GridWindow,
    inputs_of,
    label_text,
    read_query,
    read_window,
    refused,
)
from vellum_nb.widgets.grid.rows import RowSource, row
from vellum_nb.widgets.markup import asset, script
from vellum_nb.widgets.outputs import side_by_side_html
from vellum_nb.widgets.results import AnswerBars

__all__ = [
    "BlindPlace",
    "Busy",
    "ComparisonView",
    "Detail",
    "GridTable",
    "Host",
    "RunListener",
    "deleted_text",
    "pair_of",
]


class Busy:
    """Does what is asked of a cell; the cell says so meanwhile, and why where it failed.

    `push` shows the row of a case anew.
    """

    def __init__(self, executor: SerialExecutor, push: Callable[[Case], None]) -> None:
        self._executor, self._push = executor, push
        self._words: dict[tuple[str, str], tuple[str, str]] = {}

    def words(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Return, of a case and a release, what is under way and what went wrong."""
        return dict(self._words)

    def do(self, case: Case, release: str, words: str, call: Callable[[], None]) -> None:
        """Call `call` in a thread; the cell of `case` on `release` shows `words` until then."""
        key = case.case_id, release
        self._words[key] = (words, "")
        self._push(case)

        def errand() -> None:
            problem = ""
            try:
                call()
            except VellumNBError as exc:
                problem = str(exc)
            except Exception as exc:
                problem = f"{type(exc).__name__}: {exc}"
                raise
            finally:
                self._words[key] = ("", problem)
                if not problem:
                    del self._words[key]
                self._push(case)

        self._executor.submit(errand)


def pair_of(comparison: Comparison, release: str) -> tuple[str, str]:
    """Return the baseline and `release`; the first other one where it is none of those.

    Raises
    ------
    InputError
        There is one release only.
    """
    others = comparison.others
    if not others:
        msg = "A blind rating is of two releases, and this comparison has one"
        raise InputError(msg)
    return comparison.baseline, release if release in others else others[0]


class BlindPlace:
    """Where the blind rating stands; the grid is out of sight as long as it does.

    Parameters
    ----------
    grid : GridTable
        Is told when the reader comes back.
    case : Widget
        The case in full under it.
    """

    def __init__(self, grid: GridTable, case: Any) -> None:
        self._grid = grid
        self._case = case
        self._back = ipw.Button(description="Back to the grid", icon="arrow-left")
        self._back.add_class("vnb-grid-back")
        self._back.on_click(lambda _button: self.close())
        self.widget = ipw.VBox([])
        self.parts: list[Any] = [self._back]  # to be closed, also while they are not shown
        self.parts = [self._back]  # to be closed, also while they are not shown

    def open(self, rating: Any) -> None:
        """Show the widget of a blind rating."""
        self.widget.children = (self._back, rating)
        if rating not in self.parts:
            self.parts.append(rating)
        if rating not in self.parts:
            self.parts.append(rating)
        self._hide("none")

    def close(self) -> None:
        """Show the grid again; the rating goes on when it is opened next."""
        self._hide(None)
        self.widget.children = ()
        self._grid.notify(kind="back")

    def _hide(self, display: str | None) -> None:
        for each in (self._grid, self._case):
            each.layout.display = display


_LEAST_S = 0.2


class RunListener:
    """Collects the changes of a comparison's runs, and hands them over now and then.

    `known` returns the ids of the runs that are compared. `changed` is called with the runs that
    changed, from a thread of its own; `deleted` likewise after some may have been deleted or
    restored, with id to the run, None where it was deleted. The writer does not wait for either.
    """

    def __init__(
        self,
        known: Callable[[], set[str]],
        callbacks: Callbacks,
        changed: Callable[[Iterable[Run]], None],
        deleted: Callable[[Mapping[str, Run | None]], None],
    ) -> None:
        self._known = known
        self._ids = known()
        self._changed, self._deleted, self._again = changed, deleted, callbacks.again
        self._are_many = False
        self._runs: dict[str, Run] = {}
        self._lock = Lock()
        self._debouncer = Debouncer(self._hand_over, name="vellum-nb-grid-runs", least=_LEAST_S)
        assert callbacks.subscribe is not None  # noqa: S101  (only made where there is one)
        self._unsubscribe = callbacks.subscribe(self._on_run, on_bulk_change=self.look)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the changes are handed over; return whether that is so."""
        return self._debouncer.wait(timeout)

    def look(self) -> None:
        """Look soon which runs there are: many changed, or one is missing."""
        with self._lock:
            self._are_many = True
        self._debouncer.poke()

    def close(self) -> None:
        """Stop following the runs."""
        self._unsubscribe()
        self._debouncer.close()

    def _on_run(self, run: Run) -> None:
        if run.id not in self._ids:
            return
        with self._lock:
            self._runs[run.id] = run
        self._debouncer.poke()

    def _hand_over(self) -> None:
        with self._lock:
            runs, self._runs = self._runs, {}
            are_many, self._are_many = self._are_many, False
        if are_many and self._again is not None:
            self._ids |= self._known()  # some were run from the grid since
            with suppress(HistoryError):  # the history was closed
                there = {each.id: each for each in self._again(self._ids)}
                self._deleted({run_id: there.get(run_id) for run_id in self._ids})
        self._changed(runs.values())


def deleted_text(number: int) -> str:
    """Return the status for so many deleted runs of a comparison."""
    if not number:
        return "All runs that were compared are there again"
    return f"Deleted of what was compared: {plural(number, 'run')}, see history.deletions()"


_INPUT = 20_000  # characters of an input that are shown at once


class Detail:
    """Shows one case at a time; nothing at first.

    Parameters
    ----------
    callbacks : Callbacks
        Rates and traces.
    judged : callable
        Called with a run that was rated, as it is now.
    """

    def __init__(self, callbacks: Callbacks, judged: Callable[[Run], None]) -> None:
        self._edge = ErrorBoundary()
        self._head = note("", "vnb-case-head")
        self._answers = note("", "vnb-answers")
        self._runs: tuple[Run, ...] = ()
        self._columns: tuple[str, ...] = ()
        self._changed = judged
        self._bars = self.actions = AnswerBars(
            rate=callbacks.rate,
            trace=callbacks.trace,
            boundary=self._edge,
            changed=self._judged,
            go_on=lambda _run: None,
        )
        results = ipw.VBox([self._edge.widget, self._answers, self._bars])
        results.add_class("vnb-results")
        style = note(FORM_STYLE, "vnb-style")
        self.widget = ipw.VBox([style, self._head, results])
        self.widget.add_class("vnb").add_class("vnb-case").add_class("vnb-none")

    @property
    def run_ids(self) -> frozenset[str]:
        """The ids of the runs that are shown."""
        return frozenset(run.id for run in self._runs)

    def show(self, comparison: Comparison, case: Case) -> None:
        """Show `case` on every release that has a run of it, the baseline first."""
        columns = [each for each in (comparison.baseline, *comparison.others) if each in case.runs]
        # A column is known by its release, not by the tag alone, where a tag has moved.
        runs = [case.runs[each].model_copy(update={"release_tag": each}) for each in columns]
        self._runs, self._columns = tuple(runs), tuple(columns)
        missing = [each for each in comparison.releases if each not in case.runs]
        self._edge.clear()
        self._head.value = clean(_head(case, missing))
        self._draw()
        self.widget.remove_class("vnb-none")

    def replace(self, run: Run) -> None:
        """Show `run` in place of the one with its id, if that is shown."""
        if run.id in self.run_ids:
            self._runs = tuple(
                run.model_copy(update={"release_tag": old.release_tag}) if old.id == run.id else old
                for old in self._runs
            )
            self._bars.show(self._runs)

    def hide(self) -> None:
        """Show nothing any more."""
        self._runs = ()
        self._answers.value = self._head.value = ""
        self._bars.show(())
        self.widget.add_class("vnb-none")

    def _judged(self, run: Run) -> None:
        self.replace(run)
        self._changed(run)

    def _draw(self) -> None:
        self._bars.show(self._runs)
        self._answers.value = clean(side_by_side_html(self._runs)) if self._runs else ""


def _head(case: Case, missing: list[str]) -> str:
    labels = "".join(
        f'<span class="vnb-source">{escape(visible_name(name))}: '
        f"{escape(label_text(value))}</span> "
        for name, value in case.labels.items()
        if value is not None
    )
    inputs = inputs_of(case).items()
    rows = "".join(_row(name, value) for name, value in inputs if value is not None)
    expected = "".join(_row(f"{name} (expected)", value) for name, value in case.expected.items())
    lacks = ", ".join(f"<code>{escape(visible_name(each))}</code>" for each in missing)
    note_html = f'<p class="vnb-case-note">Not run on {lacks}: missing there.</p>' if lacks else ""
    return (
        f'<div class="vnb-head"><b class="vnb-title">Case {case.number:,}</b> {labels}</div>'
        f'<div class="vnb-out vnb-case-inputs"><dl class="vnb-case-rows">{rows}{expected}</dl>'
        f"</div>{note_html}"
    )


def _row(name: str, value: object) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    if isinstance(value, str):
        html = value_html(value, "STRING")
        if len(value) > _INPUT:
            head = f'<pre class="vnb-text">{escape(clipped(value)[0][:_INPUT])}</pre>'
            html = f"{head}<details><summary>show all {len(value):,} characters</summary>{html}"
            html += "</details>"
    else:
        html = value_html(value, "IMAGE" if is_media else "JSON")
        text = value_text(value, "IMAGE" if is_media else "JSON")
        html = html if text else ""
    return f"<div><dt>{escape(visible_name(name))}</dt><dd>{html}</dd></div>"


_FIRST_CELLS, _FIRST_ROWS = 24, 4  # as many cells as fill the page, at least four rows
MAX_PAGE = 80_000  # bytes of the rows in one message
_KEPT = 8  # orders that are remembered


class Host(Protocol):
    """Whose grid it is: what is shown, and what is done about a click."""

    def order(self) -> CaseOrder:
        """Return the cases in their order."""

    def source(self) -> RowSource:
        """Return what rows are made of."""

    def open_case(self, case: Case) -> None:
        """Show a case in full."""

    def close_case(self) -> None:
        """Show it no more."""

    def rate(self, case: Case, release: str, quality: float) -> None:
        """Rate the answer of a case on a release."""

    def replay(self, case: Case, release: str) -> None:
        """Run a case on a release."""

    def set_metric(self, name: str) -> None:
        """Rank the cases by another metric."""

    def set_baseline(self, release: str) -> None:
        """Compare the others with `release`."""

    def export(self, kind: object, path: object) -> None:
        """Write a file."""

    def rate_blind(self, release: str) -> None:
        """Open the blind rating of the baseline and `release`."""

    def look_again(self) -> None:
        """Look soon which runs there are still."""


class GridTable(ThreadSafeWidget):
    """Draws the grid; `ComparisonView` owns it and does what is asked for.

    Attributes
    ----------
    turn : RLock
        Held by whoever changes what is shown.
    """

    _esm = traitlets.Unicode(script("view.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "view.css")).tag(sync=True)

    kind = traitlets.Unicode("cases").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    opened = traitlets.Unicode("").tag(sync=True)
    query = traitlets.Dict().tag(sync=True)
    _head = traitlets.Dict().tag(sync=True)
    _first = traitlets.Dict().tag(sync=True)

    def __init__(self, host: Host, head: Mapping[str, Any]) -> None:
        self._host = host
        self.turn = threading.RLock()
        self._orders: dict[GridQuery, list[int]] = {}
        super().__init__(_head=dict(head), _first=self._answer(GridQuery(), self._first_window))
        self._kinds: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "rows": self._on_rows,
            "open": lambda content: host.open_case(self._case(content)),
            "close": lambda _content: host.close_case(),
            "rate": self._on_rate,
            "replay": lambda content: host.replay(self._case(content), _release(content)),
            "baseline": lambda content: host.set_baseline(_release(content)),
            "metric": lambda content: host.set_metric(_text(content, "name")),
            "export": lambda content: host.export(content.get("format"), content.get("path")),
            "blind": lambda content: host.rate_blind(_release(content)),
        }
        self.on_msg(self._on_message)

    def renew(self, head: Mapping[str, Any], *, reorder: bool) -> None:
        """Show what is so now; with `reorder` cases may change their places."""
        with self.turn:
            if reorder:
                self._orders.clear()
            self._first = self._answer(GridQuery(), self._first_window)
            self._head = dict(head)

    def notify(self, **content: Any) -> None:
        """Send a message to every view on the page."""
        self.send(content)

    def send_row(self, case: Case) -> None:
        """Send one row anew, where it is in sight it is drawn."""
        with self.turn:
            self.send({"kind": "row", "row": row(self._host.source(), case)})

    def fail(self, exc: BaseException) -> None:
        """Show what went wrong."""
        known = isinstance(exc, VellumNBError)
        self.error = str(exc) if known else f"{type(exc).__name__}: {exc}"

    def _order(self, query: GridQuery) -> list[int]:
        """Return the places of the cases; the same until the query changes, so nothing jumps."""
        if query not in self._orders:
            self._orders[query] = self._host.order().find(query)
            while len(self._orders) > _KEPT:
                del self._orders[next(iter(self._orders))]
        return self._orders[query]

    @property
    def _first_window(self) -> GridWindow:
        releases = max(1, len(self._host.source().comparison.releases))
        return GridWindow("", 0, 0, max(_FIRST_ROWS, _FIRST_CELLS // releases))

    def _answer(self, query: GridQuery, window: GridWindow) -> dict[str, Any]:
        """Return the rows of `window`, as many as may travel at once; at least one."""
        places = self._order(query)
        source = self._host.source()
        cases = source.comparison.cases
        rows: list[dict[str, Any]] = []
        size = 0
        places_here = places[window.offset : window.offset + window.limit]
        for place in places_here:
            made = row(source, cases[place])
            size += len(json.dumps(made))
            if rows and size > MAX_PAGE:
                break
            rows.append(made)
        return {
            "kind": "rows",
            "view": window.view,
            "seq": window.seq,
            "offset": window.offset,
            "total": len(places),
            "all": len(cases),
            "rows": rows,
        }

    def _on_rows(self, content: Mapping[str, Any]) -> None:
        query = read_query(content.get("query"))
        labels = {name: sorted(values) for name, values in query.labels}
        self.query = {"states": sorted(query.states), "labels": labels, "search": query.search}
        self.send(self._answer(query, read_window(content)))

    def _on_rate(self, content: Mapping[str, Any]) -> None:
        quality = content.get("quality")
        if isinstance(quality, bool) or quality not in QUALITIES:
            refused(f"a rating is one of {QUALITIES}, not {quality!r:.60}")
        self._host.rate(self._case(content), _release(content), float(quality))

    def _case(self, content: Mapping[str, Any]) -> Case:
        places_here = content.get("id")
        cases = self._host.source().comparison.cases
        found = next((each for each in cases if each.case_id == places_here), None)
        if found is None:
            refused(f"there is no case {places_here!r:.60}")
        return found

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        message = content if isinstance(content, dict) else {}
        kind = message.get("kind")
        handler = self._kinds.get(kind) if isinstance(kind, str) else None
        with self.turn:
            try:
                if handler is None:
                    refused(f"it does not know the message {kind!r:.60}")
                handler(message)
            except VellumNBError as exc:
                self.fail(exc)
            except Exception as exc:
                self.fail(exc)
                raise
            else:
                if kind != "rows":
                    self.error = ""


def _release(content: Mapping[str, Any]) -> str:
    return _text(content, "release")


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        refused(f"{value!r:.60} is no {key}")
    return value


class ComparisonView(Readable, ipw.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The grid of a comparison: cases down, releases across; `Comparison.view` makes it.

    Regressions come first. Only the rows in sight are sent to the page.

    Parameters
    ----------
    comparison : Comparison
        What is shown. Ratings and runs that are made here give the view another comparison.
    callbacks : Callbacks, optional
        What can be done beside looking.

    Attributes
    ----------
    comparison : Comparison
        As it is shown now: compared with the baseline that was chosen.
    table : GridTable
        The widget that draws the rows.
    export_folder : Path or None
        Where Export writes its files; None, the default: the working directory.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage").view()
    ComparisonView(ticket-triage against v1, 1 case on 2 releases)
    """

    _listener: RunListener | None = None  # also of a view whose construction failed
    _parts: tuple[Any, ...] = ()

    def __init__(self, comparison: Comparison, callbacks: Callbacks | None = None) -> None:
        self._own = self.comparison = comparison
        self._callbacks = callbacks or Callbacks()
        self._order: CaseOrder | None = None
        self._chosen: frozenset[str] = frozenset()
        self._metric = comparison.metric.name if comparison.metric else None
        self._open: Case | None = None
        self._deleted: dict[str, str] = {}  # ids of deleted runs to their releases
        self.export_folder: Path | None = None
        self._executor = SerialExecutor("vellum-nb-grid")
        self._busy = Busy(self._executor, self._push)
        self._version = 0
        self.table = GridTable(self, self._head())
        self._detail = Detail(self._callbacks, lambda run: self._take_runs([run]))
        self._blind = BlindPlace(self.table, self._detail.widget)
        self._parts = (self.table, self._detail.widget, self._blind.widget)
        super().__init__(self._parts)
        self.add_class("vnb-grid-view")
        if self._callbacks.subscribe is not None:
            self._listener = RunListener(
                self._ids, self._callbacks, self._take_runs, self._take_deletions
            )

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no rating or run is under way; return whether that is so."""
        waits = [self._executor.wait, self._detail.actions.wait]
        if self._listener is not None:
            waits.append(self._listener.wait)
        return all(wait(timeout) for wait in waits)

    def close(self) -> None:
        """Close every widget of the view, and stop following the runs."""
        if self._listener is not None:
            self._listener.close()
        for part in self._parts:
            close_tree(part)
        for part in (*self._blind.parts, self.layout):
            close_tree(part)
        super().close()

    def order(self) -> CaseOrder:
        """Return the cases in their order, by the metric that was chosen."""
        if self._order is None:
            self._order = CaseOrder(self.comparison, self._metric, self._chosen)
        return self._order

    def choose(self, case_ids: Iterable[str]) -> None:
        """Show only these cases, until the reader takes the filter *Chosen* away; none: all.

        Parameters
        ----------
        case_ids : iterable of str
            As `Case.case_id`; those that are not in this comparison are passed over.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> grid = ws.compare("ticket-triage").view()
        >>> grid.choose([run.case_id])
        """
        self._chosen = frozenset(case_ids)
        self._order = None
        self._renew(reorder=True)
        on = self.order().count("chosen") > 0
        self.table.notify(kind="filter", states=["chosen"] if on else [])

    def source(self) -> RowSource:
        """Return what rows are made of."""
        replayed, busy = self._callbacks.replayed(self.comparison), self._busy.words()
        return RowSource(self.comparison, self._metric, replayed, busy)

    def open_case(self, case: Case) -> None:
        """Show `case` in full under the grid."""
        self._open = case
        self._detail.show(self.comparison, case)
        self.table.opened = case.case_id

    def close_case(self) -> None:
        """Show the case in full no more."""
        self._open = None
        self._detail.hide()
        self.table.opened = ""

    def rate(self, case: Case, release: str, quality: float) -> None:
        """Rate the answer of `case` on `release`, from 0 to 1, in a thread.

        Raises
        ------
        InputError
            Ratings cannot be saved here, or there is no answer.
        """
        rate, run = self._callbacks.rate, case.answer(release)
        if rate is None:
            msg = "Ratings cannot be kept here: this comparison was made without a workspace"
            raise InputError(msg)
        if run is None or not run.outputs:
            msg = f"There is no answer of case {case.number} on {release} to rate"
            raise InputError(msg)

        def save() -> None:
            self._take_runs([rate(run, quality, None)])
            text = f"Case {case.number} on {release}: rated {quality:g}"
            self.table.notify(kind="status", text=text)

        self._busy.do(case, release, "saving the rating…", save)

    def replay(self, case: Case, release: str) -> None:
        """Run `case` on `release`, in a thread; its cell shows the answer when it has come.

        Raises
        ------
        InputError
            Nothing can be run here, or not on `release`.
        """
        replay = self._callbacks.replay
        if replay is None or release not in self._callbacks.replayed(self.comparison):
            msg = f"Case {case.number} cannot be run on {release} from here"
            raise InputError(msg)

        def run_case() -> None:
            run = replay(case, release)
            with self.table.turn:
                self._show(self._own.with_runs([run], release=release))

        self._busy.do(case, release, "running…", run_case)

    def set_baseline(self, release: str) -> None:
        """Compare the others with `release`."""
        if release != self.comparison.baseline:
            self._show(self._own, baseline=release, reorder=True)
            self._open_again()

    def set_metric(self, name: str) -> None:
        """Rank the cases by another metric.

        Raises
        ------
        InputError
            There is no such metric in this comparison.
        """
        known = [each.name for each in self.comparison.metrics]
        if name not in known:
            msg = f"There is no metric {name!r}; there are: {', '.join(known) or 'none'}"
            raise InputError(msg)
        self._metric = name
        self._order = None
        self._renew(reorder=True)

    def export(self, kind: object, path: object) -> None:
        """Write the comparison as it is shown; the page shows where."""
        result = export_result(self.comparison, kind, path, self.export_folder)
        self.table.notify(kind="exported", **result)

    def rate_blind(self, release: str = "") -> None:
        """Rate the baseline and `release` (default: the first) blind, in the grid's place.

        Raises
        ------
        InputError
            There is no workspace, or one release only.
        """
        if self._callbacks.blind is None:
            msg = "There is no blind rating here"
            raise InputError(msg)
        rating = self._callbacks.blind(self.comparison, pair_of(self.comparison, release))
        self.close_case()
        self._blind.open(rating)

    def look_again(self) -> None:
        """Look soon which runs there are still, where another process may have deleted some."""
        if self._listener is not None:
            self._listener.look()

    def _open_again(self) -> None:
        if self._open is not None:
            self.open_case(self.comparison.cases[self._open.number - 1])

    def _push(self, case: Case) -> None:
        self.table.send_row(self.comparison.cases[case.number - 1])

    def _take_runs(self, runs: Iterable[Run]) -> None:
        """Take in runs that were rated: their rows and the summary show it, no row moves."""
        with self.table.turn:
            known = {each.id: each for each in self._own.answers["run"].tolist()}
            changed = [
                run for run in runs if run.id in known and _rated_otherwise(run, known[run.id])
            ]
            for run in changed:
                self._detail.replace(run)
            if changed:
                self._show(self._own.with_runs(changed))

    def _take_deletions(self, now: Mapping[str, Run | None]) -> None:
        """Take in which of the runs there are still, or again."""
        with self.table.turn:
            known = self._releases()
            went = {each: known[each] for each, run in now.items() if run is None and each in known}
            came = [
                (run, self._deleted.pop(each))
                for each, run in now.items()
                if run is not None and each in self._deleted
            ]
            if not went and not came:
                return
            self._deleted |= went
            own = self._own
            for run, release in came:
                own = own.with_runs([run], release=release)
            self._show(own.with_runs(without=went.keys()))
            self._open_again()
            self.table.error = ""
            self.table.notify(kind="status", text=deleted_text(len(self._deleted)))

    def _ids(self) -> set[str]:
        return {run.id for run in self._own.answers["run"].tolist()}

    def _releases(self) -> dict[str, str]:
        """Return the id of each run to its release."""
        return {
            each.id: release
            for case in self._own.cases
            for release, repeats in case.tries.items()
            for each in repeats
        }

    def _show(self, own: Comparison, *, baseline: str = "", reorder: bool = False) -> None:
        """Show another comparison, by the baseline that was chosen."""
        baseline = baseline or self.comparison.baseline
        self._own = own
        self.comparison = own if baseline == own.baseline else own.with_baseline(baseline)
        self._order = None
        self._renew(reorder=reorder)

    def _renew(self, *, reorder: bool) -> None:
        with self.table.turn:
            self._version += 1
            self.table.renew(self._head(), reorder=reorder)

    def _head(self) -> dict[str, Any]:
        return head(self.comparison, self.order(), self._callbacks) | {"version": self._version}

    def __repr__(self) -> str:
        comparison = self.comparison
        cases = plural(len(comparison.cases), "case")
        on = plural(len(comparison.releases), "release")
        against = f"{comparison.deployment} against {comparison.baseline}"
        return f"ComparisonView({against}, {cases} on {on})"

    def _html(self) -> str:
        return self.comparison._repr_html_()


def _rated_otherwise(run: Run, known: Run) -> bool:
    return run.quality != known.quality or run.desired != known.desired
