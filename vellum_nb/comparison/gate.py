"""Gate: whether a release passes against the baseline, and what keeps it from passing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.figures import ComparisonFigures, cases_by, p_sentence
from vellum_nb.errors import InputError, RegressionError
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.format import one_line, plural, printable
from vellum_nb.rendering.values import json_text, number_text

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
    worse, missing : tuple of Case
        The cases that are worse, the worst first; and those without an answer or figure.
    """

    release: str
    metric: str
    reasons: tuple[str, ...]
    worse: tuple[Case, ...]
    missing: tuple[Case, ...]


def check(figures: ComparisonFigures, found: Sequence[Failure]) -> None:
    """Raise `RegressionError` where a release does not pass, as `failures` found."""
    if found:
        error = RegressionError(_message(figures, found))
        error.case_ids = tuple(dict.fromkeys(case.case_id for each in found for case in each.worse))
        error.reasons = tuple(
            f"{each.release} by {each.metric}: {reason}"
            for each in found
            for reason in each.reasons
        )
        raise error


def failures(
    figures: ComparisonFigures,
    *,
    metrics: Sequence[str],
    release: str | None = None,
    max_regressions: int | None = 0,
    max_missing: int | None = 0,
    alpha: float | None = 0.05,
) -> list[Failure]:
    """Return what keeps each release from passing, by each metric.

    Raises
    ------
    InputError
        There is no such release, nothing to compare with the baseline, or a limit does not fit.
    """
    _check_limits(max_regressions=max_regressions, max_missing=max_missing, alpha=alpha)
    if release == figures.baseline:
        others = ", ".join(figures.others) or "none"
        msg = f"{release} is the baseline, which is not compared with itself; others are: {others}"
        raise InputError(msg)
    if release is not None and release not in figures.releases:
        known = ", ".join(figures.releases)
        msg = f"{release!r} is not among the release tags compared: {known}"
        raise InputError(msg)
    releases = figures.others if release is None else (release,)
    if not releases:
        msg = f"only {figures.baseline} is compared: name another release tag, too"
        raise InputError(msg)
    found = [
        _failure(figures, each, name, (max_regressions, max_missing, alpha))
        for each in releases
        for name in metrics
    ]
    return [each for each in found if each.reasons]


def _failure(
    figures: ComparisonFigures,
    release: str,
    metric: str,
    limits: tuple[int | None, int | None, float | None],
) -> Failure:
    most, most_missing, alpha = limits
    worse = cases_by(figures, (release,), "worse", metric)
    missing = [
        case
        for case in figures.cases
        if figures.verdict(case, release, metric) in {"missing", "error"}
    ]
    reasons = []
    found = figures.against[release, metric]
    if not found.compared:
        reasons.append("nothing could be compared: no case has a figure on both releases")
    elif most_missing is not None and len(missing) > most_missing:
        verb = "has" if len(missing) == 1 else "have"
        limit = _allowed("max_missing", most_missing)
        reasons.append(f"{plural(len(missing), 'case')} {verb} no answer or no figure; {limit}")
    if most is not None and len(worse) > most:
        verb = "is" if len(worse) == 1 else "are"
        limit = _allowed("max_regressions", most)
        reasons.append(f"{plural(len(worse), 'case')} {verb} worse; {limit}")
    if alpha is not None and figures.finding(release, metric, alpha=alpha) == "worse":
        by_signs = math.isnan(found.change.mean)
        p = (figures.sign_p if by_signs else figures.p)[release, metric]
        reasons.append(
            f"it is worse as a whole, and hardly by chance: {p_sentence(p)}, alpha={alpha}"
        )
    return Failure(release, metric, tuple(reasons), tuple(worse), tuple(missing))


def _message(figures: ComparisonFigures, found: Sequence[Failure]) -> str:
    head = (
        f"{figures.deployment}: {', '.join(dict.fromkeys(each.release for each in found))} "
        f"did not pass against {figures.baseline}, {plural(len(figures.cases), 'case')}:"
    )
    return printable("\n".join([head, *(text for each in found for text in _lines(figures, each))]))


def _lines(figures: ComparisonFigures, failure: Failure) -> list[str]:
    lines = [f"  {figures.line(failure.release, failure.metric)} ({failure.metric})"]
    lines += [f"  {reason}" for reason in failure.reasons]
    of = failure.release, failure.metric
    lines += [
        f"  - {_named(case)} · {reason_of(figures, case, *of)}" for case in failure.worse[:_SHOWN]
    ]
    if len(failure.worse) > _SHOWN:
        rest = len(failure.worse) - _SHOWN
        call = f"regressions({failure.metric!r}, release={failure.release!r})"
        lines.append(f"  … and {rest:,} more; {call} has them all")
    missing = (
        failure.missing[:_SHOWN] if any("no figure" in each for each in failure.reasons) else ()
    )
    lines += [f"  - {_named(case)} · {reason_of(figures, case, *of)}" for case in missing]
    return lines


def _named(case: Case) -> str:
    inputs = next(iter(case.inputs.values()), None)
    return f"case {case.number} ({case.case_id}) · {_glimpse(inputs)}"


def reason_of(figures: ComparisonFigures, case: Case, release: str, metric: str) -> str:
    """Return in a line how a case fares: its figures and short outputs, or why there are none."""
    verdict = figures.verdict(case, release, metric)
    if verdict == "unscored":
        return f"{metric} does not apply"
    if verdict == "error" and figures.value(case, release, metric) is None:
        return f"{metric} raised; errors() lists the runs and messages"
    if verdict == "missing":
        return _gaps(case, release)
    sides = [figures.value(case, each, metric) for each in (case.baseline, release)]
    values = " → ".join("?" if side is None else number_text(round(side, 6)) for side in sides)
    return " · ".join([f"{metric} {values}", *_changes(case, release)])


def _changes(case: Case, release: str) -> list[str]:
    """Return the outputs that differ and are short, and an error in their place."""
    base, other = case.counting(case.baseline), case.counting(release)
    if base is None or other is None:
        return []
    if other.error is not None:
        return [f"{other.error.code}: {_glimpse(other.error.message)}"]
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
    return one_line(value if isinstance(value, str) else json_text(value), _GLIMPSE)


def _allowed(name: str, most: int) -> str:
    return f"{name}={most} allows {'none' if most == 0 else f'{most:,}'}"


def _check_limits(**limits: Any) -> None:
    for name, value in limits.items():
        kinds = (int, float) if name == "alpha" else (int,)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and value >= 0
        if value is not None and not (fits and (name != "alpha" or value <= 1)):
            expected = "a number from 0 to 1" if name == "alpha" else "a whole number from 0 on"
            given = format_value(value)
            msg = f"{name}={given} does not fit: give {expected}, or None for no limit"
            raise InputError(msg)
