"""The chart of a trend: a line per release tag, and lanes for its releases and the cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vellum_nb.comparison.forest import DARK, LIGHT, THEMED, Axis
from vellum_nb.comparison.trend_figures import TrendFigures, TrendPoint
from vellum_nb.models.checks import cut
from vellum_nb.rendering.format import (
    figure,
    interval_digits,
    one_line,
    plural,
    visible_name,
    xml_text,
)
from vellum_nb.rendering.html import render

_STYLES = (  # colour, dashes and point of each tag
    ("quiet", "none", "disc"),
    ("brand", "7 3", "diamond"),
    ("good", "2 2", "square"),
    ("bad", "9 3 2 3", "triangle"),
)
_MAX_SLOTS, _MAX_LABELS, _MAX_NAME_CHARS = 104, 8, 18
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 892, 44.0, 744.0, 44.0, 300.0
_LANE_PX, _LABEL_PX, _CHAR_PX, _SHIFT_PX = 35, 32, 6.8, 10
_FORMATS = {"sweep": "%d %b %H:%M", "day": "%d %b", "week": "%d %b", "month": "%b %Y"}


def trend_svg(
    trend: TrendFigures, *, colours: Mapping[str, str] = THEMED, width: int | None = None
) -> str:
    """Return the chart as one ``<svg class="vnb-trend">``, or "" without two points of a line."""
    layout = _Layout.of(trend)
    if layout is None:
        return ""
    return render(
        "trend.html.j2",
        **layout.view(),
        colours=colours,
        is_themed=colours is THEMED,
        is_picture=colours in (LIGHT, DARK),
        background=colours["page"] if colours is LIGHT else "none",
        width=width or _WIDTH,
        text=trend_text(trend),
        xml=xml_text,
    )


def trend_text(trend: TrendFigures) -> str:
    """Describe the chart in words."""
    return f"{trend.metric} by {trend.by}. {'. '.join(trend.sentences.values())}"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of the points in slots of equal width, and the scale of their levels."""

    trend: TrendFigures
    lines: dict[str, dict[int, TrendPoint]]  # by tag and slot
    slots: int
    axis: Axis
    hidden: int  # older slots

    @classmethod
    def of(cls, trend: TrendFigures) -> _Layout | None:
        """Return the layout, or None if there is nothing to draw."""
        lines, slots = _slotted(trend)
        hidden = max(0, slots - _MAX_SLOTS)
        lines = {
            tag: {at - hidden: point for at, point in line.items() if at >= hidden}
            for tag, line in list(lines.items())[: len(_STYLES)]
        }
        points = [point for line in lines.values() for point in line.values() if point.is_known]
        values = [end for point in points for end in (point.level, *trend.ends(point))]
        values = [value for value in values if math.isfinite(value)]
        if len(points) < 2:  # noqa: PLR2004
            return None
        middle, beside = values[0], abs(values[0]) / 2 or 0.5
        axis = Axis.of(values) or Axis.of([middle - beside, middle + beside])
        return None if axis is None else cls(trend, lines, slots - hidden, axis, hidden)

    def x(self, slot: float) -> float:
        """Return the middle of a slot; half a slot less is its left edge."""
        return round(_LEFT + (_RIGHT - _LEFT) * (slot + 0.5) / self.slots, 1)

    def y(self, value: float) -> float:
        """Return the position of a level."""
        return round(_BOTTOM - (_BOTTOM - _TOP) * self.axis.at(value) / 100, 1)

    def view(self) -> dict[str, Any]:
        """Return what the template draws."""
        lanes = [self._lane(tag, line, at) for at, (tag, line) in enumerate(self.lines.items())]
        first = next(iter(self.lines.values()))
        lanes.append(self._case_lane(first, len(lanes)))
        every = math.ceil(self.slots / _MAX_LABELS)
        times = {at: p.time for line in self.lines.values() for at, p in line.items()}
        texts = {at: f"{time:{_FORMATS[self.trend.by]}}".lstrip("0") for at, time in times.items()}
        labels = [(self.x(at), texts[at]) for at in sorted(texts) if not at % every]
        end = _BOTTOM + 36 + _LANE_PX * len(lanes)
        notes, digits = list(_notes(self)), self._digits
        return {
            "lines": [self._line(at, tag) for at, tag in enumerate(self.lines)],
            "lanes": lanes,
            "ticks": [(self.y(tick), figure(tick, digits=digits)) for tick in self.axis.ticks],
            "labels": labels,
            "edges": {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM},
            "names": self._names(),
            "notes": notes,
            "end": end,
            "height": end + 18 * len(notes),
            "full": _WIDTH,
        }

    @property
    def _digits(self) -> int:
        ticks = self.axis.ticks
        exact = (n for n in range(5) if all(math.isclose(t, round(t, n)) for t in ticks))
        return next(exact, 5)

    def _line(self, number: int, tag: str) -> dict[str, Any]:
        """Return segments, intervals and points of a tag; tags are side by side in a slot."""
        colour, dashes, shape = _STYLES[number]
        shift = _SHIFT_PX * (number - (len(self.lines) - 1) / 2) * min(1.0, 20 / self.slots)
        known = {at: point for at, point in self.lines[tag].items() if point.is_known}
        at_px = {at: (self.x(at) + shift, self.y(point.level)) for at, point in known.items()}
        segments = [
            (*at_px[before], *at_px[at], known[before].release_id != known[at].release_id)
            for before, at in pairwise(known)
        ]
        bars = []
        for at, point in known.items():
            low, high = self.trend.ends(point)
            if not math.isnan(low):
                bars.append((at_px[at][0], self.y(low), self.y(high)))
        points = [(*at_px[at], self._title(point)) for at, point in known.items()]
        style = {"colour": colour, "dashes": dashes, "shape": shape, "name": _name(tag)}
        size = 1.0 if self.slots <= _MAX_SLOTS // 3 else 0.6
        return style | {"segments": segments, "bars": bars, "points": points, "size": size}

    def _title(self, point: TrendPoint) -> str:
        return (
            f"{self.trend.date(point.time)}: {_name(point.release)}, "
            f"{figure(point.level)} ({plural(point.n, 'common case')})"
        )

    def _names(self) -> list[tuple[float, str, str, str]]:
        """Return y, colour, name and figure of each tag at the end of its line."""
        known = {tag: [p for p in line.values() if p.is_known] for tag, line in self.lines.items()}
        last = {tag: points[-1] for tag, points in known.items() if points}
        ends = [dict(zip(("low", "high"), self.trend.ends(p), strict=True)) for p in last.values()]
        digits = interval_digits([e for e in ends if not math.isnan(e["low"])], "low", "high")
        names, y = [], -math.inf
        for tag in sorted(last, key=lambda tag: -last[tag].level):
            y = max(self.y(last[tag].level), y + _LABEL_PX)
            text = f"{_name(last[tag].release)} · {figure(last[tag].level, digits=digits or 2)}"
            names.append((y, _STYLES[list(self.lines).index(tag)][0], _name(tag), text))
        return names

    def _lane(self, tag: str, line: Mapping[int, TrendPoint], number: int) -> dict[str, Any]:
        """Return the releases behind a tag."""
        starts = [at for at, point in line.items() if point.release_changed or at == min(line)]
        texts = [_name(line[at].release) for at in starts]
        fill = "band" if number == 0 else "chosen"
        return self._stretches(starts, texts, number, "release") | {
            "name": _name(tag),
            "fill": fill,
        }

    def _case_lane(self, line: Mapping[int, TrendPoint], number: int) -> dict[str, Any]:
        """Return the numbers of cases of the first tag."""
        starts = [at for at, point in line.items() if _case_change(point) or at == min(line)]
        texts = [f"{plural(len(line[at].cases), 'case')}{_case_change(line[at])}" for at in starts]
        return self._stretches(starts, texts, number, "cases") | {"name": "cases", "fill": "notice"}

    def _stretches(
        self, starts: Sequence[int], texts: Sequence[str], number: int, kind: str
    ) -> dict[str, Any]:
        """Return the parts of a lane, each with its text if it fits."""
        edges = [self.x(at - 0.5) for at in starts] + [_RIGHT]
        edges[0] = _LEFT
        parts = []
        for (left, right), text in zip(pairwise(edges), texts, strict=True):
            room = int((right - left - 14) / _CHAR_PX)
            short = (text, text.partition(" ")[0])
            shown = next((one for one in short if len(one) <= room), "")
            parts.append((left, round(right - left - 3, 1), shown, text))
        y = _BOTTOM + 36 + _LANE_PX * number
        return {"parts": parts, "changes": edges[1:-1], "y": y, "is_cases": kind == "cases"}


