"""Forest plot: the difference of each release to the baseline, of all cases and by label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.lines import grouped_by_text, grouping_labels
from vellum_nb.comparison.statistics import Estimate
from vellum_nb.models.checks import cut
from vellum_nb.rendering.format import (
    interval_digits,
    one_line,
    plural,
    signed,
    visible_name,
    xml_text,
)
from vellum_nb.rendering.html import render

if TYPE_CHECKING:
    from vellum_nb.comparison.figures import ComparisonFigures


def _theme(name: str, light: str, dark: str) -> str:
    """Return a colour of JupyterLab's theme, or of the colour scheme of another page."""
    return f"var(--jp-{name}, light-dark({light}, {dark}))"


def _mix(colour: str, percent: int, ground: str) -> str:
    return f"color-mix(in srgb, {colour} {percent}%, {ground})"


_PAGE = _theme("layout-color1", "#fff", "#212121")
_STRONG = _theme("ui-font-color0", "#000", "#fff")
_GREEN = _theme("success-color1", "#388e3c", "#4caf50")
_RED = _theme("error-color1", "#d32f2f", "#f44336")
_WARN = _theme("warn-color1", "#f57c00", "#ff9800")
_BRAND = _theme("brand-color1", "#1976d2", "#2196f3")
_COLOURS = {  # in the page, and their values in JupyterLab's light and dark theme
    "page": (_PAGE, "#ffffff", "#212121"),
    "ink": (_mix(_STRONG, 87, _PAGE), "#212121", "#e2e2e2"),
    "quiet": (_mix(_STRONG, 64, _PAGE), "#5c5c5c", "#afafaf"),
    "band": (_mix(_STRONG, 9, _PAGE), "#e8e8e8", "#353535"),
    "line": (_theme("border-color2", "#e0e0e0", "#424242"), "#e0e0e0", "#424242"),
    "brand": (_BRAND, "#1976d2", "#2196f3"),
    "better": (_mix(_GREEN, 34, _PAGE), "#bbd9bd", "#305131"),
    "worse": (_mix(_RED, 34, _PAGE), "#f0b8b8", "#692d28"),
    "good": (_mix(_GREEN, 72, _STRONG), "#28662b", "#7ec581"),
    "bad": (_mix(_RED, 72, _STRONG), "#982222", "#f7786e"),
    "warn": (_theme("warn-color0", "#e65100", "#f57c00"), "#e65100", "#f57c00"),
    "notice": (_mix(_WARN, 13, _PAGE), "#feeede", "#3e301d"),
    "chosen": (_mix(_BRAND, 14, _PAGE), "#dfecf9", "#21313e"),
    "same": (_theme("layout-color2", "#eee", "#424242"), "#eeeeee", "#424242"),
}
THEMED, LIGHT, DARK = ({name: colours[at] for name, colours in _COLOURS.items()} for at in range(3))
"""Colours of charts by use: those of a page and its theme, and fixed ones for pictures."""

_MAX_RELEASES, _MAX_VALUES = 12, 6
_MAX_NAME_CHARS, _MAX_SHORT_NAME = 60, 8
_MAX_TICKS, _NARROW_PX = 5, 440  # the narrowest page in which all texts fit
_LEFT, _CHAR_PX = 28.0, 6.6  # where the axis begins in percent, and the width of a digit
_HEAD_PX, _ROW_PX, _LABEL_PX, _GAP_PX = 40, 30, 22, 10


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale with round ticks that ends at the smallest and largest possible value."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(
        cls,
        values: Iterable[float],
        bounds: tuple[float, float] | None = None,
        most: int = _MAX_TICKS,
    ) -> Axis | None:
        """Return the axis of `values`, with at most `most` intervals; None without a range."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        if not low < high:
            return None
        least, largest = bounds or (-math.inf, math.inf)
        beside = 0.06 * (high - low)
        low, high = max(low - beside, least), min(high + beside, largest)
        rough = (high - low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * by for by in (1, 2, 2.5, 5, 10) if power * by >= rough * 0.999)
        marks = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return cls(low, high, tuple(mark * step for mark in marks))

    def at(self, value: float) -> float:
        """Return the position of `value` in percent; values beyond an end are at the end."""
        inside = min(max(value, self.low), self.high)
        return round(100 * (inside - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference of one release to the baseline, of all cases or of those with a label."""

    change: Estimate
    margin: float  # NaN without one
    is_decided: bool
    value: str = ""  # of the label; empty for all cases

    @property
    def values(self) -> list[float]:
        """The values that an axis includes."""
        return [self.change.mean, self.change.low, self.change.high, -self.margin, self.margin]


