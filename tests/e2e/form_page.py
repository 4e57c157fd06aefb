"""A `RunForm` as a user meets it: fields by their label, tags, Run, Cancel, answers."""

import json

from playwright.sync_api import expect


class FormPage:
    """The form in one output of a notebook; `cell` counts from 0, `name` is its variable."""

    def __init__(self, notebook, *, cell=0, name="form"):
        self.notebook = notebook
        self.name = name
        self.root = notebook.output(cell).locator(".vnb-form")
        self.run = self.root.locator("button.vnb-run")
        self.cancel = self.root.locator("button.vnb-cancel")
        self.answers = self.root.locator(".vnb-answers")
        self.progress = self.root.locator(".vnb-progress")
        self.mend = self.root.locator(".vnb-fix")
        expect(self.run).to_be_visible()

    def field(self, label):
        """Return the control that bears this label, as a screen reader finds it."""
        return self.root.get_by_label(label, exact=True)

    def tag(self, name):
        """Return the check box of a release tag."""
        return self.root.locator(".vnb-tags").get_by_role("checkbox", name=name)

    def run_on(self, *tags):
        """Tick exactly these release tags, one click after the other has been heard."""
        names = self.root.locator(".vnb-tags .vnb-check").all_inner_texts()
        ticked = [name for name in names if self.tag(name).is_checked()]
        for name in sorted(names, key=lambda name: name not in tags):
            if (name in tags) == (name in ticked):
                continue
            self.root.locator(".vnb-tags .vnb-chip").filter(has_text=name).click()
            ticked = [*ticked, name] if name in tags else [t for t in ticked if t != name]
            expect(self.run).to_have_text(f"Run on {len(ticked)}")

    def places(self):
        """Return the offsets of the release tags and of Run from the top of the form."""
        top = self.root.bounding_box()["y"]
        return [
            each.bounding_box()["y"] - top for each in (self.root.locator(".vnb-tags"), self.run)
        ]

    def column(self, tag):
        """Return the answer of a release tag."""
        return self.answers.get_by_role("region", name=tag, exact=True)

    def act(self, name):
        """Return a button under an answer, by its whole name."""
        return self.root.get_by_role("button", name=name, exact=True)

    def thumb(self, tag, verdict):
        """Return a thumb under the answer of a release tag: "good" or "bad"."""
        return self.act(f"Rate the answer of {tag}: {verdict}")

    def stream(self):
        """Return the Stream switch."""
        return self.root.get_by_role("checkbox", name="Stream", exact=True)

    def problem(self, label):
        """Return the message beside a field."""
        control = self.notebook.page.get_by_label(label, exact=True)
        return self.root.locator(".vnb-field", has=control).get_by_role("alert")

    def run_and_wait(self):
        """Press Run and wait for the answers: they are new, and Cancel is off."""
        self.kernel(f"_before = {self.name}.runs")
        self.run.click()
        answered = f"{self.name}.runs is not _before and not {self.name}.busy"
        self.notebook.kernel_becomes(answered, "True")
        self.wait()

    def wait(self):
        """Wait until the runs that are under way have ended, in the kernel and in the page."""
        self.notebook.kernel_becomes(f"{self.name}.busy", "False")
        expect(self.cancel).to_be_disabled()

    def value(self):
        """Return the value of the form in the kernel, after the typed text has arrived."""
        text = self.kernel(f"import json; print(json.dumps({self.name}.value, default=str))")
        return dict(json.loads(text))

    def kernel(self, code):
        """Run code in the kernel."""
        return self.notebook.kernel_eval(code)


def open_form(lab, setup, **look):
    """Run one cell that ends in ``form``."""
    return FormPage(lab.run_notebook([f"{setup}\nform"], **look))
