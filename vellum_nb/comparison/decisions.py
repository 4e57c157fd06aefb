"""Decisions: may a release replace its baseline? Three verdicts with a margin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.metrics import Metric
from vellum_nb.comparison.pairs import ERROR_RATE, INTERVAL, SHARE, Against, Scored
from vellum_nb.comparison.statistics import Estimate, Pilot
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.lazy import Bools, Floats, Ints, np, pd
from vellum_nb.models.checks import refuse
from vellum_nb.rendering.format import figure, interval_digits, number_text, plural

MayReplace = Literal["may replace", "should not replace", "cannot tell yet"]
_YES: MayReplace = "may replace"
_NO: MayReplace = "should not replace"
_UNKNOWN: MayReplace = "cannot tell yet"

MarginOption = float | str | Mapping[str, float | str] | None
"""The option `margin`, by metric or for all; a text such as "10%" is relative to the baseline."""

DEFAULT_MARGIN = 0.05
"""Margin of scores and pass rates."""
_TANGO = "Tango's score test"
_MIN_CASES = 12  # of numbers: fewer could miss a long tail of losses


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a release may replace its baseline.

    Attributes
    ----------
    release, baseline : str
        The two columns.
    verdict : {"may replace", "should not replace", "cannot tell yet"}
        May replace: the loss is smaller than the margin. Should not replace: the release is
        significantly worse. With several metrics, all must pass.
    sentence, reason : str
        The verdict as a sentence, and the reason for it.
    metric : str
        The metric that decides: the first that does not pass, or the first of all.
    margin : float
        The acceptable loss, in units of the metric.
    n : int
        Number of cases that count.
    delta : Estimate
        The mean difference with its 95 % interval.
    interval : str
        Kind of that interval, as in `ReleaseResult`.
    more : int or None
        Number of additional cases that would decide with a power of 80 %. None after a decision or
        an early stop, for fewer than six cases, with clusters, or if the number is infeasible.
    by_metric : dict
        The decision of each metric.
    """

    release: str
    baseline: str
    verdict: MayReplace
    sentence: str
    reason: str
    metric: str
    margin: float
    n: int
    delta: Estimate
    interval: str
    more: int | None
    by_metric: Mapping[str, Decision]

    @property
    def head(self) -> str:
        """The beginning of the sentence, which reports print in bold."""
        return head_text(self.release, self.baseline, self.verdict)

    @printed
    def __str__(self) -> str:
        return self.sentence

    @printed
    def __repr__(self) -> str:
        return f"<Decision {self.sentence}>"


class Decisions(Mapping[str, Decision]):
    """Decision of each release, by its name. Prints one sentence per release.

    Attributes
    ----------
    notes : tuple of str
        The remarks and the caveats.
    remarks : tuple of str
        Metrics that are left out because they lack a margin.
    caveats : dict
        Labels that cases share and that would change the decision as `cluster`, by release.
    """

    def __init__(
        self,
        decisions: Mapping[str, Decision],
        notes: Sequence[str] = (),
        caveats: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._decisions = dict(decisions)
        self.remarks, self.caveats = tuple(notes), dict(caveats or {})
        texts = (
            f"{printable(name)}: {text}" for name, some in self.caveats.items() for text in some
        )
        self.notes = (*notes, *texts)

    def __getitem__(self, release: str) -> Decision:
        return self._decisions[release]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decisions)

    def __len__(self) -> int:
        return len(self._decisions)

    def frame(self) -> pd.DataFrame:
        """Return one row per release and metric."""
        names = ("release", "metric", "verdict", "margin", "n", "more", "reason", "interval")
        decisions = [each for made in self.values() for each in made.by_metric.values()]
        rows = [
            {name: getattr(made, name) for name in names} | made.delta.columns("delta")
            for made in decisions
        ]
        frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else list(names))
        return frame.astype({"more": "Int64"})

    @printed
    def __str__(self) -> str:
        sentences = [decision.sentence for decision in self.values()]
        return "\n".join([*sentences, *(f"{note}." for note in self.notes)])

    __repr__ = __str__


