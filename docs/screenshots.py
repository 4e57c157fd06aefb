"""Take the screenshots of the docs: widgets in a real JupyterLab, in its light and dark theme.

All widgets are in one notebook, so its kernel, its sweep and the page are started only once.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import CDPSession, Error, Locator

DOCS = Path(__file__).parent
FOLDER = DOCS / "screenshots"
sys.path[:0] = [str(DOCS.parent / "tests" / "e2e"), str(DOCS.parent / "tests")]

from lab import DRAWN, Lab, chromium  # noqa: E402
from lab_server import lab_server  # noqa: E402
from notebook_page import Notebook  # noqa: E402

SUFFIXES = {"light": "", "dark": "-dark"}
MOST_BYTES = 60_000
FORMS = [
    (1.5, 50),
    (1.5, 30),
    (1.5, 20),
    (1, 75),
    (1, 50),
    (1, 30),
]  # scale and quality, best first
PATIENCE_MS = 120_000  # a widget that is slow on a busy machine is not missing

SETUP = """
import pandas as pd
import vellum_nb as vnb
from vellum_nb.local.samples import cases

ws = vnb.connect("local", history="runs.db")
tags = ["v1", "v2", "v3"]
tickets = pd.read_csv(cases("ticket-triage"))
tickets = tickets[["ticket", "expected.category", "expected.priority"]]
sweep = ws.sweep("ticket-triage", tickets, release_tags=tags, progress=False)
cmp = sweep.compare(baseline="v1", margin=0.05)
"""
TICKET = (
    "Hi, I was charged twice for March (€49.00 on 3 March and again on 5 March, same card). "
    "I have written three mails since then and nobody answers. Please refund the second charge, "
    "otherwise I will cancel at the end of the month. My invoice number is INV-20931."
)
MESSAGES = ["My order A-1234 is broken", "What can you do?", "I want a refund"]
RUN = f"""
form.value = {{"ticket": {TICKET!r}}}
form.release_tags = ["v2", "v3"]
form.submit()
form.wait()
"""
CHAT = """
form = ws.form("docs-qa")
turns = [
    ("USER", "How much does Pro cost per seat?"),
    ("ASSISTANT", "Pro costs €9 per seat and month."),
]
form.value = {"question": "And how much is it a year?", "chat_history": turns}
form.release_tags = ["v2", "v3"]
form.submit()
form.wait()
form
"""
TREND = """
import sqlite3

triage = vnb.connect("local", history="trend.db")
names = ["production", "candidate"]
for week, releases in enumerate(["v1 v1"] * 2 + ["v1 v2"] * 4 + ["v2 v3"] * 2):
    for name, release in zip(names, releases.split()):
        triage.server.move_tag("ticket-triage", name, release)
    table = tickets.head(35 if week < 4 else 40)
    triage.sweep("ticket-triage", table, release_tags=names, existing="restart", progress=False)

with sqlite3.connect("trend.db") as file:  # the sweeps of seconds become those of eight Mondays
    rows = file.execute("SELECT sweep_id FROM runs GROUP BY 1 ORDER BY min(timestamp)").fetchall()
    for monday, (sweep_id,) in zip(pd.date_range("2026-10-05 09:00", periods=8, freq="7D"), rows):
        times = monday.value // 1000, sweep_id
        file.execute("UPDATE runs SET timestamp = ? WHERE sweep_id = ?", times)
