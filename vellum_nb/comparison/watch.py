"""`Watch`: whether the runs of a release tag have become worse, tested again with every check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any, Literal

from vellum_nb.clock import from_micros, micros
from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.compare import scored_runs
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.metrics import One
from vellum_nb.comparison.pairs import ERROR_RATE, Scored
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.history import frame_of_records
from vellum_nb.lazy import np, pd
from vellum_nb.models import Run
from vellum_nb.models.checks import check_number, refuse
from vellum_nb.rendering.format import figure, plural

Status = Literal["healthy", "worse", "cannot tell yet"]
ALARM = 1 / ERROR_RATE
Check = dict[str, Any]
"""A row of the frame of a watch."""
_EVERY = re.compile(r"([1-9][0-9]{0,2})([hdw])")
_COLUMNS = {"time": "time", "n": "int"} | dict.fromkeys(("mean", "before", "evidence"), "float")


@dataclass(frozen=True, eq=False, repr=False)
class Watch:
    """Whether a release tag has become worse. Made by ``ws.watch(...)``.

    Attributes
    ----------
    status : {"healthy", "worse", "cannot tell yet"}
        The result of the newest check.
    sentence : str
        The status with its reason.
    evidence : float
        The e value after the newest check; 20 or more is an alarm.
    release_tag, metric : str
        The release tag, and the metric's name.
    """

    status: Status
    sentence: str
    evidence: float
    release_tag: str
    metric: str
    checks: tuple[Check, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row per check, oldest first.

        Columns: ``time`` of its first run (UTC), ``n`` figures with an earlier one of the same
        case, their ``mean``, the mean of the earlier ones (``before``), and the ``evidence``.
        """
        return frame_of_records(_COLUMNS, self.checks)

    @printed
    def __repr__(self) -> str:
        return f"<Watch of {self.sentence}>"

    @printed
    def _repr_html_(self) -> str:
        return f"<p>{escape(self.sentence)}.</p>"


def watch_of(
    runs: Iterable[Run],
    *,
    release_tag: str,
    reference: str | None = None,
    metric: One = "score",
    every: str = "1d",
    margin: float = 0.0,
    paired: bool = True,
    now: datetime | None = None,
    **options: Any,
) -> Watch:
    """Return the status of a release tag at `now`, as documented in `Workspace.watch`.

    The other options are those of `scored_runs`.
    """
    check_number("margin", margin)
    length = _length(every)
    tags = (release_tag, reference)
    watched = [
        (run, "all") for run in runs if run.release_tag in tags and (run.sweep_id is None) != paired
    ]
    figures, scored = scored_runs(watched, metric, **options)
    chosen = scored.metric
    if scored.bounds is None and scored.count.any():
        msg = f"{chosen.name} needs bounds to be watched: give vnb.Metric(fn, bounds=(low, high))"
        raise InputError(msg)
    table = _observations(figures, scored, release_tag, length, paired=paired)
    checks, start = _checks(table, scored, margin)
    oldest = micros((now or datetime.now(UTC)) - 2 * length)
    problem = _problem(checks, "case" if paired else "run", oldest)
    evidence = checks[-1]["evidence"] if checks else 0.0
    status: Status = "cannot tell yet" if problem else "healthy"
    if evidence >= ALARM:
        status, problem = "worse", ""
    sentence = f"{release_tag}: {status}"
    sentence += f" since about {start:%Y-%m-%d %H:%M}" if start and status == "worse" else ""
    sentence += f": {problem or _figures(checks, chosen.name)}"
    return Watch(status, printable(sentence), evidence, release_tag, chosen.name, tuple(checks))


def _length(every: str) -> timedelta:
    """Return the time between two checks."""
    if (match := _EVERY.fullmatch(str(every))) is None:
        refuse("every", every, "a duration such as '12h', '1d' or '1w'")
    return int(match[1]) * timedelta(hours={"h": 1, "d": 24, "w": 168}[match[2]])


def _observations(
    figures: ComparisonFigures, scored: Scored, tag: str, length: timedelta, *, paired: bool
) -> pd.DataFrame:
    """Return figures by time; repeats of a case in one check are averaged.

    Unless `paired`, all figures count as those of one case.
    """
    runs: list[Run] = figures.answers["run"].tolist()
    table = pd.DataFrame(
        {
            "time": np.array([micros(run.timestamp) for run in runs], dtype=np.int64),
            "is_tested": np.array([run.release_tag == tag for run in runs], dtype=np.bool_),
            "case": figures.answers["case"],
            "value": figures.answers[f"metric.{scored.metric.name}"],
            "lost": figures.answers["state"].isin(["FAILED", "REJECTED"]),
        }
    )
    table["check"] = table["time"] // (length // timedelta(microseconds=1))
    if paired:
        keys = ["check", "is_tested", "case"]
        of = {"time": ("time", "min"), "value": ("value", "mean"), "lost": ("lost", "any")}
        table = table.groupby(keys, as_index=False).agg(**of)
        if scored.missing == "fail" and scored.bounds is not None:
            worst = scored.bounds[scored.metric.sign < 0]
            table.loc[table["lost"] & table["value"].isna(), "value"] = worst
    else:
        table["case"] = 0
    table = table.dropna(subset="value").sort_values(["check", "is_tested", "time", "case"])
    return _with_earlier(table)


def _with_earlier(table: pd.DataFrame) -> pd.DataFrame:
    """Add the number of earlier figures of the same case, and their mean, which is `before`."""
    groups = table.groupby("case")["value"]
    earlier = groups.cumcount()
    before = (groups.cumsum() - table["value"]) / earlier.where(earlier > 0)
    return table.assign(earlier=earlier, before=before)


def _checks(
    table: pd.DataFrame, scored: Scored, margin: float
) -> tuple[list[Check], datetime | None]:
    """Return the rows of the frame, and when the drop began if there is one."""
    tested = table[table["is_tested"]]
    if tested.empty:
        return [], None
    losses = scored.metric.sign * (tested["before"] - tested["value"]) - margin
    gains = (losses * tested["earlier"] / (tested["earlier"] + 1)).fillna(0.0).to_numpy()
    low, high = scored.bounds or (0.0, 1.0)
    numbers = pd.factorize(tested["check"])[0]
    evidence, start = stats.drop_evidence(gains, numbers, low - high - margin)
    value = tested["value"].where(tested["before"].notna())
    groups = tested.assign(mean=value).groupby("check")
    columns = {"time": ("time", "min"), "n": ("before", "count")}
    columns |= {"mean": ("mean", "mean"), "before": ("before", "mean")}
    checks: Any = groups.agg(**columns).assign(evidence=evidence).to_dict("records")
    return checks, from_micros(int(checks[start]["time"]))


def _problem(checks: Sequence[Check], unit: str, oldest: int) -> str:
    """Return why the newest check decides nothing, or ""; it must not be before `oldest`."""
    if not checks:
        return "no runs with a figure"
    if checks[-1]["time"] < oldest:
        return f"no runs since {from_micros(checks[-1]['time']):%Y-%m-%d %H:%M} (UTC)"
    if checks[-1]["n"] < stats.LEAST_UNITS:
        return f"{plural(checks[-1]['n'], unit)} with earlier figures; six are needed"
    return ""


def _figures(checks: Sequence[Check], metric: str) -> str:
    last = checks[-1]
    mean, before = (figure(last[name]) for name in ("mean", "before"))
    return (
        f"{metric} {mean}, {before} before (n = {last['n']:,}); evidence {last['evidence']:.2g}, "
        f"alarm at {ALARM:.0f}, {plural(len(checks), 'check')}"
    )
