"""What a screen reader is told of each view, by Chromium's own accessibility tree."""

from __future__ import annotations

import pytest
from accessibility import focus_walk, spoken
from blind_page import CONNECT, FIRST, RUN, SECOND, VIEW, BlindPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

COMPARED = f"""
cmp = ws.compare("triage", release_tags=["{FIRST}", "{SECOND}"], metrics="latency_s")
grid = cmp.view()
grid
"""
VIEWS = ['form = ws.form("triage")\nform', "ws.history.view()", COMPARED]


def test_every_control_has_a_name_and_the_focus_is_seen_in_a_sane_order(lab):
    notebook = lab.run_notebook([CONNECT + RUN + VIEW, *VIEWS])
    BlindPage(notebook)
    places = [notebook.output(at) for at in range(4)]
    for place in places:
        place.scroll_into_view_if_needed()
    expect(places[3].locator(".vnb-grid-row").first).to_be_visible()
    blind, form, history, grid = map(spoken, places)
    for view, region in (
        (blind, "Blind rating of triage"),
        (form, "Form of Triage"),
        (history, "History"),
        (grid, "Comparison of triage"),
    ):
        assert view.nameless() == []
        assert view.one("region", region)
    assert form.one("group", "Run on release tags").all("checkbox")
    for view, rows, columns in (
        (history.one("grid", "Runs"), 10, 8),
        (grid.one("grid", "Cases"), 3, 3),
    ):
        assert len(view.all("row")) > rows
        assert len(view.all("columnheader")) >= columns
        for row in view.all("row")[1:]:
            assert len(row.all("gridcell", "rowheader")) >= columns
    for place in places:
        walk = focus_walk(place)
        assert len(walk) > 3
        assert [each for each in walk if not each["ring"] or not each["inside"]] == []
