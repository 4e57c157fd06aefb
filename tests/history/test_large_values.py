"""Large values are stored once, in a table of their own; runs are read with them."""

import json
import sqlite3
from contextlib import closing

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_kit import html_of

from vellum_nb import History, HistoryError
from vellum_nb.history import (  # smaller values make the round trip below quick
    ordered_runs,
    rows,
    set_nodes,
)
from vellum_nb.models import NodeRun

DOCUMENT = "Die Straße ist lang. " * 2_000
PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 4_000


def rows_of(path, sql):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def lose_values(place):
    """Delete the large values past us, as a damaged file would."""
    is_server = isinstance(place, str)
    with closing(psycopg.connect(place) if is_server else sqlite3.connect(place)) as db:
        db.execute("DELETE FROM large_values")
        db.commit()


def test_a_document_that_many_runs_share_is_kept_once(history, record, path):
    docs = [DOCUMENT, {"scan": PICTURE}]
    for n in range(20):
        run = record(inputs={"q": f"{n}", "docs": docs}, outputs={"o": DOCUMENT})
        assert run.inputs["docs"] == docs
    assert {run.outputs["o"] for run in history.runs()} == {DOCUMENT}
    values = rows_of(path, "SELECT size, value FROM large_values ORDER BY hash")
    assert sorted(values) == sorted((len(v.encode()), v) for v in (DOCUMENT, PICTURE))
    longest = rows_of(path, "SELECT max(length(inputs) + length(outputs)) FROM payloads")[0][0]
    assert longest < 4_000


@pytest.fixture
def large(record):
    return record(inputs={"doc": DOCUMENT}, outputs={"list": [PICTURE]})


@pytest.mark.usefixtures("large")
def test_the_frame_has_the_whole_value(history):
    frame = history.frame()
    assert frame["input.doc"][0] == DOCUMENT
    assert json.loads(frame["output.list"][0]) == [PICTURE]


@pytest.mark.usefixtures("large")
def test_runs_have_the_whole_value(history):
    assert ordered_runs(history).runs(offset=0, limit=1)[0].outputs == {"list": [PICTURE]}
    assert history.runs()[0].outputs == {"list": [PICTURE]}


@pytest.mark.usefixtures("large")
def test_an_export_has_the_whole_value(history, tmp_path):
    line = history.to_jsonl(tmp_path / "runs.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)["inputs"] == {"doc": DOCUMENT}


def test_a_table_page_does_not_load_large_values(history, record, place):
    run = record(inputs={"doc": DOCUMENT}, outputs={"o": PICTURE})
    lose_values(place)
    short = {"doc": DOCUMENT[:1_000]}
    assert ordered_runs(history, whole=False).runs(offset=0, limit=1)[0].inputs == short
    [row] = ordered_runs(history, order_by="input.doc", whole=False).runs(offset=0, limit=1)
    assert (row.id, row.inputs) == (run.id, short)


def test_html_of_a_history_does_not_load_large_values(history, record, place):
    record(inputs={"doc": DOCUMENT}, outputs={"o": PICTURE})
    lose_values(place)
    assert "missing" not in html_of(history)


def test_large_values_of_corrections_replace_no_others(history, record):
    run = record(inputs={"doc": DOCUMENT}, outputs={"o": PICTURE})
    history.annotate(run.id, desired={"o": DOCUMENT})
    stored = history.get(run.id)
    assert (stored.inputs, stored.outputs) == ({"doc": DOCUMENT}, {"o": PICTURE})
    assert stored.desired == {"o": DOCUMENT}
    history.annotate(run.id, desired={"o": "short"})
    assert history.get(run.id).desired == {"o": "short"}
    assert history.get(run.id).inputs == {"doc": DOCUMENT}


def test_large_values_of_a_trace_replace_no_others(history, record):
    run = record(inputs={"doc": DOCUMENT}, outputs={"o": PICTURE})
    set_nodes(history, run.id, [NodeRun(name="n", error=PICTURE)])
    stored = history.get(run.id)
    assert (stored.inputs, stored.outputs) == ({"doc": DOCUMENT}, {"o": PICTURE})
    assert stored.nodes[0].error == PICTURE


@pytest.fixture
def incomplete(record, place):
    """Return a run whose large value is missing."""
    run = record(inputs={"doc": DOCUMENT, "q": "why"})
    lose_values(place)
    return run


@pytest.mark.parametrize("read", [lambda history, run: history.get(run.id), lambda h, _: h.runs()])
def test_a_missing_value_is_an_error_in_runs(history, incomplete, read):
    message = rf"large value of run '{incomplete.id}' is missing.*doc"
    with pytest.raises(HistoryError, match=message):
        read(history, incomplete)


@pytest.mark.usefixtures("incomplete")
def test_a_missing_value_is_missing_in_a_frame(history):
    with pytest.warns(UserWarning, match=r"1 large value\(s\) are missing"):
        frame = history.frame()
    assert frame["input.doc"].isna().all()
    assert frame["input.q"].tolist() == ["why"]


@pytest.mark.usefixtures("incomplete")
def test_a_missing_value_is_missing_in_an_export(history, tmp_path):
    with pytest.warns(UserWarning, match="are missing"):
        history.to_csv(tmp_path / "runs.csv")
    assert "missing" not in (tmp_path / "runs.csv").read_text(encoding="utf-8")


names = st.text(st.characters(exclude_categories=[]), max_size=6)
texts = st.text(st.characters(exclude_categories=[]), max_size=30)
texts |= st.sampled_from(["x" * 20, "é" * 9])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=4)


@given(inputs=objects, outputs=objects, desired=st.none() | objects)
def test_whatever_json_can_say_comes_back(make_run, monkeypatch, inputs, outputs, desired):
    monkeypatch.setattr(rows, "LARGE", 8)
    monkeypatch.setattr(rows, "EXCERPT", 3)
    run = make_run(inputs=inputs, case_id="c", outputs=outputs, state="FULFILLED")
    with History(":memory:") as history:
        history.begin(run.model_copy(update={"state": "STARTED", "outputs": {}}))
        history.finish(run)
        history.annotate(run.id, desired=desired)
        stored = history.get(run.id)
        assert (stored.inputs, stored.outputs) == (inputs, outputs)
        assert stored.desired == desired
        assert history.runs() == [stored]


@pytest.mark.parametrize("text", ["\x00" + DOCUMENT, DOCUMENT + "\ud800"])
def test_what_is_no_text_to_every_database_stays_in_its_row(history, record, path, text):
    digest = "a" * 64  # what looks like a reference is only text
    inputs = {"x": f'["inputs", ["x"], "{digest}"]', "large": [["inputs", ["x"], digest]]}
    run = record(inputs=inputs | {"doc": text})
    assert history.get(run.id).inputs == inputs | {"doc": text}
    assert rows_of(path, "SELECT count(*) FROM large_values") == [(0,)]


@pytest.mark.slow
def test_an_output_of_30_megabytes_comes_back(history, path, make_run):
    text = "0123456789abcdef" * (30_000_000 // 16)
    history.begin(run := make_run())
    history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"text": text}}))
    with History(path) as other:
        assert other.get(run.id).outputs["text"] == text
        assert other.frame()["output.text"][0] == text
