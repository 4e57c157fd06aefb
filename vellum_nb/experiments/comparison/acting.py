"""The half of `vellum_nb.Comparison` that acts: replay, a gate, files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.frames import case_frame, run_frame
from vellum_nb.experiments.comparison.gate import check, failures
from vellum_nb.experiments.comparison.replaying import replayed
from vellum_nb.models import Run
from vellum_nb.models.plain import shown

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.experiments.sweep import Sweep

__all__ = ["Acting"]

Chosen: TypeAlias = "pd.DataFrame | str | Case | Run | Iterable[str | Case | Run]"
Rows: TypeAlias = Literal["cases", "runs"]


class Acting(BaseComparison):
    """What `vellum_nb.Comparison` does beside telling."""

    def replay(
        self,
        cases: Chosen | None = None,
        *,
        release_tag: str,
        repeats: int = 1,
        progress: bool = True,
    ) -> Sweep:
        """Run cases of this comparison once more, on any release tag.

        They are run as a sweep, so that they are stopped and gone on with as any. Each carries
        the label ``replay_of``: the `id` of the run that is replayed, the one shown of its case
        on the baseline, or on the first release that has one.

        Parameters
        ----------
        cases : DataFrame, str, Case, Run or several, optional
            Rows of `frame`, such as `regressions` returns, a `case_id`, or cases of `cases`;
            runs of the history may be others than those compared. Default: all.
        release_tag : str
            The release tag to run them on.
        repeats : int, default 1
            How often each is run.
        progress : bool, default True
            Whether to show how far it is.

        Returns
        -------
        Sweep
            Its runs, with ``label.replay_of`` in its `frame`.

        Raises
        ------
        InputError
            No such case, or this comparison was made from a DataFrame and can run nothing.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> cmp = ws.compare("ticket-triage")
        >>> cmp.replay(cmp.changed(), release_tag="v3")
        <Sweep of ticket-triage on v3: done, 1 of 1 runs>
        """
        options = {"release_tags": [release_tag], "repeats": repeats, "progress": progress}
        sweep: Sweep = replayed(self, self.tools, cases, options)
        return sweep

    def assert_no_regressions(
        self,
        metric: str | Sequence[str] | None = None,
        *,
        release: str | None = None,
        max_regressions: int | None = 0,
        max_missing: int | None = 0,
        alpha: float | None = 0.05,
    ) -> None:
        """Raise where a release is worse than the baseline; for tests and for CI.

        A release passes when no more than `max_regressions` cases are worse, when no more than
        `max_missing` cannot be told, and when it is not worse all in all beyond what chance, at
        `alpha`, and repeats bring about. None leaves a condition out.

        Parameters
        ----------
        metric : str or sequence of str, optional
            By which metrics of this comparison. Default: the first.
        release : str, optional
            Which release. Default: all that are held against the baseline.
        max_regressions : int, default 0
            How many cases may be worse.
        max_missing : int, default 0
            How many cases may be without an answer or a figure on one of the two releases.
        alpha : float, default 0.05
            The p value, corrected for several releases, up to which a mean difference counts.

        Raises
        ------
        RegressionError
            A release does not pass; the message lists why, and the cases.
        InputError
            There is no such metric or release, or nothing tells better from worse.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "expected.category": "billing"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
        >>> sweep.compare().assert_no_regressions("score", alpha=0.01)
        """
        check(
            self,
            metric=metric,
            release=release,
            max_regressions=max_regressions,
            max_missing=max_missing,
            alpha=alpha,
        )

    def to_csv(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write `frame` as CSV; `vellum_nb.read_csv` reads it back to the same frame.

        Text that a spreadsheet would run as a formula is guarded by an apostrophe.

        Parameters
        ----------
        path : str or Path
            Where to.
        rows : {"cases", "runs"}, default "cases"
            ``"runs"`` writes `long`, one row a run.

        Raises
        ------
        HistoryError
            The file cannot be written; the old one stays.
        VellumNBError
            The API key stands in it. Nothing was written.
        """
        from vellum_nb.rendering.files import save_frame

        return save_frame(path, self._checked_frame(rows, path), "csv")

    def to_parquet(self, path: str | Path, *, rows: Rows = "cases") -> Path:
        """Write the same as Parquet; columns of mixed types as JSON text. Needs pyarrow."""
        from vellum_nb.rendering.files import save_frame

        return save_frame(path, self._checked_frame(rows, path), "parquet")

    @overload
    def to_markdown(self, path: None = None, *, only: str | Sequence[str] | None = None) -> str: ...
    @overload
    def to_markdown(self, path: str | Path, *, only: str | Sequence[str] | None = None) -> Path: ...
    def to_markdown(
        self, path: str | Path | None = None, *, only: str | Sequence[str] | None = None
    ) -> str | Path:
        """Return the comparison as Markdown for GitHub, or write it to `path`.

        Deleted words are in ``[-…-]``, inserted ones in ``{+…+}``. What runs say is shown letter
        by letter, whatever it is.

        Parameters
        ----------
        path : str or Path, optional
            Where to.
        only : str or sequence of str, optional
            Which cases are listed: ``"worse"``, ``"missing"``, ``"better"``, ``"changed"``,
            ``"same"``. Default: all, however many.

        Raises
        ------
        InputError
            `only` names no such cases.
        HistoryError, VellumNBError
            As of `to_csv`.
        """
        from vellum_nb.experiments.report.figures import chosen_groups
        from vellum_nb.experiments.report.markdown import markdown

        return self._saved(markdown(self, chosen_groups(only)), path, "the Markdown")

    @overload
    def to_html(self, path: None = None) -> str: ...
    @overload
    def to_html(self, path: str | Path) -> Path: ...
    def to_html(self, path: str | Path | None = None) -> str | Path:
        """Return the comparison as one HTML page without any script, or write it to `path`.

        All cases are in it. Beside ``report.html`` come ``report.runs.csv``, one row a run, and
        ``report.cases.csv``, from which every figure can be reckoned again.

        Raises
        ------
        HistoryError, VellumNBError
            As of `to_csv`.
        """
        from vellum_nb.experiments.report.page import page
        from vellum_nb.rendering.files import save_frame

        if path is None:
            return self._saved(page(self, {}), None, "the HTML")
        if not Path(path).name:
            msg = f"{str(path)!r} names no file; give one, such as 'report.html'"
            raise InputError(msg)
        files = {rows: Path(path).with_suffix(f".{rows}.csv") for rows in ("runs", "cases")}
        html = page(self, {rows: file.name for rows, file in files.items()})
        frames = self._checked_frames(str(path), html)
        for rows, file in files.items():
            save_frame(file, frames[rows], "csv")
        return self._saved(html, path, "", checked=True)

    def to_junit(
        self,
        path: str | Path | None = None,
        *,
        metric: str | Sequence[str] | None = None,
        max_regressions: int | None = 0,
        max_missing: int | None = 0,
        alpha: float | None = 0.05,
    ) -> str | Path:
        """Return the comparison as JUnit XML, or write it to `path`; the rest as of the gate.

        A suite for each release and metric, a test case for each case: one that is worse is a
        failure, one that cannot be told an error. Its last test case is the release all in all.

        Raises
        ------
        InputError
            As of `assert_no_regressions`.
        HistoryError, VellumNBError
            As of `to_csv`.
        """
        from vellum_nb.experiments.report.junit import junit

        limits: dict[str, Any] = {"max_regressions": max_regressions, "max_missing": max_missing}
        found = failures(self, metric=metric, alpha=alpha, **limits)
        names = [metric] if isinstance(metric, str) or metric is None else list(metric)
        metrics = [self._metric(name).name for name in names]
        return self._saved(junit(self, metrics, found), path, "the JUnit XML")

    def _saved(
        self, text: str, path: str | Path | None, what: str, *, checked: bool = False
    ) -> str | Path:
        """Return `text`, or the path that it was written to."""
        from vellum_nb.rendering.files import save_text

        if not checked:
            self._checked_frames(what if path is None else str(path), text)
        return text if path is None else save_text(path, text)

    def _checked_frames(self, what: str, text: str = "") -> dict[str, pd.DataFrame]:
        from vellum_nb.rendering.files import refuse_key

        frames = {"cases": case_frame(self), "runs": run_frame(self)}
        refuse_key(what, self.tools.holds_key, frames.values(), text)
        return frames

    def _checked_frame(self, rows: str, path: str | Path) -> pd.DataFrame:
        from vellum_nb.rendering.files import refuse_key

        makers = {"cases": case_frame, "runs": run_frame}
        if rows not in makers:
            msg = f"rows={shown(rows)}: there are 'cases' and 'runs'; nothing was written"
            raise InputError(msg)
        frame = makers[rows](self)
        refuse_key(str(path), self.tools.holds_key, [frame])
        return frame
