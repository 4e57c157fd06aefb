"""The grid of a comparison in a notebook: what it is made of, and how a person uses it."""

from playwright.sync_api import expect

__all__ = ["SETUP", "GridPage", "open_grid"]

SETUP = """
from datetime import UTC, datetime, timedelta
import vellum_nb as vnb
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.widgets.grid import ComparisonView, Callbacks

NOON = datetime(2026, 11, 24, 16, 51, tzinfo=UTC)
COSTS = {"v1": 0.0021, "v2": 0.0034, "v3": 0.0048}
SECONDS = {"v1": 1.84, "v2": 2.31, "v3": 3.12}
LABELS = ["billing", "refund", "outage", "how-to", "billing"]
TEXTS = {
    "billing": "Your October invoice lists 14 seats but we only have 12. Please correct it.",
    "refund": "I cancelled on 2 March, still charged on 12 March. I want my money back.",
    "outage": "Uploads fail with 503 since this morning, EU region, whole team blocked.",
    "how-to": "How do I add a colleague who has no company address?",
}
REPLIES = {
    "right": "We will send a corrected invoice before Friday.",
    "wrong": "We will send a corrected invoice within 5 working days.",
    "other": "An admin can change the seats before Friday.",
    "poor": "Thanks for writing. We will look into it.",
}

def outputs(tag, number, label, repeat):
    right = {"category": label, "priority": "high", "reply": REPLIES["right"]}
    if tag == "v1":
        if number % 4 == 3:
            return right
        priority = "high" if number % 3 else "normal"
        return {"category": "account", "priority": priority, "reply": REPLIES["poor"]}
    if tag == "v2":
        wrong = {"priority": "normal", "reply": REPLIES["wrong"]}
        return right | (wrong if number in (7, 19) else {})
    if number % 4 == 3:
        priority = "low" if number % 8 == 3 else "high"
        return {"category": "account", "priority": priority, "reply": REPLIES["other"]}
    if number % 5 == 2 and repeat == 1:
        return right | {"reply": REPLIES["other"]}
    poor = {"category": "account", "priority": "normal", "reply": REPLIES["poor"]}
    return right if number % 3 else poor

def made(number, **fields):
    tag, repeat = fields["tag"], fields["repeat"]
    label = LABELS[number % len(LABELS)]
    inputs = {"ticket": f"{TEXTS[label]} ({number + 1})"}
    return vnb.Run(
        id=f"{tag}-{number}-{repeat}", deployment="ticket-triage", release_tag=tag,
        release_id=f"release-{tag}", execution_id=f"execution-{tag}-{number}-{repeat}",
        timestamp=NOON + timedelta(seconds=number), inputs=inputs, case_id=case_id(inputs),
        state="FULFILLED", outputs=fields.get("outputs") or outputs(tag, number, label, repeat),
        latency_s=SECONDS[tag] + number % 7 / 100, cost_usd=COSTS[tag],
    )

def compared(cases=40, repeats=3, tags=("v1", "v2", "v3"), **options):
    runs = [
        made(n, tag=tag, repeat=r) for n in range(cases) for tag in tags for r in range(repeats)
        if (tag, n) != ("v3", 33)
    ]
    known = []
    for n in range(cases):
        label = LABELS[n % len(LABELS)]
        inputs = made(n, tag="v1", repeat=0).inputs
        expected = {"category": label, "priority": "high"}
        known.append(SweepCase(n, case_id(inputs), inputs, expected, {"topic": label}))
    options = {"release_tags": tags, "cases": known} | options
    return vnb.Comparison(runs, deployment="ticket-triage", **options)

rated = []
def rate(run, quality, desired):
    now = run.model_copy(update={"quality": quality, "desired": desired or run.desired})
    rated.append((run.id, quality))
    return now

def replay(case, tag):
    return made(case.number - 1, tag=tag, repeat=9)

HANDS = Callbacks(
    rate=rate, replay=replay, trace=lambda run: (), about="sweep of 24 Nov 16:51",
    same={"v2": ("production",)},
)
"""
SHOWN = f"{SETUP}\ncmp = compared()\nview = ComparisonView(cmp, HANDS)\nview"


class GridPage:
    """The grid in an output of a notebook."""

    def __init__(self, notebook, cell=0):
        self.notebook = notebook
        self.page = notebook.page
        self.output = notebook.output(cell)
        self.root = self.output.locator(".vnb-grid")
        self.grid = self.root.get_by_role("grid", name="Cases and releases")
        self.rows = self.grid.locator(".vnb-grid-row")
        self.case = self.output.get_by_role("region", name="The case in full")
        expect(self.rows.first).to_be_visible()

    def numbers(self):
        """Return the captions of the rows that are drawn, from above."""
        return self.rows.locator(".vnb-grid-caption > span:first-child").all_inner_texts()


def open_grid(lab, code=SHOWN, *, width=1400):
    """Run one cell that ends in a grid."""
    return GridPage(lab.run_notebook([code], width=width))
