"""The live view of a sweep in a real JupyterLab: it counts, pauses, goes on, stops."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from sweep_page import GATE, SweepPage

pytestmark = pytest.mark.browser

BACKGROUND = """
sweep = ws.sweep("triage", cases, release_tags=["v1", "v2"], concurrency=4, background=True)
sweep
"""
BLOCKING = 'sweep = ws.sweep("triage", cases, release_tags=["v1", "v2"], concurrency=4)\nsweep'
THREADS = "[t.name for t in threading.enumerate() if t.name.startswith('vellum-nb-')]"


def test_a_sweep_is_seen_paused_resumed_and_stopped(lab):
    notebook = lab.run_notebook([GATE + BACKGROUND, "sweep"])
    view, other = SweepPage(notebook), SweepPage(notebook, cell=1)
    expect(view.bar("v1")).to_have_attribute("aria-valuetext", re.compile("^0 done, .* 2 running"))
    view.let(3)
    view.ended("3 of 24")
    other.ended("3 of 24")
    expect(view.outputs).to_have_count(3)
    expect(view.outputs.filter(has_text="REJECTED").first).to_contain_text("nobody can read this")
    expect(view.outputs.first).to_contain_text("case ")

    view.button("Pause").click()
    expect(view.status).to_have_text("paused: nothing new begins")
    view.let(4)
    view.ended("7 of 24")
    expect(view.status).to_have_text("paused")
    view.let(5)
    notebook.kernel_becomes("sweep.progress().at_once", "0")
    view.ended("7 of 24")

    expect(other.button("Resume")).to_be_visible()
    view.button("Resume").click()
    view.ended("12 of 24")
    expect(view.button("Pause")).to_be_focused()

    view.button("Stop").click()
    expect(view.status).to_have_text("stopping: what runs ends first")
    expect(view.button("Cut off")).to_be_visible()
    view.let(4)
    expect(view.status).to_have_text("stopped at 16 of 24; resume goes on from here")
    notebook.kernel_becomes(THREADS, "[]")

    view.button("Resume").click()
    expect(view.root).to_contain_text("resumed: 16 runs found in the history, 0 sent twice")
    view.let(8)
    expect(view.status).to_have_text("done: 22 fulfilled, 2 failed")
    expect(view.bar("v2")).to_have_attribute("aria-valuenow", "12")
    expect(other.button("Stop")).to_have_attribute("aria-disabled", "true")
    notebook.kernel_becomes(THREADS, "[]")
    assert notebook.kernel_eval("len(sweep.runs())") == "24"


def test_stop_twice_cuts_off_what_runs(lab):
    notebook = lab.run_notebook([GATE + BACKGROUND])
    view = SweepPage(notebook)
    expect(view.bar("v1")).to_have_attribute("aria-valuetext", re.compile("2 running"))
    view.button("Stop").click()
    view.button("Cut off").click()
    expect(view.status).to_have_text("stopped at 0 of 24; resume goes on from here")
    view.let(24)


def test_an_interrupt_stops_a_sweep_that_the_cell_waits_for(lab):
    notebook = lab.run_notebook([GATE, "pass"])
    notebook.edit(1, BLOCKING)
    notebook.start(1)
    view = SweepPage(notebook, cell=1)
    expect(view.hint).to_have_text(re.compile("^interrupt the kernel to stop"))
    expect(view.button("Stop")).to_be_hidden()
    expect(view.bar("v2")).to_have_attribute("aria-valuetext", re.compile("2 running"))
    notebook.interrupt()
    expect(view.status).to_have_text("stopping: what runs ends first")
    notebook.interrupt()
    expect(view.status).to_have_text("stopped at 0 of 24; resume goes on from here")
    expect(notebook.output(1)).to_contain_text("<Sweep of triage on v1, v2: stopped")
    expect(view.root).to_have_count(1)
    view.let(24)
    expect(view.button("Resume")).to_be_visible()
    expect(view.hint).to_be_hidden()


# A server may tell of an execution late: a sweep asks for 8 s. Ours tells at once.
AT_ONCE = "from vellum_nb.workspace import sweep_worker\nsweep_worker._SHORTEST_LOOKUP_S = 0.0\n"


def test_a_sweep_whose_kernel_was_killed_goes_on_and_says_so(lab):
    notebook = lab.run_notebook([GATE + AT_ONCE, BACKGROUND], kernel="python3")
    view = SweepPage(notebook, cell=1)
    view.let(5)
    view.ended("5 of 24")
    expect(view.bar("v1")).to_have_attribute("aria-valuetext", re.compile("2 running"))
    notebook.kill_kernel()
    expect(view.hint).to_have_text(
        "the kernel has ended: run the cells again and the sweep goes on"
    )
    expect(view.status).to_have_text("as it was when the kernel ended")
    expect(view.button("Pause")).to_be_hidden()
    notebook.screenshot("sweep-gone", view.root)
    notebook.run(0)
    notebook.run(1)
    view = SweepPage(notebook, cell=1)
    expect(view.root.locator(".vnb-sweep-resumed")).to_have_text(
        re.compile(
            r"^resumed: 5 runs found in the history, 0 sent twicethe kernel was lost at "
            r"\d\d:\d\d:\d\d$"
        )
    )
    notebook.screenshot("sweep-lost", view.root)
    view.let(19)
    expect(view.status).to_have_text("done: 22 fulfilled, 2 failed")
    expect(view.root.locator(".vnb-sweep-resumed")).to_contain_text(
        "4 sent again: the server knew no execution of them"  # it died with the kernel
    )
    assert notebook.kernel_eval("sweep.progress().resent, len(sweep.runs())") == "(4, 24)"
    notebook.screenshot("sweep-lost-done", view.root)


HARD = """
long = "Thanks for writing. " * 40
def triage(ticket: str) -> Sorted:
    if "bad" in ticket:
        raise vnb.Reject("<img src=x onerror=alert(1)> \\u202enobody can read this " * 9)
    gate.acquire()
    return {"category": "\\u202e<script>alert(1)</script>", "reply": long}

