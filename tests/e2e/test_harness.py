"""The harness: it shows widgets, and its guard catches errors of a page."""

import pytest

pytestmark = pytest.mark.browser

PLANTED = {
    "<script>setTimeout(() => { throw new Error('planted') })</script>": "page error: planted",
    "<img src='http://192.0.2.1/a.png'>": "request to elsewhere: http://192.0.2.1/a.png",
    "<iframe src='http://cdn.invalid/b'></iframe>": "request to elsewhere: http://cdn.invalid/b",
    "<img src=x onerror=\"alert('planted')\">": "dialog: planted",
}


def test_guard_catches_errors_of_the_page(lab):
    lab.run_notebook([f"from IPython.display import HTML\nHTML({html!r})" for html in PLANTED])
    for _ in range(400):
        if set(PLANTED.values()) <= set(lab.guard.troubles):
            break
        lab.page.wait_for_timeout(50)
    lab.close_notebooks()
    assert set(PLANTED.values()) <= set(lab.guard.take())
