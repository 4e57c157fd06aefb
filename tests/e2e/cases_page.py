"""Run on a file of cases, in a form, as a user meets it."""

import re

from playwright.sync_api import expect

__all__ = ["CasesPage"]


class CasesPage:
    """The folded part of a form; opens it."""

    def __init__(self, form):
        self.form = form
        self.root = form.root.locator(".vnb-options").filter(has_text="Run on a file of cases")
        self.fold = self.root.get_by_role("button", name="Run on a file of cases")
        self.run = self.root.locator("button.vnb-case-run")
        self.plan = self.root.locator(".vnb-case-plan")
        self.problem = self.root.get_by_role("alert")
        self.repeats = self.root.get_by_label("Repeats", exact=True)
        self.path = self.root.get_by_label("cases: path", exact=True)
        self.sweep = form.root.get_by_role("region", name=re.compile("^Sweep of"))
        expect(self.run).to_be_hidden()
        self.fold.click()
        expect(self.run).to_be_disabled()

    def upload(self, name, content):
        """Pick a file, as in the file picker."""
        file = {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
        picker = self.root.get_by_label("Choose a file for cases…")
        picker.set_input_files(file)  # type: ignore[arg-type]

    def way(self, name):
        """Choose Upload or Path."""
        self.root.locator(".vnb-how label").filter(has_text=name).click()

    def tag(self, name):
        """Return the check box of a release tag."""
        return self.root.get_by_role("checkbox", name=name, exact=True)

    def tick(self, name):
        """Click a release tag."""
        self.root.locator(".vnb-chip label").filter(has_text=name).click()

    def problems(self):
        """Return the rows of the table of problems."""
        rows = self.root.locator(".vnb-case-problems tbody tr")
        return [row.locator("td").all_inner_texts() for row in rows.all()]
