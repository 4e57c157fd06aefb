"""Accessible names and the order of the keyboard focus in each view."""

import re

import pytest
from blind_page import CONNECT, FIRST, RUN, SECOND, VIEW, BlindPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

COMPARED = f"""
cmp = ws.compare("triage", release_tags=["{FIRST}", "{SECOND}"], metrics="latency_s")
grid = cmp.view()
grid
"""
VIEWS = ['form = ws.form("triage")\nform', "ws.history.view()", COMPARED]
REGIONS = ("Blind rating of triage", "Form of Triage", "History", "Comparison of triage")
NAMED = re.compile(r"\S")
CONTROLS = ("button", "checkbox", "combobox", "textbox", "searchbox", "grid", "spinbutton", "radio")
CONTROLS += ("tab",)
FOCUSED = """root => {
    const node = document.activeElement;
    if (!root.contains(node)) return null;
    const around = [node, node.parentElement, node.closest('label'), node.closest('.vnb-chip')]
        .filter(Boolean);
    const lined = each => each.boxShadow !== 'none'
        || (each.outlineStyle !== 'none' && parseFloat(each.outlineWidth) > 0);
    const ring = around.map(each => getComputedStyle(each)).some(lined);
    const box = node.getBoundingClientRect();
    return {text: node.outerHTML.slice(0, 200), seen: ring && box.width > 0 && box.height > 0};
}"""
FIRST_CONTROL = """root => {
    const all = 'button, input, select, textarea, [tabindex="0"]';
    [...root.querySelectorAll(all)].find(
        node => node.tabIndex >= 0 && !node.disabled && node.checkVisibility()
    ).focus({focusVisible: true});
}"""


def focus_walk(place):
    """Press Tab from the first control of `place` until it is left; return the focused controls."""
    place.evaluate(FIRST_CONTROL)
    found = []
    while len(found) < 60 and (now := place.evaluate(FOCUSED)) is not None:
        found.append(now)
        place.page.keyboard.press("Tab")
    return found


def test_controls_have_names_with_a_visible_focus(lab):
    notebook = lab.run_notebook([CONNECT + RUN + VIEW, *VIEWS])
    BlindPage(notebook)
    places = [notebook.output(at) for at in range(4)]
    expect(places[3].locator(".vnb-grid-row").first).to_be_visible()
    for place, region in zip(places, REGIONS, strict=True):
        place.scroll_into_view_if_needed()
        expect(place.get_by_role("region", name=region).first).to_be_visible()
        for role in CONTROLS:
            every = place.get_by_role(role)
            assert every.count() == place.get_by_role(role, name=NAMED).count(), role
        walk = focus_walk(place)
        assert len(walk) > 3
        assert [each for each in walk if not each["seen"]] == []
    tags = places[1].get_by_role("group", name="Run on release tags")
    assert tags.get_by_role("checkbox").count() > 0
    for place, name, rows, columns in ((places[2], "Runs", 10, 8), (places[3], "Cases", 3, 3)):
        grid = place.get_by_role("grid", name=name)
        assert grid.get_by_role("row").count() > rows
        assert grid.get_by_role("columnheader").count() >= columns
        for row in grid.get_by_role("row").all()[1:]:
            cells = row.get_by_role("gridcell").or_(row.get_by_role("rowheader"))
            assert cells.count() >= columns
