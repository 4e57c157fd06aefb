"""Fixtures of the browser tests: one JupyterLab, one Chromium, one page for the whole session.

``SCREENSHOTS=1 make browser`` keeps pictures of the views in the folder ``screenshots``.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "widgets")]

from lab import Lab, chromium, find_chromium  # noqa: E402
from lab_server import lab_server  # noqa: E402

SCREENSHOTS = HERE.parents[1] / "screenshots"
FAILED = pytest.StashKey[bool]()
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong


def pytest_collection_modifyitems(items):
    """Run the browser tests last: Playwright leaves an event loop running in the main thread."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def _browser():
    try:
        find_chromium()
    except RuntimeError as exc:
        pytest.fail(str(exc), pytrace=False)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Return the address of a JupyterLab, which also has the other front ends, and its folder."""
    folder = tmp_path_factory.mktemp("jupyterlab")
    with lab_server(folder) as url:
        yield url, folder


@pytest.fixture(scope="session")
def _page(server, _browser):
    return Lab(_browser, *server, screenshots=kept_screenshots())


def kept_screenshots():
    """Return the folder for pictures of views, or None."""
    return SCREENSHOTS if os.environ.get("SCREENSHOTS") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember a failure, for the picture of it."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def lab(_page, request):
    """Open notebooks in a real browser; fail on errors of the page."""
    _page.guard.take()
    request.node.stash[FAILED] = False  # a second try that passes takes no other picture
    yield _page
    if request.node.stash.get(FAILED, False):
        name = re.sub(r"\W+", "-", request.node.name)
        _page.page.screenshot(path=SCREENSHOTS / f"failed-{name}.png")
    _page.close_notebooks()
    troubles = _page.guard.take()
    assert not troubles, "\n".join(["The page did what it must not:", *troubles])
