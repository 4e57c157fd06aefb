"""What reports show, before it is Markdown or HTML: figures of releases, groups of cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.frames import cases_by
from vellum_nb.experiments.comparison.summary import finding, remark, summary_frame
from vellum_nb.experiments.comparison.verdicts import Verdict
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.rows import from_micros
from vellum_nb.models.plain import shown

__all__ = [
    "GROUPS",
    "Figures",
    "chosen_groups",
    "figures",
    "grouped",
    "heading",
    "kind_of",
    "number",
    "p_text",
    "percent",
    "span",
    "summary_rows",
]

GROUPS = ("worse", "missing", "better", "changed", "same")
"""The groups of cases, in the order in which they are worth a look."""

_LEAST_P = 1e-5
_DIGITS = 4
_UNTIMED = 86_400_000_000  # µs; rows of a frame without times are counted from 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one metric says of one release; `row` is the release's row of `summary`."""

    release: str
    metric: str
    row: Mapping[str, Any]
    counts: Mapping[Verdict, int] | None
    p: float | None
    sign_p: float | None
    noise_floor: float | None
    finding: str
    remark: str

    def value(self, name: str = "") -> float:
        """Return a figure of the metric: its mean, or ``"low"``, ``"delta"`` and so on."""
        head = f"metric.{self.metric}"
        return float(self.row[f"{head}.{name}" if name else head])


def summary_rows(comparison: BaseComparison) -> list[Mapping[str, Any]]:
    """Return the rows of `summary`."""
    rows: list[Mapping[str, Any]] = summary_frame(comparison).to_dict(orient="records")  # type: ignore[assignment]
    return rows


def figures(
    comparison: BaseComparison, metric: str, rows: Sequence[Mapping[str, Any]]
) -> list[Figures]:
    """Return what `metric` says of each release, the baseline first."""
    found = []
    for release in (comparison.baseline, *comparison.others):
        row = rows[comparison.releases.index(release)]
        if release == comparison.baseline:
            told = Figures(release, metric, row, None, None, None, None, "baseline", "")
        else:
            against = comparison.against(release, metric)
            told = Figures(
                release,
                metric,
                row,
                against.counts,
                comparison.p(release, metric),
                comparison.p(release, metric, signs=True),
                against.noise_floor,
                finding(comparison, release, metric),
                remark(comparison, release, metric),
            )
        found.append(told)
    return found


def chosen_groups(only: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the groups that are meant, in our order; None is all.

    Raises
    ------
    InputError
        One is none.
    """
    if only is None:
        return GROUPS
    wanted = {only} if isinstance(only, str) else set(only)
    unknown = sorted(str(each) for each in wanted - set(GROUPS))
    if unknown:
        msg = (
            f"only={shown(only)}: no cases are called {unknown[0]}; there are: {', '.join(GROUPS)}"
        )
        raise InputError(msg)
    return tuple(each for each in GROUPS if each in wanted)


def grouped(comparison: BaseComparison) -> dict[str, list[Case]]:
    """Return group to its cases; each case is in one, the worst that it is on any release.

    By the first metric; without any, by whether answers differ.
    """
    found: dict[str, list[Case]] = {}
    left = {case.number: case for case in comparison.cases}
    for name in GROUPS:
        members = [case for case in _members(comparison, name) if case.number in left]
        found[name] = members
        for case in members:
            del left[case.number]
    return found


def _members(comparison: BaseComparison, group: str) -> Sequence[Case]:
    others, cases = comparison.others, comparison.cases
    if group in {"worse", "better"}:
        if not comparison.metrics:
            return ()
        return cases_by(comparison, others, "worse" if group == "worse" else "better", None)
    if group == "missing":
        return [case for case in cases if _is_missing(comparison, case)]
    if group == "changed":
        return [case for case in cases if any(case.status(each) == "differs" for each in others)]
    return cases


def _is_missing(comparison: BaseComparison, case: Case) -> bool:
    if not all(case.answers(each) for each in comparison.releases):
        return True
    if not comparison.metrics:
        return False
    return any(comparison.verdict(case, each) == "error" for each in comparison.others)


def kind_of(record: Record, name: str) -> str:
    """Return Vellum's type of an output."""
    value = record.outputs.get(name)
    return record.output_types.get(name, "STRING" if isinstance(value, str) else "JSON")


def heading(comparison: BaseComparison) -> str:
    """Return what is compared, as a title."""
    others = ", ".join(comparison.others)
    against = f"{others} against {comparison.baseline}" if others else comparison.baseline
    return f"{comparison.deployment}: {against}"


def span(comparison: BaseComparison) -> str:
    """Return how many cases and runs there are, and from when, in a line."""
    moments = [
        record.micros
        for case in comparison.cases
        for tries in case.tries.values()
        for record in tries
    ]
    if not comparison.cases:
        return f"no stored runs on {', '.join(comparison.releases)}"
    cases, runs = len(comparison.cases), len(moments)
    told = f"{cases:,} case{'' if cases == 1 else 's'}, {runs:,} run{'' if runs == 1 else 's'}"
    if not moments or max(moments) < _UNTIMED:
        return told
    first, last = (f"{from_micros(each):%Y-%m-%d %H:%M}" for each in (min(moments), max(moments)))
    return f"{told} of {first} UTC" if first == last else f"{told} of {first} to {last} UTC"


def number(value: float | None) -> str:
    """Return a figure with four digits that count; a dash where there is none.

    Examples
    --------
    >>> number(0.83333333), number(12345.6)
    ('0.8333', '12346')
    """
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    size = abs(value)
    whole = size >= 10 ** (_DIGITS - 1)
    text = f"{size:.0f}" if whole else f"{size:.{_DIGITS}g}"
    return f"\N{MINUS SIGN}{text}" if value < 0 and text.strip("0.") else text


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "\N{EN DASH}" if share is None or math.isnan(share) else f"{number(100 * share)} %"


def p_text(p: float | None) -> str:
    """Return a p value.

    Examples
    --------
    >>> p_text(0.0301), p_text(1e-9)
    ('0.03', '< 0.00001')
    """
    if p is None or math.isnan(p):
        return "\N{EN DASH}"
    return f"< {_LEAST_P:.5f}" if p < _LEAST_P else f"{p:.2g}" if p >= 10 * _LEAST_P else f"{p:.5f}"
