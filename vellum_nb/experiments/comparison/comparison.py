"""`Comparison`: stored runs of a deployment side by side, one row a case."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.comparison.acting import Acting
from vellum_nb.experiments.comparison.frames import case_frame, cases_by, error_frame, run_frame
from vellum_nb.experiments.comparison.looking import QUESTION, LookMethods
from vellum_nb.experiments.comparison.summary import Finding, finding, line, remark, summary_frame
from vellum_nb.experiments.comparison.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from vellum_nb.experiments.cases import Case

__all__ = ["Comparison"]


class Comparison(Acting, LookMethods):
    """Stored runs of one deployment, case by case on several releases.

    Of several runs of a case on a release the newest that brought an answer (FULFILLED or
    REJECTED) is shown; metrics go over all of them, and their mean counts. A case without an
    answer on a release is *missing* there: counted and shown, never the same, never a pass. A tag
    that moved between runs has one column a release.

    Parameters
    ----------
    runs : iterable of Run
        In any order; runs of other deployments and tags are left out.
    deployment : str
        The deployment's name.
    release_tags : sequence of str
        The release tags, in the order of the columns.
    baseline : str, optional
        The tag the others are held against. Default: the first.
    render : callable, optional
        Makes the HTML of the comparison. Without it there is a plain table.
    metrics : metric or sequence, optional
        `vellum_nb.Metric`, functions of a run, names of `vellum_nb.metrics`; the first decides
        what is better. Default: ``score``, where it is known what outputs should be, and
        ``quality``, where runs were rated.
    cases : sequence of SweepCase, optional
        Cases that belong to it, run or not, with what is expected of them.
    only : iterable of str, optional
        The `case_id` of the cases that are meant. Default: all.
    by : str, default "release_tag"
        What the columns are; of anything else than release tags none is split.
    alpha : float, default 0.05
        How likely chance may be where something counts as better or worse.
    seed : int, default 0
        Of the bootstrap: equal seeds give equal figures.
    judging : Judging, optional
        How a judge among the metrics is asked; `vellum_nb.Workspace` gives it.

    Attributes
    ----------
    releases : tuple of str
        The columns: a release tag each, more where a tag moved.
    baseline : str
        The column the others are held against.
    cases : tuple of Case
        In the order in which they were given, or first run.
    metrics : tuple of Metric
        The first decides.
    moved_tags : tuple of str
        The release tags that pointed at several releases while these runs were made.

    Raises
    ------
    InputError
        There is no release tag, the baseline is not among them, or a metric is none.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> vnb.Comparison([], deployment="ticket-triage", release_tags=["v1", "v2"])
    <Comparison of ticket-triage: no stored runs on v1, v2>
    """

    def frame(self) -> pd.DataFrame:
        """Return one row a case, in plain columns.

        ``case_id``, ``changed``, ``input.<name>``..., ``expected.<name>`` and ``label.<name>``
        where known, then for each output one column a release, ``output.<name>@<release>``,
        ``state@<release>``, ``answers@<release>`` (how many repeats answered),
        ``changed@<release>``, and of each metric ``metric.<name>@<release>``,
        ``delta.<name>@<release>`` to the baseline, and ``verdict@<release>``. Structured values
        are canonical JSON text, as in the history's frame. ``changed`` is True where an answer
        differs from the baseline's, False where all are the same, and missing where that cannot
        be told. ``state`` says "missing" where a case has no run.
        """
        return case_frame(self)

    def long(self) -> pd.DataFrame:
        """Return one row a run: its case, release, state, figures, outputs and metrics."""
        return run_frame(self)

    def summary(self) -> pd.DataFrame:
        """Return one row a release: counts, metrics with intervals, wins and losses, p, latency.

        Of `cases`, `n` brought an answer, `missing` were not run, `failed` were run and no answer
        came. ``metric.<name>`` is the mean over cases, with its 95 % interval in ``.low`` and
        ``.high``; ``.delta`` the mean difference to the baseline with its own, ``.p`` its p value
        and ``.noise`` what repeats alone would bring about. `wins`, `ties`, `losses` count cases
        by the first metric, `p` is their sign test; every p is corrected for several releases
        (Holm). `noise_floor_pct` is how often repeats of one release differ. `finding` says what
        to make of it.
        """
        return summary_frame(self)

    def regressions(self, metric: str | None = None, *, release: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` that are worse than the baseline, the worst first.

        Parameters
        ----------
        metric : str, optional
            By which metric. Default: the first.
        release : str, optional
            On which release. Default: on any.

        Raises
        ------
        InputError
            Nothing tells better from worse, or there is no such metric or release.
        """
        return self._by_verdict("worse", metric, release)

    def improvements(
        self, metric: str | None = None, *, release: str | None = None
    ) -> pd.DataFrame:
        """Return the rows of `frame` that are better; as `regressions`."""
        return self._by_verdict("better", metric, release)

    def changed(self, *, release: str | None = None) -> pd.DataFrame:
        """Return the rows of `frame` in which an answer differs from the baseline's."""
        chosen = self._others(release)
        found = zip(self.cases, *(self.statuses[each] for each in chosen), strict=True)
        return self._rows([case for case, *statuses in found if "differs" in statuses])

    def unstable(self) -> pd.DataFrame:
        """Return the rows of `frame` in which repeats on one release brought different answers."""
        return self._rows([case for case in self.cases if case.is_unstable])

    def errors(self) -> pd.DataFrame:
        """Return one row for each run that a metric raised on: what, where, and its message."""
        return error_frame(self)

    def line(self, release: str, metric: str | None = None) -> str:
        """Return a release in one line: cases better and worse, p, and the noise floor."""
        return line(self, release, metric)

    def finding(self, release: str, metric: str | None = None) -> Finding:
        """Return what a release is, all in all, against the baseline.

        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` where repeats alone differ as much,
        ``"undecided"`` where it may be chance, ``"missing"`` where there is nothing to compare.
        """
        return finding(self, release, metric)

    def remark(self, release: str, metric: str | None = None) -> str:
        """Return in words what to make of a release, and how many cases would tell more."""
        return remark(self, release, metric)

    def view(
        self,
        *,
        blind: bool = False,
        pair: Sequence[str] | None = None,
        question: str = QUESTION,
        seed: int | None = None,
        fresh: bool = False,
    ) -> Any:
        """Return the grid: cases down, releases across, to filter, open and rate.

        Only the rows in sight travel to the page, however many cases there are.
        A comparison that was made by hand, not by `compare`, shows itself as HTML.

        With `blind`, rate two releases case by case without knowing which is which: the keys 1 (A
        is better), 2 (B), 3 (tie), u (undo), s (skip). Every rating is in the history at once, so
        the same call goes on where it was left, also in a later kernel. Cases with the same
        outputs on both are ties; nobody is asked.

        Parameters
        ----------
        blind : bool, default False
            Rate blind.
        pair : (str, str), optional
            Which two releases, where there are more.
        question : str
            What is asked. Another question is another rating.
        seed : int, optional
            Of the order in which the two stand in each case. Default: drawn, and kept.
        fresh : bool, default False
            Begin another rating, whatever there is.

        Raises
        ------
        InputError
            There are not two releases, or `pair` does not fit.
        """
        if blind:
            return self._blind_view(pair=pair, question=question, seed=seed, fresh=fresh)
        return self if self.tools.grid is None else self.tools.grid(self)

    def _by_verdict(
        self, verdict: Verdict, metric: str | None, release: str | None
    ) -> pd.DataFrame:
        self._metric(metric)
        return self._rows(cases_by(self, self._others(release), verdict, metric))

    def _others(self, release: str | None) -> tuple[str, ...]:
        if release is None:
            return self.others
        self._column(release)
        if release == self.baseline:
            msg = f"{release} is the baseline; others are: {', '.join(self.others) or 'none'}"
            raise InputError(msg)
        return (release,)

    def _rows(self, cases: Sequence[Case]) -> pd.DataFrame:
        chosen = [case.number - 1 for case in cases]
        return self.frame().iloc[chosen].reset_index(drop=True)

    def _plain_html(self) -> str:
        if not self.cases:
            return f"<p>{escape(repr(self)[1:-1])}</p>"
        html: str = self.frame().to_html(escape=True, index=False, border=0, na_rep="missing")
        return f"<p>{escape(repr(self)[1:-1])}</p>{html}"

    def __repr__(self) -> str:
        names = ", ".join(self.releases)
        if not self.cases:
            return f"<Comparison of {self.deployment}: no stored runs on {names}>"
        number = len(self.cases)
        told = "; ".join(self._told(each) for each in self.others) or "one release tag only"
        noun = "case" if number == 1 else "cases"
        return f"<Comparison of {self.deployment} against {self.baseline}, {number} {noun}: {told}>"

    def _told(self, release: str) -> str:
        if self.metrics:
            return self.line(release)
        kinds = ("differs", "same", "missing")
        found = [f"{n} {kind}" for kind in kinds if (n := self.count(release, kind))]
        return f"{release} {', '.join(found)}"

    def _repr_html_(self) -> str:
        return self._render(self) if self._render else self._plain_html()