@dataclass(frozen=True)
class Evidence:
    """What decides about one release by one metric."""

    release: str
    baseline: str
    scored: Scored
    against: Against
    margin: float  # in units of the metric
    relative: float | None  # the margin as a share of the baseline's mean
    allowed: Floats  # acceptable loss of each case; its mean is the margin
    clusters: Ints | None
    gap_texts: Sequence[str]
    blocked: bool  # too many cases have no pair
    least: float  # smallest gain that can remain on top of an acceptable loss
    remaining: int | None  # cases that were not run of a sweep that stopped early
    alpha: float

    @property
    def metric(self) -> Metric:
        """The metric."""
        return self.scored.metric

    @property
    def gain(self) -> Estimate:
        """The mean gain with its interval; positive if the release is better."""
        change = self.against.change
        if self.metric.sign > 0:
            return change
        return replace(change, mean=-change.mean, low=-change.high, high=-change.low)

    @property
    def is_noise(self) -> bool:
        """Whether repeats of one release differ as much."""
        band = self.against.band
        return band is not None and abs(self.gain.mean) <= band

    @property
    def has_no_margin(self) -> bool:
        """Whether a relative margin is 0 because the baseline's mean is."""
        return bool(self.relative) and not self.margin

    @property
    def is_small(self) -> bool:
        """Whether there are too few cases or clusters to exclude a loss."""
        has_few = not self.scored.passes and self.against.units < _MIN_CASES
        return has_few or math.isnan(self.gain.low)

    @cached_property
    def margin_test(self) -> tuple[float, bool, str]:
        """Two-sided p value of a loss of the margin, whether the loss is smaller, and the test."""
        has = ~np.isnan(self.against.differences)
        gains = self.metric.sign * self.against.differences[has]
        is_smaller = bool(len(gains)) and float(np.mean(gains + self.allowed[has])) > 0
        p, test = self.against.change.p, self.against.test
        if self.remaining is not None:
            p = self._at_any_time(has)
        elif not self.is_small:
            p, test = self._shifted(gains, has)
        elif self.gain.mean <= 0 or self.gain.low <= -self.margin:  # only a gain is evidence
            p = None
        return (1.0 if p is None else p), is_smaller, test

    def _at_any_time(self, has: Bools) -> float | None:
        """Return p of a loss of the margin that is valid at any time; None without a test.

        Cases after a decision that the release is worse do not count.
        """
        order, p = self.against.order, self.against.change.p
        gain_p = p if p is not None and self.gain.mean > 0 else 1.0
        has_loss = self.relative is None and self.alpha <= ERROR_RATE
        if order is None or p is None or (has_loss and self.gain.low < -self.margin):
            return None  # also if later cases differ from those that decided
        if math.isnan(self.least) or not has[order].any():
            return gain_p
        gains = self.metric.sign * self.against.differences
        evidence = stats.gain_evidence((gains + self.allowed)[order][has[order]], self.least)
        margin_p = math.exp(-max(0.0, float(evidence[-1])))
        if self.clusters is not None:
            clustered_p = self._shifted(gains[has], has)[0]
            margin_p = 1.0 if clustered_p is None else max(margin_p, clustered_p)
        return min(gain_p, margin_p)

    def _shifted(self, gains: Floats, has: Bools) -> tuple[float | None, str]:
        """Return p of `gains` against the acceptable losses of their cases, and the test."""
        clusters = None if self.clusters is None else self.clusters[has]
        bounds, (better, worse) = self.scored.bounds, stats.unequal_units(gains, clusters)
        if self.against.unequal is not None and self.relative is None:
            return stats.paired_share_p(better, worse, len(gains), -self.margin), _TANGO
        if bounds is not None and better + worse < stats.LEAST_UNEQUAL:  # as `stats.bounded`
            share = self.margin / (bounds[1] - bounds[0])
            return stats.paired_share_p(0, worse, self.against.units, -share), _TANGO
        gains, is_share = gains + self.allowed[has], self.scored.passes
        return stats.paired(gains, clusters=clusters, is_share=is_share).p, self.against.test


def resolved_margin(
    option: MarginOption, scored: Scored, *, is_only: bool
) -> tuple[float, bool] | None:
    """Return the margin of a metric, and whether it is relative; None if it is not given."""
    name, is_score = scored.metric.name, scored.bounds == SHARE
    given: Any = option
    if isinstance(option, Mapping):
        given = option.get(name)
    elif option is not None and not (is_score or is_only):
        given = None
    if given is None:
        return (DEFAULT_MARGIN, False) if is_score else None
    return checked_margin(given, is_score=is_score and bool(scored.count.any()))


