"""Form and sweep in a real kernel, spoken to as a front end does: by comm messages."""

import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

PATIENCE = 60
VIEW = "application/vnd.jupyter.widget-view+json"
SETUP = f"""
import sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
import ipywidgets
from form_kit import SPEC, answer, bars, parts, release, variable
from sweep_view_kit import Gated
from dataclasses import replace
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.results import FormRuns
from vellum_nb.widgets.spec import Progressing, TagChoice

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

def stream(request, cancel, show):
    show(Progressing({{"reply": "half a"}}))
    cancel.wait(30)
    return run(request, cancel).model_copy(update={{"outputs": {{"reply": "half a word"}}}})

def rate(run, quality, desired):
    return run.model_copy(update={{"quality": quality, "desired": desired}})

spec = replace(SPEC, name="d", variables=(variable("ticket"),), tags=(TagChoice("r2", ("v1", "LATEST")),))
form = RunForm(spec, run=run, release=release)
live = RunForm(spec, run=run, release=release, stream=stream, rate=rate)
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
    """Run code; return what its cell shows, by type of content."""
    found = []

    def receive(message):
        content = message["content"]
        assert message["msg_type"] != "error", "\n".join(content["traceback"])
        if message["msg_type"] in {"display_data", "execute_result"}:
            found.append(content["data"])

    client.execute_interactive(code, timeout=PATIENCE, output_hook=receive)
    return found


def becomes(client, code, text):
    end = time.monotonic() + PATIENCE  # a request that an interrupt aborts shows nothing
    while (found := [each["text/plain"] for each in shown(client, code)]) != [text]:
        assert time.monotonic() < end, (found, text)


def model_of(client, code):
    return str(shown(client, f"{code}.model_id")[0]["text/plain"].strip("'"))


def part(client, css, form="form"):
    return model_of(client, f"parts({form}, {css!r})[0]")


def send(client, model, value=None, **content):
    """Send what a front end sends: the new value of a control, or a message."""
    data = {"method": "custom", "content": content}
    if value is not None:
        data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
    client.shell_channel.send(message)


def until(client, model, text, *, trait="value"):
    """Read what the kernel sends its front ends, until a widget shows `text`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=PATIENCE)
        content = message["content"]
        is_ours = message["msg_type"] == "comm_msg" and content["comm_id"] == model
        if is_ours and text in str(content["data"].get("state", {}).get(trait, "")):
            return
    pytest.fail(f"{text!r} was never shown")


def test_clicks_run_and_cancel_what_was_typed(kernel):
    ticket, run, cancel = (part(kernel, f"vnb-{name}") for name in ("control", "run", "cancel"))
    answers, progress = part(kernel, "vnb-answers"), part(kernel, "vnb-progress")
    send(kernel, ticket, "hi")
    send(kernel, run, event="click")
    until(kernel, answers, "hello from v1")
    assert shown(kernel, "form.value")[0]["text/plain"] == "{'ticket': 'hi'}"
    becomes(kernel, "form.busy", "False")
    send(kernel, ticket, "slow")
    send(kernel, run, event="click")
    send(kernel, cancel, event="click")
    until(kernel, progress, "cancelled")
    assert shown(kernel, "form.wait(10)[0].state")[0]["text/plain"] == "'CANCELLED'"


def test_a_kernel_interrupt_ends_the_wait_and_the_runs_and_the_form_lives_on(kernel):
    ticket, run = part(kernel, "vnb-control"), part(kernel, "vnb-run")
    answers, progress = part(kernel, "vnb-answers"), part(kernel, "vnb-progress")
    sign = model_of(kernel, "sign")
    send(kernel, ticket, "slow")
    kernel.execute("threading.Thread(target=show_when_waiting).start(); form.submit(); form.wait()")
    until(kernel, sign, "waiting")
    kernel.manager.interrupt_kernel()
    until(kernel, progress, "cancelled")
    becomes(kernel, "form.busy", "False")
    send(kernel, ticket, "hi again")
    send(kernel, run, event="click")
    until(kernel, answers, "hello from v1")


def test_text_that_grows_a_rating_and_a_correction_travel_as_messages(kernel):
    names = ("control", "stream", "run", "cancel", "answers")
    ticket, stream, run, cancel, answers = (part(kernel, f"vnb-{n}", "live") for n in names)
    bars = model_of(kernel, "bars(live)")
    send(kernel, ticket, "hi")
    send(kernel, stream, value=True)
    send(kernel, run, event="click")
    until(kernel, bars, "half a", trait="live")
    send(kernel, cancel, event="click")
    until(kernel, answers, "half a word")
    send(kernel, bars, event="rate", id="v1", quality=1)
    until(kernel, bars, "'quality': 1", trait="bars")
    send(kernel, bars, event="save", id="v1", texts={"reply": "a whole word"})
    until(kernel, bars, "corrected: reply", trait="bars")
    assert shown(kernel, "live.runs[0].desired")[0]["text/plain"] == "{'reply': 'a whole word'}"


def test_a_cell_shows_the_view_of_its_sweep_once_and_then_how_it_ended(kernel):
    code = "gated.gate.release(12)\nsweep = gated.sweep(background=False)\nsweep"
    view, result = shown(kernel, code)
    assert view["text/plain"] == "SweepView(triage on v1, v2: 12 runs)"
    assert VIEW in view
    assert result == {"text/plain": "<Sweep of triage on v1, v2: done, 12 of 12 runs, 2 failed>"}
    (one,), (two,) = shown(kernel, "sweep"), shown(kernel, "sweep")
    assert one[VIEW] == two[VIEW]
    assert "<table>" in one["text/html"]
    (three,) = shown(kernel, "None; sweep.wait()")  # the result, and no second view
    assert three["text/plain"].startswith("<Sweep of triage")
    assert shown(kernel, "sweep.wait();") == []
    code = "gated.gate.release(12); gated.sweep(background=False, progress=False, restart=True);"
    assert shown(kernel, code) == []


def test_buttons_of_a_sweep_travel_as_messages(kernel):
    shown(kernel, "sweep = gated.sweep(restart=True)")
    model = model_of(kernel, "sweep.view()")
    for kind, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopping")):
        send(kernel, model, kind=kind)
        becomes(kernel, "sweep.state", repr(state))
    shown(kernel, "gated.gate.release(4)")
    becomes(kernel, "sweep.state", "'stopped'")


def test_an_interrupt_stops_a_sweep_that_a_cell_waits_for(kernel):
    message = kernel.execute("sweep = gated.sweep(background=False, restart=True)\nsweep")
    for status in ("a run without an answer", "stopping", "stopped at 0 of 12"):
        await_status(kernel, status)
        if not status.startswith("stopped"):
            kernel.manager.interrupt_kernel()
    reply = kernel.get_shell_msg(timeout=PATIENCE)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["ename"] == "SweepInterrupt"  # so that Run All stops
    becomes(kernel, "sweep.view().hint", "''")


def await_status(client, text):
    """Read what the kernel sends its front ends, until the view of a sweep says `text`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=PATIENCE)
        state = message["content"].get("data", {}).get("state", {})
        if text in str(state.get("view_model", {}).get("status", "")):
            return
    pytest.fail(f"{text!r} was never shown")
