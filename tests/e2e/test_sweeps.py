"""The live view of a sweep in a real JupyterLab: counts, pause, resume and stop."""

import re

import pytest
from playwright.sync_api import expect
from sweep_page import GATE, SweepPage

pytestmark = pytest.mark.browser

BACKGROUND = """
sweep = ws.sweep("triage", cases, release_tags=["v1", "v2"], concurrency=4, background=True)
sweep
"""
THREADS = "[t.name for t in threading.enumerate() if t.name.startswith('vellum-nb-')]"


def test_sweep_is_controlled_by_its_buttons(lab):
    notebook = lab.run_notebook([GATE + BACKGROUND, "sweep"])
    view, other = SweepPage(notebook), SweepPage(notebook, cell=1)
    expect(view.bar("v1")).to_have_attribute("aria-valuetext", re.compile("^0 done, .* 2 running"))
    view.let(3)
    view.ended("3 of 24")
    other.ended("3 of 24")
    expect(view.outputs).to_have_count(3)
    expect(view.outputs.filter(has_text="REJECTED").first).to_contain_text("nobody can read this")
    expect(view.outputs.first).to_contain_text("case ")

    expect(view.button("Pause").locator("path")).to_have_attribute("d", re.compile("^M"))
    view.button("Pause").click()
    expect(view.status).to_have_text("paused: no new runs start")
    view.let(4)
    view.ended("7 of 24")
    expect(view.status).to_have_text("paused")
    view.let(5)
    progress = "__import__('vellum_nb.sweep.sweep').sweep.sweep.control_of(sweep).progress()"
    notebook.kernel_becomes(f"{progress}.at_once", "0")
    view.ended("7 of 24")

    expect(other.button("Resume")).to_be_visible()
    view.button("Resume").click()
    view.ended("12 of 24")
    expect(view.button("Pause")).to_be_focused()

    view.button("Stop").click()
    expect(view.status).to_have_text("stopping: running calls end first")
    expect(view.button("Cut off")).to_be_visible()
    view.let(4)
    expect(view.status).to_have_text("stopped at 16 of 24; resume continues from here")
    notebook.kernel_becomes(THREADS, "[]")

    view.button("Resume").click()
    expect(view.root).to_contain_text("resumed: 16 runs found in the history, 0 sent twice")
    view.let(8)
    expect(view.status).to_have_text("done: 22 fulfilled, 2 failed")
    expect(view.root.locator(".vnb-sweep-row").last.locator("span.vnb-sweep-done")).to_have_text(
        "11"
    )
    expect(other.button("Compare")).to_be_visible()
    expect(other.button("Stop")).to_be_hidden()
    notebook.kernel_becomes(THREADS, "[]")
    assert notebook.kernel_eval("len(sweep.runs())") == "24"