def checked_margin(given: object, *, is_score: bool = False) -> tuple[float, bool]:
    """Return a margin, and whether it is relative to the baseline's mean."""
    is_relative = isinstance(given, str) and given.strip().endswith("%")
    text = given.strip().removesuffix("%") if isinstance(given, str) else given
    try:
        number = math.nan if isinstance(text, bool) else float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        refuse("margin", given, "a number such as 0.05, or '10%' of the baseline's mean")
    if is_score and number >= (100 if is_relative else 1):
        refuse("margin", given, "below 1 for a score or pass rate")
    return (number / 100 if is_relative else number), is_relative


def needs_margin(name: str) -> InputError:
    """Return the error for a metric without a margin."""
    return InputError(
        f"{name} needs a margin, its largest acceptable loss: give margin={{{name!r}: 0.2}}, or "
        f"margin={{{name!r}: '10%'}} of the baseline's mean"
    )


def zero_margin(evidence: Evidence) -> str:
    """Return the problem with a relative margin if the mean of the baseline is 0."""
    name, share = evidence.metric.name, f"{100 * (evidence.relative or 0):g}%"
    return (
        f"margin={share!r} of {name} is 0, because the mean of {evidence.baseline} is 0: give it "
        f"in units of the metric, such as margin={{{name!r}: {DEFAULT_MARGIN}}}"
    )


def decide(evidence: Mapping[str, Sequence[Evidence]], alpha: float) -> dict[str, Decision]:
    """Return the decision of each release. p values have Holm's correction.

    A release passes if all its metrics do, so only releases are corrected for; it fails if any
    metric does, so releases and metrics are.
    """
    tests = {name: [each.margin_test for each in all_] for name, all_ in evidence.items()}
    largest = [
        max(p if is_smaller else 1.0 for p, is_smaller, _ in each) for each in tests.values()
    ]
    number_passing = sum(p <= alpha for p in stats.holm(largest) if p is not None)
    ranks = sorted(range(len(largest)), key=largest.__getitem__)
    factors = [len(ranks) - min(ranks.index(at), number_passing) for at in range(len(ranks))]
    if any(each.remaining is not None for all_ in evidence.values() for each in all_):
        factors = [len(factors)] * len(factors)  # as the rule that stopped the sweep
    keys = [(release, at) for release, all_ in evidence.items() for at in range(len(all_))]
    raw = [evidence[release][at].against.change.p for release, at in keys]
    worse = dict(zip(keys, stats.holm(raw), strict=True))
    decisions = {}
    for (release, all_), factor in zip(evidence.items(), factors, strict=True):
        parts = [
            _by_metric(each, factor, worse[release, at], alpha, tests=len(keys))
            for at, each in enumerate(all_)
        ]
        by_metric = {part.evidence.metric.name: _decision([part]) for part in parts}
        decisions[release] = replace(_decision(parts), by_metric=by_metric)
    return decisions


@dataclass(frozen=True)
class _ByMetric:
    """Verdict of one metric on a release."""

    evidence: Evidence
    verdict: MayReplace
    body: str  # figures of the metric
    reason: str
    more: int | None


def _by_metric(
    evidence: Evidence, factor: int, worse_p: float | None, alpha: float, *, tests: int
) -> _ByMetric:
    """Return the verdict by one metric."""
    gain, against = evidence.gain, evidence.against
    is_stopped = evidence.remaining is not None
    is_significant = worse_p is not None and worse_p <= alpha
    is_significant = is_significant and (against.is_decided or not is_stopped)
    margin_p, is_above, _ = evidence.margin_test
    is_worse = gain.mean < 0 and is_significant and not evidence.is_noise
    is_below = not (is_above or is_stopped) and gain.high < -evidence.margin
    verdict, more = _UNKNOWN, None
    if is_above and factor * margin_p <= alpha and not evidence.blocked:
        verdict = _YES
    elif is_worse or (is_below and tests * margin_p <= alpha):
        verdict = _NO
    elif not (evidence.blocked or evidence.has_no_margin or is_stopped):
        more = _more(evidence, alpha / factor)
    body = _body(evidence, verdict, is_better=is_significant and gain.mean > 0)
    return _ByMetric(evidence, verdict, body, _reason(evidence, verdict), more)


