"""Form and sweep in a real kernel, controlled by comm messages."""

import time
from pathlib import Path

import pytest
from dom_kit import dom
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow  # a kernel takes seconds to start
PATIENCE = 60
VIEW = "application/vnd.jupyter.widget-view+json"
SETUP = f"""
import sys, threading
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
import ipywidgets
from form_kit import SPEC, answer, parts, release, variable
from sweep_view_kit import Gated
from dataclasses import replace
from vellum_nb.widgets.form import RunForm
from vellum_nb.widgets.results import FormRuns
from vellum_nb.widgets.spec import TagChoice

sign = ipywidgets.HTML()
gated = Gated()

def run(request, cancel):
    if request.inputs["ticket"] == "slow" and cancel.wait(30):
        return answer(request, state="CANCELLED", outputs={{}})
    return answer(request, outputs={{"reply": "hello from " + request.release_tag}})

def show_when_waiting(thread=threading.get_ident()):
    stack = []
    while FormRuns.wait.__code__ not in stack:
        frame, stack = sys._current_frames()[thread], []
        while frame:
            stack.append(frame.f_code)
            frame = frame.f_back
    sign.value = "waiting"

spec = replace(SPEC, name="d", variables=(variable("ticket"),), tags=(TagChoice("r2", ("v1", "LATEST")),))
form = RunForm(spec, run=run, release=release)
"""  # noqa: E501


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    client.manager = manager
    shown(client, SETUP)
    yield client
    shown(client, "gated.close()")
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def shown(client, code):
    """Run code; return the outputs of its cell by MIME type."""
    found = []

    def receive(message):
        content = message["content"]
        assert message["msg_type"] != "error", "\n".join(content["traceback"])
        if message["msg_type"] in {"display_data", "execute_result"}:
            found.append(content["data"])

    client.execute_interactive(code, timeout=PATIENCE, output_hook=receive)
    return found


def becomes(client, code, text):
    end = time.monotonic() + PATIENCE  # an aborted request has no output
    while (found := [each["text/plain"] for each in shown(client, code)]) != [text]:
        assert time.monotonic() < end, (found, text)


def model_of(client, code):
    return str(shown(client, f"{code}.model_id")[0]["text/plain"].strip("'"))


def part(client, css):
    return model_of(client, f"parts(form, {css!r})[0]")


def send(client, model, value=None, **content):
    """Send the new value of a control, or a message, as a front end does."""
    data = {"method": "custom", "content": content}
    if value is not None:
        data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
    client.shell_channel.send(message)


def until(client, text, model=""):
    """Read messages of the kernel until a widget, by default any, shows `text`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=PATIENCE)
        content = message["content"]
        if message["msg_type"] == "comm_msg" and model in ("", content["comm_id"]):
            state = content["data"].get("state", {})
            if text in f"{state.get('value')} {state.get('view_model', {}).get('status')}":
                return
    pytest.fail(f"{text!r} was never shown")


def test_interrupt_cancels_the_runs_of_a_form(kernel):
    ticket, run = part(kernel, "vnb-control"), part(kernel, "vnb-run")
    answers, progress = part(kernel, "vnb-answers"), part(kernel, "vnb-progress")
    sign = model_of(kernel, "sign")
    send(kernel, ticket, "slow")
    kernel.execute("threading.Thread(target=show_when_waiting).start(); form.submit(); form.wait()")
    until(kernel, "waiting", sign)
    kernel.manager.interrupt_kernel()
    until(kernel, "cancelled", progress)
    becomes(kernel, "form.busy", "False")
    send(kernel, ticket, "hi again")
    send(kernel, run, event="click")
    until(kernel, "hello from v1", answers)


def test_cell_shows_the_view_of_its_sweep_once(kernel):
    code = "gated.gate.release(12)\nsweep = gated.sweep(background=False)\nsweep"
    view, result = shown(kernel, code)
    assert view["text/plain"] == "SweepView(triage on v1, v2: 12 runs)"
    assert VIEW in view
    assert result == {"text/plain": "<Sweep of triage on v1, v2: done, 12 of 12 runs, 2 failed>"}
    (one,), (two,) = shown(kernel, "sweep"), shown(kernel, "sweep")
    assert one[VIEW] == two[VIEW]
    assert dom(one["text/html"]).select("table")
    (three,) = shown(kernel, "None; sweep.wait()")  # the result, and no second view
    assert three["text/plain"].startswith("<Sweep of triage")
    assert shown(kernel, "sweep.wait();") == []
    code = (
        "gated.gate.release(12); gated.sweep(background=False, progress=False, existing='restart');"
    )
    assert shown(kernel, code) == []


def test_interrupt_stops_a_sweep(kernel):
    message = kernel.execute("sweep = gated.sweep(background=False, existing='restart')\nsweep")
    for status in ("a run without an answer", "stopping", "stopped at 0 of 12"):
        until(kernel, status)
        if not status.startswith("stopped"):
            kernel.manager.interrupt_kernel()
    reply = kernel.get_shell_msg(timeout=PATIENCE)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["ename"] == "SweepInterrupt"  # so that Run All stops
    becomes(kernel, "sys.last_value.sweep.view().panel.hint", "''")
