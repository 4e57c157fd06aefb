"""Answers that are rated, corrected, continued and traced, in a real JupyterLab."""

import pytest
from form_page import FormPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TRIAGE = """
import vellum_nb as vnb
ws = vnb.connect("local")
form = ws.form("ticket-triage")
form.value = {"ticket": "I was charged twice for March and nobody answers my mails."}
form.release_tags = ["v1", "v2"]
form.submit()
form.wait()
"""
KEPT = "ws.history.frame()[['release_tag', 'quality']].sort_values('release_tag').values.tolist()"


def pressed(thumb, *, is_pressed):
    expect(thumb).to_have_attribute("aria-pressed", str(is_pressed).lower())


def test_thumbs_rate_with_mouse_and_keyboard_and_are_taken_back(lab):
    notebook = lab.run_notebook([TRIAGE + "form", "form"])
    form, other = FormPage(notebook), FormPage(notebook, cell=1)
    form.thumb("v1", "bad").click()
    pressed(other.thumb("v1", "bad"), is_pressed=True)
    form.thumb("v2", "good").focus()
    lab.page.keyboard.press("Enter")
    pressed(other.thumb("v2", "good"), is_pressed=True)
    pressed(form.thumb("v2", "bad"), is_pressed=False)
    notebook.kernel_becomes(KEPT, "[['v1', 0.0], ['v2', 1.0]]")
    expect(form.thumb("v2", "good")).to_be_focused()
    lab.page.keyboard.press("Tab")
    expect(form.thumb("v2", "bad")).to_be_focused()
    lab.page.keyboard.press("Space")
    pressed(other.thumb("v2", "bad"), is_pressed=True)
    pressed(form.thumb("v2", "good"), is_pressed=False)
    form.thumb("v1", "bad").click()
    pressed(other.thumb("v1", "bad"), is_pressed=False)
    notebook.kernel_becomes(KEPT, "[['v1', nan], ['v2', 0.0]]")
