"""A real JupyterLab in a real Chromium: opens notebooks, and watches the page.

Used by the tests in this folder and by ``docs/screenshots.py``.
"""

import json
import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import nbformat
from notebook_page import Notebook
from playwright.sync_api import sync_playwright
from warm_kernels import WARM

CHROMIUM_FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a caught request goes nowhere
]
OPEN = """async ({path}) => {
    const app = window.jupyterapp;
    const widget = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await widget.context.ready;
    await widget.sessionContext.ready;
    await widget.sessionContext.session.kernel.info;
    app.shell.collapseLeft();
    return widget.id;
}"""
THEME = """async (theme) => {
    await window.jupyterapp.commands.execute('apputils:change-theme', {theme});
}"""

# What follows a resize has been told of it when a second frame begins.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def find_chromium():
    """Return the path of the browser, or raise an error that says how to install one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    msg = "The browser tests need Chromium and none was found: run `apt-get install chromium`."
    raise RuntimeError(msg)


@contextmanager
def chromium():
    """Run one Chromium."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=CHROMIUM_FLAGS
        )
        try:
            yield browser
        finally:
            browser.close()


_NOT_OURS = {
    "[anywidget] Failed to initialize model.",
    "Canceled future for create_subshell_request message before replies were done",
}


class Guard:
    """Takes down everything a page must not do: script errors, dialogs, requests to elsewhere."""

    def __init__(self, page):
        self.troubles = []
        page.on("pageerror", self._failed)
        page.on("crash", lambda _: self.troubles.append("the page crashed"))
        page.on("dialog", self._dialog)
        page.on("websocket", lambda socket_: self._requested(socket_.url))
        page.context.on("request", lambda request: self._requested(request.url))
        page.context.on("page", lambda other: self.troubles.append(f"a window: {other.url}"))

    def _failed(self, error):
        # anywidget's own alarm, 2 s after a model was made: it also rings for a widget that was
        # closed before it had loaded. One that really fails to load says why, in other words.
        # JupyterLab's own, too, where a notebook is closed before its kernel has a second channel.
        if str(error) not in _NOT_OURS:
            self.troubles.append(f"page error: {error}")

    def _requested(self, url):
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.hostname != "127.0.0.1":
            self.troubles.append(f"request to elsewhere: {url[:200]}")

    def _dialog(self, dialog):
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def take(self):
        """Return the recorded problems and clear them."""
        taken, self.troubles = self.troubles, []
        return taken


class Lab:
    """One page on one JupyterLab, used for one notebook after the other.

    `browser` is that of `chromium`, `url` and `folder` are those of `lab_server`; pictures have
    `scale` pixels for each pixel of the page.
    """

    def __init__(self, browser, url, folder, *, screenshots, scale=1, timeout=20_000):
        self.root = folder / "notebooks"
        self.screenshots = screenshots
        self.page = browser.new_page(
            viewport={"width": 1400, "height": 1000}, device_scale_factor=scale
        )
        self.page.set_default_timeout(timeout)
        self.guard = Guard(self.page)
        self.notebooks = []
        self._address = f"{url}/lab?reset"  # else JupyterLab opens what was open, and late
        self._open_page()

    def _open_page(self):
        self.page.goto(self._address)
        self.page.wait_for_function("() => window.jupyterapp?.restored")
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")

    def reload(self, notebook):
        """Save a notebook, reload the page, and open it again on its kernel."""
        notebook.saved()
        self.notebooks.remove(notebook)
        self._open_page()
        path = f"{notebook.folder.name}/notebook.ipynb"
        opened = self.page.evaluate(OPEN, {"path": path})
        again = Notebook(self.page, opened, folder=notebook.folder, screenshots=self.screenshots)
        self.notebooks.append(again)
        return again

    def run_notebook(self, cells, *, theme="light", width=1400, kernel=WARM):
        """Write a notebook of code cells, open it with a fresh kernel, and run all of it.

        Fails when a cell raises. The usual kernel is ``python3``; a warm one has imported already.
        """
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        content.metadata.kernelspec = {"name": kernel, "display_name": kernel}
        return self.run_file(json.loads(nbformat.writes(content)), theme=theme, width=width)

    def run_file(self, content, *, theme="light", width=1400, name="notebook.ipynb"):
        """Do the same with the content of an ``.ipynb`` file."""
        here = self.root / uuid4().hex
        here.mkdir()
        (here / name).write_text(json.dumps(content), encoding="utf-8")
        self.look(theme=theme, width=width)
        opened = self.page.evaluate(OPEN, {"path": f"{here.name}/{name}"})
        notebook = Notebook(self.page, opened, folder=here, screenshots=self.screenshots)
        self.notebooks.append(notebook)
        notebook.run()
        return notebook

    def look(self, *, theme="light", width=1400):
        """Choose the theme (light or dark) and the width of the page."""
        self.page.set_viewport_size({"width": width, "height": 1000})
        dark = theme == "dark"
        light_now = "document.body.dataset.jpThemeLight"
        if self.page.evaluate(f"() => {light_now}") != ("false" if dark else "true"):
            self.page.evaluate(THEME, "JupyterLab Dark" if dark else "JupyterLab Light")
            self.page.wait_for_function(f"() => {light_now} === '{'false' if dark else 'true'}'")
        self.page.evaluate(DRAWN)

    @contextmanager
    def looking(self, look):
        """Show the page in a look, such as "dark-500"; what fails in it says so."""
        theme, width = look.split("-")
        self.look(theme=theme, width=int(width))
        try:
            yield
        except Exception as exc:
            exc.add_note(f"in the look {look}")
            raise

    def close_notebooks(self):
        """Shut down every kernel and close every notebook."""
        while self.notebooks:
            self.notebooks.pop().close()