def difference(figures: ComparisonFigures, release: str, metric: str) -> Difference:
    """Return the difference of `release` by `metric`."""
    result = figures.result(release, metric)
    change, decision = figures.against[release, metric].change, result.decision
    if decision is None:
        return Difference(change, math.nan, result.verdict in {"better", "worse"})
    return Difference(change, decision.margin, decision.verdict != "cannot tell yet")


def difference_bounds(figures: ComparisonFigures, metric: str) -> tuple[float, float] | None:
    """Return the smallest and largest possible difference of a metric, if both are finite."""
    bounds = figures.scored[metric].bounds
    return bounds and (bounds[0] - bounds[1], bounds[1] - bounds[0])


def _default_label(figures: ComparisonFigures) -> str | None:
    """Return the first label with several values of several cases each."""
    labels = grouping_labels(figures).items()
    return next((name for name, n in labels if 1 < len(n) <= n.total() / 2), None)


def _by_label(
    figures: ComparisonFigures, releases: Sequence[str], metric: str, label: str
) -> dict[str, list[Difference]]:
    """Return the differences by value of a label, the most frequent values first."""
    groups = grouped_by_text(case.labels.get(label) for case in figures.cases)
    differences: dict[str, list[Difference]] = {release: [] for release in releases}
    for value, cases in sorted(groups.items(), key=lambda group: -len(group[1]))[:_MAX_VALUES]:
        for release, made in differences.items():
            change = figures.against_on(cases, release, metric).change
            margin = difference(figures, release, metric).margin
            made.append(Difference(change, margin, is_decided=False, value=value))
    return differences


def forest_svg(
    figures: ComparisonFigures,
    metric: str | None = None,
    *,
    releases: Sequence[str] | None = None,
    label: str | None = None,
    colours: Mapping[str, str] = THEMED,
    width: int | None = None,
) -> str:
    """Return the forest plot as SVG, or "" without a metric or a difference.

    Diamonds are for all cases, squares for the values of a label; a filled point is decided, and
    the margin is the grey band. Squares are always hollow, because no decision is made by label.
    The default label is the first with few values; an empty one, or an early stop, which makes
    intervals by label invalid, leaves them out. `colours` are `THEMED`, which follows the page, or
    `LIGHT` or `DARK` for a file. The default `width` is that of the page. All names are escaped.
    """
    names = [name for name in releases or figures.others if name != figures.baseline]
    name = metric or next(iter(figures.scored), None)
    if name is None or not names:
        return ""
    label = _default_label(figures) if label is None else label
    shown = names[:_MAX_RELEASES]
    labelled = {} if figures.is_stopped or not label else _by_label(figures, shown, name, label)
    blocks = {
        release: [difference(figures, release, name), *labelled.get(release, ())]
        for release in shown
    }
    values = [value for block in blocks.values() for one in block for value in one.values]
    axis = Axis.of([0.0, *values], difference_bounds(figures, name))
    if axis is None:
        return ""
    return render(
        "forest.html.j2",
        **_layout(axis, blocks),
        colours=colours,
        is_themed=colours is THEMED,
        is_reversed=figures.scored[name].metric.sign < 0,
        width=width or "100%",
        is_picture=colours is LIGHT,
        text=forest_text(figures, name, shown),
        notes=_notes(len(names) - len(shown), has_labels=any(labelled.values())),
        xml=xml_text,
    )


def _notes(left_out: int, *, has_labels: bool) -> list[str]:
    notes = []
    if has_labels:
        notes.append("By label: for orientation, not adjusted for multiple comparisons.")
    if left_out:
        notes.append(f"and {plural(left_out, 'other release')}")
    return notes


