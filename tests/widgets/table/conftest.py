"""A history in a real file, its table, and a page that speaks to it as the browser does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import comm
import pytest
from wire_kit import Page, Wire

from vellum_nb import History, HistoryView, Run
from vellum_nb.models import RunError, case_id
from vellum_nb.widgets.outputs import side_by_side_html

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ENDED = {
    "FULFILLED": {"outputs": {"reply": "Thanks", "category": "billing"}, "latency_s": 0.5},
    "REJECTED": {"error": RunError(code="NODE_EXECUTION", message="no such plan")},
    "FAILED": {"error": RunError(code="TIMEOUT", message="no answer within 30 s")},
    "CANCELLED": {"error": RunError(code="CANCELLED", message="cancelled after 1 s")},
}


class Browser(Page):
    """What the JavaScript of one view does, without drawing."""

    def ids(self):
        """Return the ids of the rows that came last."""
        return [row["id"] for row in self.wire.customs("rows")[-1]["rows"]]

    def rows(self, **content):
        """Return the answer to a question; of a long history the last one, with what is counted."""
        query = {name: content.pop(name) for name in self.view.QUERY if name in content}
        asked = {"view": "a", "seq": 1, "offset": 0, "limit": 40, **content, "query": query}
        self.send(kind="rows", **asked)
        assert self.view.wait(10)  # where another thread answers
        answer = self.wire.customs("rows")[-1]
        return {**answer, **self.wire.customs("total")[-1]} if answer["rough"] else answer

    def becomes(self, condition, **content):
        """Wait until the rows, asked for again at each change, are so."""
        assert self.wire.wait_for(lambda: condition(self.rows(**content)))


@pytest.fixture
def history(tmp_path):
    with History(tmp_path / "runs.db") as history:
        yield history


@pytest.fixture
def browse():
    """Return how to open a table in a page."""
    return Browser


@pytest.fixture
def show(history, monkeypatch):
    """Return how to make a table of the history; it is closed at the end."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    views = []

    def show(**filters):
        view = HistoryView(history, side_by_side=side_by_side_html, **filters)
        views.append(view)
        return view

    yield show
    for view in views:
        view.close()


@pytest.fixture
def record(history):
    """Return how to record a run, from its beginning to its end."""

    def record(number, state="FULFILLED", **fields):
        inputs = fields.pop("inputs", {"ticket": f"text {number}"})
        run = Run(
            id=f"run-{number}",
            deployment=fields.pop("deployment", "ticket-triage"),
            release_tag=fields.pop("release_tag", "v1"),
            timestamp=NOON + timedelta(seconds=number),
            inputs=inputs,
            case_id=case_id(inputs),
        )
        history.begin(run)
        if state != "STARTED":
            history.finish(run.model_copy(update={"state": state, **ENDED[state], **fields}))
        return history.get(run.id)

    return record


@pytest.fixture
def multiply(history):
    """Return how to double the number of runs, in SQL: recording them one by one takes long."""

    def multiply(times):
        def double(tx):
            ((top,),) = tx.read("SELECT max(seq) FROM runs")
            for table in ("runs", "payloads"):
                names = [name for _, name, *_ in tx.read(f"PRAGMA table_info({table})")]
                new = {"seq": "seq + :top", "id": "id || '-' || :top", "external_id": "NULL"}
                values = ", ".join(new.get(name, name) for name in names)
                sql = f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}"
                tx.execute(sql, {"top": top})

        for _ in range(times):
            history._store.write(double)

    return multiply
