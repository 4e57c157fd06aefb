"""What the ledger keeps."""

from dataclasses import replace
from typing import Any

import pytest
from execution_kit import START, event, record

from vellum_nb.errors import VellumNBError
from vellum_nb.local.engine.events import NODE_FULFILLED, Usage
from vellum_nb.local.ledger import EventLog, Ledger
from vellum_nb.models import WorkflowInput, WorkflowOutput


@pytest.fixture(params=["in memory", "in a folder"])
def ledger(request, tmp_path):
    ledger = Ledger(None if request.param == "in memory" else tmp_path)
    yield ledger
    ledger.close()


def test_events_come_back_in_order_with_all_that_they_show(ledger):
    begun = record()
    ledger.begin(begun)
    events = [
        event(
            begun,
            NODE_FULFILLED,
            body={"outputs": {"text": "half a pair \ud83d", "n": 1}},
            parent={"type": "WORKFLOW", "span_id": begun.execution_id},
            kind="PROMPT",
            usage=(Usage("model", 3, 4, 0.5),),
        ),
        event(begun, body={"outputs": {"text": "a"}}),
    ]
    outputs = (WorkflowOutput(id="1", name="text", type="STRING", value="a"),)
    ended = replace(begun, status="FULFILLED", end=START, outputs=outputs)
    ledger.finish(ended, EventLog([events[0], replace(events[1], outputs=outputs)]))
    assert ledger.events(begun.execution_id) == events
    assert ledger.record(begun.execution_id) == ended


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_deep_values_are_kept_and_those_too_deep_are_refused(ledger):
    deep = record(
        metadata={"deep": nested(600)},
        inputs=(WorkflowInput(name="data", type="JSON", value=nested(600)),),
    )
    ledger.begin(deep)
    ledger.finish(deep, EventLog([event(deep, body={"outputs": {"deep": nested(600)}})]))
    assert ledger.record(deep.execution_id) == deep
    assert ledger.events(deep.execution_id)[0].body == {"outputs": {"deep": nested(600)}}
    with pytest.raises(VellumNBError, match="nested too deeply to be stored"):
        ledger.begin(record(metadata={"deep": nested(200_000)}))
