"""The form in a real kernel, spoken to as a front end does: by comm messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

PATIENCE = 30
SETUP = """
import ipywidgets, sys, threading
from datetime import UTC, datetime
from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.widgets import RunForm
from vellum_nb.widgets.results import FormRuns
from vellum_nb.widgets.spec import FormSpec, Progressing, TagChoice

sign = ipywidgets.HTML()

def run(request, cancel):
    cancelled = request.inputs["ticket"] == "slow" and cancel.wait(30)
    return Run(id="1", deployment="d", release_tag=request.release_tag, inputs=dict(request.inputs),
               timestamp=datetime.now(UTC), case_id=case_id({}),
               state="CANCELLED" if cancelled else "FULFILLED",
               outputs={} if cancelled else {"reply": "hello from " + request.release_tag})

def say_when_waiting(thread=threading.get_ident()):
    stack = []
    while FormRuns.wait.__code__ not in stack:
        frame, stack = sys._current_frames()[thread], []
        while frame:
            stack.append(frame.f_code)
            frame = frame.f_back
    sign.value = "waiting"

ticket = VellumVariable(key="ticket", type="STRING")
spec = FormSpec("d", "d", "", "local server", (ticket,), "r1", (TagChoice("r1", ("v1", "LATEST")),))
form = RunForm(spec, run=run, release=lambda tag: WorkflowDeploymentRelease(id="r1"))

def stream(request, cancel, tell):
    tell(Progressing({"reply": "half a"}))
    cancel.wait(30)
    return run(request, cancel).model_copy(update={"outputs": {"reply": "half a word"}})

def rate(run, quality, desired):
    return run.model_copy(update={"quality": quality, "desired": desired})

live = RunForm(spec, run=run, release=form._releases._read, stream=stream, rate=rate)
"""

WAIT = "threading.Thread(target=say_when_waiting).start(); form.submit(); form.wait()"


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(startup_timeout=60)
    client.manager = manager
    run(client, SETUP)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def run(client: BlockingKernelClient, code: str) -> str:
    """Run code; return what it printed or its result."""
    texts: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "error":
            texts.append("\n".join(content["traceback"]))
        elif message["msg_type"] == "stream":
            texts.append(content["text"])
        elif message["msg_type"] == "execute_result":
            texts.append(content["data"]["text/plain"])

    client.execute_interactive(code, timeout=PATIENCE, output_hook=hear)
    return "".join(texts)


def ids(client: BlockingKernelClient, form: str = "form") -> dict[str, str]:
    widgets = {
        "ticket": f"{form}._fields['ticket']._control",
        "run": f"{form}._bar._run",
        "cancel": f"{form}._bar._cancel",
        "progress": f"{form}._bar._progress",
        "stream": f"{form}._bar.stream",
        "answers": f"{form}._runs.answers._answers",
        "bars": f"{form}._runs.bars",
        "sign": "sign",
    }
    text = run(client, f"print({', '.join(f'{w}.model_id' for w in widgets.values())})")
    return dict(zip(widgets, text.split(), strict=True))


def send(client: BlockingKernelClient, model: str, data: dict[str, Any]) -> None:
    """Send what a front end sends."""
    content = {"comm_id": model, "data": data}
    client.shell_channel.send(client.session.msg("comm_msg", content))


def type_text(client: BlockingKernelClient, model: str, text: str) -> None:
    state = {"value": text}
    send(client, model, {"method": "update", "state": state, "buffer_paths": []})


def click(client: BlockingKernelClient, model: str) -> None:
    send(client, model, {"method": "custom", "content": {"event": "click"}})


def until(client: BlockingKernelClient, model: str, text: str, *, trait: str = "value") -> None:
    """Read what the kernel tells its front ends, until a widget shows `text`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=PATIENCE)
        content = message["content"]
        if message["msg_type"] == "comm_msg" and content["comm_id"] == model:
            state = content["data"].get("state", {})
            if text in str(state.get(trait, "")):
                return
    pytest.fail(f"{text!r} was never shown")


def until_idle(client: BlockingKernelClient) -> None:
    """Wait until the form takes another click; a request that the interrupt aborts says nothing."""
    end = time.monotonic() + PATIENCE
    while run(client, "print(form.busy)") != "False\n":
        assert time.monotonic() < end, "the form stays busy"


def test_a_click_message_runs_what_was_typed_and_the_answer_comes_as_an_update(kernel):
    models = ids(kernel)
    type_text(kernel, models["ticket"], "hi")
    click(kernel, models["run"])
    until(kernel, models["answers"], "hello from v1")
    assert "RunForm('d', run on: v1)" in run(kernel, "form")
    assert run(kernel, "form.value") == "{'ticket': 'hi'}"


def test_a_click_on_cancel_is_heard_while_runs_are_under_way(kernel):
    models = ids(kernel)
    type_text(kernel, models["ticket"], "slow")
    click(kernel, models["run"])
    click(kernel, models["cancel"])
    until(kernel, models["progress"], "cancelled")
    assert run(kernel, "form.wait(10)[0].state") == "'CANCELLED'"


def test_a_kernel_interrupt_ends_the_wait_and_the_runs_and_the_form_lives_on(kernel):
    models = ids(kernel)
    type_text(kernel, models["ticket"], "slow")
    kernel.execute(WAIT)
    until(kernel, models["sign"], "waiting")
    kernel.manager.interrupt_kernel()
    until(kernel, models["progress"], "cancelled")
    until_idle(kernel)
    type_text(kernel, models["ticket"], "hi again")
    click(kernel, models["run"])
    until(kernel, models["answers"], "hello from v1")


def test_text_that_grows_a_rating_and_a_correction_travel_as_messages(kernel):
    models = ids(kernel, "live")
    type_text(kernel, models["ticket"], "hi")
    switched = {"method": "update", "state": {"value": True}, "buffer_paths": []}
    send(kernel, models["stream"], switched)
    click(kernel, models["run"])
    until(kernel, models["bars"], "half a", trait="live")
    click(kernel, models["cancel"])
    until(kernel, models["answers"], "half a word")
    say(kernel, models["bars"], {"event": "rate", "id": "1", "quality": 1})
    until(kernel, models["bars"], "'quality': 1", trait="bars")
    say(kernel, models["bars"], {"event": "save", "id": "1", "texts": {"reply": "a whole word"}})
    until(kernel, models["bars"], "corrected: reply", trait="bars")
    assert run(kernel, "live.runs[0].desired") == "{'reply': 'a whole word'}"


def say(client: BlockingKernelClient, model: str, content: dict[str, Any]) -> None:
    send(client, model, {"method": "custom", "content": content})
