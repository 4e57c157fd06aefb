"""Charts of a comparison as pictures for light and dark themes; readable without colours."""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal, get_args

import altair as alt
import numpy as np
import vl_convert

from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.forest import DARK, LIGHT, Axis, forest_svg, forest_text
from vellum_nb.comparison.pairs import VERDICTS, Verdict
from vellum_nb.comparison.statistics import Estimate
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.files import write_file
from vellum_nb.lazy import pd
from vellum_nb.models.checks import available, check_text, cut
from vellum_nb.rendering.format import (
    duration,
    figure,
    interval_digits,
    plain_text,
    plural,
    xml_text,
)

Chart = Literal["metric", "forest", "latency", "wins", "scatter", "frontier", "failures", "turns"]
Rows = list[dict[str, Any]]

_KINDS: dict[str, tuple[Verdict, ...]] = {
    "better": ("better",),
    "tie": ("same", "noise"),
    "worse": ("worse",),
    "no figure": ("missing", "unscored", "error"),
}
"""Verdicts by part of a bar, in order."""

_KIND_COLOURS = {
    kind: LIGHT[name]
    for kind, name in zip(_KINDS, ("better", "same", "worse", "page"), strict=True)
}
_POINT_COLOURS = {"better": LIGHT["good"], "tie": LIGHT["quiet"], "worse": LIGHT["bad"]}
_SIGNS = {"better": "↑ ", "tie": "= ", "worse": "↓ ", "no figure": ""}
_TURN_SHAPES = ("square", "circle", "triangle-up", "diamond", "cross")
_SHAPES = {"better": "triangle-up", "tie": "circle", "worse": "triangle-down"}
_BRAND, _QUIET, _INK, _LINE, _PAGE = (
    LIGHT[name] for name in ("brand", "quiet", "ink", "line", "page")
)
_WIDTH, _FOREST_WIDTH = 560, 720
_ROW_HEIGHT_PX, _SCATTER_SIZE_PX, _MIN_HEIGHT_PX = 44, 320, 96
_CHAR_PX, _LINE_PX, _GAP_PX, _LEAST_PART_PX = 5.6, 14, 2, 26
_EDGE = 0.1  # of an axis: texts of points there end at them
_SCATTER_STEPS = 20  # positions along an axis: points do not overlap
_SHIFTS = [sign * step * _LINE_PX / 2 for step in range(14) for sign in (-1, 1)][1:]
_FRONTIER = ("on the frontier", "beaten")
_MAX_RELEASES, _MAX_VALUES, _MAX_FAILURES, _MAX_NAME_CHARS = 40, 12, 20, 18
_PNG_PIXEL_RATIO, _PNG_MAGIC = 2, b"\x89PNG\r\n\x1a\n"
# A picture in an image element runs no scripts; a sanitizer that removes the style leaves the PNG.
_HTML = """<img class="{id}" alt="{text}" width="{width}" src="data:image/png;base64,{light}">
<style>:is([data-jp-theme-light="false"], [data-theme="dark"], .vscode-dark) .{id} {{
content: url("data:image/svg+xml;base64,{dark}"); }}</style>"""


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A chart of a comparison. Made by ``cmp.chart(...)``.

    Attributes
    ----------
    chart : altair.LayerChart, altair.FacetChart or None
        The chart, to modify or combine; None for a forest plot.
    text : str
        Description in words.
    """

    chart: alt.LayerChart | alt.FacetChart | None
    text: str
    _forest: Callable[..., str] | None = None

    def save(self, path: str | Path) -> Path:
        """Write the chart on white as PNG or SVG, depending on the name.

        Raises
        ------
        InputError
            The name does not end in ``.png`` or ``.svg``.
        HistoryError
            The file cannot be written.
        """
        target = Path(path)
        kind = target.suffix.lower()
        if kind not in {".png", ".svg"}:
            msg = f"{str(path)!r} ends in neither .png nor .svg, the formats of a chart"
            raise InputError(msg)
        write_file(self.png() if kind == ".png" else self.svg().encode(), target)
        return target

    def png(self) -> bytes:
        """Return the chart as PNG."""
        return _compressed(vl_convert.svg_to_png(self.svg(), scale=_PNG_PIXEL_RATIO))

    def svg(self, theme: Literal["light", "dark"] = "light") -> str:
        """Return the chart as SVG: on white, or transparent for a dark page."""
        is_dark = theme == "dark"
        if self._forest is not None:
            return self._forest(colours=DARK if is_dark else LIGHT)
        assert self.chart is not None  # noqa: S101  (one of both)
        colours = {LIGHT[name]: DARK[name] for name in LIGHT} if is_dark else {}
        specification = _drawable(self.chart.to_dict(), colours)
        if is_dark:
            specification["config"]["background"] = "transparent"
        return str(vl_convert.vegalite_to_svg(specification))

    @printed
    def __repr__(self) -> str:
        return f"<Picture: {self.text}>"

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        png, dark = self.png(), self.svg("dark").encode()
        width = int.from_bytes(png[16:20], "big") // _PNG_PIXEL_RATIO  # of its header
        light, dark_text = (base64.b64encode(data).decode() for data in (png, dark))
        name = f"vnb-chart-{hashlib.sha256(dark).hexdigest()[:12]}"
        html = _HTML.format(
            id=name, text=escape(self.text), width=width, light=light, dark=dark_text
        )
        bundle = {"text/plain": repr(self), "text/html": html, "image/png": png}
        return bundle, {"image/png": {"width": width}}


def _compressed(png: bytes) -> bytes:
    """Compress the pixels of a PNG, which notebooks store, to a quarter."""
    chunks, at = [], len(_PNG_MAGIC)
    while at < len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        chunks.append((png[at + 4 : at + 8], png[at + 8 : end]))
        at = end + 4
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    head = next(data for kind, data in chunks if kind == b"IHDR")
    made = ((b"IHDR", head), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return _PNG_MAGIC + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in made
    )


def _drawable(part: Any, colours: Mapping[str, str]) -> Any:
    """Return a specification in other `colours`, without characters that crash the renderer."""
    if isinstance(part, dict):
        data = ("data", "datasets")
        return {k: _drawable(value, {} if k in data else colours) for k, value in part.items()}
    if isinstance(part, list):
        return [_drawable(value, colours) for value in part]
    return xml_text(colours.get(part, part)) if isinstance(part, str) else part


def picture(
    of: ComparisonFigures,
    kind: Chart,
    *,
    metric: str | None,
    release: str | None,
    axes: Sequence[str | None],
    label: str | None,
) -> Picture:
    """Return the chart documented in `Comparison.chart`; `axes` are those of a frontier."""
    check_text("what", kind)
    if kind not in get_args(Chart):
        msg = f"there is no chart {kind!r}{available(get_args(Chart))}"
        raise InputError(msg)
    figures = of.turns if kind == "turns" else of
    if figures is None:
        msg = "this comparison has no conversations, so there are no turns to draw"
        raise InputError(msg)
    _check_label(figures, label)
    releases = _releases_of(figures, kind, release)
    left, releases = releases[_MAX_RELEASES:], releases[:_MAX_RELEASES]
    if kind == "frontier":
        x, y = (figures.metric_name(axis, "cost_usd", "latency_s") for axis in axes)
        chart = _frontier(figures, releases, x, y, label)
    elif kind == "latency" or kind == "failures":  # noqa: PLR1714  (for mypy)
        chart = (_latency if kind == "latency" else _failures)(figures, releases)
    elif kind == "forest":
        chart = _forest(figures, releases, figures.metric_name(metric), label)
    else:
        draw = {"metric": _metric, "wins": _wins, "scatter": _scatter, "turns": _turns}[kind]
        chart = draw(figures, releases, figures.metric_name(metric))
    text = f"{chart.text}; {plural(len(left), 'more release')} not drawn"
    return replace(chart, text=text) if left else chart


def _releases_of(figures: ComparisonFigures, kind: Chart, release: str | None) -> Sequence[str]:
    """Return the releases to draw."""
    if kind in {"wins", "scatter", "forest"}:
        releases = figures.others_of(release)
    else:
        figures.check_release(release or figures.baseline)
        releases = figures.releases if release is None else (release,)
    _require(releases, f"there is only the release {figures.baseline}")
    return releases


def _check_label(figures: ComparisonFigures, label: str | None) -> None:
    labels = dict.fromkeys(name for case in figures.cases for name in case.labels)
    if label not in {None, *labels}:
        msg = f"no case has a label {label!r}{available(labels)}"
        raise InputError(msg)


def _require(rows: Sequence[object], without: str) -> None:
    if not rows:
        msg = f"{without}, so there is nothing to draw"
        raise InputError(msg)


def _forest(
    figures: ComparisonFigures, releases: Sequence[str], metric: str, label: str | None
) -> Picture:
    """Draw the difference of each release, of all cases and by label."""
    options: Any = {"releases": releases, "label": label, "width": _FOREST_WIDTH}
    draw = partial(forest_svg, figures, metric, **options)
    _require(draw(), f"no case has a difference in {metric}")
    return Picture(None, forest_text(figures, metric, releases), draw)


def _metric(figures: ComparisonFigures, releases: Sequence[str], name: str) -> Picture:
    """Draw the mean of each release with its interval."""
    rows = [_row(release, figures.estimate(name, release)) for release in releases]
    rows = [row for row in rows if not math.isnan(row["mean"])]
    for row in rows:
        row["kind"] = "baseline" if row["release"] == figures.baseline else "release"
    _require(rows, f"no run has a figure of {name}")
    text = f"{name} by release: the mean over cases with its 95 % interval"
    bounds = _bounds(figures, name)
    return _intervals(rows, releases, f"{name}, 95 % interval", text, bounds)


def _turns(figures: ComparisonFigures, releases: Sequence[str], name: str) -> Picture:
    """Draw the mean of each turn and release with its interval; each turn is a case."""
    turns = np.array([case.turn for case in figures.cases])
    rows: Rows = []
    for turn in np.unique(turns).tolist():
        means = [_row(each, figures.estimate(name, each, turns == turn)) for each in releases]
        means = [row for row in means if not math.isnan(row["mean"])]
        n = " or ".join(f"{number:,}" for number in sorted({row["n"] for row in means}))
        rows += [row | {"turn": turn, "label": f"{turn} (n = {n})"} for row in means]
    _require(rows, f"no turn has a figure of {name}")
    text = f"{name} by turn and release: the mean over conversations with its 95 % interval"
    domain = _domain(rows, ("mean", "low", "high"), _bounds(figures, name))
    shown = [release for release in releases if any(row["release"] == release for row in rows)]
    colours = [_QUIET if release == figures.baseline else _BRAND for release in shown]
    base = _chart(rows).encode(
        x=alt.X("label:N", sort=alt.SortField("turn"), title="turn", axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("release:N", sort=shown),
        color=alt.Color("release:N", scale=alt.Scale(domain=shown, range=colours), title=None),
    )
    shapes = alt.Scale(domain=shown, range=[*islice(cycle(_TURN_SHAPES), len(shown))])
    span = base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
    title = alt.Y("mean:Q", title=f"{name}, 95 % interval", scale=_scale(domain))
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=title, shape=alt.Shape("release:N", scale=shapes, title=None)
    )
    return _finished([span, dots], _SCATTER_SIZE_PX, text)


def _row(release: str, estimate: Estimate) -> dict[str, Any]:
    """Return a mean with n, and its interval if it has one."""
    row = {"release": release, "mean": estimate.mean, "n": estimate.n}
    ends = {"low": estimate.low, "high": estimate.high}
    return row if math.isnan(estimate.low) else row | ends


def _bounds(figures: ComparisonFigures, name: str) -> tuple[float, float]:
    """Return the smallest and largest possible figure of a metric, latency or cost."""
    if name not in figures.scored:
        return 0.0, math.inf
    scored = figures.scored[name]
    return scored.bounds or scored.metric.bounds or (-math.inf, math.inf)


def _domain(
    rows: Rows, columns: Sequence[str], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """Return the ends of an axis, and clip the columns of `rows` to its `bounds`."""
    low, high = bounds
    for row in rows:
        row |= {name: min(max(row[name], low), high) for name in columns if name in row}
    values = [row[name] for row in rows for name in columns if name in row]
    axis = Axis.of(values, bounds)
    if axis is None:  # all are equal
        beside = abs(values[0]) / 2 or 1.0
        return max(low, values[0] - beside), min(high, values[0] + beside)
    return axis.low, axis.high


def _scale(domain: tuple[float, float]) -> alt.Scale:
    return alt.Scale(domain=list(domain), nice=False, zero=False)


def ability_picture(abilities: Mapping[str, Estimate], title: str, remark: str) -> Picture:
    """Return a chart of a ranking: the ability of each release with its interval."""
    rows = [_row(release, one) | {"kind": "release"} for release, one in abilities.items()]
    text = f"ability by release, from the duels decided by {title}: log-odds against the average"
    text += remark and f"; {remark}"
    label = f"ability by {title} (log-odds), 95 % interval"
    return _intervals(rows, list(abilities), label, text)


def _intervals(
    rows: Rows,
    releases: Sequence[str],
    label: str,
    text: str,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Picture:
    """Draw means with their intervals, if any, and n."""
    digits = interval_digits((row for row in rows if "low" in row), "low", "high")
    for row in rows:
        row["text"] = f"{figure(row['mean'], digits=digits)}, n = {row['n']:,}"
    domain = _domain(rows, ("mean", "low", "high"), bounds)
    for row in rows:
        at = (row["mean"] - domain[0]) / (domain[1] - domain[0])
        row["align"] = "left" if at < _EDGE else "right" if at > 1 - _EDGE else "center"
    base = _by_release(rows, releases)
    title = alt.X("mean:Q", title=label, scale=_scale(domain))
    kinds = ["baseline", "release"]
    shapes = alt.Scale(domain=kinds, range=["square", "circle"])
    colours = alt.Scale(domain=kinds, range=[_QUIET, _BRAND])
    base = base.encode(color=alt.Color("kind:N", scale=colours, legend=None))
    span = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1)
    words = base.mark_text(dy=-13, align=alt.ExprRef("datum.align")).encode(
        x="mean:Q", text="text:N", color=alt.value(_INK)
    )
    dots = points.encode(x=title, shape=alt.Shape("kind:N", scale=shapes, legend=None))
    return _finished([span, dots, words], len(releases) * _ROW_HEIGHT_PX, text)


def _latency(figures: ComparisonFigures, releases: Sequence[str]) -> Picture:
    """Draw the distribution of latencies of each release."""
    answers = figures.answers[figures.answers["is_answer"]]
    rows: Rows = []
    for release in releases:
        column = figures.releases.index(release)
        seconds = answers.loc[answers["release"] == column, "latency_s"].dropna()
        if len(seconds):
            values = {f"p{n}": float(seconds.quantile(n / 100)) for n in (5, 25, 50, 75, 95)}
            text = f"{duration(values['p50'])}, n = {len(seconds):,}"
            rows.append({"release": release, "runs": len(seconds), "text": text} | values)
    _require(rows, "no run has a latency")
    base = _by_release(rows, releases)
    title = alt.X("p5:Q", title="latency in s: 5 % to 95 %, middle half, median")
    line = base.mark_rule(color=_BRAND, strokeWidth=2).encode(x=title, x2="p95:Q")
    half = base.mark_bar(color=_BRAND, height=14).encode(x="p25:Q", x2="p75:Q")
    middle = base.mark_tick(color=_PAGE, thickness=4, size=14, opacity=1).encode(x="p50:Q")
    words = base.mark_text(dy=-17, color=_INK).encode(x="p50:Q", text="text:N")
    text = "latency by release: the median, the middle half, and from 5 % to 95 %"
    return _finished([line, half, middle, words], len(releases) * _ROW_HEIGHT_PX, text)


def _wins(figures: ComparisonFigures, releases: Sequence[str], name: str) -> Picture:
    """Draw the numbers of better, tied and worse cases of each release."""
    rows: Rows = []
    for release in releases:
        result = figures.result(release, name)
        numbers = {
            kind: sum(getattr(result, verdict) for verdict in verdicts)
            for kind, verdicts in _KINDS.items()
        }
        rows += [{"release": release} | part for part in _parts(numbers)]
    _require(rows, "there is no case")
    title = f"against {figures.baseline}, by {name}"
    base = _by_release(rows, releases)
    kinds = alt.Scale(domain=list(_KINDS), range=list(_KIND_COLOURS.values()))
    colour = alt.Color("verdict:N", scale=kinds, legend=None)
    dashes = alt.Scale(domain=list(_KINDS), range=[[1, 0], [1, 0], [1, 0], [3, 2]])
    dash = alt.StrokeDash("verdict:N", scale=dashes, legend=None)
    is_without = alt.datum.verdict == "no figure"
    edge = alt.condition(is_without, alt.value(_QUIET), alt.value("transparent"))
    words = "↑ better, = same, ↓ worse, dashed: no figure"
    legend = f"{plural(len(figures.cases), 'case')} {title}: {words}"
    span = alt.X(
        "from:Q",
        title=legend,
        axis=alt.Axis(labels=False, ticks=False, grid=False),
        scale=_scale((0, _WIDTH)),
    )
    bar = base.mark_bar(height=22).encode(
        x=span, x2="to:Q", color=colour, stroke=edge, strokeDash=dash
    )
    counts = base.mark_text(color=_INK).encode(x="middle:Q", text="text:N")
    text = f"cases that are better, tied and worse {title}"
    return _finished([bar, counts], len(releases) * _ROW_HEIGHT_PX, text)


def _parts(counts: Mapping[str, int]) -> Rows:
    """Return the parts of a bar: each has room for its count, and a share of the remaining room."""
    texts = {kind: f"{_SIGNS[kind]}{count:,}" for kind, count in counts.items() if count}
    least = {k: max(_LEAST_PART_PX, _CHAR_PX * len(text) + 8) for k, text in texts.items()}
    room = _WIDTH - _GAP_PX * (len(texts) - 1) - sum(least.values())
    parts: Rows = []
    at = 0.0
    for kind, text in texts.items():
        width = least[kind] + room * counts[kind] / sum(counts.values())
        ends = {"from": at, "to": at + width, "middle": at + width / 2}
        parts.append({"verdict": kind, "cases": counts[kind], "text": text} | ends)
        at += width + _GAP_PX
    return parts


def _scatter(figures: ComparisonFigures, releases: Sequence[str], metric: str) -> Picture:
    """Draw each case by its figure on the baseline and on another release."""
    baseline, release = figures.baseline, releases[0]
    rows = _points(figures, release, metric)
    _require(rows, f"no case has a figure of {metric} on {baseline} and {release}")
    kinds = list(_SHAPES)
    legend = alt.Legend(orient="top", title=f"{release} against {baseline}")
    colours = alt.Scale(domain=kinds, range=list(_POINT_COLOURS.values()))
    shapes = alt.Scale(domain=kinds, range=list(_SHAPES.values()))
    sizes = alt.Scale(domain=[1, max(2, *(row["cases"] for row in rows), 2)], range=[70, 150])
    scale = _scale(_domain(rows, ("x", "y"), _bounds(figures, metric)))
    base = _chart(rows)
    dots = base.mark_point(filled=True, opacity=0.95).encode(
        x=alt.X("x:Q", title=f"{metric} on {baseline}", scale=scale),
        y=alt.Y("y:Q", title=f"{metric} on {release}", scale=scale),
        color=alt.Color("verdict:N", scale=colours, legend=legend),
        shape=alt.Shape("verdict:N", scale=shapes, legend=legend),
        size=alt.Size("cases:Q", scale=sizes, legend=None),
    )
    ends = [f(f(row["x"], row["y"]) for row in rows) for f in (min, max)]
    line = _chart([{"x": end, "y": end} for end in ends])
    equal = line.mark_line(color=_INK, strokeDash=[4, 4], strokeWidth=1).encode(x="x:Q", y="y:Q")
    many = base.transform_filter("datum.cases > 1").mark_text(align="left", dx=9, color=_INK)
    counts = many.encode(x="x:Q", y="y:Q", text="cases:Q")
    text = f"{metric} of each case: on {baseline} across, on {release} upwards"
    return _finished([equal, dots, counts], _SCATTER_SIZE_PX, text)


def _points(figures: ComparisonFigures, release: str, name: str) -> Rows:
    """Return the positions of cases in a scatter, merging those that would overlap."""
    columns = [figures.releases.index(r) for r in (figures.baseline, release)]
    points = pd.DataFrame(figures.scored[name].mean[:, columns], columns=["x", "y"])
    kinds = {verdict: kind for kind, verdicts in _KINDS.items() for verdict in verdicts}
    codes = figures.against[release, name].codes.tolist()
    points["verdict"] = [kinds[VERDICTS[code]] for code in codes]
    points = points.dropna()
    values = points[["x", "y"]]
    step = (values.max().max() - values.min().min()) / _SCATTER_STEPS or 1.0
    cells = [(points[axis] / step).round().rename(f"{axis} cell") for axis in "xy"]
    groups = points.groupby([*cells, "verdict"])
    merged = groups[["x", "y"]].mean().assign(cases=groups.size())
    rows: Any = merged.reset_index("verdict").to_dict("records")
    return list(rows)


def _failures(figures: ComparisonFigures, releases: Sequence[str]) -> Picture:
    """Draw the share of cases of each release with each failure."""
    rows = [dict(r) for r in figures.failure_rows if r["release"] in releases and r["n"]]
    names = list(dict.fromkeys(row["name"] for row in rows))[:_MAX_FAILURES]
    rows = [row for row in rows if row["name"] in names]
    for row in rows:
        proposed = f", {row['proposed']:,} proposed" if row["proposed"] else ""
        row["text"] = f"{row['release']}: {row['count']:,} of {row['n']:,}{proposed}"
    _require(rows, "no failure was named (in the grid, key f names one)")
    places = alt.Y("name:N", sort=names, title=None)
    offset = alt.YOffset("release:N", sort=list(releases))
    base = _chart(rows).encode(y=places, yOffset=offset)
    title = alt.X("share:Q", title="share of cases, 95 % interval", axis=alt.Axis(format="%"))
    span = base.mark_rule(color=_BRAND, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    dots = base.mark_point(color=_BRAND, filled=True, size=70, opacity=1).encode(x=title)
    words = base.mark_text(align="left", dx=8, color=_INK).encode(x="high:Q", text="text:N")
    text = "the most frequent failures by release: the share of cases with an answer"
    return _finished([span, dots, words], len(rows) * _ROW_HEIGHT_PX // 2, text)


def _frontier(
    figures: ComparisonFigures, releases: Sequence[str], x: str, y: str, label: str | None
) -> Picture:
    """Draw releases by two figures with their intervals, and mark the Pareto frontier."""
    of = [figures.scored[name].metric.sign if name in figures.scored else -1 for name in (x, y)]
    rows: Rows = []
    values = [plain_text(case.labels.get(label)) if label else "" for case in figures.cases]
    frequent = {value for value, _ in Counter(values).most_common(_MAX_VALUES)}
    for value in filter(frequent.__contains__, dict.fromkeys(values)):
        chosen = np.array([label_value == value for label_value in values])
        group = [_place(figures, release, (x, y), chosen, value) for release in releases]
        rows += _marked([row for row in group if row["n"]], of)
    hint = " (expand_meta=True records what runs cost)" if "cost_usd" in {x, y} else ""
    _require(rows, f"no case has both {x} and {y}{hint}")
    legend, size = alt.Legend(orient="top", title=None), _WIDTH // 2 if label else _WIDTH
    height = _SCATTER_SIZE_PX // 2 if label else _SCATTER_SIZE_PX
    across_to, up_to = (
        _domain(rows, (axis, f"{axis}_low", f"{axis}_high"), _bounds(figures, name))
        for axis, name in (("x", x), ("y", y))
    )
    for value in dict.fromkeys(row["label"] for row in rows):
        _place_names(
            [row for row in rows if row["label"] == value], across_to, up_to, (size, height)
        )
    shapes = alt.Scale(domain=_FRONTIER, range=["diamond", "circle"])
    colours = alt.Scale(domain=_FRONTIER, range=[_BRAND, _QUIET])
    colour = alt.Color("kind:N", scale=colours, legend=legend)
    which = [f"95 % interval, {'lower' if sign < 0 else 'higher'} is better" for sign in of]
    base = _chart(rows).encode(
        x=alt.X("x:Q", title=[f"mean {x}", which[0]], scale=_scale(across_to)),
        y=alt.Y("y:Q", title=[f"mean {y}", which[1]], scale=_scale(up_to)),
    )
    best = base.transform_filter(f"datum.kind == '{_FRONTIER[0]}'")
    line = best.mark_line(color=_BRAND, strokeDash=[4, 4], strokeWidth=1.5)
    across = base.mark_rule().encode(x="x_low:Q", x2="x_high:Q", color=colour)
    upwards = base.mark_rule().encode(y="y_low:Q", y2="y_high:Q", color=colour)
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=colour, shape=alt.Shape("kind:N", scale=shapes, legend=legend)
    )
    words = base.mark_text(align=alt.ExprRef("datum.align"), color=_INK).encode(
        x="name_x:Q", y="name_y:Q", text="text:N"
    )
    pointers = base.mark_rule(color=_LINE).encode(x2="name_x:Q", y2="name_y:Q")
    lines = line.encode(detail="label:N", order="x:Q")
    layers = [lines, pointers.transform_filter("datum.is_far"), across, upwards, dots, words]
    text = f"{y} by {x} of each release, with 95 % intervals; the frontier is marked"
    left = len(set(values)) - len(frequent)
    text += f"; {plural(left, 'less frequent value')} of {label} not drawn" if left else ""
    if label:  # a panel each
        return _finished(layers, height, text, by=alt.Facet("label:N", title=None))
    return _finished(layers, height, text)


def _place_names(
    rows: Rows,
    across: tuple[float, float],
    upwards: tuple[float, float],
    size: tuple[int, int],
) -> None:
    """Place the name of each point next to it, without covering names or points."""
    by_x, by_y = (
        (high - low) / px for (low, high), px in zip((across, upwards), size, strict=True)
    )

    def pixels(row: Mapping[str, Any], x: str, y: str) -> tuple[float, float]:
        at = row.get(x, row["x"]), row.get(y, row["y"])
        return (at[0] - across[0]) / by_x, (upwards[1] - at[1]) / by_y

    taken, lines = [], []
    for row in rows:
        (x, y), (left, bottom) = pixels(row, "x", "y"), pixels(row, "x_low", "y_low")
        right, top = pixels(row, "x_high", "y_high")
        taken.append((x - 7, y - 7, x + 7, y + 7))
        lines += [(left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]
    for row in rows:
        x, y = pixels(row, "x", "y")
        boxes = [box for box in _places(x, y, _CHAR_PX * len(row["text"])) if _is_inside(box, size)]
        costs = {
            box: 10 * sum(_overlap(box, other) for other in taken)
            + sum(_overlap(box, line) for line in lines)
            + math.hypot(max(box[0] - x, x - box[2], 0), y - (box[1] + box[3]) / 2)
            for box in boxes
        }
        best = min(costs, key=costs.__getitem__, default=(x + 9, y - 7, x + 9, y + 7))
        taken.append(best)
        middle = (best[1] + best[3]) / 2
        end, row["align"] = next(
            (end, align)
            for end, align in ((best[0], "left"), (best[2], "right"), (x, "center"))
            if align == "center" or abs(end - x) < _LINE_PX
        )
        row["name_x"], row["name_y"] = across[0] + end * by_x, upwards[1] - middle * by_y
        row["is_far"] = abs(middle - y) > 1.5 * _LINE_PX


Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


def _places(x: float, y: float, wide: float) -> list[Box]:
    """Return the boxes beside, above and below a point in which its name can be."""
    half = _LINE_PX / 2
    return [
        (left, y + shift - half, left + wide, y + shift + half)
        for shift in _SHIFTS
        for left in (x + 9, x - 9 - wide, x - wide / 2)
    ]


def _is_inside(box: Box, size: tuple[int, int]) -> bool:
    return min(box[:2]) >= 0 and box[2] <= size[0] and box[3] <= size[1]


def _overlap(a: Box, b: Box) -> float:
    """Return the common area of two boxes."""
    wide, tall = (min(a[end + 2], b[end + 2]) - max(a[end], b[end]) for end in (0, 1))
    return max(0.0, wide) * max(0.0, tall)


def _place(
    figures: ComparisonFigures, release: str, names: tuple[str, str], chosen: Any, label: str
) -> dict[str, Any]:
    """Return both figures of a release over the chosen cases that have both."""
    has = chosen & ~np.isnan(sum(figures.values(name, release) for name in names))
    row: dict[str, Any] = {"release": release, "label": label, "n": int(has.sum())}
    row["text"] = f"{cut(release, _MAX_NAME_CHARS)}, n = {row['n']:,}"
    for axis, name in zip("xy", names, strict=True):
        estimate = figures.estimate(name, release, has)
        ends = () if math.isnan(estimate.low) else ("_low", "_high")
        row |= {f"{axis}{end}": estimate.columns(axis)[f"{axis}{end}"] for end in ("", *ends)}
    return row


def _marked(rows: Rows, signs: Sequence[int]) -> Rows:
    """Mark points that no other point dominates."""
    at = np.array([[row["x"], row["y"]] for row in rows]).reshape(-1, 2) * signs
    gains: Any = at[None] - at[:, None]
    beaten = ((gains >= 0).all(axis=2) & (gains > 0).any(axis=2)).any(axis=1)
    return [row | {"kind": _FRONTIER[int(is_so)]} for row, is_so in zip(rows, beaten, strict=True)]


def _by_release(rows: Rows, releases: Sequence[str]) -> alt.Chart:
    return _chart(rows).encode(y=alt.Y("release:N", sort=list(releases), title=None))


def _chart(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _finished(layers: Sequence[Any], height: int, text: str, by: Any = None) -> Picture:
    width = _WIDTH if by is None else _WIDTH // 2
    sized: Any = alt.layer(*layers).properties(width=width, height=max(height, _MIN_HEIGHT_PX))
    sized = (sized if by is None else sized.facet(by, columns=2)).properties(description=text)
    words = {"labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "titleFontSize": 12}
    lines: Any = dict.fromkeys(("gridColor", "domainColor", "tickColor"), _LINE)
    spaces = {
        "labelLimit": 220,
        "labelOverlap": "greedy",
        "labelSeparation": 8,
        "titleLimit": _WIDTH,
    }
    finished: alt.LayerChart | alt.FacetChart = (
        sized.configure(background=_PAGE, font="system-ui, sans-serif", padding=8)
        .configure_view(stroke=_LINE)
        .configure_axis(titleFontWeight="normal", gridOpacity=0.5, **words, **lines, **spaces)
        .configure_legend(titleLimit=400, **words)
    )
    return Picture(finished, text)
