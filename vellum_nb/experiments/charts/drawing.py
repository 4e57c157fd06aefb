"""How Altair draws the charts; for readers who see no colours, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from vellum_nb.experiments.charts.figures import KINDS
from vellum_nb.experiments.charts.model import Ink, Point

__all__ = ["Names", "latency", "metric", "scatter", "wins"]

# Okabe and Ito's colours, which colour-blind readers tell apart; 3:1 on white and on #212121.
_BLUE, _ORANGE, _GREY, _PALE = "#0072b2", "#d55e00", "#767676", "#b0b0b0"
_COLOURS = {"better": _BLUE, "tie": _GREY, "worse": _ORANGE, "not told": _PALE}
_SHAPES = {"better": "triangle-up", "tie": "circle", "worse": "triangle-down"}
_ROW = 44
_SQUARE = 320
_LEAST = 96


@dataclass(frozen=True, slots=True)
class Names:
    """What a scatter is of."""

    metric: str
    baseline: str
    release: str


def metric(
    rows: list[dict[str, Any]], releases: Sequence[str], name: str, ink: Ink, text: str
) -> alt.LayerChart:
    """Draw the mean of each release with its interval."""
    base = _by_release(rows, releases, ["mean", "low", "high", "cases"])
    title = alt.X("mean:Q", title=f"{name}, 95 % interval", scale=alt.Scale(zero=False, padding=14))
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=["baseline", "release"], range=["square", "circle"]),
        legend=None,
    )
    span = base.mark_rule(color=_BLUE, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    mean = base.mark_point(color=_BLUE, filled=True, size=90, opacity=1)
    words = base.mark_text(dy=-13, color=ink.text).encode(x="mean:Q", text="text:N")
    return _finished(
        alt.layer(span, mean.encode(x=title, shape=shape), words), ink, len(releases) * _ROW, text
    )


def latency(
    rows: list[dict[str, Any]], releases: Sequence[str], ink: Ink, text: str
) -> alt.LayerChart:
    """Draw how the latencies of each release are spread."""
    base = _by_release(rows, releases, ["p5", "p25", "p50", "p75", "p95", "runs"])
    title = alt.X("p5:Q", title="latency in s: 5 % to 95 %, middle half, median")
    line = base.mark_rule(color=_BLUE, strokeWidth=2).encode(x=title, x2="p95:Q")
    half = base.mark_bar(color=_BLUE, height=14).encode(x="p25:Q", x2="p75:Q")
    middle = base.mark_tick(color=_ORANGE, thickness=4, size=22, opacity=1).encode(x="p50:Q")
    words = base.mark_text(dy=-17, color=ink.text).encode(x="p50:Q", text="text:N")
    return _finished(alt.layer(line, half, middle, words), ink, len(releases) * _ROW, text)


def wins(
    rows: list[dict[str, Any]], releases: Sequence[str], title: str, ink: Ink, text: str
) -> alt.LayerChart:
    """Draw how many cases of each release are better, tied and worse."""
    base = _by_release(rows, releases, ["cases"], "verdict")
    shown = [kind for kind in KINDS if any(row["verdict"] == kind for row in rows)]
    colour = alt.Color(
        "verdict:N",
        title=title,
        sort=shown,
        scale=alt.Scale(domain=shown, range=[_COLOURS[kind] for kind in shown]),
        legend=alt.Legend(orient="top"),
    )
    cases = alt.X("from:Q", title="cases", axis=alt.Axis(format="d", tickMinStep=1))
    bar = base.mark_bar(height=22).encode(x=cases, x2="to:Q", color=colour)
    pale = alt.condition("datum.verdict == 'not told'", alt.value("#222222"), alt.value("#ffffff"))
    words = base.mark_text(fontWeight="bold").encode(x="middle:Q", text="text:N", color=pale)
    return _finished(alt.layer(bar, words), ink, len(releases) * _ROW, text)


def scatter(points: Sequence[Point], names: Names, ink: Ink, text: str) -> alt.LayerChart:
    """Draw each case by its figure on the baseline and on the other release."""
    rows = [{"x": p.x, "y": p.y, "verdict": p.verdict, "cases": len(p.case_ids)} for p in points]
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    scale = alt.Scale(zero=False, padding=14)
    base = _chart(rows)
    dots = base.mark_point(filled=True).encode(
        x=alt.X("x:Q", title=f"{names.metric} on {names.baseline}", scale=scale),
        y=alt.Y("y:Q", title=f"{names.metric} on {names.release}", scale=scale),
        opacity=alt.condition(brush, alt.value(0.95), alt.value(0.25)),
        tooltip=_tips(["x", "y", "cases"], "verdict"),
        **_by_verdict(f"{names.release} against {names.baseline}", rows),
    )
    ends = [f(f(p.x, p.y) for p in points) for f in (min, max)]
    line = _chart([{"x": end, "y": end} for end in ends])
    equal = line.mark_line(color=ink.text, strokeDash=[4, 4], strokeWidth=1)
    many = base.transform_filter("datum.cases > 1").mark_text(color="#ffffff", fontWeight="bold")
    counts = many.encode(x="x:Q", y="y:Q", text="cases:Q")
    layers = alt.layer(equal.encode(x="x:Q", y="y:Q"), dots.add_params(brush), counts)
    return _finished(layers, ink, _SQUARE, text)


def _by_verdict(title: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    kinds = list(_SHAPES)
    legend = alt.Legend(orient="top", title=title)
    colours = alt.Scale(domain=kinds, range=[_COLOURS[kind] for kind in kinds])
    shapes = alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds])
    most = max(2, *(row["cases"] for row in rows), 2)
    sizes = alt.Scale(domain=[1, most], range=[90, 700])
    return {
        "color": alt.Color("verdict:N", scale=colours, legend=legend),
        "shape": alt.Shape("verdict:N", scale=shapes, legend=legend),
        "size": alt.Size("cases:Q", scale=sizes, legend=None),
    }


def _by_release(
    rows: list[dict[str, Any]], releases: Sequence[str], figures: Sequence[str], *words: str
) -> alt.Chart:
    return _chart(rows).encode(
        y=alt.Y("release:N", sort=list(releases), title=None),
        tooltip=_tips(figures, "release", *words),
    )


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _tips(figures: Sequence[str], *words: str) -> list[alt.Tooltip]:
    told = [alt.Tooltip(f"{name}:N") for name in words]
    return told + [alt.Tooltip(f"{name}:Q", format=".4~g") for name in figures]


def _finished(chart: Any, ink: Ink, height: int, text: str) -> alt.LayerChart:
    sized: alt.LayerChart = chart.properties(
        width=ink.width, height=max(height, _LEAST), description=text
    )
    return (  # type: ignore[no-any-return]  # Altair's configure methods are not typed
        sized.configure(background=ink.page, font="system-ui, sans-serif", padding=8)
        .configure_view(stroke=ink.line)
        .configure_axis(
            labelColor=ink.text,
            titleColor=ink.text,
            gridColor=ink.line,
            gridOpacity=0.5,
            domainColor=ink.line,
            tickColor=ink.line,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=220,
            labelOverlap="greedy",
            labelSeparation=8,
            titleLimit=300,
        )
        .configure_legend(
            labelColor=ink.text,
            titleColor=ink.text,
            labelFontSize=12,
            titleFontSize=12,
            titleLimit=400,
        )
    )
