"""`ComparisonView`: the grid of a comparison, and one case in full under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.changing import Gone, added, recalled, renewed
from vellum_nb.fitting import fitting
from vellum_nb.history.reading.payloads import GoneError
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.widgets.base import Readable, SerialExecutor, close_tree
from vellum_nb.widgets.grid.blind import BlindPlace, pair_of
from vellum_nb.widgets.grid.busy import Busy
from vellum_nb.widgets.grid.cells import Shown
from vellum_nb.widgets.grid.detail import Detail
from vellum_nb.widgets.grid.early import Unranked, early_head, is_large, own_figures
from vellum_nb.widgets.grid.exports import export_result
from vellum_nb.widgets.grid.hands import Hands
from vellum_nb.widgets.grid.head import head
from vellum_nb.widgets.grid.hearing import Hearing, gone_told
from vellum_nb.widgets.grid.shelf import Shelf
from vellum_nb.widgets.grid.table import GridTable

__all__ = ["ComparisonView"]


@fitting(InputError)
class ComparisonView(Readable, ipw.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The grid of a comparison: cases down, releases across; `Comparison.view` makes it.

    Regressions stand first. Only the rows in sight travel to the page.

    Parameters
    ----------
    comparison : Comparison
        What is shown. Ratings and runs that are made here are taken into it.
    hands : Hands, optional
        What can be done beside looking.

    Attributes
    ----------
    comparison : Comparison
        As it is shown now: held against the baseline that was chosen.
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

    _hearing: Hearing | None = None  # one that was never whole is closed as well

    def __init__(self, comparison: Comparison, hands: Hands | None = None) -> None:
        self._own = self.comparison = comparison
        self._hands = hands or Hands()
        self._shelf: Shelf | None = None
        self._chosen: frozenset[str] = frozenset()
        self._metric = comparison.metric.name if comparison.metric else None
        self._open: Case | None = None
        self._gone: Gone = {}
        self.export_folder: Path | None = None
        self._errands = SerialExecutor("vellum-nb-grid")
        self._busy = Busy(self._errands, self._push)
        self._version = 0
        self._early = is_large(comparison)
        self.table = GridTable(self, self._told())
        self._detail = Detail(self._hands, self._rated)
        self._blind = BlindPlace(self.table, self._detail.widget)
        super().__init__([self.table, self._detail.widget, self._blind.widget])
        self.add_class("vnb-grid-view")
        if self._hands.subscribe is not None:
            self._hearing = Hearing(comparison, self._hands, self._heard, self._recalled)
        if self._early:
            own_figures(comparison)
            self._errands.submit(self._work_out)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no rating, run or figure is under way; return whether that is so."""
        waits = [self._errands.wait, self._detail.actions.wait]
        if self._hearing is not None:
            waits.append(self._hearing.wait)
        return all(wait(timeout) for wait in waits)

    def close(self) -> None:
        """Close the widget and hear of ratings no more."""
        if self._hearing is not None:
            self._hearing.close()
        for part in (self.table, *self._blind.parts):
            close_tree(part)
        children: tuple[Any, ...] = self.children
        self.children = ()
        for part in (*children, self.layout):
            close_tree(part)
        super().close()

    def shelf(self) -> Shelf:
        """Return the cases in their order, by the metric that was chosen."""
        if self._early:
            return Unranked(self.comparison, self._metric)
        if self._shelf is None:
            self._shelf = Shelf(self.comparison, self._metric, self._chosen)
        return self._shelf

    def choose(self, case_ids: Iterable[str]) -> None:
        """Show only these cases, until the reader takes the filter *Chosen* away; none: all.

        It may be the `on_select` of a chart: a rectangle in the scatter chooses rows here.

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
        self._shelf = None
        self._renew(reorder=True)
        on = self.shelf().count("chosen") > 0
        self.table.tell(kind="filter", states=["chosen"] if on else [])

    def shown(self) -> Shown:
        """Return what rows are made of."""
        replayed, busy = self._hands.replayed(self.comparison), self._busy.words()
        return Shown(self.comparison, self._metric, replayed, busy, early=self._early)

    def open_case(self, case: Case) -> None:
        """Show `case` in full under the grid."""
        self._open = case
        self._detail.show(self.comparison, case)
        self.table.opened = case.case_id

    def _open_again(self) -> None:
        if self._open is not None:
            self.open_case(self.comparison.cases[self._open.number - 1])

    def close_case(self) -> None:
        """Show the case in full no more."""
        self._open = None
        self._detail.hide()
        self.table.opened = ""

    def rate(self, case: Case, release: str, quality: float) -> None:
        """Rate the answer of `case` on `release`, from 0 to 1; the grid shows when it is kept.

        Raises
        ------
        InputError
            Ratings cannot be kept here, or there is no answer.
        """
        rate, run = self._hands.rate, case.answer(release)
        if rate is None:
            msg = "Ratings cannot be kept here: this comparison was made without a workspace"
            raise InputError(msg)
        if run is None or not run.outputs:
            msg = f"There is no answer of case {case.number} on {release} to rate"
            raise InputError(msg)

        def keep() -> None:
            now = rate(run, quality, None)
            self._rated(now)
            text = f"Case {case.number} on {release}: rated {quality:g}"
            self.table.tell(kind="told", text=text)

        self._busy.do(case, release, "saving the rating…", keep)

    def replay(self, case: Case, release: str) -> None:
        """Run `case` on `release`; its cell shows the answer when it has come.

        Raises
        ------
        InputError
            Nothing can be run here, or not on `release`.
        """
        replay = self._hands.replay
        if replay is None or release not in self._hands.replayed(self.comparison):
            msg = f"Case {case.number} cannot be run on {release} from here"
            raise InputError(msg)

        def make() -> None:
            added(self._own, replay(case, release), release)
            self._hold(self.comparison.baseline)
            self._renew(reorder=False)

        self._busy.do(case, release, "running…", make)

    def set_baseline(self, release: str) -> None:
        """Hold the others against `release`."""
        if release == self.comparison.baseline:
            return
        self._hold(release)
        self._renew(reorder=True)
        self._open_again()

    def set_metric(self, name: str) -> None:
        """Rank the cases by another metric.

        Raises
        ------
        InputError
            There is no such metric in this comparison.
        """
        self._metric = self.comparison._metric(name).name  # noqa: SLF001  (checks the name)
        self._shelf = None
        self._renew(reorder=True)

    def export(self, kind: object, path: object) -> None:
        """Write the comparison as it is shown; the grid says where."""
        self.table.tell(
            kind="exported", **export_result(self.comparison, kind, path, self.export_folder)
        )

    def rate_blind(self, release: str = "") -> None:
        """Rate the baseline and `release` (default: the first) blind, in the grid's place.

        Raises
        ------
        InputError
            There is none here, or one release only.
        """
        if self._hands.blind is None:
            msg = "There is no blind rating here"
            raise InputError(msg)
        rating = self._hands.blind(self.comparison, pair_of(self.comparison, release))
        self.close_case()
        self._blind.open(rating)

    def look_again(self) -> None:
        """Look soon which runs there are still, where another process may have deleted some."""
        if self._hearing is not None:
            self._hearing.look()

    def _push(self, case: Case) -> None:
        self.table.send_row(self.comparison.cases[case.number - 1])

    def _rated(self, run: Run) -> None:
        """Take in a run that was rated: its row and the summary show it, no row moves."""
        self._heard([run])

    def _heard(self, runs: Iterable[Run]) -> None:
        """Take in runs as they are now, of which some may be known already."""
        with self.table.turn:
            found = [run for run in runs if renewed(self._own, run)]
            for run in found:
                self._detail.replace(run)
            if found:
                self._hold(self.comparison.baseline)
                self._renew(reorder=False)

    def _recalled(self, now: Mapping[str, Record | None]) -> None:
        """Take in which of the runs there are still, or again."""
        with self.table.turn:
            if recalled(self._own, now, self._gone):
                self._hold(self.comparison.baseline)
                self._renew(reorder=False)
                self._open_again()
                self.table.error = ""
                self.table.tell(kind="told", text=gone_told(len(self._gone)))

    def _hold(self, baseline: str) -> None:
        own = self._own
        self.comparison = own if baseline == own.baseline else own.with_baseline(baseline)
        self._shelf = None

    def _work_out(self) -> None:
        """Work the figures out in a thread, and show them unless a click was quicker."""
        try:
            shelf = Shelf(self._own, self._metric)
            head(self._own, shelf, self._hands)  # kept by the comparison and by the shelf
            with self.table.turn:
                # What was clicked meanwhile has asked for figures itself.
                if self._early and shelf.metric == self._metric and not self._chosen:
                    self._shelf = shelf
                    self._renew(reorder=True)
        except GoneError as exc:
            self.table.lost(exc)
        except Exception as exc:
            self.table.fail(exc)
            raise

    def _renew(self, *, reorder: bool) -> None:
        with self.table.turn:
            reorder |= self._early
            self._early = False
            self._version += 1
            self.table.renew(self._told(), reorder=reorder)

    def _told(self) -> dict[str, Any]:
        if self._early:
            return early_head(self.comparison, self._metric, self._hands) | {"version": 0}
        return head(self.comparison, self.shelf(), self._hands) | {"version": self._version}

    def __repr__(self) -> str:
        comparison = self.comparison
        number, releases = len(comparison.cases), len(comparison.releases)
        cases = f"{number:,} case{'' if number == 1 else 's'}"
        on = f"{releases} release{'' if releases == 1 else 's'}"
        against = f"{comparison.deployment} against {comparison.baseline}"
        return f"ComparisonView({against}, {cases} on {on})"

    def _html(self) -> str:
        return self.comparison._repr_html_()
