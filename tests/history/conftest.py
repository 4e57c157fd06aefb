"""A history in a real file, and runs to put into it."""

import itertools
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from vellum_nb import History, Run
from vellum_nb.models import case_id

sys.path.insert(0, str(Path(__file__).parent))  # for the kit of hostile files
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def pytest_generate_tests(metafunc):
    """Run what uses a history on each database, but for tests that look at its file."""
    if "place" in metafunc.fixturenames and "path" not in metafunc.fixturenames:
        metafunc.parametrize("place", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def place(request, tmp_path):
    """Return where a history may lie: a file, or a database on a real server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "runs.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def history(place):
    with History(place) as history:
        yield history


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the user's data folder, where pending runs wait, of this test alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "vellum_nb"


@pytest.fixture
def ask(postgres_url):
    """Return what executes SQL in the database of the history."""
    with psycopg.connect(postgres_url, autocommit=True) as db:
        yield db.execute


@pytest.fixture
def setting(ask):
    """Return what changes a setting of the database, for connections to come."""
    name = ask("SELECT current_database()").fetchone()[0]
    return lambda what: ask(f"ALTER DATABASE {name} {what}")


@pytest.fixture
def make_run():
    """Return runs a second apart; the fields given replace the usual ones."""
    numbers = itertools.count()

    def make(**fields):
        number = next(numbers)
        inputs = fields.setdefault("inputs", {"ticket": f"text {number}"})
        usual = {
            "id": f"run-{number}",
            "deployment": "ticket-triage",
            "release_tag": "v1",
            "timestamp": NOON + timedelta(seconds=number),
            "case_id": fields.get("case_id") or case_id(inputs),
        }
        return Run.model_validate({**usual, **fields})

    return make


@pytest.fixture
def put(make_run):
    """Record a run in a history, from its beginning to its end, and return it as it is there."""

    def put(history, **fields):
        ended = make_run(**{"state": "FULFILLED", **fields})
        begun = ended.model_copy(update={"state": "STARTED", "outputs": {}, "error": None})
        history.begin(begun)
        if ended.state != "STARTED":
            history.finish(ended)
        return history.get(ended.id)

    return put


@pytest.fixture
def record(history, put):
    """Record a run in the history of the test."""
    return partial(put, history)
