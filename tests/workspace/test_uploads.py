"""Files over the limit of data URLs: uploaded once, sent by id, kept whole."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import vellum_nb as vnb
from vellum_nb.local import ChatHistory, Document, Faults
from vellum_nb.models.media import DATA_URL_LIMIT
from vellum_nb.sweep import retry_policy
from vellum_nb.workspace.runner import Uploads

LIMIT = 50_000  # characters: the real one makes most tests slow
SMALL = b"%PDF-small"
LARGE = b"%PDF-" + b"x" * LIMIT


def data_url(content: bytes) -> str:
    return f"data:application/pdf;base64,{base64.b64encode(content).decode()}"


SRC = data_url(LARGE)


def measure(file: Document) -> int:
    return len(file["src"])


def measure_chat(chat: ChatHistory) -> int:
    return len(chat[0]["content"]["value"]["src"])


@pytest.fixture
def uploading(server, ws, monkeypatch):
    monkeypatch.setattr("vellum_nb.workspace.runner.DATA_URL_LIMIT", LIMIT)
    server.deploy(measure)
    server.deploy(measure_chat, name="chat")
    return ws


def sent(ws, run):
    """Return the inputs as the server got them."""
    execution = ws.client.workflow_deployment_event_execution(run.deployment, run.execution_id)
    return {item.name: item.value for item in execution.inputs}


def test_large_file_is_sent_by_its_id_and_stored_in_full(server, ws):
    server.deploy(measure)
    huge = b"%PDF-" + b"x" * DATA_URL_LIMIT
    run = ws.run("measure", {"file": huge})
    assert run.outputs == {"output": len(data_url(huge))}
    assert run.inputs == {"file": {"src": data_url(huge)}}
    src = sent(ws, run)["file"]["src"]
    assert src.startswith("vellum:uploaded-file:")


def test_large_file_is_uploaded_once(uploading):
    run = uploading.run("measure", {"file": LARGE})
    src = sent(uploading, run)["file"]["src"]
    assert src.startswith("vellum:uploaded-file:")
    again = uploading.run("measure", {"file": LARGE})
    assert sent(uploading, again)["file"]["src"] == src
    assert again.case_id == run.case_id


def test_small_file_is_sent_as_a_data_url(uploading):
    run = uploading.run("measure", {"file": SMALL})
    assert sent(uploading, run) == run.inputs
    assert run.inputs["file"]["src"].startswith("data:application/pdf")


def test_large_file_in_a_chat_is_sent_by_its_id(uploading):
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
    assert run.doubt is None
    assert uploading.client.list_workflow_deployment_event_executions("measure").count == 0


def test_an_upload_can_be_cancelled(server, uploading):
    server.faults = Faults(latency_s=3, paths="/v1/uploaded-files")
    form = uploading.form("measure")
    form.value = {"file": LARGE}
    form.submit()
    while uploading.history.count() == 0:
        time.sleep(0.01)
    form.cancel()
    (run,) = form.wait(2)
    form.close()
    assert (run.state, run.doubt) == ("CANCELLED", None)
    assert uploading.history.get(run.id) == run
    assert uploading.client.list_workflow_deployment_event_executions("measure").count == 0


@pytest.mark.slow
def test_a_sweep_uploads_a_file_once_however_many_calls_send_it(server, uploading):
    other = LARGE + b"!"
    cases = [{"file": content, "label": n} for n, content in enumerate([LARGE, other, LARGE])]
    sweep = uploading.sweep("measure", cases, repeats=3, progress=False)
    runs = sweep.runs()
    assert [run.state for run in runs] == ["FULFILLED"] * 9
    places = {}
    for run in runs:
        places.setdefault(run.inputs["file"]["src"], set()).add(sent(uploading, run)["file"]["src"])
    assert sorted(map(len, places.values())) == [1, 1]
    (first,), (second,) = places.values()
    assert first != second
    assert first.startswith("vellum:uploaded-file:")


def test_a_file_of_a_sweep_that_cannot_be_uploaded_fails_its_runs_and_no_other(
    server, uploading, monkeypatch
):
    monkeypatch.setattr(
        retry_policy, "_MAX_UNKNOWN_SENDS", 3
    )  # the waits between six add up to 15 s
    server.faults = Faults(rate_500=1.0, paths="/v1/uploaded-files")
    cases = [{"file": LARGE}, {"file": SMALL}]
    sweep = uploading.sweep("measure", cases, progress=False)
    states = {len(run.inputs["file"]["src"]) > LIMIT: run.state for run in sweep.runs()}
    assert states == {True: "FAILED", False: "FULFILLED"}
    (failed,) = [run for run in sweep.runs() if run.state == "FAILED"]
    assert failed.error.code == "HTTP_500"
    assert uploading.client.list_workflow_deployment_event_executions("measure").count == 1


def test_different_files_are_uploaded_side_by_side(hostile, monkeypatch):
    monkeypatch.setattr("vellum_nb.workspace.runner.DATA_URL_LIMIT", LIMIT)
    both = threading.Barrier(2)

    def answer(handler):
        with suppress(threading.BrokenBarrierError):
            both.wait(120)
        handler.reply(500 if both.broken else 201, {"id": str(handler.client_address[1])})

    hostile.answers["/v1/uploaded-files"] = answer
    file = {"name": "file", "type": "DOCUMENT"}
    inputs = [[{**file, "value": {"src": SRC + end}}] for end in "AB"]
    with (
        vnb.Client(api_key="sk-0123456789", base_url=hostile.url) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        found = list(pool.map(Uploads(client).sent, inputs))
    assert len({item["value"]["src"] for (item,) in found}) == 2
