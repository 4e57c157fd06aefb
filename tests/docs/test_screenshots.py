"""Screenshots: `make screenshots` takes each of them, light and dark, and its guide shows it."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "screenshots"
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


@pytest.fixture(scope="module")
def screenshots():
    path = list(sys.path)
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import screenshots
    finally:
        sys.path[:] = path
    return screenshots


def size(picture):
    """Return width and height from the simple or extended header of a WebP file."""
    data = picture.read_bytes()
    if data[8:16] == b"WEBPVP8 ":
        return tuple(int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    assert data[8:16] == b"WEBPVP8X"
    return tuple(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))


def shown(page):
    return set(re.findall(r"screenshots/([\w-]+)\.webp", page.read_text("utf-8")))


def test_each_screenshot_is_taken_in_both_themes(screenshots):
    names = screenshots.SCREENSHOTS
    expected = {f"{name}{suffix}.webp" for name in names for suffix in ("", "-dark")}
    assert {path.name for path in FOLDER.iterdir()} == expected


def test_guide_of_each_screenshot_shows_it(screenshots):
    shots = screenshots.SCREENSHOTS.items()
    missing = [name for name, shot in shots if name not in shown(ROOT / shot.guide)]
    assert missing == []


def test_pages_show_only_screenshots_that_are_taken(screenshots):
    assert set().union(*map(shown, PAGES)) == set(screenshots.SCREENSHOTS)


def test_screenshots_are_small_and_as_wide_as_declared(screenshots):
    scales = {scale for scale, _ in screenshots.FORMS}
    for name, shot in screenshots.SCREENSHOTS.items():
        for picture in (FOLDER / f"{name}.webp", FOLDER / f"{name}-dark.webp"):
            width, height = size(picture)
            assert width / shot.width in scales, picture.name
            assert height / width <= shot.height / shot.width + 0.01, picture.name
            assert picture.stat().st_size < screenshots.MOST_BYTES, picture.name
