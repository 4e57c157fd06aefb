"""Figures of a comparison, computed from its table of runs: scores, verdicts, findings. Pure.

`ComparisonFigures` is all that reports, gates, charts and views show; they take it as data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from vellum_nb.comparison.cases import Case, Status, is_answer
from vellum_nb.comparison.metrics import Evaluation, Metric
from vellum_nb.comparison.statistics import (
    Z95,
    Estimate,
    cases_needed,
    detectable_share,
    holm,
    mean_interval,
    paired,
    paired_share,
    pooled_variance,
    share_interval,
    sign_test,
    two_sided_z,
    unlike_pairs,
)
from vellum_nb.models import Run
from vellum_nb.rendering.format import figure, p_value, percent, plural
from vellum_nb.rendering.values import value_key

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "VERDICTS",
    "Against",
    "ComparisonFigures",
    "Finding",
    "Scored",
    "Verdict",
    "cases_by",
    "estimate",
    "evaluated",
    "figures_of",
    "p_sentence",
    "noise_floor",
    "runs_table",
    "unstable",
]

Verdict = Literal["better", "worse", "same", "noise", "missing", "unscored", "error"]
"""How a case fares on a release against the baseline.

``noise``: the difference is no larger than repeats of the case on one release differ by.
``missing``: no answer on one of the two. ``unscored``: the metric does not apply to one of them.
``error``: it raised on one of them.
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Finding = Literal["better", "worse", "same", "noise", "undecided", "missing"]
"""What a release is as a whole, against the baseline.

``noise``: its mean difference is no larger than repeats alone bring about. ``undecided``: it may
be chance.
"""

_BETTER, _WORSE, _SAME, _NOISE, _MISSING, _UNSCORED, _ERROR = range(len(VERDICTS))
_EQUAL = 1e-9
_ALWAYS: tuple[Verdict, ...] = ("better", "worse", "same")
_SOMETIMES: tuple[Verdict, ...] = ("noise", "missing", "unscored", "error")


def runs_table(cases: Sequence[Case], releases: Sequence[str]) -> pd.DataFrame:
    """Return one row a run: case and release by place, repeat, and what is known of it.

    `kind` is a number that equal answers share, -1 where no answer came; `counts` is whether it is
    the run that counts of its case on its release.
    """
    import pandas as pd

    rows = [
        (at, column, repeat, run, run is counting)
        for at, case in enumerate(cases)
        for column, release in enumerate(releases)
        for counting in (case.counting(release),)
        for repeat, run in enumerate(case.tries.get(release, ()))
    ]
    table = pd.DataFrame(rows, columns=["case", "release", "repeat", "run", "counts"])
    table = table.astype({"case": "int64", "release": "int64", "repeat": "int64", "counts": "bool"})
    runs: list[Run] = table["run"].tolist()
    table["is_answer"] = pd.Series([is_answer(run) for run in runs], dtype="bool")
    for name in ("state", "latency_s", "cost_usd", "quality"):
        kind = "object" if name == "state" else "float64"
        table[name] = pd.Series([getattr(run, name) for run in runs], dtype=kind)
    keys = [
        f"{run.state} {run.error!r} {value_key(run.outputs)}" if is_answer(run) else None
        for run in runs
    ]
    table["kind"] = pd.factorize(pd.Series(keys, dtype="object"))[0]
    return table


def evaluated(
    table: pd.DataFrame,
    cases: Sequence[Case],
    metric: Metric,
    known: Mapping[str, Evaluation] | None = None,
) -> tuple[list[float], list[str | None]]:
    """Return of each run the figure of `metric`, NaN without one, and why there is none."""
    known = known or {}
    rows = table[table["is_answer"]]
    runs: list[Run] = rows["run"].tolist()
    places = dict(zip(rows.index.tolist(), rows["case"].tolist(), strict=True))
    values = [math.nan] * len(table)
    errors: list[str | None] = [None] * len(table)
    slip = _unknown_output(runs, metric)
    for at, run in zip(places, runs, strict=True):
        if slip is not None:
            errors[at] = slip
            continue
        if run.id in known:
            value, problem = known[run.id]
        else:
            value, problem = metric.evaluate(run, cases[places[at]].expected)
        values[at], errors[at] = (math.nan if value is None else value), problem
    return values, errors


