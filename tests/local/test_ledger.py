"""What the ledger keeps."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from execution_kit import START, event, full, record

from vellum_nb.errors import VellumNBError
from vellum_nb.local.engine.events import NODE_FULFILLED, Usage
from vellum_nb.local.ledger.ledger import Actual, Ledger
from vellum_nb.models import WorkflowEventError, WorkflowInput, WorkflowOutput


@pytest.fixture(params=["in memory", "in a folder"])
def ledger(request, tmp_path):
    ledger = Ledger(None if request.param == "in memory" else tmp_path)
    yield ledger
    ledger.close()


def test_a_record_comes_back_as_it_was_kept(ledger: Ledger):
    kept = full()
    ledger.begin(kept)
    assert ledger.record(kept.execution_id) == kept
    assert ledger.by_external_id("job 7") == kept
    assert ledger.record(kept.execution_id).state == {"turns": 2}


def test_what_is_not_kept_is_none(ledger: Ledger):
    assert ledger.record("x\ud800") is None
    assert ledger.by_external_id("x") is None
    assert ledger.latest_actual("x") is None
    assert ledger.file("x") is None
    assert ledger.events("x") == []
    assert ledger.records("x") == (0, [])


def test_events_come_back_in_order_with_all_that_they_tell(ledger: Ledger):
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
        event(begun, outputs=(WorkflowOutput(id="1", name="text", type="STRING", value="a"),)),
    ]
    ended = replace(begun, status="FULFILLED", end=START)
    ledger.finish(ended, events)
    assert ledger.events(begun.execution_id) == events
    assert ledger.record(begun.execution_id) == ended


def test_what_json_cannot_say_is_kept_as_null(ledger: Ledger):
    begun = record()
    ledger.begin(begun)
    ledger.finish(begun, [event(begun, body={"outputs": {"a": [float("nan"), float("inf"), 1.5]}})])
    (kept,) = ledger.events(begun.execution_id)
    assert kept.body == {"outputs": {"a": [None, None, 1.5]}}


def test_an_external_id_is_used_once(ledger: Ledger):
    ledger.begin(record(external_id="job\ud83d"))
    with pytest.raises(VellumNBError, match="was used before; it must be unique in the workspace"):
        ledger.begin(record(external_id="job\ud83d"))
    ledger.begin(record(external_id="job"))
    ledger.begin(record())
    ledger.begin(record())
    assert ledger.records("deployment")[0] == 4


def test_of_many_threads_one_gets_the_external_id_and_nothing_is_lost(ledger: Ledger):
    won: list[int] = []

    def begin(number: int) -> None:
        for n in range(20):
            ledger.begin(record(external_id=f"{number} {n}"))
        try:
            ledger.begin(record(external_id="the one"))
        except VellumNBError:
            return
        won.append(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert ledger.records("deployment")[0] == 8 * 20 + 1


def test_a_failed_write_leaves_nothing_behind(ledger: Ledger):
    begun = record()
    ledger.begin(begun)
    with pytest.raises(TypeError):
        ledger.add_actuals(begun.execution_id, [Actual(begun.execution_id, START, {"a": object()})])
    assert ledger.latest_actual(begun.execution_id) is None
    ledger.update(replace(begun, status="STREAMING"))
    assert ledger.record(begun.execution_id) == replace(begun, status="STREAMING")


def test_the_latest_actual_is_the_newest_and_of_equals_the_last(ledger: Ledger):
    def actual(n: int, seconds: int) -> Actual:
        return Actual("e", START + timedelta(seconds=seconds), {"output_key": "text", "n": n})

    ledger.add_actuals("e", [actual(1, 5), actual(2, 9), actual(3, 7)])
    assert ledger.latest_actual("e") == actual(2, 9)
    ledger.add_actuals("e", [actual(4, 9)])
    assert ledger.latest_actual("e") == actual(4, 9)


def test_executions_come_newest_first_and_page_by_page(ledger: Ledger):
    kept = [record(start=START + timedelta(seconds=n // 2)) for n in range(7)]
    for each in kept:
        ledger.begin(each)
    ledger.begin(record(deployment_id="another"))
    found = [ledger.records("deployment", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [count for count, _ in found] == [7, 7, 7, 7]
    assert [each for _, page in found for each in page] == kept[::-1]


def test_files_are_kept_and_replaced(ledger: Ledger):
    id_ = ledger.add_file("ä\ud800.txt", b"\0one", media_type="text/plain")
    kept = ledger.file(id_)
    assert kept is not None
    assert (kept.name, kept.media_type, kept.content) == ("ä\\ud800.txt", "text/plain", b"\0one")
    assert ledger.add_file("b", b"two", id_=id_) == id_
    replaced = ledger.file(id_)
    assert replaced is not None
    assert replaced.content == b"two"
    assert "two" not in repr(replaced)


def test_a_secret_stays_the_same(tmp_path: Path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    assert first.secret("uploads") == second.secret("uploads") != first.secret("other")
    assert len(first.secret("uploads")) == 32
    first.close()
    second.close()


def test_a_closed_ledger_opens_again(ledger: Ledger):
    kept = full()
    ledger.begin(kept)
    ledger.close()
    assert ledger.record(kept.execution_id) == kept


def test_a_second_ledger_finds_what_the_first_kept(tmp_path: Path):
    kept = full()
    first = Ledger(tmp_path / "new" / "folder")
    first.begin(kept)
    second = Ledger(tmp_path / "new" / "folder")
    assert second.record(kept.execution_id) == kept
    first.close()
    second.close()


def test_what_ran_in_a_killed_server_is_rejected_at_the_next_start(ledger: Ledger):
    before = datetime.now(UTC)
    states = ("PENDING", "INITIATED", "STREAMING", "FULFILLED", "REJECTED")
    kept = {state: record(status=state, external_id=state) for state in states}
    for each in kept.values():
        ledger.begin(each)
    assert ledger.reject_running("The server ended while it ran") == 3
    assert ledger.reject_running("again") == 0
    for state in ("PENDING", "INITIATED", "STREAMING"):
        found = ledger.record(kept[state].execution_id)
        assert found is not None
        assert found.status == "REJECTED"
        assert found.end is not None
        assert found.end >= before
        error = WorkflowEventError(
            message="The server ended while it ran", code="WORKFLOW_CANCELLED"
        )
        assert found.error == error
    assert ledger.by_external_id("FULFILLED") == kept["FULFILLED"]


def test_the_file_holds_plain_json(tmp_path: Path):
    ledger = Ledger(tmp_path)
    kept = full()
    ledger.begin(kept)
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "executions.db")) as db:
        text, metadata = db.execute("SELECT record, metadata FROM executions").fetchone()
    assert json.loads(text)["external_id"] == "job 7"
    assert metadata == '{"n":1,"user":"ü"}'


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_deep_values_are_kept_and_those_too_deep_are_refused(ledger: Ledger):
    deep = record(
        metadata={"deep": nested(600)},
        inputs=(WorkflowInput(name="data", type="JSON", value=nested(600)),),
    )
    ledger.begin(deep)
    ledger.finish(deep, [event(deep, body={"outputs": {"deep": nested(600)}})])
    assert ledger.record(deep.execution_id) == deep
    assert ledger.events(deep.execution_id)[0].body == {"outputs": {"deep": nested(600)}}
    with pytest.raises(VellumNBError, match="nested too deeply to be stored"):
        ledger.begin(record(metadata={"deep": nested(200_000)}))
