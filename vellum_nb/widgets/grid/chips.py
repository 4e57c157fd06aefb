"""The chips under an answer: which expectations it met, and what each metric says of it."""

from __future__ import annotations

from collections.abc import Sequence

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.metrics.metric import Metric
from vellum_nb.widgets.grid.pieces import short
from vellum_nb.widgets.markup import shown_name

__all__ = ["Chip", "chips", "figure", "signed"]

Chip = tuple[str, str, str]
"""Text, tone ("good", "bad" or ""), and what the tooltip says."""

_MOST = 12
_NAME = 40
_CHECK, _CROSS = "✓", "✗"
_COUNT = 10  # from here on a whole number is a count, not a score
_WHOLE = 1000  # from here on a figure needs no decimals
_HUNDREDTHS = 0.095  # from here on it has two


def figure(value: float, like: float | None = None) -> str:
    """Return a figure in as few digits as tell it from its like.

    With `like` it has as many decimals as that one, unless it would read as nothing.

    Examples
    --------
    >>> figure(0.5), figure(0.00213), figure(12345.6), figure(118.0), figure(0.0731, like=0.59)
    ('0.50', '0.0021', '12,346', '118', '0.07')
    """
    size = abs(value)
    if size >= _COUNT and float(value).is_integer():
        return f"{value:,.0f}"
    if size >= _WHOLE and (like is None or abs(like) >= _WHOLE):
        return f"{value:,.0f}"
    if size >= _HUNDREDTHS or size == 0 or (like is not None and abs(like) >= _HUNDREDTHS):
        text = f"{value:,.2f}"
        if size == 0 or float(text.replace(",", "")):
            return text
    return f"{value:.2g}"


def signed(value: float, like: float | None = None) -> str:
    r"""Return a difference with its sign.

    Examples
    --------
    >>> signed(-0.5) == "\N{MINUS SIGN}0.50", signed(0.26)
    (True, '+0.26')
    """
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    return f"{sign}{figure(abs(value), like)}"


def chips(
    comparison: Comparison, case: Case, release: str, metrics: Sequence[Metric]
) -> list[Chip]:
    """Return the chips of one cell: what was expected, and what `metrics` say."""
    base = case.checks(case.baseline)
    found = [
        _check(name, met=met, before=base.get(name), own=release == case.baseline)
        for name, met in case.checks(release).items()
    ]
    for metric in metrics:
        chip = _metric(comparison, case, release, metric)
        if chip is not None:
            found.append(chip)
    return found[:_MOST]


def _check(name: str, *, met: bool, before: bool | None, own: bool) -> Chip:
    tone = "" if met else "bad"
    if met and before is False and not own:
        tone = "good"
    told = "as expected" if met else "not as expected"
    name = short(shown_name(name), _NAME)
    return f"{name} {_CHECK if met else _CROSS}", tone, f"{name}: {told}"


def _metric(comparison: Comparison, case: Case, release: str, metric: Metric) -> Chip | None:
    name = short(shown_name(metric.name), _NAME)
    scored = comparison.answers.scored(metric)
    value = comparison.value(case, release, metric.name)
    column = comparison.releases.index(release)
    if value is None:
        failed = int(scored.failed[case.number - 1, column])
        return (f"{name} failed", "bad", f"{name} raised; errors() says what") if failed else None
    repeats = int(scored.count[case.number - 1, column])
    told = f"{name}: {figure(value)}" + (f", mean of {repeats:,} repeats" if repeats > 1 else "")
    is_pass = scored.passes and metric.name != "score" and value in {0.0, 1.0}
    text = f"{name} {_CHECK if value else _CROSS}" if is_pass else f"{name} {figure(value)}"
    if release == case.baseline:
        return text, "", told
    delta = comparison.delta(case, release, metric.name)
    if delta is not None and abs(delta) > max(metric.tolerance, 1e-9) and not is_pass:
        text = f"{text} {signed(delta, like=max(abs(delta), abs(value)))}"
    verdict = comparison.verdict(case, release, metric.name)
    return text, {"better": "good", "worse": "bad"}.get(verdict, ""), told