def _unknown_output(runs: Sequence[Run], metric: Metric) -> str | None:
    """Return what is wrong where no run has the output that a metric reads: a slip."""
    if metric.looks_at is None:
        return None
    known: dict[str, None] = {}
    for run in runs:
        outputs = run.outputs if run.state == "FULFILLED" else ()
        if metric.looks_at in outputs:
            return None
        known |= dict.fromkeys(outputs)
    names = ", ".join(known)
    return f"no run has an output called {metric.looks_at!r}; there are: {names}" if known else None


@dataclass(frozen=True, slots=True)
class Scored:
    """The figures of one metric, case by release.

    Attributes
    ----------
    mean, count, variance : array
        Over the repeats; the variance is NaN where there are fewer than two.
    failed : array
        How often the metric raised.
    answered, rejected : array
        Whether there is an answer; whether all answers are rejected runs.
    pooled : tuple
        Of each release, the variance between repeats; None where nothing was repeated.
    passes : bool
        Whether every figure is pass or fail.
    cell, release, kinds : array
        Of each figure its cell (case times number of releases, plus release), its release, and a
        number that equal figures share.
    """

    metric: Metric
    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    variance: NDArray[np.float64]
    failed: NDArray[np.int64]
    answered: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    pooled: tuple[float | None, ...]
    passes: bool
    cell: NDArray[np.intp]
    release: NDArray[np.intp]
    kinds: NDArray[np.intp]

    def differing_pairs(self, columns: Sequence[int]) -> tuple[int, int]:
        """Return how many pairs of repeats have other figures on these releases, of how many."""
        import numpy as np

        chosen = np.isin(self.release, columns)
        return unlike_pairs(self.cell[chosen], self.kinds[chosen])


def scored(table: pd.DataFrame, metric: Metric, shape: tuple[int, int]) -> Scored:
    """Return the figures of `metric`, whose column is in `table`; `shape` is cases by releases."""
    import numpy as np

    rows = table[table["is_answer"]]
    cell = (rows["case"] * shape[1] + rows["release"]).to_numpy(dtype=np.intp)
    values = rows[f"metric.{metric.name}"].to_numpy(dtype=np.float64)
    size = shape[0] * shape[1]

    def counted(mask: Any) -> NDArray[np.int64]:
        return np.bincount(cell[mask], minlength=size).reshape(shape)

    has = ~np.isnan(values)
    cells, found = cell[has], values[has]
    count = np.bincount(cells, minlength=size)
    with np.errstate(all="ignore"):  # cells without a figure; figures near the end of floats
        mean = np.bincount(cells, weights=found, minlength=size) / count
        squares = np.bincount(cells, weights=(found - mean[cells]) ** 2, minlength=size)
        variance = np.where(count > 1, squares / (count - 1), np.nan)
        step = metric.tolerance or _EQUAL
        kinds = np.unique(np.round(found / step), return_inverse=True)[1]
    release = rows["release"].to_numpy(dtype=np.intp)[has]
    answers = counted(slice(None))
    return Scored(
        metric=metric,
        mean=mean.reshape(shape),
        count=count.reshape(shape),
        variance=variance.reshape(shape),
        failed=counted(rows[f"metric_error.{metric.name}"].notna().to_numpy()),
        answered=answers > 0,
        rejected=(answers > 0) & (counted((rows["state"] == "REJECTED").to_numpy()) == answers),
        pooled=tuple(
            pooled_variance(cells[release == at], found[release == at]) for at in range(shape[1])
        ),
        passes=bool(np.isin(found, (0.0, 1.0)).all()),
        cell=cells,
        release=release,
        kinds=kinds.astype(np.intp).reshape(-1),
    )


