"""Files of every earlier version, made by the code of its day, open with every value."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vellum_nb import History, Run
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION

FILES = Path(__file__).with_name("files")
VERSIONS = sorted(int(file.stem[1:]) for file in FILES.glob("v*.db"))


def expected(version, kind):
    lines = (FILES / f"v{version}.jsonl").read_text(encoding="ascii").splitlines()
    return [found for found in map(json.loads, lines) if kind in found]


def text(value):
    """Return what equals where NaN equals NaN, -0.0 is not 0.0, and 1 is not True."""
    return json.dumps(value, sort_keys=True)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for run, want in zip(found, wanted, strict=True):
        here = json.loads(json.dumps(run.model_dump(), default=lambda value: value.isoformat()))
        assert {name: text(here[name]) for name in want} == {n: text(want[n]) for n in want}


@pytest.fixture(params=VERSIONS)
def version(request, path):
    """Put a copy of the file of each version at `path`, and its archive beside it."""
    shutil.copy(FILES / f"v{request.param}.db", path)
    for archive in FILES.glob(f"v{request.param}-*"):
        shutil.copy(archive, path.parent)
    return request.param


def test_there_is_a_file_of_every_version_before_this_one():
    assert set(range(1, SCHEMA_VERSION)) <= set(VERSIONS), "see tests/history/files/README.md"


def test_each_file_is_of_its_version_and_has_every_kind_of_run(version, path):
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
    runs = [each["run"] for each in expected(version, "run")]
    states = {"STARTED", "FULFILLED", "REJECTED", "FAILED", "CANCELLED"}
    assert {run["state"] for run in runs} == states
    assert any(run["nodes"] and run["desired"] is None for run in runs) == (version > 1)
    assert path.stat().st_size < 256 * 1024


def test_an_old_file_opens_with_every_value_of_every_run(version, path):
    wanted = [each["run"] for each in expected(version, "run")]
    with History(path) as history:
        found = history.runs()
        frame = history.frame()
        assert [run.id for run in map(Run.model_validate, wanted)] == frame["id"].tolist()
    assert_same(found, wanted)


def test_the_archive_of_an_old_file_reads_with_every_value(version, path):
    wanted = [each["archived"] for each in expected(version, "archived")]
    assert len(wanted) == (2 if version > 5 else 0)
    with History(path) as history:
        known = {run.id for run in history.runs()}
        assert_same([run for run in history.runs(archived=True) if run.id not in known], wanted)
        for file in history.archives()["path"]:
            assert history.unarchive(file).added == len(wanted)
        assert history.count() == len(known) + len(wanted)


def test_an_old_file_opens_with_every_row_of_the_other_tables(version, path):
    with History(path) as history:
        sweeps, blind = history.sweeps.every(), history.blind_ratings()
        assert sum(len(history.sweeps.cases(each.id)) for each in sweeps) == 2 * len(sweeps)
    wanted = expected(version, "table")
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        for each in wanted:
            names = list(each["row"])
            where = " AND ".join(f"{name} IS ?" for name in names)
            sql = f"SELECT count(*) FROM {each['table']} WHERE {where}"
            assert db.execute(sql, list(each["row"].values())).fetchone()[0] == 1, each
    assert len(sweeps) == sum(each["table"] == "sweeps" for each in wanted)
    assert len(blind) == sum(each["table"] == "blind_ratings" for each in wanted)


def test_an_old_file_is_written_to_like_a_new_one(version, path, make_run):
    with History(path) as history:
        before = history.count()
        history.begin(make_run(id="new"))
        history.finish(make_run(id="new", state="FULFILLED", outputs={"reply": "x"}))
        history.annotate("started", note="still here")
        assert history.count() == before + 1
        assert history.get("new").outputs == {"reply": "x"}
        assert history.runs(search="still here", limit=1)[0].id == "started"


def test_the_schema_of_an_old_file_is_that_of_a_new_one(version, path, tmp_path):
    with History(path), History(tmp_path / "new.db"):
        pass
    shapes = []
    for file in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(file)) as db:
            tables = db.execute(
                'SELECT m.type, m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master m '
                "LEFT JOIN pragma_table_info(m.name) c ORDER BY 1, 2, c.cid"
            )
            shapes.append(tables.fetchall())
    assert shapes[0] == shapes[1]
