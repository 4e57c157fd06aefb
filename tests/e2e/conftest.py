"""Fixtures of the browser tests: one JupyterLab, one Chromium, one page for the whole session."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "widgets")]

from lab import Lab, chromium, find_chromium  # noqa: E402
from lab_server import lab_server  # noqa: E402

FAILED = pytest.StashKey[bool]()
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser tests last, as Playwright leaves an event loop running in the main thread."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def _browser() -> Iterator[Browser]:
    try:
        find_chromium()
    except RuntimeError as exc:
        pytest.fail(str(exc), pytrace=False)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Return the address of a JupyterLab, and its folder; it also has the other front ends."""
    folder = tmp_path_factory.mktemp("jupyterlab")
    with lab_server(folder) as url:
        yield url, folder


@pytest.fixture(scope="session")
def _page(server: tuple[str, Path], _browser: Browser) -> Lab:
    return Lab(_browser, *server, screenshots=HERE.parents[1] / "screenshots")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember a failure, for the picture of it."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def lab(_page: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Open notebooks in a real browser; afterwards nothing may have gone wrong in the page."""
    _page.guard.take()
    yield _page
    if request.node.stash.get(FAILED, False):
        name = re.sub(r"\W+", "-", request.node.name)
        _page.page.screenshot(path=_page.screenshots / f"failed-{name}.png")
    _page.close_notebooks()
    troubles = _page.guard.take()
    assert not troubles, "\n".join(["The page did what it must not:", *troubles])