def estimate(figures: Scored, column: int, *, seed: int) -> Estimate:
    """Return the mean of a release over its cases, with its interval."""
    import numpy as np

    values = figures.mean[:, column]
    values = values[~np.isnan(values)]
    if figures.passes and len(values):
        return share_interval(float(values.mean()), len(values))
    return mean_interval(values, seed=seed)


def noise_floor(figures: Scored, columns: Sequence[int]) -> float | None:
    """Return how often two repeats of one release differ; None where nothing was repeated."""
    unlike, pairs = figures.differing_pairs(columns)
    return unlike / pairs if pairs else None


def unstable(table: pd.DataFrame, number: int) -> NDArray[np.bool_]:
    """Return of each of `number` cases whether repeats on one release brought other answers."""
    import numpy as np

    kinds = table[table["is_answer"]].groupby(["case", "release"])["kind"].nunique()
    found = np.zeros(number, dtype=bool)
    found[kinds[kinds > 1].index.get_level_values("case").to_numpy()] = True
    return found


@dataclass(frozen=True, slots=True)
class Against:
    """One release compared with the baseline by one metric.

    Attributes
    ----------
    codes : array
        Of each case the place of its verdict in `VERDICTS`.
    delta : array
        Of each case the difference of the means, as the metric counts; NaN without both.
    counts : dict
        Verdict to number of cases.
    change : Estimate
        The mean of `delta` with its interval and p value: the bootstrap's; of a pass-or-fail
        metric with one answer a case the exact one.
    sign_p : float or None
        The p value of better against worse cases, ties left out; None without any pair.
    noise_floor : float or None
        How often two repeats of one release differ, as a share of all such pairs; None where
        nothing was repeated.
    band : float or None
        The mean difference that repeats alone would bring about, 95 times of 100.
    least : float or None
        Mean differences below this cannot be distinguished from none; None: no difference can.
    needed : int or None
        How many cases would show the difference that there is, 4 times of 5.
    """

    codes: NDArray[np.int8]
    delta: NDArray[np.float64]
    counts: dict[Verdict, int]
    change: Estimate
    sign_p: float | None
    noise_floor: float | None
    band: float | None
    least: float | None
    needed: int | None

    @property
    def decided(self) -> int:
        """How many cases are better or worse."""
        return self.counts["better"] + self.counts["worse"]

    @property
    def compared(self) -> int:
        """How many cases have a figure on both."""
        return self.decided + self.counts["same"] + self.counts["noise"]


def _against(figures: Scored, baseline: int, column: int, *, seed: int, alpha: float) -> Against:
    """Compare the release in `column` with that in `baseline`; `alpha` is for this pair alone."""
    import numpy as np

    delta = figures.mean[:, column] - figures.mean[:, baseline]
    codes = _codes(figures, baseline, column, delta)
    counts = {name: int((codes == at).sum()) for at, name in enumerate(VERDICTS)}
    has = ~np.isnan(delta)
    known = delta[has]
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    change = _change(figures, known, (baseline, column), seed)
    is_known = any(counts[name] for name in ("better", "worse", "same", "noise"))
    return Against(
        codes=codes,
        delta=delta,
        counts=counts,
        change=change,
        sign_p=sign_test(counts["better"], counts["worse"]) if is_known else None,
        noise_floor=noise_floor(figures, (baseline, column)),
        band=_band(figures, (baseline, column), has),
        least=_least(figures.passes, len(known), spread, alpha),
        needed=cases_needed(change.mean, spread, alpha=alpha),
    )


