"""Whether a release may go out: what got worse, and whether that is more than is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.errors import InputError, RegressionError
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.frames import cases_by
from vellum_nb.experiments.comparison.summary import finding, line
from vellum_nb.models.plain import shown
from vellum_nb.rendering.marks import printable
from vellum_nb.rendering.values import json_text, number_text, value_text

__all__ = ["Failure", "check", "failures", "reason_of"]

_SHOWN = 20
_GLIMPSE = 70  # characters


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a release does not pass.

    Attributes
    ----------
    release, metric : str
        Which release, by which metric.
    reasons : tuple of str
        Each a sentence.
    worse, untold : tuple of Case
        The cases that are worse, the worst first; and those that cannot be told.
    """

    release: str
    metric: str
    reasons: tuple[str, ...]
    worse: tuple[Case, ...]
    untold: tuple[Case, ...]


def check(
    comparison: BaseComparison,
    *,
    metric: str | Sequence[str] | None,
    release: str | None,
    max_regressions: int | None,
    max_missing: int | None,
    alpha: float | None,
) -> None:
    """Raise `RegressionError` where a release does not pass."""
    found = failures(
        comparison,
        metric=metric,
        release=release,
        max_regressions=max_regressions,
        max_missing=max_missing,
        alpha=alpha,
    )
    if found:
        error = RegressionError(_message(comparison, found))
        worse = dict.fromkeys(case.case_id for each in found for case in each.worse)
        error.case_ids = tuple(worse)
        error.reasons = tuple(
            f"{each.release} by {each.metric}: {reason}"
            for each in found
            for reason in each.reasons
        )
        raise error


def failures(
    comparison: BaseComparison,
    *,
    metric: str | Sequence[str] | None = None,
    release: str | None = None,
    max_regressions: int | None = 0,
    max_missing: int | None = 0,
    alpha: float | None = 0.05,
) -> list[Failure]:
    """Return what keeps each release from passing, by each metric.

    Raises
    ------
    InputError
        There is no such metric or release, nothing tells better from worse, there is nothing to
        hold against the baseline, or a limit is none.
    """
    _check_limits(max_regressions=max_regressions, max_missing=max_missing, alpha=alpha)
    names = [metric] if isinstance(metric, str) or metric is None else list(metric)
    metrics = [comparison._metric(name).name for name in names]  # noqa: SLF001  (of this package)
    if release == comparison.baseline:
        others = ", ".join(comparison.others) or "none"
        msg = f"{release} is the baseline, which nothing is held against; others are: {others}"
        raise InputError(msg)
    releases = comparison.others if release is None else (release,)
    if not releases:
        msg = f"only {comparison.baseline} is compared: name another release tag, too"
        raise InputError(msg)
    found = [
        _failure(comparison, each, name, (max_regressions, max_missing, alpha))
        for each in releases
        for name in metrics
    ]
    return [each for each in found if each.reasons]


def _failure(
    comparison: BaseComparison,
    release: str,
    metric: str,
    limits: tuple[int | None, int | None, float | None],
) -> Failure:
    most, most_missing, alpha = limits
    worse = cases_by(comparison, (release,), "worse", metric)
    untold = [
        case
        for case in comparison.cases
        if comparison.verdict(case, release, metric) in {"missing", "error"}
    ]
    reasons = []
    counts = comparison.against(release, metric).counts
    if not sum(counts[verdict] for verdict in ("better", "worse", "same", "noise")):
        reasons.append("nothing could be compared: no case has a figure on both releases")
    elif most_missing is not None and len(untold) > most_missing:
        verb = "cannot be told, for want of an answer or of a figure"
        reasons.append(f"{_cases(len(untold))} {verb}; {_allowed('max_missing', most_missing)}")
    if most is not None and len(worse) > most:
        verb = "is" if len(worse) == 1 else "are"
        limit = _allowed("max_regressions", most)
        reasons.append(f"{_cases(len(worse))} {verb} worse; {limit}")
    if alpha is not None and finding(comparison, release, metric, alpha=alpha) == "worse":
        by_signs = math.isnan(comparison.against(release, metric).change.mean)
        p = comparison.p(release, metric, signs=by_signs)
        reasons.append(f"it is worse all in all, and hardly by chance: p = {p:.2g}, alpha={alpha}")
    return Failure(release, metric, tuple(reasons), tuple(worse), tuple(untold))


