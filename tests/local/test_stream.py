"""Streams: what is told, in which order, and when."""

from __future__ import annotations

import asyncio
import json

import pytest


def inputs(**values):
    return [{"name": n, "type": type_, "value": value} for n, (type_, value) in values.items()]


def events(answer):
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.iter_lines()]


@pytest.fixture
def stream(api):
    def ask(name, text="abc", **body):
        body.setdefault("inputs", inputs(text=("STRING", text)))
        return events(post(api, workflow_deployment_name=name, **body))

    return ask


def post(api, path="/v1/execute-workflow-stream", *, stream=False, **body):
    return api.session.post(api.server.url + path, json=body, timeout=20, stream=stream)


def told(event):
    """Return the state of a WORKFLOW event, and the progress that it tells."""
    data = event["data"]
    output = data["output"]
    if output is None:
        return (data["state"],)
    said = output["value"] if output["state"] == "FULFILLED" else output["delta"]
    return data["state"], output["name"], output["state"], said


@pytest.mark.parametrize("name", ["echo", "later", "streamed", "streamed-later", "count"])
def test_deltas_add_up_to_the_final_text(stream, name):
    texts, final = {}, {}
    for event in stream(name, "one two"):
        output = event["data"]["output"]
        if output and output["delta"] is not None:
            texts[output["name"]] = texts.get(output["name"], "") + output["delta"]
        for each in event["data"]["outputs"] or ():
            if each["type"] == "STRING":
                final[each["name"]] = each["value"]
    assert texts == final
    assert final


def test_a_returned_value_has_the_last_word(fresh, asking):
    def corrected():
        yield "draft"
        return {"output": "final"}

    fresh.deploy(corrected)
    found = events(post(asking(fresh), workflow_deployment_name="corrected", inputs=[]))
    assert told(found[-2]) == ("STREAMING", "output", "FULFILLED", "final")
    assert found[-1]["data"]["outputs"][0]["value"] == "final"


@pytest.mark.parametrize("kind", ["generator", "async generator"])
def test_words_arrive_before_the_run_ends(fresh, asking, gate, kind):
    def words():
        yield "first"
        gate.open.wait(20)
        yield " second"

    async def words_later():
        yield "first"
        await asyncio.to_thread(gate.open.wait, 20)
        yield " second"

    fresh.deploy(words if kind == "generator" else words_later, name="words")
    with post(asking(fresh), workflow_deployment_name="words", inputs=[], stream=True) as answer:
        lines = answer.iter_lines(chunk_size=1)
        before = [told(json.loads(next(lines))) for _ in range(3)]
        gate.open.set()
        after = [told(json.loads(line)) for line in lines]
    assert before[-1] == ("STREAMING", "output", "STREAMING", "first")
    assert after[0] == ("STREAMING", "output", "STREAMING", " second")
    assert after[-1] == ("FULFILLED",)


def test_an_async_generator_stays_in_one_task(fresh, asking):
    async def tasks():
        async with asyncio.timeout(20):
            for _ in range(3):
                yield f"{id(asyncio.current_task())} "

    fresh.deploy(tasks)
    found = events(post(asking(fresh), workflow_deployment_name="tasks", inputs=[]))
    (output,) = found[-1]["data"]["outputs"]
    assert len(output["value"].split()) == 3
    assert len(set(output["value"].split())) == 1


def test_an_external_id_is_used_up_by_every_way_to_execute(api):
    body = {
        "workflow_deployment_name": "echo",
        "inputs": inputs(text=("STRING", "a")),
        "external_id": "every-way",
    }
    assert post(api, **body).status_code == 200
    for path in ("execute-workflow", "execute-workflow-async", "execute-workflow-stream"):
        answer = post(api, f"/v1/{path}", **body)
        assert (answer.status_code, "used before" in answer.text) == (400, True)


def envelopes(api, name, **body):
    return events(post(api, f"/v1/workflow-deployments/{name}/execute-stream", **body))


def test_execute_stream_gives_plain_values_the_types_of_the_variables(api):
    *_, last = envelopes(api, "typed", inputs={"number": 2, "tier": "pro", "data": {"a": 1}})
    assert last["body"]["outputs"]["number"] == "float 2.0"
    assert last["body"]["outputs"]["data"] == "dict {'a': 1}"
