"""A sweep in a real kernel: what its cells show, and that buttons are heard as messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from sweep_view_kit import PATIENCE

VIEW = "application/vnd.jupyter.widget-view+json"
SETUP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from sweep_view_kit import Gated
gated = Gated()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(startup_timeout=PATIENCE)
    client.manager = manager
    shown(client, SETUP)
    yield client
    shown(client, "gated.close()")
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def shown(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Run code; return what its cell shows, by type of content."""
    found: list[dict[str, Any]] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        assert message["msg_type"] not in {"error", "stream"}, content
        if message["msg_type"] in {"display_data", "execute_result"}:
            found.append(content["data"])

    client.execute_interactive(code, timeout=PATIENCE, output_hook=hear)
    return found


def becomes(client: BlockingKernelClient, code: str, text: str) -> None:
    end = time.monotonic() + PATIENCE
    while (found := shown(client, code)[0]["text/plain"]) != text:
        assert time.monotonic() < end, (found, text)


def test_a_cell_that_waits_shows_the_view_once_and_then_how_it_ended(kernel):
    code = "gated.gate.release(12)\nsweep = gated.sweep(background=False)\nsweep"
    view, result = shown(kernel, code)
    assert view["text/plain"] == "SweepView(triage on v1, v2: 12 runs)"
    assert VIEW in view
    assert result == {"text/plain": "<Sweep of triage on v1, v2: done, 12 of 12 runs, 2 failed>"}


def test_a_cell_that_ends_in_the_sweep_shows_the_same_view_again(kernel):
    (one,), (two,) = shown(kernel, "sweep"), shown(kernel, "sweep")
    assert one[VIEW] == two[VIEW]
    assert "<table>" in one["text/html"]
    (three,) = shown(kernel, "None; sweep.wait()")  # the result, and no second view
    assert three["text/plain"].startswith("<Sweep of triage")
    assert shown(kernel, "sweep.wait();") == []


def test_without_progress_nothing_is_shown(kernel):
    code = "gated.gate.release(12); gated.sweep(background=False, progress=False, restart=True);"
    assert shown(kernel, code) == []


def test_buttons_are_heard_as_messages(kernel):
    shown(kernel, "sweep = gated.sweep(restart=True)")
    model = shown(kernel, "sweep.view().model_id")[0]["text/plain"].strip("'")
    for kind, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopping")):
        data = {"method": "custom", "content": {"kind": kind}}
        content = {"comm_id": model, "data": data}
        kernel.shell_channel.send(kernel.session.msg("comm_msg", content))
        becomes(kernel, "sweep.state", repr(state))
    shown(kernel, "gated.gate.release(4)")
    becomes(kernel, "sweep.state", "'stopped'")


def test_an_interrupt_stops_a_sweep_that_a_cell_waits_for(kernel):
    message = kernel.execute("sweep = gated.sweep(background=False, restart=True)\nsweep")
    await_status(kernel, "a run without an answer")
    kernel.manager.interrupt_kernel()
    await_status(kernel, "stopping")
    kernel.manager.interrupt_kernel()
    await_status(kernel, "stopped at 0 of 12")
    reply = kernel.get_shell_msg(timeout=PATIENCE)
    assert reply["parent_header"]["msg_id"] == message
    assert reply["content"]["ename"] == "SweepInterrupt"  # so that Run All stops
    becomes(kernel, "sweep.view().hint", "''")


def await_status(client: BlockingKernelClient, text: str) -> None:
    """Read what the kernel tells its front ends, until the view says `text`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=PATIENCE)
        state = message["content"].get("data", {}).get("state", {})
        if text in str(state.get("view_model", {}).get("status", "")):
            return
    pytest.fail(f"{text!r} was never shown")
