"""Streams: what is told, in which order, and when."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

WORKFLOW_KEYS = ["id", "state", "ts", "output", "error", "outputs", "inputs"]


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


def test_a_stream_tells_each_output_from_its_beginning_to_its_value(stream):
    assert [told(event) for event in stream("streamed")] == [
        ("INITIATED",),
        ("STREAMING", "output", "INITIATED", None),
        ("STREAMING", "output", "STREAMING", "a"),
        ("STREAMING", "output", "STREAMING", "b"),
        ("STREAMING", "output", "STREAMING", "c"),
        ("STREAMING", "output", "FULFILLED", "abc"),
        ("STREAMING", "letters", "FULFILLED", 3),
        ("FULFILLED",),
    ]


def test_lines_have_the_keys_of_the_contract_and_are_ascii(api):
    body = {"inputs": inputs(text=("STRING", "ä\u2028🙂")), "external_id": "stream-keys"}
    answer = post(api, workflow_deployment_name="streamed", **body)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.content.isascii()
    assert answer.content.endswith(b"\n")
    found = events(answer)
    assert len({event["execution_id"] for event in found}) == 1
    assert len({event["data"]["id"] for event in found}) == 1
    uuid.UUID(found[0]["execution_id"])
    for event in found:
        assert list(event) == ["execution_id", "run_id", "external_id", "type", "data"]
        assert (event["run_id"], event["external_id"], event["type"]) == (
            None,
            "stream-keys",
            "WORKFLOW",
        )
        assert list(event["data"]) == WORKFLOW_KEYS
    (given,) = found[0]["data"]["inputs"]
    assert (given["name"], given["type"], given["value"]) == ("text", "STRING", "ä\u2028🙂")
    outputs = [(o["name"], o["type"], o["value"]) for o in found[-1]["data"]["outputs"]]
    assert outputs == [("output", "STRING", "ä\u2028🙂"), ("letters", "NUMBER", 3)]


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


def envelopes(api, name, **body):
    return events(post(api, f"/v1/workflow-deployments/{name}/execute-stream", **body))


def test_execute_stream_tells_the_events_in_their_envelopes(api):
    found = envelopes(api, "streamed", inputs={"text": "ab"}, metadata={"a": 1})
    assert [event["name"] for event in found] == [
        "workflow.execution.initiated",
        "node.execution.initiated",
        *["workflow.execution.streaming"] * 5,
        "node.execution.fulfilled",
        "workflow.execution.fulfilled",
    ]
    assert [e["body"]["output"] for e in found if "output" in e["body"]] == [
        {"name": "output"},
        {"name": "output", "delta": "a"},
        {"name": "output", "delta": "b"},
        {"name": "output", "value": "ab"},
        {"name": "letters", "value": 2},
    ]
    assert found[0]["body"]["inputs"] == {"text": "ab"}
    assert found[-1]["body"]["outputs"] == {"output": "ab", "letters": 2}
    assert len({event["trace_id"] for event in found}) == 1
    parent = found[0]["parent"]
    assert (parent["type"], parent["release_tag_name"]) == ("WORKFLOW_RELEASE_TAG", "LATEST")
    assert parent["metadata"] == {"a": 1}
    assert found[1]["parent"]["span_id"] == found[0]["span_id"]


def test_execute_stream_gives_plain_values_the_types_of_the_variables(api):
    *_, last = envelopes(api, "typed", inputs={"number": 2, "tier": "pro", "data": {"a": 1}})
    assert last["body"]["outputs"]["number"] == "float 2.0"
    assert last["body"]["outputs"]["data"] == "dict {'a': 1}"