def _codes(
    figures: Scored, baseline: int, column: int, delta: NDArray[np.float64]
) -> NDArray[np.int8]:
    import numpy as np

    gain = figures.metric.sign * delta
    edge = max(figures.metric.tolerance, _EQUAL)
    known = ~np.isnan(delta)
    codes = np.full(len(delta), _UNSCORED, dtype=np.int8)
    codes[known] = _SAME
    codes[known & (gain > edge)] = _BETTER
    codes[known & (gain < -edge)] = _WORSE
    width = np.sqrt(_noise(figures, baseline) ** 2 + _noise(figures, column) ** 2)
    codes[known & (np.abs(delta) <= Z95 * width) & (np.abs(gain) > edge)] = _NOISE
    raised = (figures.failed > 0) & np.isnan(figures.mean)
    one, other = raised[:, baseline], raised[:, column]
    codes[~known & (one | other)] = _ERROR
    # Where the metric raised since only this run was rejected, that is worse, not lost.
    refused, refused_base = figures.rejected[:, column], figures.rejected[:, baseline]
    codes[~known & other & ~one & refused & ~refused_base] = _WORSE
    codes[~known & one & ~other & refused_base & ~refused] = _BETTER
    codes[~(figures.answered[:, baseline] & figures.answered[:, column])] = _MISSING
    return codes


def _noise(figures: Scored, column: int) -> NDArray[np.float64]:
    """Return the standard error that repeats give the mean of each case on a release."""
    import numpy as np

    variance, pooled = figures.variance[:, column], figures.pooled[column] or 0.0
    variance = np.where(np.isnan(variance), pooled, variance)
    return np.sqrt(variance / np.maximum(figures.count[:, column], 1))


def _change(
    figures: Scored, known: NDArray[np.float64], columns: tuple[int, int], seed: int
) -> Estimate:
    once = all(int(figures.count[:, at].max(initial=0)) <= 1 for at in columns)
    if figures.passes and once and len(known):
        return paired_share(int((known > 0).sum()), int((known < 0).sum()), len(known))
    return paired(known, seed=seed)


def _band(figures: Scored, columns: tuple[int, int], has_both: NDArray[np.bool_]) -> float | None:
    import numpy as np

    known = [each for at in columns if (each := figures.pooled[at]) is not None]
    number = int(has_both.sum())
    if not known or not number:
        return None
    total = 0.0
    for at in columns:
        pooled = figures.pooled[at]
        variance = sum(known) / len(known) if pooled is None else pooled
        repeats = np.maximum(figures.count[has_both, at], 1)
        total += variance * float((1 / repeats).sum()) / number**2
    return Z95 * math.sqrt(total)


def _least(passes: bool, number: int, spread: float, alpha: float) -> float | None:  # noqa: FBT001
    share = detectable_share(number, alpha) if number else None
    if share is None or math.isnan(spread):
        return None
    half = two_sided_z(alpha) * spread / math.sqrt(number)
    return max(share, half) if passes else half


