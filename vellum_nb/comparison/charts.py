"""Charts of a comparison as pictures, drawn by Altair; readable without colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import altair as alt
import numpy as np
import vl_convert

from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.pairs import VERDICTS, Verdict
from vellum_nb.comparison.statistics import Estimate
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.files import write_file
from vellum_nb.models.checks import available
from vellum_nb.rendering.format import duration, figure, interval_digits, plain_text, xml_text

Chart = Literal["metric", "latency", "wins", "scatter", "frontier", "failures"]
Rows = list[dict[str, Any]]

_KINDS: dict[str, tuple[Verdict, ...]] = {
    "better": ("better",),
    "tie": ("same", "noise"),
    "worse": ("worse",),
    "no figure": ("missing", "unscored", "error"),
}
"""Verdicts by part of a bar, in order."""

# Okabe and Ito's colours, which colour-blind readers distinguish; 3:1 on white.
_BLUE, _ORANGE, _GREY, _PALE = "#0072b2", "#d55e00", "#767676", "#b0b0b0"
_COLOURS = {"better": _BLUE, "tie": _GREY, "worse": _ORANGE, "no figure": _PALE}
_SHAPES = {"better": "triangle-up", "tie": "circle", "worse": "triangle-down"}
_INK, _LINE, _PAGE, _WIDTH = "#222222", "#c8c8c8", "#ffffff", 560
_ROW_HEIGHT_PX, _SCATTER_SIZE_PX, _MIN_HEIGHT_PX = 44, 320, 96
_MIN_LABEL_SHARE = 0.15  # of a bar: fits a word
_SCATTER_STEPS = 60  # positions along an axis
_FRONTIER = ("on the frontier", "beaten")
_MAX_FAILURES = 20
_PNG_PIXEL_RATIO = 2


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A chart of a comparison. Made by ``cmp.chart(...)``.

    Attributes
    ----------
    chart : altair.LayerChart or altair.FacetChart
        The chart, to modify or combine.
    text : str
        Description in words.
    """

    chart: alt.LayerChart | alt.FacetChart
    text: str

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
        return bytes(
            vl_convert.vegalite_to_png(_drawable(self.chart.to_dict()), scale=_PNG_PIXEL_RATIO)
        )

    def svg(self) -> str:
        """Return the chart as SVG."""
        return str(vl_convert.vegalite_to_svg(_drawable(self.chart.to_dict())))

    @printed
    def __repr__(self) -> str:
        return f"<Picture: {self.text}>"

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        png = self.png()
        width = int.from_bytes(png[16:20], "big") // _PNG_PIXEL_RATIO  # of its header
        return {"text/plain": repr(self), "image/png": png}, {"image/png": {"width": width}}


def _drawable(part: Any) -> Any:
    """Return a specification without characters that crash the SVG renderer."""
    if isinstance(part, dict):
        return {key: _drawable(value) for key, value in part.items()}
    if isinstance(part, list):
        return list(map(_drawable, part))
    return xml_text(part) if isinstance(part, str) else part


def picture(
    figures: ComparisonFigures,
    kind: Chart,
    releases: Sequence[str],
    *,
    metric: str,
    x: str = "cost_usd",
    label: str | None = None,
) -> Picture:
    """Return a chart; `x` and `label` are for the frontier."""
    if kind not in get_args(Chart):
        msg = f"there is no chart {kind!r}{available(get_args(Chart))}"
        raise InputError(msg)
    _require(releases, f"there is only the release {figures.baseline}")
    if kind == "frontier":
        return _frontier(figures, releases, x, metric, label)
    if kind in {"latency", "failures"}:
        return (_latency if kind == "latency" else _failures)(figures, releases)
    draw = {"metric": _metric, "wins": _wins, "scatter": _scatter}[kind]
    return draw(figures, releases, metric)


def _require(rows: Sequence[object], without: str) -> None:
    if not rows:
        msg = f"{without}, so there is nothing to draw"
        raise InputError(msg)


def _metric(figures: ComparisonFigures, releases: Sequence[str], name: str) -> Picture:
    """Draw the mean of each release with its interval."""
    rows: Rows = []
    for release in releases:
        estimate = figures.estimate(name, release)
        kind = "baseline" if release == figures.baseline else "release"
        mean = estimate.mean
        row: dict[str, Any] = {"release": release, "mean": mean, "n": estimate.n, "kind": kind}
        if not math.isnan(estimate.low):
            row |= {"low": estimate.low, "high": estimate.high}
        rows += [] if math.isnan(mean) else [row]
    _require(rows, f"no run has a figure of {name}")
    text = f"{name} by release: the mean over cases with its 95 % interval"
    return _intervals(rows, releases, f"{name}, 95 % interval", text)


