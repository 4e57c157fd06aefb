"""One release held against the baseline by one metric: case by case, and all in all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from vellum_nb.experiments.comparison.scores import Answers, Scored
from vellum_nb.experiments.noise import cases_needed, detectable_share, two_sided_z
from vellum_nb.experiments.statistics import Estimate, paired, paired_share, sign_test

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VERDICTS", "Against", "Verdict", "held_against"]

Verdict = Literal["better", "worse", "same", "noise", "missing", "unscored", "error"]
"""How a case fares on a release against the baseline.

``noise``: the difference is no larger than repeats of the case on one release differ by.
``missing``: no answer on one of the two. ``unscored``: the metric does not apply to one of them.
``error``: it raised on one of them.
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_BETTER, _WORSE, _SAME, _NOISE, _MISSING, _UNSCORED, _ERROR = range(len(VERDICTS))
_Z95 = 1.959963984540054
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Against:
    """What came of holding one release against the baseline by one metric.

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
        metric that was asked once a case the exact one.
    sign_p : float or None
        The p value of better against worse cases, ties left out; None without any pair.
    noise_floor : float or None
        How often two repeats of one release differ, as a share of all such pairs; None where
        nothing was repeated.
    band : float or None
        The mean difference that repeats alone would bring about, 95 times of 100.
    least : float or None
        Mean differences below this cannot be told apart from none; None: no difference can.
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


def held_against(
    answers: Answers, scored: Scored, baseline: int, column: int, *, seed: int, alpha: float
) -> Against:
    """Hold the release in `column` against that in `baseline`; `alpha` is for this pair alone."""
    import numpy as np

    delta = scored.mean[:, column] - scored.mean[:, baseline]
    codes = _codes(answers, scored, baseline, column, delta)
    counts = {name: int((codes == at).sum()) for at, name in enumerate(VERDICTS)}
    known = delta[~np.isnan(delta)]
    decided = counts["better"] + counts["worse"]
    compared = decided + counts["same"] + counts["noise"]
    sign_p = sign_test(counts["better"], counts["worse"]) if compared else None
    change = _change(scored, known, (baseline, column), seed)
    unlike, pairs = answers.unlike((baseline, column), scored.kinds)
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Against(
        codes=codes,
        delta=delta,
        counts=counts,
        change=change,
        sign_p=sign_p,
        noise_floor=unlike / pairs if pairs else None,
        band=_band(scored, baseline, column, ~np.isnan(delta)),
        least=_least(scored, known, spread, alpha),
        needed=cases_needed(change.mean, spread, alpha=alpha),
    )


def _codes(
    answers: Answers, scored: Scored, baseline: int, column: int, delta: NDArray[np.float64]
) -> NDArray[np.int8]:
    import numpy as np

    metric = scored.metric
    gain = metric.sign * delta
    edge = max(metric.tolerance, _EQUAL)
    codes = np.full(len(delta), _UNSCORED, dtype=np.int8)
    known = ~np.isnan(delta)
    codes[known] = _SAME
    codes[known & (gain > edge)] = _BETTER
    codes[known & (gain < -edge)] = _WORSE
    wide = np.sqrt(_noise(scored, baseline) ** 2 + _noise(scored, column) ** 2)
    noisy = np.abs(delta) <= _Z95 * wide
    codes[known & noisy & (np.abs(gain) > edge)] = _NOISE
    answered = np.zeros(answers.shape, dtype=bool)
    answered[answers.case, answers.release] = True
    raised = (scored.failed > 0) & np.isnan(scored.mean)
    codes[~known & (raised[:, baseline] | raised[:, column])] = _ERROR
    _tell_rejected(answers, raised, codes, baseline, column)
    codes[~(answered[:, baseline] & answered[:, column])] = _MISSING
    return codes


def _tell_rejected(
    answers: Answers,
    raised: NDArray[np.bool_],
    codes: NDArray[np.int8],
    baseline: int,
    column: int,
) -> None:
    """Where the metric raised since a run was rejected, and the other was not, that is worse."""
    import numpy as np

    for row in np.flatnonzero(codes == _ERROR).tolist():
        case = answers.cases[row]
        refused = [
            all(each.state == "REJECTED" for each in case.answers(answers.releases[at]))
            for at in (baseline, column)
        ]
        if raised[row].sum() and refused[0] != refused[1]:
            at_fault = column if refused[1] else baseline
            other = baseline if refused[1] else column
            if raised[row, at_fault] and not raised[row, other]:
                codes[row] = _WORSE if refused[1] else _BETTER


def _noise(scored: Scored, column: int) -> NDArray[np.float64]:
    """Return the standard error that repeats give the mean of each case on a release."""
    import numpy as np

    pooled = scored.pooled[column] or 0.0
    variance = np.where(np.isnan(scored.variance[:, column]), pooled, scored.variance[:, column])
    return np.sqrt(variance / np.maximum(scored.count[:, column], 1))


def _change(
    scored: Scored,
    known: NDArray[np.float64],
    columns: tuple[int, int],
    seed: int,
) -> Estimate:
    once = all(int(scored.count[:, at].max(initial=0)) <= 1 for at in columns)
    if scored.passes and once and len(known):
        better, worse = int((known > 0).sum()), int((known < 0).sum())
        return paired_share(better, worse, len(known))
    return paired(known, seed=seed)


def _band(
    scored: Scored, baseline: int, column: int, paired_cases: NDArray[np.bool_]
) -> float | None:
    import numpy as np

    told = [scored.pooled[at] for at in (baseline, column)]
    known = [each for each in told if each is not None]
    number = int(paired_cases.sum())
    if not known or not number:
        return None
    stand_in = sum(known) / len(known)
    total = 0.0
    for at, pooled in zip((baseline, column), told, strict=True):
        repeats = scored.count[paired_cases, at]
        variance = stand_in if pooled is None else pooled
        total += variance * float((1 / np.maximum(repeats, 1)).sum()) / number**2
    return _Z95 * math.sqrt(total)


def _least(scored: Scored, known: NDArray[np.float64], spread: float, alpha: float) -> float | None:
    number = len(known)
    if not number:
        return None
    share = detectable_share(number, alpha)
    if share is None or math.isnan(spread):
        return None
    half = two_sided_z(alpha) * spread / math.sqrt(number)
    return max(share, half) if scored.passes else half