def _decision(parts: Sequence[_ByMetric]) -> Decision:
    """Return the decision by several metrics, which must all pass, with that of each."""
    verdict = next(v for v in (_NO, _UNKNOWN, _YES) if any(part.verdict == v for part in parts))
    chosen = [part for part in parts if part.verdict == verdict]
    first, needed = chosen[0].evidence, [part.more for part in chosen]
    more = None if None in needed else max(filter(None, needed))
    reason = "; ".join(dict.fromkeys(part.reason for part in chosen))
    bodies = [
        part.body if len(parts) == 1 else f"by {printable(part.evidence.metric.name)}, {part.body}"
        for part in chosen
    ]
    text, joint = "; ".join(bodies), ": "
    if verdict == _UNKNOWN:
        remedy = f"about {_more_text(more)} would decide" if more else reason
        text, joint = f"{text[:1].upper()}{text[1:]}; {remedy}", ". "
    text = f"{head_text(first.release, first.baseline, verdict)}{joint}{text}."
    gaps = dict.fromkeys(gap for part in chosen for gap in part.evidence.gap_texts)
    return Decision(
        release=first.release,
        baseline=first.baseline,
        verdict=verdict,
        sentence=" ".join([text, *(f"{gap}." for gap in gaps if gap not in text)]),
        reason=reason,
        metric=first.metric.name,
        margin=first.margin,
        n=first.against.change.n,
        delta=first.against.change,
        interval=first.against.interval,
        more=more,
        by_metric={},
    )


def head_text(release: str, baseline: str, verdict: MayReplace) -> str:
    """Return the verdict with the names of the releases."""
    if verdict == _UNKNOWN:
        return f"{printable(release)}: {verdict}"
    return f"{printable(release)} {verdict} {printable(baseline)}"


def _body(evidence: Evidence, verdict: MayReplace, *, is_better: bool) -> str:
    """Return the figures of one metric behind a verdict."""
    against, number, noise = evidence.against, evidence.gain.n, evidence.against.counts["noise"]
    gain, margin = evidence.gain, _margin_text(evidence)
    sign, cases = evidence.metric.sign, plural(number, "case")
    better, worse = against.count("better", sign), against.count("worse", -sign)
    kind = "" if math.isnan(gain.low) or against.interval == INTERVAL else f" {against.interval}"
    if verdict == _YES:
        level = f"{100 * (1 - evidence.alpha):g} %{kind}"
        within = f"not worse by more than {margin} ({level})"
        if is_better:
            return f"better on {_many(better, noise, number)}, {within}"
        if gain.high < evidence.margin:
            return f"no difference larger than {margin} ({level}, {cases})"
        return f"{better:,} better, {worse:,} worse of {cases}, {within}"
    if verdict == _NO:
        low, high, mean = (figure(abs(value)) for value in (gain.high, gain.low, gain.mean))
        interval = f" ({low} to {high}, 95 %{kind})" if gain.high <= 0 else ""
        return f"worse on {_many(worse, noise, number)}, by {mean}{interval}"
    return f"{better:,} better, {worse:,} worse of {cases}"


def _many(count: int, noise: int, number: int) -> str:
    """Return how many cases differ; on average if most differences are within the noise."""
    cases = plural(number, "case")
    return f"average over {cases}" if noise > count else f"{count:,} of {cases}"


def _reason(evidence: Evidence, verdict: MayReplace) -> str:
    """Return the reason for the verdict."""
    if verdict == _YES:
        return f"a loss of {_margin_text(evidence)} is excluded ({evidence.margin_test[2]})"
    if verdict == _NO:
        return f"it is significantly worse ({evidence.against.test})"
    return _gap(evidence) or _doubt(evidence)


