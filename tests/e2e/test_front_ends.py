"""One journey in each front end beside JupyterLab: a form, a run, the history, a comparison.

Notebook 7, NbClassic and Voila are pages of the same Jupyter server; marimo has one of its own.
"""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from textwrap import indent

import nbformat
import pytest
from lab import Guard
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from playwright.sync_api import expect
from ports_kit import free_port

pytestmark = pytest.mark.browser

CELLS = [
    """
import vellum_nb as vnb
ws = vnb.connect("local", history=":memory:")
cases = [{"ticket": "I was charged twice"}, {"ticket": "The app crashes " * 40}]
run = ws.run("ticket-triage", {"ticket": "Where is my invoice? " * 20}, release_tag="v2")
sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"], progress=False)
""",
    'ws.form("ticket-triage")',
    "run",
    "sweep",
    "ws.history.view()",
    "sweep.compare().view()",
]
NOT_OURS = (
    "request to elsewhere: https://cdn.jsdelivr.net/npm/@fortawesome/",  # Voila's icons
    "page error: Cannot read properties of undefined (reading 'schema')",  # Notebook's start
)

LINES_OF_A_WORD = """(element, word) => {
    const text = element.firstChild, start = text.data.indexOf(word), range = new Range();
    range.setStart(text, start);
    range.setEnd(text, start + word.length);
    return new Set([...range.getClientRects()].map(line => line.top)).size;
}"""


@pytest.fixture
def page(_browser, request):
    """Open a page; errors and requests to other hosts fail the test."""
    page = _browser.new_page(viewport={"width": 1300, "height": 3000})
    page.set_default_timeout(40_000)
    guard = Guard(page)
    yield page
    folder = Path(__file__).parents[2] / "screenshots"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"{request.node.name}.png")
    page.close()
    assert not [each for each in guard.take() if not each.startswith(NOT_OURS)]


def notebook():
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    return made


def views_work(page, runs):
    """Search the history, and the cases of the comparison: the kernel answers."""
    table, grid = page.locator(".vnb-table").first, page.locator(".vnb-grid").first
    expect(rows(table)).to_have_count(runs)
    table.get_by_label("Filter runs").fill("invoice")
    expect(rows(table)).to_have_count(1)
    cases = grid.locator(".vnb-grid-row").filter(has_text="differs")
    expect(cases).to_have_count(2)
    grid.get_by_placeholder("search inputs and outputs").fill("charged twice")
    expect(cases).to_have_count(1)
    expect(page.locator(".vnb-sweep").first).to_contain_text("Sweep done")
    page.set_viewport_size({"width": 830, "height": 3000})
    name = grid.locator(".vnb-grid-who span").filter(has_text="production")
    assert name.evaluate(LINES_OF_A_WORD, "production") == 1


def rows(table):
    return table.get_by_role("row").filter(has_text="FULFILLED")


def form_works(page):
    form = page.locator(".vnb-form")
    field = form.get_by_label("ticket *", exact=True)
    field.fill("I was charged twice")
    assert field.evaluate("field => getComputedStyle(field).borderTopWidth") == "1px"
    form.locator("button.vnb-run").click()
    expect(form.locator(".vnb-answers")).to_contain_text("FULFILLED")


@pytest.mark.parametrize(
    ("address", "is_ready", "run_all"),
    [
        (
            "notebooks",
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext.session?.kernel",
            "() => jupyterapp.commands.execute('notebook:run-all-cells')",
        ),
        (
            "nbclassic/notebooks",
            "() => window.Jupyter?.notebook?.kernel?.info_reply.banner",
            "() => { Jupyter.notebook.execute_all_cells(); }",
        ),
        ("voila/render", "() => true", "() => true"),
    ],
    ids=["notebook", "nbclassic", "voila"],
)
def test_views_work_in(page, server, address, is_ready, run_all):
    url, folder = server
    name = f"{address.partition('/')[0]}.ipynb"
    (folder / "notebooks" / name).write_text(nbformat.writes(notebook()), encoding="utf-8")
    page.goto(f"{url}/{address}/{name}")
    page.wait_for_function(is_ready)
    page.evaluate(run_all)
    expect(page.get_by_text("ticket-triage · v2 · FULFILLED")).to_be_visible(timeout=180_000)
    form_works(page)
    views_work(page, 6)  # with the form's run


def test_views_work_in_marimo(page, tmp_path):
    """What is shown without its front end is the form, which says what to use instead."""
    first, *others = CELLS
    cells = [f"def _():\n{indent(first, '    ')}\n    return vnb, ws, cases, run, sweep"]
    cells += [f"def _(ws, run, sweep):\n    {cell}\n    return" for cell in others]
    app = "import marimo\napp = marimo.App()\n" + "".join(f"@app.cell\n{x}\n" for x in cells)
    (tmp_path / "app.py").write_text(app, encoding="utf-8")
    port = free_port()
    options = ["--headless", "--no-token", "--host=127.0.0.1", f"--port={port}"]
    command = [sys.executable, "-m", "marimo", "-q", "run", "app.py", *options]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL) as server:
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/health", server)
            page.goto(f"http://127.0.0.1:{port}")
            expect(page.get_by_text("marimo cannot show this form")).to_be_visible(timeout=180_000)
            expect(page.get_by_text("ticket-triage · v2 · FULFILLED")).to_be_visible()
            views_work(page, 5)
        finally:
            server.terminate()


def _wait_until_up(url, server):
    end = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("marimo did not start")


def test_a_notebook_that_nobody_watched_is_exported_with_its_static_html(tmp_path):
    made = notebook()
    ExecutePreprocessor(timeout=60, store_widget_state=True).preprocess(made)
    html, _ = HTMLExporter().from_notebook_node(made)
    body = html.partition("<body")[2]
    for text in (">ticket *<", "History: 5 runs", "4 of 4 runs", "differs"):
        assert text in body
    assert len(json.dumps(made.cells)) < 100_000