def _message(comparison: BaseComparison, found: Sequence[Failure]) -> str:
    number = len(comparison.cases)
    head = (
        f"{comparison.deployment}: {', '.join(dict.fromkeys(each.release for each in found))} "
        f"did not pass against {comparison.baseline}, {number:,} case{'' if number == 1 else 's'}:"
    )
    return printable(
        "\n".join([head, *(text for each in found for text in _lines(comparison, each))])
    )


def _lines(comparison: BaseComparison, failure: Failure) -> list[str]:
    lines = [f"  {line(comparison, failure.release, failure.metric)} ({failure.metric})"]
    lines += [f"  {reason}" for reason in failure.reasons]
    shown_cases = failure.worse[:_SHOWN]
    meant = failure.release, failure.metric
    lines += [f"  - {_named(case)} · {reason_of(comparison, case, *meant)}" for case in shown_cases]
    if len(failure.worse) > _SHOWN:
        rest = len(failure.worse) - _SHOWN
        call = f"regressions({failure.metric!r}, release={failure.release!r})"
        lines.append(f"  … and {rest:,} more; {call} has them all")
    untold = failure.untold[:_SHOWN] if any("told" in each for each in failure.reasons) else ()
    lines += [f"  - {_named(case)} · {reason_of(comparison, case, *meant)}" for case in untold]
    return lines


def _named(case: Case) -> str:
    inputs = next(iter(case.inputs.values()), None)
    return f"case {case.number} ({case.case_id}) · {_glimpse(inputs)}"


def reason_of(comparison: BaseComparison, case: Case, release: str, metric: str) -> str:
    """Return in a line how a case fares: its figures and short outputs, or why there are none."""
    verdict = comparison.verdict(case, release, metric)
    if verdict == "unscored":
        return f"{metric} does not apply"
    if verdict == "error" and comparison.value(case, release, metric) is None:
        return f"{metric} raised; errors() tells on which run, and what"
    if verdict == "missing":
        return _gaps(case, release)
    sides = [comparison.value(case, each, metric) for each in (case.baseline, release)]
    values = " → ".join("?" if side is None else number_text(round(side, 6)) for side in sides)
    return " · ".join([f"{metric} {values}", *_changes(case, release)])


def _changes(case: Case, release: str) -> list[str]:
    """Return the outputs that differ and are short, and an error in their place."""
    base, other = case.counting(case.baseline), case.counting(release)
    if base is None or other is None:
        return []
    if other.error is not None:
        return [f"{other.error[0]}: {_glimpse(other.error[1])}"]
    found = []
    for name, value in other.outputs.items():
        old = base.outputs.get(name)
        texts = [_glimpse(each) for each in (old, value)]
        if old != value and all(len(text) < _GLIMPSE for text in texts):
            found.append(f"{name}: {' → '.join(texts)}")
    return found


def _gaps(case: Case, release: str) -> str:
    gaps = []
    for each in (case.baseline, release):
        if not case.answers(each):
            found = case.counting(each)
            gaps.append(f"no run on {each}" if found is None else f"{found.state} on {each}")
    return ", ".join(gaps)


def _glimpse(value: Any) -> str:
    text = value_text(value, "STRING") if isinstance(value, str) else json_text(value)
    text = " ".join(text.split())
    return text if len(text) <= _GLIMPSE else f"{text[: _GLIMPSE - 1]}…"


def _cases(number: int) -> str:
    return f"{number:,} case{'' if number == 1 else 's'}"


def _allowed(name: str, most: int) -> str:
    return f"{name}={most} allows {'none' if most == 0 else f'{most:,}'}"


def _check_limits(**limits: Any) -> None:
    for name, value in limits.items():
        kinds = (int, float) if name == "alpha" else (int,)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and value >= 0
        if value is not None and not (fits and (name != "alpha" or value <= 1)):
            expected = "a number from 0 to 1" if name == "alpha" else "a whole number from 0 on"
            msg = f"{name}={shown(value)} does not fit: give {expected}, or None for no limit"
            raise InputError(msg)