def _gap(evidence: Evidence) -> str:
    """Return why the cases cannot decide, or ""."""
    against = evidence.against
    if evidence.blocked or not against.change.n:
        return against.gap_text(against.left_out)
    if evidence.has_no_margin:
        return zero_margin(evidence)
    if evidence.remaining is not None:
        cases = plural(evidence.remaining, "case")
        return f"the sweep stopped before {cases} were run{_stop_text(evidence)}"
    if evidence.clusters is None and against.change.n < stats.LEAST_UNITS:
        return f"{stats.LEAST_UNITS} cases are needed to estimate how many more would decide"
    if evidence.is_small:
        units = "cases" if evidence.clusters is None else "clusters"
        return f"there are too few {units}, or too few that differ, to exclude a loss"
    return ""


def _stop_text(evidence: Evidence) -> str:
    """Return the interval of a sweep that stopped early, if its metric has one."""
    if evidence.against.change.p is None:
        return f", and it was not {printable(evidence.metric.name)} that stopped it"
    interval = interval_text(evidence.against.change)
    is_known = not math.isnan(evidence.gain.low)
    return f": the 95 % {evidence.against.interval} is {interval}" if is_known else ""


def _doubt(evidence: Evidence) -> str:
    """Return why an interval does not decide."""
    gain, margin = evidence.gain, _margin_text(evidence)
    loss = -evidence.metric.sign * evidence.margin
    interval = interval_text(evidence.against.change, beside=loss)
    doubt = f"includes a loss of {margin}"
    if gain.low > -evidence.margin:
        is_corrected = evidence.margin_test[0] <= evidence.alpha
        level = "after correction" if is_corrected else f"at alpha={evidence.alpha:g}"
        doubt = f"excludes a loss of {margin}, but not {level}"
    elif gain.high < 0 and evidence.is_noise:
        band, mean = figure(evidence.against.band or 0.0), figure(abs(gain.mean))
        return f"a loss of {mean} is within the noise: repeats alone cause differences up to {band}"
    elif gain.high < 0:
        doubt = f"excludes 0, but {evidence.against.test} does not decide"
    return f"the 95 % interval, {interval}, {doubt}"


def _margin_text(evidence: Evidence) -> str:
    if evidence.relative is None:
        return number_text(evidence.margin)
    return f"{100 * evidence.relative:g} % ({figure(evidence.margin)})"


def _more(evidence: Evidence, alpha: float) -> int | None:
    """Return the number of additional cases that would decide with a power of 80 %.

    Further cases are assumed to differ by 1.5 standard errors less than those so far, if at all.
    """
    gain, number = evidence.gain, evidence.gain.n
    has_too_few_differences = number >= _MIN_CASES and math.isnan(gain.low)
    if number < stats.LEAST_UNITS or has_too_few_differences or evidence.clusters is not None:
        return None  # with clusters, more of them are needed, and not more cases
    pilot = _pilot(evidence)
    if pilot is None:
        return None
    predict = partial(pilot.power, alpha=alpha)
    total = stats.cases_for(predict, least=number + 1)
    least = 1 if evidence.scored.passes else _MIN_CASES - number
    return None if total is None else max(least, total - number)


def _pilot(evidence: Evidence) -> Pilot | None:
    """Return the cases so far as a pilot for further ones; None without enough data."""
    gain, number = evidence.gain, evidence.gain.n
    spread, bounds = evidence.against.spread, evidence.scored.bounds
    if evidence.against.unequal is not None and evidence.relative is None:
        gained, lost = evidence.against.unequal[:: evidence.metric.sign]
        return Pilot.of_shares(gained, lost, number, evidence.margin)
    if spread > 0:
        return Pilot.of_numbers(gain.mean, spread, number, evidence.margin)
    if bounds is not None and evidence.margin and not gain.mean:  # none differs
        share = evidence.margin / (bounds[1] - bounds[0])
        return Pilot.of_shares(0, 0, number, share)
    return None


def interval_text(estimate: Estimate, beside: float = 0.0) -> str:
    """Format the ends of an interval; `beside` is a figure from which they must differ."""
    ends = estimate.low, estimate.high
    digits = interval_digits([{"low": ends[0], "high": ends[1]}], "low", "high")
    if digits is not None and beside:
        digits += any(round(end, digits) == round(beside, digits) for end in ends)
    return " to ".join(figure(end, digits=digits) for end in ends)


def _more_text(more: int) -> str:
    return plural(rounded_cases(more), "more case")


def rounded_cases(more: int) -> int:
    """Round a number of additional cases to two digits, as in the sentence of a decision."""
    return int(float(f"{more:.2g}"))
