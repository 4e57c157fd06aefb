"""A table of a history in a real file, and a grid of runs made by hand."""

import sqlite3
from contextlib import closing

import comm
import pytest
from actions_kit import SomeActions
from view_kit import GridPage, TablePage, run
from wire_kit import Wire

from vellum_nb.comparison import compare_runs
from vellum_nb.models import RunError
from vellum_nb.widgets.grid import ComparisonView
from vellum_nb.widgets.table import HistoryView

ENDED = {
    "FULFILLED": {"outputs": {"reply": "Thanks", "category": "billing"}, "latency_s": 0.5},
    "REJECTED": {"error": RunError(code="NODE_EXECUTION", message="no such plan")},
    "FAILED": {"error": RunError(code="TIMEOUT", message="no answer within 30 s")},
    "CANCELLED": {"error": RunError(code="CANCELLED", message="cancelled after 1 s")},
}


@pytest.fixture
def views(monkeypatch):
    """Return a list of views that are closed at the end."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    views = []
    yield views
    for view in views:
        view.close()


@pytest.fixture
def table(history, views):
    """Return how to open a table of the history in a page."""

    def table(**filters):
        views.append(HistoryView(history, **filters))
        return TablePage(views[-1])

    return table


@pytest.fixture
def record(history):
    """Return how to record a run, from its beginning to its end."""

    def record(number, state="FULFILLED", release_tag="v1", **fields):
        begin = {"inputs": fields.pop("inputs", {"ticket": f"text {number}"})}
        begin["deployment"] = fields.pop("deployment", "ticket-triage")
        fresh = {"id": f"run-{number}", "state": "STARTED", "outputs": {}, "latency_s": None}
        begun = run(number, release_tag, **begin, **fresh)
        history.begin(begun)
        if state != "STARTED":
            history.finish(begun.model_copy(update={"state": state, **ENDED[state], **fields}))
        return history.get(begun.id)

    return record


@pytest.fixture
def multiply(history):
    """Return how to double the number of runs, in SQL: recording them one by one takes long."""

    def multiply(times):
        with closing(sqlite3.connect(history.path)) as db:
            for name in ["runs", "payloads"] * times:
                top = db.execute("SELECT count(*) FROM runs").fetchone()[0]
                names = [column for _, column, *_ in db.execute(f"PRAGMA table_info({name})")]
                new = {"seq": "seq + :top", "id": "id || '-' || :top", "external_id": "NULL"}
                values = ", ".join(new.get(column, column) for column in names)
                sql = f"INSERT INTO {name} ({', '.join(names)}) SELECT {values} FROM {name}"
                db.execute(sql, {"top": top if name == "runs" else top // 2})
            db.commit()

    return multiply


@pytest.fixture
def grid(views):
    """Return how to open the grid of some runs in a page."""

    def grid(runs, *, tags=("v1", "v2"), actions=None, **options):
        comparison = compare_runs(runs, deployment="triage", release_tags=tags, **options)
        views.append(ComparisonView(comparison, actions))
        return GridPage(views[-1])

    return grid


@pytest.fixture
def actions():
    """Return actions and the list of their calls."""
    done = []

    def rate(each, quality, desired=None):
        done.append((each.id, quality, desired))
        return each.model_copy(update={"quality": quality})

    def run_case(deployment, case, tag):
        done.append((deployment, case.number, tag))
        return [run(case.number - 1, tag, repeat=5)]

    return SomeActions(rate=rate, run_case=run_case, trace=lambda _: ()), done
