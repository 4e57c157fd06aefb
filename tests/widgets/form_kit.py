"""A form without a browser: a deployment, its answers, and functions that click."""

import threading
from datetime import UTC, datetime

import ipywidgets
from dom_kit import dom, text_of
from wire_kit import Page

from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.widgets.spec import FormSpec, TagChoice

PATIENCE = 20


def variable(key, type_="STRING", **more):
    return VellumVariable.model_validate({"key": key, "type": type_, **more})


TICKET = variable("ticket")
HOURS = variable("sla_hours", "NUMBER", required=False, schema={"minimum": 1, "maximum": 72})
VIP = variable("vip", "JSON", required=False, schema={"type": "boolean"})
CONTEXT = variable("context", "JSON", required=False)
LATEST = (TICKET, HOURS, VIP, CONTEXT)
OLDER = {"v1": (TICKET, variable("sla_hours"), variable("mood", required=False))}
SPEC = FormSpec(
    name="ticket-triage",
    label="Ticket <triage>",
    description="Sorts & answers",
    source="local server",
    variables=LATEST,
    latest_release_id="r2",
    tags=(TagChoice("r1", ("v1",)), TagChoice("r2", ("v2", "production", "LATEST"))),
)


def release(tag, variables=()):
    """Return a release with these input variables, by default those of the tag."""
    dumped = [v.model_dump(by_alias=True) for v in variables or OLDER.get(tag, LATEST)]
    return WorkflowDeploymentRelease.model_validate(
        {"id": tag, "workflow_version": {"input_variables": dumped}}
    )


def answer(request, **more):
    inputs = dict(request.inputs)
    fields = {"state": "FULFILLED", "outputs": {"reply": f"from {request.release_tag}"}, **more}
    return Run(
        id=request.release_tag,
        deployment=request.deployment,
        release_tag=request.release_tag,
        timestamp=datetime.now(UTC),
        latency_s=0.004,
        inputs=inputs,
        not_sent=request.not_sent,
        case_id=case_id(inputs),
        **fields,
    )


class Recorder:
    """Executes requests and records them."""

    def __init__(self, execute):
        self.requests = []
        self._execute = execute

    def __call__(self, request, cancel):
        self.requests.append(request)
        return self._execute(request, cancel)


def parts(form, css):
    """Return all widgets of the form with a CSS class."""
    return [widget for widget in tree(form) if css in classes(widget)]


def classes(widget):
    """Return the CSS classes of a widget."""
    return widget.get_state("_dom_classes")["_dom_classes"]


def tree(widget):
    """Return a widget and all its descendants."""
    widgets = [widget]
    for each in widgets:
        widgets += getattr(each, "children", ())
    return widgets


def page(form):
    """Return the HTML that the form shows, parsed."""
    return dom("\n".join(each.value for each in tree(form) if isinstance(each, ipywidgets.HTML)))


def shown(form):
    """Return the text that the form shows."""
    return text_of(page(form))


def tick(form, tag):
    """Tick a release tag and wait until the form has applied it."""
    applied = threading.Event()
    form.observe(lambda _: applied.set(), "release_tags")
    next(b for b in parts(form, "vnb-check") if b.description == tag).value = True
    assert applied.wait(PATIENCE)


def click(form, css="vnb-run"):
    parts(form, css)[0].click()


def box(form, label):
    """Return the control of a field."""
    return next(each for each in parts(form, "vnb-control") if each.description == label)


def ran(form, **value):
    """Fill the form, run it, and return the answers."""
    form.value = value or {"ticket": "hi"}
    form.submit()
    return form.wait(PATIENCE)


def bars(form):
    """Return the widget with the bars under the answers."""
    return parts(form, "vnb-results")[0].children[-1]


def press(form, tag, event, **more):
    """Click in the bar of a release tag and wait until the click is handled."""
    run_id = next(bar["id"] for bar in bars(form).bars if bar["tag"] == tag)
    Page(bars(form)).send(event=event, id=run_id, **more)
    assert bars(form).wait(PATIENCE)


def bar(form, tag):
    """Return the state of the bar of a release tag."""
    return next(bar for bar in bars(form).bars if bar["tag"] == tag)