def _notes(layout: _Layout) -> Iterator[str]:
    """Yield sentences on what the chart does not show."""
    points = [point for line in layout.lines.values() for point in line.values()]
    left_out = sum(not point.is_known for point in points)
    yield "Neighbouring points are compared on their common cases; the last one is the mean of all."
    if left_out:
        yield f"{plural(left_out, 'point')} without enough common cases not drawn."
    if layout.hidden:
        yield f"{plural(layout.hidden, 'older period')} not drawn."
    if more := len(layout.trend.release_tags) - len(layout.lines):
        yield f"{plural(more, 'more release tag')} not drawn."


def _case_change(point: TrendPoint) -> str:
    changes = [f"{point.added:,} added"] if point.added else []
    changes += [f"{point.removed:,} removed"] if point.removed else []
    return "".join(f", {change}" for change in changes)


def _slotted(trend: TrendFigures) -> tuple[dict[str, dict[int, TrendPoint]], int]:
    """Return the points by tag and slot, and the number of slots.

    Tags share the slot of a period; a release that follows another within it has its own.
    """
    keys: dict[tuple[str, TrendPoint], tuple[object, int]] = {}
    first: dict[tuple[object, int], Any] = {}
    for tag in trend.release_tags:
        counts: dict[object, int] = {}
        for point in trend.of_tag(tag):
            number = counts[point.period] = counts.get(point.period, -1) + 1
            key = keys[tag, point] = point.period, number
            first[key] = min(first.get(key, point.time), point.time)
    slots = {key: at for at, key in enumerate(sorted(first, key=lambda key: first[key]))}
    lines: dict[str, dict[int, TrendPoint]] = {}
    for (tag, point), key in keys.items():
        lines.setdefault(tag, {})[slots[key]] = point
    return lines, len(slots)


def _name(name: str) -> str:
    return cut(one_line(visible_name(name)), _MAX_NAME_CHARS)
