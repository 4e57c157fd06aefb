"""Files over the limit of data URLs: uploaded once, sent by id, kept whole."""

from __future__ import annotations

import base64

import pytest

import vellum_nb as vnb
from vellum_nb.local import ChatHistory, Document, Faults
from vellum_nb.models.media import DATA_URL_LIMIT

SMALL = b"%PDF-small"
LARGE = b"%PDF-" + b"x" * DATA_URL_LIMIT
SRC = f"data:application/pdf;base64,{base64.b64encode(LARGE).decode()}"


def measure(file: Document) -> int:
    return len(file["src"])


def measure_chat(chat: ChatHistory) -> int:
    return len(chat[0]["content"]["value"]["src"])


@pytest.fixture
def uploading(server, ws):
    server.deploy(measure)
    server.deploy(measure_chat, name="chat")
    return ws


def sent(ws, run):
    """Return the inputs as the server got them."""
    found = ws.client.workflow_deployment_event_execution(run.deployment, run.execution_id)
    return {item.name: item.value for item in found.inputs}


def test_a_large_file_is_sent_by_its_id_and_kept_whole(uploading):
    run = uploading.run("measure", {"file": LARGE})
    assert run.outputs == {"output": len(SRC)}
    assert run.inputs == {"file": {"src": SRC}}
    src = sent(uploading, run)["file"]["src"]
    assert src.startswith("vellum:uploaded-file:")
    again = uploading.run("measure", {"file": LARGE})
    assert sent(uploading, again)["file"]["src"] == src
    assert again.case_id == run.case_id


def test_a_small_file_stays_a_data_url(uploading):
    run = uploading.run("measure", {"file": SMALL})
    assert sent(uploading, run) == run.inputs
    assert run.inputs["file"]["src"].startswith("data:application/pdf")


def test_a_large_file_in_a_chat_is_sent_by_its_id_too(uploading):
    turn = {"role": "USER", "content": {"type": "DOCUMENT", "value": {"src": SRC}}}
    run = uploading.run("chat", {"chat": [turn]})
    assert run.state == "FULFILLED"
    (told,) = sent(uploading, run)["chat"]
    assert told["content"]["value"]["src"].startswith("vellum:uploaded-file:")
    assert run.inputs["chat"][0]["content"]["value"]["src"] == SRC


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
def test_a_file_that_cannot_be_uploaded_fails_the_run_and_nothing_is_executed(
    server, uploading, way
):
    server.faults = Faults(rate_500=1.0, paths="/v1/uploaded-files")
    with pytest.raises(vnb.ServerError):
        getattr(uploading, way)("measure", {"file": LARGE})
    (run,) = uploading.history.runs()
    assert (run.state, run.error.code, run.execution_id) == ("FAILED", "HTTP_500", None)
    assert uploading.client.list_workflow_deployment_event_executions("measure").count == 0