triage.trend("ticket-triage", release_tags=names)
"""


def choose_file(output: Locator) -> None:
    """Give the form the cases of the sample, and wait for its plan."""
    from vellum_nb.local.samples import cases

    output.get_by_text(re.compile("file of cases", re.IGNORECASE)).first.click()
    output.locator("input[type=file]").last.set_input_files(cases("ticket-triage"))
    output.get_by_text("50 cases ×").first.wait_for()  # noqa: RUF001


def chat_by_hand(output: Locator) -> None:
    """Send three messages to both releases."""
    output.get_by_label("Chat", exact=True).check(force=True)
    for number, message in enumerate(MESSAGES, 1):
        output.get_by_label("Message", exact=True).fill(message)
        output.page.keyboard.press("Control+Enter")
        answers = output.get_by_role("listitem").nth(number - 1).get_by_role("region")
        answers.nth(1).get_by_text("FULFILLED").wait_for()
        output.locator(".vnb-dialog-new:enabled").wait_for()


def open_case(output: Locator) -> None:
    """Open the third case."""
    output.get_by_role("grid").focus()
    for key in ("j", "j", "j", "Enter"):
        output.page.keyboard.press(key)
    output.get_by_role("region", name="The case in full").wait_for()


@dataclass(frozen=True)
class Screenshot:
    """A widget: the guide that shows it, its cell and root, and its size in CSS pixels.

    The picture begins at `top`, an element of the widget, and is at most `height` tall.
    """

    guide: str
    cell: str
    root: str
    top: str | None = None
    width: int = 880
    height: int = 900
    prepare: Callable[[Locator], None] = lambda _: None


SCREENSHOTS = {
    "form": Screenshot(
        "docs/how-to/run-a-deployment.md",
        f'form = ws.form("ticket-triage"){RUN}form',
        ".vnb-form",
    ),
    "chat": Screenshot("docs/how-to/run-a-deployment.md", CHAT, ".vnb-form"),
    "chat-by-hand": Screenshot(
        "docs/how-to/test-a-chatbot.md",
        'form = ws.form("support-bot")\nform.release_tags = ["v1", "v2"]\nform',
        ".vnb-form",
        height=1100,
        prepare=chat_by_hand,
    ),
    "lab": Screenshot(
        "docs/how-to/run-a-deployment.md",
        f'lab = ws.lab("ticket-triage")\nform = lab.form{RUN}lab',
        ".vnb-lab",
    ),
    "file-of-cases": Screenshot(
        "docs/how-to/run-cases.md",
        'form = ws.form("ticket-triage")\nform.release_tags = tags\nform',
        ".vnb-form",
        prepare=choose_file,
    ),
    "sweep": Screenshot("docs/how-to/run-cases.md", "sweep.view()", ".vnb-sweep"),
    "compare": Screenshot("docs/how-to/compare-releases.md", "cmp.view()", ".vnb-grid", height=760),
    "open-case": Screenshot(
        "docs/how-to/find-what-went-wrong.md",
        "cmp.view()",
        ".vnb-grid",
        top=".vnb-grid-filterbar",
        width=1160,
        height=640,
        prepare=open_case,
    ),
    "blind": Screenshot(
        "docs/how-to/rate-blind.md", 'cmp.view(blind=True, pair=("v1", "v2"))', ".vnb-blind"
    ),
    "trend": Screenshot("docs/how-to/follow-a-trend.md", TREND, ".jp-OutputArea-output"),
    "history": Screenshot("docs/how-to/keep-a-history.md", "ws.history.view()", ".vnb-table"),
}


class Camera:
    """Takes pictures of the widgets `names` in one notebook."""

    def __init__(self, lab: Lab, names: Iterable[str]) -> None:
        self.page = lab.page
        self.lab = lab
        self.names = list(names)
        cells = [SETUP, *(SCREENSHOTS[name].cell for name in self.names)]
        self.notebook: Notebook = lab.run_notebook(cells)
        self.session: CDPSession = lab.page.context.new_cdp_session(lab.page)

    def output(self, name: str) -> Locator:
        """Return the output of the cell of a widget."""
        return self.notebook.output(self.names.index(name) + 1)

    def fit(self, name: str) -> dict[str, float]:
        """Give a widget its width and scroll to it; return the area to show."""
        shot = SCREENSHOTS[name]
        root = self.output(name).locator(shot.root).first
        root.wait_for()
        width = self.page.viewport_size["width"]
        width += shot.width - round(root.bounding_box()["width"])
        self.page.set_viewport_size({"width": width, "height": 1300})
        top = root.locator(shot.top).first if shot.top else root
        top.evaluate("top => top.scrollIntoView({block: 'start'})")
        self.page.evaluate(DRAWN)
        box, y = root.bounding_box(), top.bounding_box()["y"]
        height = min(box["y"] + box["height"] - y, shot.height)
        return {"x": box["x"], "y": y, "width": box["width"], "height": height}

    def prepare(self, name: str) -> None:
        """Bring a widget into the state to show."""
        self.fit(name)
        SCREENSHOTS[name].prepare(self.output(name))
        self.page.mouse.move(0, 0)

    def take(self, name: str, theme: str) -> None:
        """Write a picture as WebP, which is a third of the size of PNG."""
        area = self.fit(name)
        for scale, quality in FORMS:
            options = {"format": "webp", "quality": quality, "clip": area | {"scale": scale}}
            reply = self.session.send("Page.captureScreenshot", options)
            picture = base64.b64decode(reply["data"])
            if len(picture) < MOST_BYTES:
                break
        path = FOLDER / f"{name}{SUFFIXES[theme]}.webp"
        path.write_bytes(picture)
        size = f"{area['width']:.0f} x {area['height']:.0f} at {scale:g}"
        print(f"    {path.name}: {len(picture) / 1000:.0f} kB, {size}", flush=True)


def take_all(lab: Lab, names: Iterable[str]) -> list[str]:
    """Take the pictures in both themes; return the problems, which do not stop the others."""
    camera = Camera(lab, names)
    problems = {}
    for name in camera.names:
        try:
            camera.prepare(name)
        except Error as exc:
            problems[name] = f"{name}: {exc}"
    for theme in SUFFIXES:
        lab.look(theme=theme)
        for name in camera.names:
            if name not in problems:
                camera.take(name, theme)
    lab.close_notebooks()
    return list(problems.values())


def main() -> None:
    """Take the screenshots named on the command line, or all."""
    names = sys.argv[1:] or list(SCREENSHOTS)
    with (
        TemporaryDirectory() as folder,
        lab_server(Path(folder)) as url,
        chromium() as browser,
    ):
        where = Path(folder)
        lab = Lab(browser, url, where, screenshots=where, scale=2, timeout=PATIENCE_MS)
        lab.page.emulate_media(reduced_motion="reduce")
        problems = take_all(lab, names)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