def forest_text(figures: ComparisonFigures, metric: str, releases: Sequence[str]) -> str:
    """Describe a forest plot in words."""
    changes = {
        release: figures.against[release, metric].change
        for release in releases
        if release != figures.baseline
    }
    digits = _digits(changes.values())
    means = ", ".join(
        f"{release} {signed(change.mean, digits=digits)} ({_interval(change, digits)})"
        if change.n
        else f"{release} none"
        for release, change in changes.items()
    )
    return f"difference in {metric} against {figures.baseline}, {figures.level} intervals: {means}"


def _digits(changes: Iterable[Estimate]) -> int | None:
    return interval_digits([{"low": e.low, "high": e.high} for e in changes], "low", "high")


def _interval(change: Estimate, digits: int | None) -> str:
    if math.isnan(change.low):
        return "no interval"
    return f"{signed(change.low, digits=digits)} to {signed(change.high, digits=digits)}"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the axis ends, means end and intervals begin, in percent of the width."""

    axis: Axis
    digits: int | None
    right: float
    mean: float
    interval: float

    @classmethod
    def of(cls, axis: Axis, changes: Sequence[Estimate]) -> _Columns:
        """Return columns in which all figures fit from `_NARROW_PX`."""
        digits = _digits(changes)
        intervals = max(len(_interval(change, digits)) for change in changes)
        means = max(len(signed(change.mean, digits=digits)) for change in changes)
        interval = 100 - min(35.0, 100 * (_CHAR_PX * intervals + 2) / _NARROW_PX)
        mean = interval - 100 * 8 / _NARROW_PX
        right = mean - min(15.0, 100 * (_CHAR_PX * means + 14) / _NARROW_PX)
        return cls(axis, digits, round(right, 2), round(mean, 2), round(interval, 2))

    def across(self, value: float) -> float:
        """Return the position of a value of the axis."""
        return round(_LEFT + (self.right - _LEFT) * self.axis.at(value) / 100, 2)

    def row(self, one: Difference, y: float, name: str) -> dict[str, Any]:
        """Return texts and positions of a difference in a row of its own."""
        change = one.change
        row = {"name": name, "is_label": bool(one.value), "is_decided": one.is_decided, "y": y}
        row["n"] = f"{change.n:,}"
        if change.n:
            mean = signed(change.mean, digits=self.digits)
            row |= {"at": self.across(change.mean), "mean": mean}
            row["interval"] = _interval(change, self.digits)
        if not math.isnan(change.low):
            row |= {"low": self.across(change.low), "high": self.across(change.high)}
        return row


def _layout(axis: Axis, blocks: Mapping[str, Sequence[Difference]]) -> dict[str, Any]:
    """Return positions and texts: across in percent of the width, down in pixels."""
    columns = _Columns.of(axis, [one.change for block in blocks.values() for one in block])
    names, rows, bands, y = [], [], [], float(_HEAD_PX)
    for release, block in blocks.items():
        name, top = cut(one_line(visible_name(release)), _MAX_NAME_CHARS), y
        is_long = len(name) > _MAX_SHORT_NAME  # the figures are below it
        y += _GAP_PX / 2 + is_long * _LABEL_PX
        names.append((name, y + (_ROW_PX / 2 if not is_long else -_LABEL_PX / 2)))
        for one in block:
            height = _LABEL_PX if one.value else _ROW_PX
            value = cut(one_line(visible_name(one.value)), _MAX_NAME_CHARS)
            rows.append(columns.row(one, y + height / 2, value or ("all cases" * is_long)))
            y += height
        y += _GAP_PX / 2
        if block[0].margin > 0:
            margin = block[0].margin
            bands.append((columns.across(-margin), columns.across(margin), top, y - top))
    return {
        "names": names,
        "rows": rows,
        "bands": bands,
        "ticks": [(columns.across(tick), signed(tick) if tick else "0") for tick in axis.ticks],
        "zero": columns.across(0.0),
        "left": _LEFT,
        "columns": columns,
        "height": y,
    }