def ability_picture(abilities: Mapping[str, Estimate], title: str, remark: str) -> Picture:
    """Return a chart of a ranking: the ability of each release with its interval."""
    rows: Rows = []
    for release, estimate in abilities.items():
        row: dict[str, Any] = {"release": release, "mean": estimate.mean, "n": estimate.n}
        ends = {} if math.isnan(estimate.low) else {"low": estimate.low, "high": estimate.high}
        rows.append(row | ends | {"kind": "release"})
    text = f"ability by release, from the duels decided by {title}: log-odds against the average"
    text += remark and f"; {remark}"
    label = f"ability by {title} (log-odds), 95 % interval"
    return _intervals(rows, list(abilities), label, text)


def _intervals(rows: Rows, releases: Sequence[str], label: str, text: str) -> Picture:
    """Draw means with their intervals, if any, and n."""
    digits = interval_digits((row for row in rows if "low" in row), "low", "high")
    for row in rows:
        row["text"] = f"{figure(row['mean'], digits=digits)}, n = {row['n']:,}"
    base = _by_release(rows, releases)
    title = alt.X("mean:Q", title=label, scale=alt.Scale(zero=False, padding=14))
    shapes = alt.Scale(domain=["baseline", "release"], range=["square", "circle"])
    span = base.mark_rule(color=_BLUE, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(color=_BLUE, filled=True, size=90, opacity=1)
    words = base.mark_text(dy=-13, color=_INK).encode(x="mean:Q", text="text:N")
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
    line = base.mark_rule(color=_BLUE, strokeWidth=2).encode(x=title, x2="p95:Q")
    half = base.mark_bar(color=_BLUE, height=14).encode(x="p25:Q", x2="p75:Q")
    middle = base.mark_tick(color=_ORANGE, thickness=4, size=22, opacity=1).encode(x="p50:Q")
    words = base.mark_text(dy=-17, color=_INK).encode(x="p50:Q", text="text:N")
    text = "latency by release: the median, the middle half, and from 5 % to 95 %"
    return _finished([line, half, middle, words], len(releases) * _ROW_HEIGHT_PX, text)


def _wins(figures: ComparisonFigures, releases: Sequence[str], name: str) -> Picture:
    """Draw the numbers of better, tied and worse cases of each release."""
    rows: Rows = []
    for release in releases:
        result, at = figures.result(release, name), 0
        for kind, verdicts in _KINDS.items():
            count = sum(getattr(result, verdict) for verdict in verdicts)
            if count:
                word = "ties" if kind == "tie" and count > 1 else kind
                is_wide = count > _MIN_LABEL_SHARE * len(figures.cases)
                text = f"{count:,} {word}" if is_wide else f"{count:,}"
                places = {"from": at, "to": at + count, "middle": at + count / 2, "text": text}
                rows.append({"release": release, "verdict": kind, "cases": count} | places)
            at += count
    _require(rows, "there is no case")
    title = f"against {figures.baseline}, by {name}"
    base = _by_release(rows, releases)
    present = [kind for kind in _KINDS if any(row["verdict"] == kind for row in rows)]
    colour = alt.Color(
        "verdict:N",
        title=title,
        sort=present,
        scale=alt.Scale(domain=present, range=[_COLOURS[kind] for kind in present]),
        legend=alt.Legend(orient="top"),
    )
    cases = alt.X("from:Q", title="cases", axis=alt.Axis(format="d", tickMinStep=1))
    bar = base.mark_bar(height=22).encode(x=cases, x2="to:Q", color=colour)
    pale = alt.condition("datum.verdict == 'no figure'", alt.value("#222222"), alt.value("#ffffff"))
    words = base.mark_text(fontWeight="bold").encode(x="middle:Q", text="text:N", color=pale)
    text = f"cases that are better, tied and worse {title}"
    return _finished([bar, words], len(releases) * _ROW_HEIGHT_PX, text)


def _scatter(figures: ComparisonFigures, releases: Sequence[str], metric: str) -> Picture:
    """Draw each case by its figure on the baseline and on another release."""
    baseline, release = figures.baseline, releases[0]
    rows = _points(figures, release, metric)
    _require(rows, f"no case has a figure of {metric} on {baseline} and {release}")
    kinds = list(_SHAPES)
    legend = alt.Legend(orient="top", title=f"{release} against {baseline}")
    colours = alt.Scale(domain=kinds, range=[_COLOURS[kind] for kind in kinds])
    shapes = alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds])
    sizes = alt.Scale(domain=[1, max(2, *(row["cases"] for row in rows), 2)], range=[90, 700])
    scale = alt.Scale(zero=False, padding=14)
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
    many = base.transform_filter("datum.cases > 1").mark_text(color="#ffffff", fontWeight="bold")
    counts = many.encode(x="x:Q", y="y:Q", text="cases:Q")
    text = f"{metric} of each case: on {baseline} across, on {release} upwards"
    return _finished([equal, dots, counts], _SCATTER_SIZE_PX, text)


