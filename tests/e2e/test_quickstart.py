"""The notebook that newcomers meet first, opened in a real JupyterLab and used."""

import json
from pathlib import Path

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"


def test_form_of_the_quickstart_answers(lab):
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
    notebook = lab.run_file(content, name=NOTEBOOK.name)
    form = FormPage(notebook, cell=_place(sources, "form = ws.form"))
    table = notebook.output(_place(sources, "history.view("))
    expect(form.root.locator(".vnb-count")).to_contain_text("3 releases")
    form.field("ticket *").fill("I was charged twice")
    form.run_on("v1", "v2")
    form.run_and_wait()
    expect(form.column("v1")).to_contain_text("FULFILLED")
    expect(form.column("v2").locator("ins").first).to_be_visible()
    expect(table.get_by_role("row").filter(has_text="FULFILLED")).to_have_count(4)
    notebook.screenshot("quickstart")


def _place(sources, text):
    return next(place for place, source in enumerate(sources) if text in source)
