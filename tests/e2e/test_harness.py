"""The harness itself: it shows widgets, and its guard catches what it is there for."""

import pytest

pytestmark = pytest.mark.browser


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
