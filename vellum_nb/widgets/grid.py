"""`ComparisonView`: the grid of a comparison, with one open case next to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import traitlets

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.actions import Actions, require
from vellum_nb.comparison.cases import Case, case_row
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.lines import IDLE, STATES, CaseOrder
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.models.checks import available
from vellum_nb.rendering.format import plural
from vellum_nb.widgets.base import (
    Debouncer,
    Readable,
    SerialExecutor,
    button,
    close_tree,
    close_with_cell,
    note,
)
from vellum_nb.widgets.blind import BlindView
from vellum_nb.widgets.grid_case import Detail
from vellum_nb.widgets.grid_cases import MoreCases, head
from vellum_nb.widgets.grid_rows import MAX_NOTE_CHARS, row
from vellum_nb.widgets.markup import name_html
from vellum_nb.widgets.table_view import Format, TableView, Window, offer_case_sets, refuse

MAX_PAGE_BYTES = 80_000  # of the rows in one message
QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
_FIRST_CELLS, _FIRST_ROWS = 24, 4  # cells that fill the page, but at least four rows
_LINES, _MAX_ORDERS = 40, 8  # cases on one page, cached orders
_ALL_RESTORED = "All runs of this comparison exist again"


class CasesTable(TableView):
    """The rows of the grid: one row per case, one cell per release.

    Call `renew` after a change of `comparison` or `metric`.
    """

    QUERY = ("search", "states", "labels", "failures", "release", "full", "inline")

    states = traitlets.List(traitlets.Enum(list(STATES))).tag(sync=True)
    labels = traitlets.Dict(
        value_trait=traitlets.List(traitlets.Unicode()), key_trait=traitlets.Unicode()
    ).tag(sync=True)
    failures = traitlets.List(traitlets.Unicode(), maxlen=200).tag(sync=True)
    release = traitlets.Unicode("").tag(sync=True)  # to which `states` apply; empty for all
    full = traitlets.Bool(default_value=False).tag(sync=True)  # outputs in full, not on one line
    inline = traitlets.Bool(default_value=False).tag(sync=True)  # removed and new words together
    opened = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    adding = traitlets.Unicode("").tag(sync=True)  # how to add cases, as HTML

    def __init__(self, comparison: Comparison, actions: Actions | None, about: str) -> None:
        self.comparison = comparison
        self.metric = comparison.metrics[0].name if comparison.metrics else None
        self.busy: dict[tuple[str, str], tuple[str, str]] = {}
        self.more: Callable[[Decision], MoreCases | None] = lambda _: None
        self._has_actions, self._about = actions is not None, about
        self._aliases = {} if actions is None else _same_releases(comparison, actions)
        self._found: dict[str, list[int]] = {}
        super().__init__(kind="cases")
        self.renew()

    def renew(self, *, reorder: bool = True) -> None:
        """Show the current comparison; `reorder` also sorts the cases."""
        comparison = self.comparison
        can = ["full", *(("rate", "blind", "fail", "note", "set") if self._has_actions else ())]
        can += ["code"] if self.replayable and comparison.figures.others else []
        with self.lock:
            self._order = CaseOrder(comparison.figures, self.metric)
            if reorder:
                self._found.clear()
            page_head = head(
                comparison,
                self._order,
                about=self._about,
                aliases=self._aliases,
                can=can,
                more=self.more,
            )
            formats = [
                {"name": name, "suffix": file_format.suffix, "label": file_format.label}
                for name, file_format in self.formats().items()
            ]
            rows = max(_FIRST_ROWS, _FIRST_CELLS // max(1, len(comparison.releases)))
            rows = rows if self.full else _LINES
            with self.hold_sync():
                self._head = page_head | {"formats": formats}
                self._first = self._answer(self.query, Window("", 0, 0, rows))
            self.send({"kind": "changed", "restart": reorder})

    def show_rows(self, query: dict[str, Any], window: Window, *, reread: bool) -> None:  # noqa: ARG002
        """Send the rows of `window`."""
        self.send(self._answer(query, window))

    def formats(self) -> dict[str, Format]:
        """Return the export formats."""
        comparison = self.comparison
        return {
            "csv": Format("CSV", ".csv", comparison.to_csv),
            "html": Format("HTML", ".html", comparison.to_html),
            "markdown": Format("Markdown", ".md", comparison.to_markdown),
            "parquet": Format("Parquet", ".parquet", comparison.to_parquet),
        }

    @property
    def replayable(self) -> frozenset[str]:
        """Releases on which a case can be run: those that one tag identifies."""
        comparison = self.comparison
        if not self._has_actions or comparison.by != "release_tag":
            return frozenset()
        tags = set(comparison.release_tags) - set(comparison.moved_tags)
        return frozenset(tags & set(comparison.releases))

    @property
    def exported_rows(self) -> str:
        """The number of exported cases as text."""
        return plural(len(self.comparison.cases), "case")

    def send_case(self, case: Case) -> None:
        """Send one row, which is redrawn if it is visible."""
        with self.lock:
            self.send({"kind": "row", "row": self._row(self.comparison.cases[case.number - 1])})

    def _answer(self, query: dict[str, Any], window: Window) -> dict[str, Any]:
        """Return as many rows of `window` as fit in one message; at least one."""
        query = {name: value for name, value in query.items() if name not in ("full", "inline")}
        key = repr(query)
        if key not in self._found:  # the order is kept until the query changes
            self._found[key] = self._order.find(**query)
            while len(self._found) > _MAX_ORDERS:
                del self._found[next(iter(self._found))]
        places, cases = self._found[key], self.comparison.cases
        rows: list[dict[str, Any]] = []
        size = 0
        for place in places[window.offset : window.offset + window.limit]:
            rows.append(self._row(cases[place]))
            size += len(json.dumps(rows[-1]))
            if size > MAX_PAGE_BYTES and len(rows) > 1:
                rows.pop()
                break
        return window.message(rows, len(places), len(cases))

    def _row(self, case: Case) -> dict[str, Any]:
        busy = dict(self.busy)
        look = {"full": self.full, "inline": self.inline}
        return row(self.comparison, case, self.metric, self.replayable, busy, **look)


class ComparisonView(Readable, ipw.VBox):  # type: ignore[misc]  # ipywidgets is untyped
    """Grid of a comparison: one row per case, one column per release; created by `Comparison.view`.

    Regressions are shown first. Only visible rows are sent to the page.

    Parameters
    ----------
    comparison : Comparison
        The comparison to display; replaced after a rating or a run in the view.
    actions : Actions, optional
        Operations of a workspace. Default: the grid is read-only.
    about : str
        Short label for the heading.

    Attributes
    ----------
    comparison : Comparison
        The current comparison with the selected baseline.
    table : TableView
        The widget of the rows.
    export_folder : Path or None
        Folder of exported files; None, the default, for the working directory.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> ws.compare("ticket-triage").view()
    ComparisonView(ticket-triage against v1, 1 case on 2 releases)
    """

    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self, comparison: Comparison, actions: Actions | None = None, *, about: str = ""
    ) -> None:
        self._back = button("Back to the grid", "vnb-grid-back", self._close_blind)
        resume = button("Continue rating", "vnb-grid-back", self._continue_rating)
        end = button("End rating…", "vnb-grid-back", self._end_rating)
        self._hidden = ipw.VBox([note(""), ipw.HBox([resume, end])])
        self._own = comparison  # with its original baseline
        self._actions = actions
        self._releases = dict(_placed(comparison))
        self._deleted = 0
        self._opened = "", ""  # the case and the release
        self._executor = SerialExecutor("vellum-nb-grid")
        self._debouncer = Debouncer(self._sync, name="vellum-nb-grid-runs")
        self.table = table = CasesTable(comparison, actions, about)
        self._detail = Detail(
            actions,
            lambda run: self._take_runs([run]),
            self.close_case,
            run_again=self._run_again,
        )
        self._blind = ipw.VBox([])
        super().__init__([table, self._detail.widget, self._blind])
        self._hide_results()
        self.add_class("vnb-grid-view")
        table.actions |= {
            "open": lambda m: self.open_case(self._case(m), str(m.get("release", ""))),
            "close": lambda _message: self.close_case(),
            "rate": self._on_rate,
            "fail": self._on_fail,
            "note": self._on_note,
            "replay": lambda message: self.replay(self._case(message), _text(message, "release")),
            "baseline": self._on_baseline,
            "metric": self._on_metric,
            "blind": lambda message: self.rate_blind(_text(message, "release")),
            "code": lambda _message: self._executor.submit(self._show_code),
        }
        table.observe(self._reopen, "inline")
        if actions is not None:
            offer_case_sets(table, actions, self._chosen_case, self._executor.submit)
            poke = self._debouncer.poke
            self._unsubscribe = actions.history.subscribe(self._on_run, on_bulk_change=poke)
        close_with_cell(self)

    @property
    def comparison(self) -> Comparison:
        """The current comparison with the selected baseline."""
        return self.table.comparison

    @property
    def export_folder(self) -> Path | None:
        """Folder of exported files; None for the working directory."""
        return self.table.export_folder

    @export_folder.setter
    def export_folder(self, folder: Path | None) -> None:
        self.table.export_folder = folder

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no rating or run is in progress; return False on a timeout."""
        waits = (self._executor.wait, self._detail.bars.wait, self._debouncer.wait)
        return all(wait(timeout) for wait in waits)

    def close(self) -> None:
        """Close all widgets of the view and unsubscribe from the history."""
        self._unsubscribe()
        self._debouncer.close()
        for part in (*self.children, self._back, self._hidden, self.layout):
            close_tree(part)
        super().close()

    def open_case(self, case: Case, release: str = "") -> None:
        """Open `case` next to the grid; the baseline's marks refer to `release`."""
        self._opened = case.case_id, release
        table, show = self.table, self._detail.show
        show(
            self.comparison,
            case,
            release,
            metric=table.metric,
            inline=table.inline,
            replayed=table.replayable,
            busy=dict(table.busy),
        )
        self.table.opened = case.case_id

    @property
    def _opened_case(self) -> Case | None:
        cases = self.comparison.cases if self.table.opened else ()
        return next((case for case in cases if case.case_id == self._opened[0]), None)

    def _reopen(self, _change: object = None) -> None:
        """Show the open case again, after a change of the comparison or of the display."""
        if (opened := self._opened_case) is not None:
            self.open_case(opened, self._opened[1])

    def close_case(self) -> None:
        """Close the case."""
        self._detail.hide()
        self.table.opened = ""

    def rate(self, case: Case, release: str, quality: float) -> None:
        """Rate the answer of `case` on `release` from 0 to 1, in a thread."""
        save = partial(require(self._actions, "save ratings").rate, quality=quality)
        self._save(case, release, f"rated {quality:g}", save)

    def name_failure(self, case: Case, release: str, name: str, *, has: bool = True) -> None:
        """Add the failure `name` to the answer of `case` on `release`, or remove it."""
        words = f"failure {name}" if has else f"no longer a failure: {name}"
        actions = require(self._actions, "save failures")
        self._save(case, release, words, partial(actions.name_failure, name=name, has=has))

    def note(self, case: Case, release: str, text: str) -> None:
        """Store a note on the answer of `case` on `release`; empty text clears it."""
        save = partial(require(self._actions, "save notes").note, text=text.strip() or None)
        self._save(case, release, "note saved" if text.strip() else "no note", save)

    def _save(self, case: Case, release: str, words: str, save: Callable[[Run], Run]) -> None:
        """Call `save` with an answer in a thread; then announce `words`."""
        run = case.answer(release)
        if run is None:
            msg = f"Case {case.number} has not been answered on {release} and cannot be rated"
            raise InputError(msg)

        def work() -> None:
            self._take_runs([save(run)])
            text = f"Case {case.number} on {release}: {words}"
            self.table.send({"kind": "status", "text": clean(text)})

        self._work(case, release, "saving…", work)

    def replay(self, case: Case, release: str | None = None) -> None:
        """Run `case` in a thread, on `release` or on all releases, and show the answers.

        An earlier answer becomes a repeat. Releases on which the case is running are skipped.
        """
        actions, table = require(self._actions, "run cases"), self.table
        if release is not None and release not in table.replayable:
            msg = f"Case {case.number} cannot be run on {release} from here"
            raise InputError(msg)

        def run_case(release: str) -> None:
            _refuse_moved(self.comparison, actions, release)
            runs = actions.run_case(self.comparison.deployment, case, release)
            with table.lock:
                own = self._own.with_runs(runs, release=release)
                self._releases |= dict(_placed(own))
                self._show(own)

        for name in self.comparison.releases if release is None else [release]:
            if name in table.replayable and not table.busy.get((case.case_id, name), IDLE)[0]:
                self._work(case, name, "running…", partial(run_case, name))

    def _run_again(self) -> None:
        if (opened := self._opened_case) is not None:
            self.replay(opened)

    def _on_baseline(self, message: Mapping[str, Any]) -> None:
        if (release := _text(message, "release")) != self.comparison.baseline:
            self._show(self._own, baseline=release)

    def _on_metric(self, message: Mapping[str, Any]) -> None:
        name = _text(message, "name")
        names = [metric.name for metric in self.comparison.metrics]
        if name not in names:
            msg = f"Unknown metric {name!r}{available(names)}"
            raise InputError(msg)
        self.table.metric = name
        self.table.renew()

    def show_cases(self, step: Mapping[str, Any]) -> None:
        """Take the next step of a verdict: show the cases behind it, or rate blind."""
        table, show, release = self.table, _text(step, "show"), _text(step, "release")
        if show == "blind":
            self.rate_blind(release)
            return
        if show not in STATES:
            refuse(f"{show!r:.60} is not a group of cases")
        with table.hold_sync():  # before the metric: the page requests rows by these
            table.states, table.release = [show], release
            table.search, table.labels, table.failures = "", {}, []
        if (name := _text(step, "metric")) and name != table.metric:
            self._on_metric({"name": name})

    def offer_cases(
        self, more: Callable[[Decision], MoreCases | None], add: Callable[[str], None]
    ) -> None:
        """Offer the cases that would decide the verdicts.

        `more` returns None if they cannot be added; the button calls `add` with the release.
        """
        self.table.more = more
        self.table.actions["add"] = lambda message: add(_text(message, "release"))
        self.table.renew(reorder=False)

    def rate_blind(self, release: str = "") -> None:
        """Replace the grid with a blind rating of the baseline and `release`, or the first one."""
        comparison = self.comparison
        require(self._actions, "store blind ratings")
        if not comparison.figures.others:
            msg = "A blind rating requires two releases, but this comparison has one"
            raise InputError(msg)
        second = release if release in comparison.figures.others else comparison.figures.others[0]
        self._show_rating(comparison.view(blind=True, pair=(comparison.baseline, second)))

    def _show_rating(self, view: Any) -> None:
        self.close_case()
        self._replace_grid(self._back, view)

    def _replace_grid(self, *parts: Any) -> None:
        """Show `parts` in place of the grid; without parts, show the grid again."""
        for former in self._blind.children:
            if former not in {self._back, self._hidden}:
                close_tree(former)
        self._blind.children = parts
        self.table.layout.display = self._detail.widget.layout.display = "none" if parts else None

    def _close_blind(self) -> None:
        """Show the grid again, or that its results are hidden; a reopened rating continues."""
        self._replace_grid()
        self._hide_results()
        self.table.send({"kind": "back"})

    def _hide_results(self) -> None:
        """Replace the results with a sentence and two buttons while a blind rating is open."""
        shown = self._blind.children
        if self._back in shown:  # the rating itself
            return
        rating = self._own.open_rating if self._actions is not None else None
        if rating is not None:
            self._hidden.children[0].value = f"<p>{escape(rating.hidden_note)}</p>"
            self._replace_grid(self._hidden)
        elif shown:
            self._replace_grid()

    def _continue_rating(self) -> BlindView | None:
        """Continue the open blind rating, if it has not ended elsewhere."""
        rating = self._own.open_rating
        if rating is None:
            self._hide_results()
            return None
        view = BlindView(rating, self._actions)
        self._show_rating(view)
        return view

    def _end_rating(self) -> None:
        if (view := self._continue_rating()) is not None:
            view.ask_to_end()

    def _case(self, message: Mapping[str, Any]) -> Case:
        case_id, cases = message.get("id"), self.comparison.cases
        match = next((case for case in cases if case.case_id == case_id), None)
        return match or refuse(f"unknown case {case_id!r:.60}")

    def _chosen_case(self, message: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """Return the deployment and a case, to add it to a case set."""
        return self.comparison.deployment, [case_row(self._case(message))]

    def _on_rate(self, message: Mapping[str, Any]) -> None:
        quality = message.get("quality")
        if isinstance(quality, bool) or quality not in QUALITIES:
            refuse(f"a rating is one of {QUALITIES}, not {quality!r:.60}")
        self.rate(self._case(message), _text(message, "release"), float(quality))

    def _on_fail(self, message: Mapping[str, Any]) -> None:
        if not isinstance(has := message.get("has"), bool):
            refuse(f"{has!r:.60} is neither true nor false")
        of = self._case(message), _text(message, "release"), _text(message, "name")
        self.name_failure(*of, has=has)

    def _on_note(self, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        if not isinstance(text, str) or len(text) > MAX_NOTE_CHARS:
            refuse(f"a note is a text of at most {MAX_NOTE_CHARS:,} characters")
        case, release = self._case(message), _text(message, "release")
        run = case.answer(release)
        if run is not None and len(run.note or "") > MAX_NOTE_CHARS:
            refuse("this note is too long for the page: change it with cmp.note(run, text)")
        self.note(case, release, text)

    def _work(self, case: Case, release: str, words: str, call: Callable[[], None]) -> None:
        """Run `call` in a thread; show `words` in the cell, and then any error."""
        table, key = self.table, (case.case_id, release)

        def redraw() -> None:
            with table.lock:
                table.send_case(case)
                if case.case_id == self._opened[0]:
                    self._reopen()

        def work() -> None:
            problem = ""
            try:
                call()
            except VellumNBError as exc:
                problem = str(exc)
            except Exception as exc:
                problem = f"{type(exc).__name__}: {exc}"
                raise
            finally:
                table.busy.pop(key, None)
                table.busy |= {key: ("", problem)} if problem else {}
                redraw()

        table.busy[key] = words, ""
        redraw()
        self._executor.submit(work)

    def _show_code(self) -> None:
        """Show the differences in code and prompts, which are fetched once."""

        def show() -> None:
            html = "".join(
                f"<h4>{name_html(release)}: {diff.sentence}</h4>{diff.to_html()}"
                for release, diff in self._own.code_diffs.items()
            )
            nothing = "No code difference to display: it is the same, has moved or is unreadable."
            self.table.code = html or f"<p>{nothing}</p>"

        self.table.guarded("action", show)

    def _on_run(self, run: Run) -> None:
        if run.id in self._releases:
            self._debouncer.poke()

    def _sync(self) -> None:
        """Apply changes from the history: ratings, deleted and restored runs."""
        ids, history = set(self._releases), require(self._actions, "follow runs").history
        with suppress(HistoryError):  # the history may be closed
            existing = {run.id: run for run in history.runs(ids=list(ids))}
            with self.table.lock:
                known_ids = {run_id for run_id, _ in _placed(self._own)}
                deleted, restored = (known_ids & ids) - existing.keys(), existing.keys() - known_ids
                updated = self._own
                for run_id in restored:
                    updated = updated.with_runs([existing[run_id]], release=self._releases[run_id])
                if deleted or restored:
                    self._show(updated.with_runs(without=deleted))
                    self._deleted += len(deleted) - len(restored)
                    self.table.error = ""
                    count = plural(self._deleted, "run")
                    text = f"Deleted since: {count}, see history.deletions()"
                    text = text if self._deleted else _ALL_RESTORED
                    self.table.send({"kind": "status", "text": text})
            self._take_runs(existing.values())
        self._hide_results()

    def _take_runs(self, runs: Iterable[Run]) -> None:
        """Update rated runs in their rows and in the summary, without moving rows."""
        with self.table.lock:
            known_runs = {r.id: r for r in self._own.answers["run"].tolist()}
            changed = []
            for run in runs:
                if (old := known_runs.get(run.id)) is not None:
                    names = ("quality", "desired", "tags", "note")
                    news = {name: getattr(run, name) for name in names}
                    news |= {"nodes": run.nodes} if run.nodes and not old.nodes else {}
                    if any(getattr(old, name) != value for name, value in news.items()):
                        changed.append(old.model_copy(update=news))
            if changed:
                self._show(self._own.with_runs(changed), reorder=False)

    def _show(self, new: Comparison, *, baseline: str = "", reorder: bool | None = None) -> None:
        """Display the comparison `new` with the selected baseline."""
        reorder = bool(baseline) if reorder is None else reorder
        baseline, table = baseline or self.comparison.baseline, self.table
        self._own = new
        table.comparison = new if baseline == new.baseline else new.with_baseline(baseline)
        table.renew(reorder=reorder)
        self._reopen()

    def _display_(self) -> Any:
        return self.table  # marimo displays the table without the open case

    @printed
    def __repr__(self) -> str:
        comparison = self.comparison
        cases = plural(len(comparison.cases), "case")
        on = plural(len(comparison.releases), "release")
        against = f"{comparison.deployment} against {comparison.baseline}"
        return f"ComparisonView({against}, {cases} on {on})"

    def _html(self) -> str:
        return self.comparison._repr_html_()


def _placed(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the id and the release of each run."""
    return [
        (run.id, release)
        for case in comparison.cases
        for release, repeats in case.tries.items()
        for run in repeats
    ]


def _same_releases(comparison: Comparison, actions: Actions) -> dict[str, tuple[str, ...]]:
    """Return the other tags on the release of each tag; empty if one release cannot be read."""
    aliases: dict[str, tuple[str, ...]] = {}
    for tag in comparison.release_tags if comparison.by == "release_tag" else ():
        release = actions.release(comparison.deployment, tag)
        if release is None:
            return {}
        if tag in comparison.releases:
            aliases[tag] = release.other_tags(tag)
    return aliases


def _refuse_moved(comparison: Comparison, actions: Actions, tag: str) -> None:
    """Raise if a tag now points at another release than in the runs of its column."""
    tries = (run for case in comparison.cases for run in case.tries.get(tag, ()))
    compared = {run.release_id for run in tries} - {None}
    release = actions.release(comparison.deployment, tag)
    if release is not None and compared and release.id not in compared:
        msg = f"{tag} points at another release than its compared runs; use cmp.replay(...) for it"
        raise InputError(msg)


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    return value if isinstance(value, str) else refuse(f"{value!r:.60} is not a {key}")
