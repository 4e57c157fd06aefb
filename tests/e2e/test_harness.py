"""The harness itself: it shows widgets, and its guard catches what it is there for."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

BUTTON = """
import ipywidgets as W
count = 0
def clicked(_):
    global count
    count += 1
    label.value = f"clicked {count}"
button, label = W.Button(description="Count"), W.Label("nothing yet")
button.on_click(clicked)
W.VBox([button, label])
"""


def test_a_click_reaches_the_kernel_and_its_answer_the_page(lab):
    notebook = lab.run_notebook([BUTTON])
    output = notebook.output(0)
    output.get_by_role("button", name="Count").click()
    expect(output.get_by_text("clicked 1")).to_be_visible()
    assert notebook.kernel_eval("count") == "1"


def test_a_notebook_has_a_history_of_its_own_and_no_key(lab):
    notebook = lab.run_notebook(["import os"])
    place = notebook.kernel_eval("print(os.environ['VELLUM_NB_HISTORY'])")
    assert place == str(notebook.folder / "runs.db")
    assert notebook.kernel_eval("'VELLUM_API_KEY' in os.environ") == "False"


def test_a_cell_that_raises_fails_the_test(lab):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        lab.run_notebook(["1 / 0"])


@pytest.mark.parametrize(
    ("event", "html", "trouble"),
    [
        (
            "pageerror",
            "<script>setTimeout(() => { throw new Error('planted') })</script>",
            "page error: planted",
        ),
        (
            "requestfailed",
            "<img src='http://192.0.2.1/pixel.png'>",
            "request to elsewhere: http://192.0.2.1/pixel.png",
        ),
        (
            "requestfailed",
            "<iframe src='http://cdn.invalid/frame'></iframe>",
            "request to elsewhere: http://cdn.invalid/frame",
        ),
        ("dialog", "<img src=x onerror=\"alert('planted')\">", "dialog: planted"),
    ],
    ids=["script error", "remote image", "remote frame", "dialog"],
)
def test_the_guard_catches(lab, event, html, trouble):
    with lab.page.expect_event(event):
        lab.run_notebook([f"from IPython.display import HTML\nHTML({html!r})"])
    lab.close_notebooks()
    assert trouble in lab.guard.take()
