"""The table of a history in the first output of a notebook."""

import re

from playwright.sync_api import expect

SETUP = """
from datetime import UTC, datetime, timedelta
import vellum_nb as vnb
from vellum_nb.models import RunError, case_id

history = vnb.History("table.db")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
STATES = ["FULFILLED", "REJECTED", "FULFILLED", "FAILED", "FULFILLED", "STARTED", "CANCELLED"]

def record(number, **fields):
    state = STATES[number % len(STATES)]
    inputs = {"ticket": fields.pop("ticket", f"charged twice, ticket {number}")}
    run = vnb.Run(
        id=f"run-{number}", deployment="ticket-triage", release_tag=f"v{number % 3 + 1}",
        timestamp=NOON + timedelta(seconds=number), inputs=inputs, case_id=case_id(inputs),
    )
    history.begin(run)
    told = {"state": state, "latency_s": number / 100, "tag_moved": number % 5 == 0}
    if state == "FULFILLED":
        told["outputs"] = {"category": "billing", "reply": f"Thanks for ticket {number}"}
    else:
        told["error"] = RunError(code="NODE_EXECUTION", message=f"no plan for {number}")
    if state != "STARTED":
        history.finish(run.model_copy(update=told | fields))

for number in range(200):
    record(number)
history.annotate("run-198", quality=1.0)
history.annotate("run-196", quality=0.0)
view = vnb.HistoryView(history, deployment="ticket-triage")
view
"""


class TablePage:
    """The table in one output of a notebook; `cell` counts from 0."""

    def __init__(self, notebook, *, cell=0):
        self.notebook = notebook
        self.root = notebook.output(cell).locator(".vnb-table")
        self.grid = self.root.get_by_role("grid", name="Runs")
        self.rows = self.grid.locator(".vnb-table-row")
        self.filter = self.root.get_by_label("Filter runs by text")
        self.status = self.root.get_by_role("status").first
        self.side = self.root.get_by_role("region", name="Selected runs side by side")
        expect(self.rows.first).to_be_visible()

    def row(self, text):
        return self.rows.filter(has_text=text)

    def header(self, name):
        return self.grid.get_by_role("columnheader", name=name)

    def selects(self, ids):
        self.notebook.kernel_becomes("print(*[run.id for run in view.selected])", ids)

    def shows_selected(self, count):
        pattern = f"{count} selected" if count else r"runs$"
        expect(self.status).to_have_text(re.compile(pattern))
