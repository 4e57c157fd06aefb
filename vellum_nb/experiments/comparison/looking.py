"""The half of `vellum_nb.Comparison` that is looked at: blind ratings and charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.blind.opening import newest, opened
from vellum_nb.experiments.blind.pairs import checked_pair
from vellum_nb.experiments.blind.session import BlindSession
from vellum_nb.experiments.charts.model import Chart
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.history import History
from vellum_nb.history.plans.blind import BlindRatings

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["QUESTION", "LookMethods"]

QUESTION = "Which answer would you rather send?"


class LookMethods(BaseComparison):
    """Blind ratings and charts."""

    def blind(
        self,
        pair: Sequence[str] | None = None,
        *,
        question: str = QUESTION,
        seed: int | None = None,
        fresh: bool = False,
    ) -> BlindSession:
        """Return the blind rating itself, to go on with from code; `view` shows it.

        Parameters
        ----------
        pair, question, seed, fresh
            As of `view`.

        Raises
        ------
        InputError
            There are not two releases, or `pair` does not fit.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> session = ws.compare("ticket-triage").blind()
        >>> session.rate("tie", note="neither says when the money is back")
        True
        >>> session.finish().line
        'v2 against v1: nothing but ties, 0 better · 0 worse · 1 tie'
        """
        chosen = checked_pair(self, pair)
        return opened(self, chosen, self._ratings, question=question, seed=seed, fresh=fresh)

    def blind_results(
        self, pair: Sequence[str] | None = None, *, question: str = QUESTION
    ) -> pd.DataFrame:
        """Return the newest blind rating of these cases, one row a case.

        `choice` is A, B, tie, skip, "same outputs" (nobody was asked) or missing (not rated).
        `preferred`, `release_a` and `release_b` are missing until the results were shown.

        Raises
        ------
        InputError
            Nothing was rated, there are not two releases, or `pair` does not fit.
        """
        return self._rated(pair, question).frame()

    def blind_summary(
        self, pair: Sequence[str] | None = None, *, question: str = QUESTION
    ) -> pd.DataFrame:
        """Return the newest blind rating of these cases in one row.

        `win_rate` is how often `second` was preferred to `first`, ties left out, with its exact
        95 % interval in ``.low`` and ``.high``; `p` is the sign test's.

        Raises
        ------
        InputError
            Nothing was rated, or it has not ended: known results would sway the rest.
        """
        import pandas as pd

        session = self._rated(pair, question)
        row = session.result().row() | {
            "seed": session.record.seed,
            "session_id": session.record.id,
        }
        return pd.DataFrame([row])

    def chart(
        self,
        what: Chart,
        *,
        metric: str | None = None,
        release: str | None = None,
        on_select: Callable[[list[str]], object] | None = None,
    ) -> Any:
        """Return a chart, to look at rather than to read; needs the extra ``charts``.

        Parameters
        ----------
        what : {"metric", "latency", "wins", "scatter"}
            The metric by release with its interval; how latencies are spread; how many cases are
            better, tied and worse; each case by its figure on the baseline and on `release`.
        metric : str, optional
            By which metric. Default: the first.
        release : str, optional
            Only this release; of a scatter, which one. Default: all, and the first.
        on_select : callable, optional
            Called with the list of `case_id` whenever a rectangle is drawn in the scatter.

        Returns
        -------
        ChartView
            With `selected`, the rows of `frame` chosen in a scatter, and `save`, which writes a
            PNG or SVG.

        Raises
        ------
        InputError
            There is no such chart, metric or release, nothing to draw, or Altair is missing.
        """
        from vellum_nb.experiments.charts import picture

        drawn = picture(self, what, metric=metric, release=release)
        if self.tools.chart is None:
            return drawn
        return self.tools.chart(self, drawn, on_select=on_select)

    def _rated(self, pair: Sequence[str] | None, question: str) -> BlindSession:
        first, second = checked_pair(self, pair)
        found = newest(self, (first, second), self._ratings, question=question)
        if found is None:
            msg = (
                f"{first} and {second} were not rated blind on these cases with the question "
                f"{question!r}: view(blind=True) begins it"
            )
            raise InputError(msg)
        return found

    def _blind_view(self, **options: Any) -> Any:
        session = self.blind(**options)
        return session if self.tools.blind is None else self.tools.blind(session)

    @cached_property
    def _ratings(self) -> BlindRatings:
        return self.tools.ratings or History(":memory:").blind
