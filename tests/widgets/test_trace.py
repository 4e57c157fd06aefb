"""The trace of a run as HTML: order, depth, bars in time, errors; hostile ones too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from html_kit import HOSTILE, Page, assert_harmless

from vellum_nb.models import NodeRun
from vellum_nb.widgets.outputs import in_order, trace_html

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)


def node(name: str, start: float | None, end: float | None = None, **more: object) -> NodeRun:
    def moment(seconds: float | None) -> datetime | None:
        return None if seconds is None else BEGIN + timedelta(seconds=seconds)

    fields = {"state": "FULFILLED", "span_id": name, **more}
    return NodeRun.model_validate(
        {"name": name, "start": moment(start), "end": moment(end), **fields}
    )


def bars(html: str) -> list[tuple[float, float]]:
    found = re.findall(r"margin-left:([\d.]+)%;width:([\d.]+)%", html)
    return [(float(left), float(width)) for left, width in found]


def test_nodes_stand_in_the_order_of_their_start_each_inside_what_it_ran_in():
    nodes = [
        node("late", 3, 4),
        node("inner b", 2, 3, parent_span_id="outer"),
        node("outer", 0, 3, parent_span_id="the workflow"),
        node("inner a", 1, 2, parent_span_id="outer"),
    ]
    assert [(depth, each.name) for depth, each in in_order(nodes)] == [
        (0, "outer"),
        (1, "inner a"),
        (1, "inner b"),
        (0, "late"),
    ]


def test_nodes_that_run_in_each_other_or_in_themselves_are_shown_once():
    nodes = [
        node("a", 0, 1, parent_span_id="b"),
        node("b", 0, 1, parent_span_id="a"),
        node("c", 0, 1, parent_span_id="c"),
        node("d", 0, 1),
    ]
    assert sorted(each.name for _, each in in_order(nodes)) == ["a", "b", "c", "d"]


def test_bars_are_aligned_in_time():
    html = trace_html([node("a", 0, 1), node("b", 1, 4), node("c", 4, 4)], title="v2")
    assert bars(html) == [(0, 25), (25, 75), (99.5, 0.5)]
    assert "v2 · 3 nodes · 4.00 s" in Page(html).text
    assert "1.00 s" in Page(html).text
    assert "0 ms" in Page(html).text


def test_a_node_that_has_not_ended_reaches_to_the_end_and_says_so():
    html = trace_html([node("a", 0, 2), node("b", 1, None, state="INITIATED")])
    assert bars(html)[1] == (50, 50)
    assert "not ended" in Page(html).text


def test_times_that_are_unknown_or_without_a_zone_do_no_harm():
    naive = NodeRun(name="naive", state="FULFILLED", start=datetime(2026, 11, 24, 12))  # noqa: DTZ001
    html = trace_html([naive, node("aware", 1, 2), node("timeless", None)])
    assert Page(html).text.index("timeless") < Page(html).text.index("naive")
    assert len(bars(html)) == 2
    assert bars(trace_html([node("backwards", 5, 1)])) == [(0, 100)]


def test_errors_models_tokens_and_cost_are_told():
    used = {"model": "gpt", "tokens_in": 1200, "tokens_out": 34, "cost_usd": 0.0021}
    failed = node("b", 1, 2, state="REJECTED", error="it broke")
    text = Page(trace_html([node("a", 0, 1, kind="PROMPT", **used), failed])).text
    assert "gpt · 1,200 tokens in · 34 out · $0.0021" in text
    assert "REJECTED" in text
    assert "it broke" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_traces_are_harmless(text: str):
    hostile = {"kind": text, "state": text, "error": text, "model": text, "parent_span_id": text}
    html = trace_html([node(text, 0, 1, **hostile), node(text, None)], title=text)
    assert_harmless(html)
    assert "U+202E" in trace_html([node("a\u202eb", 0, 1)])


def test_many_nodes_are_cut_with_a_word_where_all_are():
    html = trace_html([node(f"n{n}", n, n + 1) for n in range(500)])
    assert html.count("<tr") == 200
    assert "500 nodes" in html
    assert "ws.trace(run) has all" in html


def test_no_node_is_a_sentence():
    assert "No node of this run is known." in trace_html([])