@dataclass(frozen=True, slots=True, eq=False)
class ComparisonFigures:
    """What is known of a comparison, as data.

    Attributes
    ----------
    deployment, baseline : str
        What is compared, and with which column.
    releases, moved_tags : tuple of str
        All columns; the tags that moved.
    cases : tuple of Case
        In their order.
    metrics : tuple of Metric
        The first decides.
    table : DataFrame
        One row a run, with a column for each metric.
    output_names : tuple of str
        In the order in which runs brought them.
    statuses : dict
        Release but the baseline to the status of each case.
    scored : dict
        Metric's name to its figures.
    against : dict
        (release, metric's name) to how the release compares with the baseline.
    p, sign_p : dict
        (release, metric's name) to the p value of the mean difference, and of better against worse
        cases; corrected for several releases.
    alpha, seed
        As of the comparison.
    """

    deployment: str
    baseline: str
    releases: tuple[str, ...]
    moved_tags: tuple[str, ...]
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    table: pd.DataFrame
    output_names: tuple[str, ...]
    statuses: Mapping[str, Sequence[Status]]
    scored: Mapping[str, Scored]
    against: Mapping[tuple[str, str], Against]
    p: Mapping[tuple[str, str], float | None]
    sign_p: Mapping[tuple[str, str], float | None]
    alpha: float
    seed: int

    @property
    def others(self) -> tuple[str, ...]:
        """The releases without the baseline."""
        return tuple(each for each in self.releases if each != self.baseline)

    def verdict(self, case: Case, release: str, metric: str) -> Verdict:
        """Return how a case fares on `release` against the baseline."""
        if release == self.baseline:
            return VERDICTS[int(self._itself(metric).codes[case.number - 1])]
        return VERDICTS[int(self.against[release, metric].codes[case.number - 1])]

    def value(self, case: Case, release: str, metric: str) -> float | None:
        """Return the mean over the repeats of a case on `release`, if there is one."""
        value = self.scored[metric].mean[case.number - 1, self.releases.index(release)]
        return None if math.isnan(value) else float(value)

    def finding(self, release: str, metric: str, *, alpha: float | None = None) -> Finding:
        """Return what `release` is as a whole, against the baseline."""
        found = self.compared(release, metric)
        mean = found.change.mean
        if not found.compared:
            return "missing"
        if not found.decided and (mean == 0 or math.isnan(mean)):
            return "same"
        if found.band is not None and abs(mean) <= found.band:
            return "noise"
        p = (self.sign_p if math.isnan(mean) else self.p).get((release, metric))
        if p is None or p > (self.alpha if alpha is None else alpha):
            return "undecided"
        by_signs = found.counts["better"] - found.counts["worse"]
        gain = by_signs if math.isnan(mean) else self.scored[metric].metric.sign * mean
        return "better" if gain > 0 else "worse"

    def compared(self, release: str, metric: str) -> Against:
        """Return `against`; of the baseline, with itself."""
        return self.against[release, metric] if release in self.others else self._itself(metric)

    def _itself(self, metric: str) -> Against:
        base = self.releases.index(self.baseline)
        return _against(self.scored[metric], base, base, seed=self.seed, alpha=self.alpha)

    def line(self, release: str, metric: str) -> str:
        """Return one line: how many cases are better and worse, and how sure that is."""
        found = self.compared(release, metric)
        words = [*_ALWAYS, *(word for word in _SOMETIMES if found.counts[word])]
        counts = " · ".join(f"{found.counts[word]:,} {word}" for word in words)
        floor = "unknown" if found.noise_floor is None else percent(found.noise_floor)
        p = p_sentence(self.sign_p.get((release, metric)))
        return f"{release}: {counts} · {p} · noise floor {floor}"

    def remark(self, release: str, metric: str) -> str:
        """Return a sentence: what to make of the line, and how many cases would show more."""
        found, finding = self.compared(release, metric), self.finding(release, metric)
        p, sign_p = self.p.get((release, metric)), self.sign_p.get((release, metric))
        signs_decide = sign_p is not None and sign_p <= self.alpha
        if finding == "missing":
            return "nothing to compare: no case has a figure on both"
        if finding in {"better", "worse"}:
            floor = "" if found.band is None else ", larger than the noise floor"
            mean = "" if signs_decide else f" on average ({p_sentence(p)})"
            return f"{finding}{mean}: unlikely to be chance{floor}"
        if finding == "noise":
            return "within the noise: repeats of one release differ as much"
        head = "no difference"
        if finding == "undecided":
            corrected = ", corrected for several releases" if len(self.others) > 1 else ""
            holds_zero = found.change.low <= 0 <= found.change.high
            why = "the 95 % interval includes 0" if holds_zero else f"{p_sentence(p)}{corrected}"
            head = f"could be chance{' on average' if signs_decide else ''}: {why}"
        return f"{head}; {_too_few(found, self.scored[metric])}"