def _points(figures: ComparisonFigures, release: str, name: str) -> Rows:
    """Return the positions of cases in a scatter, merging those that would overlap."""
    codes = figures.against[release, name].codes
    columns = [figures.releases.index(r) for r in (figures.baseline, release)]
    pairs = figures.scored[name].mean[:, columns].tolist()
    scored = [at for at, pair in enumerate(pairs) if not any(map(math.isnan, pair))]
    values = [value for at in scored for value in pairs[at]]
    low = min(values, default=0.0)
    step = (max(values, default=0.0) - low) / _SCATTER_STEPS or 1.0
    kinds = {verdict: kind for kind, verdicts in _KINDS.items() for verdict in verdicts}
    places: dict[tuple[int, int, str], list[list[float]]] = {}
    for at in scored:
        x, y = (round((value - low) / step) for value in pairs[at])
        places.setdefault((x, y, kinds[VERDICTS[int(codes[at])]]), []).append(pairs[at])
    return [
        {"verdict": kind, "cases": len(group)}
        | {axis: sum(pair[at] for pair in group) / len(group) for at, axis in enumerate("xy")}
        for (_, _, kind), group in places.items()
    ]


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
    span = base.mark_rule(color=_BLUE, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    dots = base.mark_point(color=_BLUE, filled=True, size=70, opacity=1).encode(x=title)
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
    for value in dict.fromkeys(values):
        chosen = np.array([label_value == value for label_value in values])
        group = [_place(figures, release, (x, y), chosen, value) for release in releases]
        shown = sorted((row for row in group if row["n"]), key=lambda row: -row["y"])
        # Alternate names above and below their points.
        rows += [row | {"side": at % 2} for at, row in enumerate(_marked(shown, of))]
    hint = " (expand_meta=True records what runs cost)" if "cost_usd" in {x, y} else ""
    _require(rows, f"no case has both {x} and {y}{hint}")
    legend, scale = alt.Legend(orient="top", title=None), alt.Scale(zero=False, padding=24)
    shapes = alt.Scale(domain=_FRONTIER, range=["diamond", "circle"])
    colours = alt.Scale(domain=_FRONTIER, range=[_BLUE, _GREY])
    colour = alt.Color("kind:N", scale=colours, legend=legend)
    which = [f"95 % interval, {'lower' if sign < 0 else 'higher'} is better" for sign in of]
    base = _chart(rows).encode(
        x=alt.X("x:Q", title=[f"mean {x}", which[0]], scale=scale),
        y=alt.Y("y:Q", title=[f"mean {y}", which[1]], scale=scale),
    )
    best = base.transform_filter(f"datum.kind == '{_FRONTIER[0]}'")
    line = best.mark_line(color=_BLUE, strokeDash=[4, 4], strokeWidth=1.5)
    across = base.mark_rule().encode(x="x_low:Q", x2="x_high:Q", color=colour)
    upwards = base.mark_rule().encode(y="y_low:Q", y2="y_high:Q", color=colour)
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=colour, shape=alt.Shape("kind:N", scale=shapes, legend=legend)
    )
    words = [
        base.transform_filter(f"datum.side == {side}")
        .mark_text(align="left", dx=9, dy=dy, color=_INK)
        .encode(text="text:N")
        for side, dy in enumerate((-9, 14))
    ]
    layers = [line.encode(detail="label:N", order="x:Q"), across, upwards, dots, *words]
    text = f"{y} by {x} of each release, with 95 % intervals; the frontier is marked"
    if label:  # a panel each
        return _finished(layers, _SCATTER_SIZE_PX // 2, text, by=alt.Facet("label:N", title=None))
    return _finished(layers, _SCATTER_SIZE_PX, text)


def _place(
    figures: ComparisonFigures, release: str, names: tuple[str, str], chosen: Any, label: str
) -> dict[str, Any]:
    """Return both figures of a release over the chosen cases that have both."""
    has = chosen & ~np.isnan(sum(figures.values(name, release) for name in names))
    row: dict[str, Any] = {"release": release, "label": label, "n": int(has.sum())}
    row["text"] = f"{release}, n = {row['n']:,}"
    for axis, name in zip("xy", names, strict=True):
        estimate = figures.estimate(name, release, has)
        row[axis] = estimate.mean
        if not math.isnan(estimate.low):
            row |= {f"{axis}_low": estimate.low, f"{axis}_high": estimate.high}
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
    spaces = {"labelLimit": 220, "labelOverlap": "greedy", "labelSeparation": 8, "titleLimit": 300}
    finished: alt.LayerChart | alt.FacetChart = (
        sized.configure(background=_PAGE, font="system-ui, sans-serif", padding=8)
        .configure_view(stroke=_LINE)
        .configure_axis(titleFontWeight="normal", gridOpacity=0.5, **words, **lines, **spaces)
        .configure_legend(titleLimit=400, **words)
    )
    return Picture(finished, text)