tag = "a-release-tag-with-a-name-that-is-longer-than-most-and-does-not-break"
server.deploy(triage, name="triage", release_tags=[tag])
cases[1] = {"ticket": "bad, too"}
sweep = ws.sweep("triage", cases, release_tags=["v1", tag], concurrency=4, background=True)
sweep
"""


def test_the_view_fits_its_place(lab):
    limit = BACKGROUND.replace("background", "max_cost_usd=2, background")
    notebook = lab.run_notebook([GATE + limit])
    looks = ("light-1400", "dark-1400", "light-500")
    view = SweepPage(notebook)
    view.let(9)
    view.ended("9 of 24")
    for look in looks:
        with lab.looking(look):
            assert wide(view) <= 0
            notebook.screenshot(f"sweep-{look}", view.root)
    notebook.kernel_eval("gate.release(99); sweep.stop(); sweep.wait()")
    expect(view.status).to_contain_text("stopped at ")
    for look in looks:
        with lab.looking(look):
            notebook.screenshot(f"sweep-stopped-{look}", view.root)


def test_long_and_hostile_texts_fit_too(lab):
    notebook = lab.run_notebook([GATE + HARD])
    view = SweepPage(notebook)
    view.let(5)
    expect(view.outputs).to_have_count(5)
    view.button("Pause").click()
    view.let(4)
    expect(view.status).to_have_text("paused")
    for look in ("dark-1400", "light-500"):
        with lab.looking(look):
            assert wide(view) <= 0
            assert view.root.locator("img, script, b script").count() == 0
            notebook.screenshot(f"sweep-hard-{look}", view.root)
    notebook.kernel_eval("gate.release(99); sweep.stop(); sweep.wait()")


def wide(view):
    return view.root.evaluate("root => root.scrollWidth - root.clientWidth")