def figures_of(
    table: pd.DataFrame,
    cases: tuple[Case, ...],
    metrics: tuple[Metric, ...],
    *,
    releases: tuple[str, ...],
    baseline: str,
    alpha: float,
    seed: int,
    **names: Any,
) -> ComparisonFigures:
    """Return the figures of a table of runs that has a column for each metric."""
    others = [each for each in releases if each != baseline]
    shape = len(cases), len(releases)
    found = {metric.name: scored(table, metric, shape) for metric in metrics}
    base = releases.index(baseline)
    share = alpha / max(1, len(others))  # what Holm leaves of it for each
    against = {
        (each, name): _against(figures, base, releases.index(each), seed=seed, alpha=share)
        for name, figures in found.items()
        for each in others
    }
    of_mean = {key: each.change.p for key, each in against.items()}
    of_signs = {key: each.sign_p for key, each in against.items()}
    return ComparisonFigures(
        cases=cases,
        metrics=metrics,
        releases=releases,
        baseline=baseline,
        table=table,
        output_names=_output_names(table),
        statuses=_statuses(table, shape, releases, baseline),
        scored=found,
        against=against,
        p=_corrected(of_mean, list(found)),
        sign_p=_corrected(of_signs, list(found)),
        alpha=alpha,
        seed=seed,
        **names,
    )


def _corrected(
    values: Mapping[tuple[str, str], float | None], metrics: Sequence[str]
) -> dict[tuple[str, str], float | None]:
    """Return p values corrected for the number of releases, metric by metric."""
    found: dict[tuple[str, str], float | None] = {}
    for metric in metrics:
        keys = [key for key in values if key[1] == metric]
        found |= zip(keys, holm([values[key] for key in keys]), strict=True)
    return found


def _output_names(table: pd.DataFrame) -> tuple[str, ...]:
    runs = table.loc[table["counts"], "run"].tolist()
    return tuple(dict.fromkeys(name for run in runs for name in run.outputs))


def _statuses(
    table: pd.DataFrame, shape: tuple[int, int], releases: Sequence[str], baseline: str
) -> dict[str, list[Status]]:
    """Return of each release but the baseline whether each case's answer differs from its."""
    import numpy as np

    rows = table[table["counts"]]
    kinds = np.full(shape, -1)
    kinds[rows["case"], rows["release"]] = rows["kind"]
    base = kinds[:, releases.index(baseline)]
    found: dict[str, list[Status]] = {}
    for at, release in enumerate(releases):
        if release != baseline:
            own = kinds[:, at]
            status = np.where(own == base, "same", "differs")
            found[release] = np.where((own < 0) | (base < 0), "missing", status).tolist()
    return found


def cases_by(
    figures: ComparisonFigures, releases: Sequence[str], verdict: Verdict, metric: str
) -> list[Case]:
    """Return the cases with this verdict on any of the releases, the largest difference first."""
    code = VERDICTS.index(verdict)
    size: dict[int, float] = {}
    for each in releases:
        found = figures.compared(each, metric)
        for row in (found.codes == code).nonzero()[0].tolist():
            by = abs(float(found.delta[row]))
            size[row] = max(size.get(row, 0.0), math.inf if math.isnan(by) else by)
    return [figures.cases[row] for row in sorted(size, key=lambda row: (-size[row], row))]


def p_sentence(p: float | None) -> str:
    """Return a p value as it stands in a sentence.

    Examples
    --------
    >>> p_sentence(0.5), p_sentence(1e-9), p_sentence(None)
    ('p = 0.50', 'p < 0.00001', 'no p')
    """
    if p is None:
        return "no p"
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _too_few(found: Against, figures: Scored) -> str:
    import numpy as np

    number = int((~np.isnan(found.delta)).sum())
    cases = plural(number, "case")
    if found.least is None:
        return f"{cases}: too few to show a difference"
    name = figures.metric.name
    in_points = name == "score" or figures.passes
    points = percent(found.least).removesuffix(" %")
    least = f"{points} points" if in_points else f"{figure(found.least)} in {name}"
    more = found.needed if found.needed is not None and found.needed > number else None
    would = f"; about {more:,} would show this difference" if more else ""
    return f"{cases}: cannot distinguish less than {least}{would}"
