"""Untrusted pages, files of cases, schemas and answers cannot harm the kernel."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import comm
import pytest
from dom_kit import text_of, texts
from form_kit import SPEC, answer, parts, variable
from ipywidgets.widgets.widget import _instances
from wire_kit import Page, Wire

from vellum_nb.errors import InputError
from vellum_nb.models import Run, RunRequest, case_id
from vellum_nb.models.inputs import value_problem
from vellum_nb.sweep.cases import CaseFile, read_table
from vellum_nb.widgets.outputs import side_by_side_html

BROKEN = {"nan": float("nan"), "inf": [float("-inf")], "half": "a \ud83d b"}
HOSTILE_TEXT = "price in $ and $? \u202e"


@pytest.fixture
def ws(ws, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for tag in ("v1", "v2"):
        ws.run("answer", {"ticket": "help"}, release_tag=tag)
    return ws


@pytest.fixture
def wired(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)


def record(ws, outputs, number=0):
    inputs = {"ticket": f"{HOSTILE_TEXT}{number}"}
    fields = {"deployment": "answer", "release_tag": "v1", "timestamp": datetime.now(UTC)}
    run = Run(id=f"run-{number}", inputs=inputs, case_id=case_id(inputs), **fields)
    ws.history.begin(run)
    ws.history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": outputs}))


@pytest.mark.parametrize("kind", ["csv", "markdown"])
def test_export_by_the_page_stays_in_the_folder(ws, wired, tmp_path, kind):
    (tmp_path / "a").mkdir()
    view = ws.history.view() if kind == "csv" else ws.compare("answer").view().table
    names = ["evil.pth", "conftest.py", "x.csv.pth", "sitecustomize.py"]
    outside = ["../out.csv", "/vnb-out.csv", "~/vnb-out.csv", "a/../../b.md"]
    for name in names + outside:
        Page(view).send(kind="export", format=kind, path=name)
    done = view.comm.customs("outcome")
    ending = kind.replace("markdown", "md")
    noun = "2 runs" if kind == "csv" else "1 case"
    paths = [tmp_path / f"{n}.{ending}" for n in names]
    assert [each["text"] for each in done[:4]] == [f"Wrote {noun} to {path}" for path in paths]
    assert all("folder" in each["error"] for each in done[4:])


def test_page_cannot_raise_the_upload_limit(make, wired):
    page = variable("page", "IMAGE", required=False)
    form, _ = make(spec=replace(SPEC, variables=(page,)))
    uploader = parts(form, "vnb-uploader")[0]
    limit = uploader.max_bytes
    Page(uploader).set(max_bytes=10**12)
    assert uploader.max_bytes == limit
    Page(uploader).send(kind="start", id="1", name="x.csv", size="many", type="")
    assert uploader.max_bytes == limit


def test_device_or_pipe_is_not_read_as_cases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("zero.csv").symlink_to("/dev/zero")
    for path in ("zero.csv", "pipe.csv"):
        with pytest.raises(InputError, match="not a regular file"):
            read_table(path)


def test_too_many_columns_are_refused_quickly():
    content = ",".join(f"c{n}" for n in range(50_000)).encode() + b"\n"
    began = time.monotonic()
    with pytest.raises(InputError, match="50,000 columns"):
        read_table(CaseFile("wide.csv", content))
    assert time.monotonic() - began < 2


def test_small_file_with_too_many_rows_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    text = pa.array(["x" * 1000]).dictionary_encode()
    indices = pa.array([0] * 3_000_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, text.dictionary)
    pq.write_table(pa.table({"ticket": column}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1_000_000
    with pytest.raises(InputError, match="rows"):
        read_table(tmp_path / "bomb.parquet")


def test_schema_that_takes_too_long_is_skipped():
    assert value_problem(10**400, variable("n", "JSON", schema={"multipleOf": 1e-320})) is None
    slow = variable("code", schema={"type": "string", "pattern": "^(a+)+$"})
    began = time.monotonic()
    value_problem("a" * 34 + "!", slow)
    assert time.monotonic() - began < 1


@pytest.fixture
def many_outputs():
    request = RunRequest(deployment="d", inputs={}, release_tag="v1")
    return answer(request, outputs={f"name-{n}": n for n in range(10_000)})


def test_side_by_side_is_limited_to_200_outputs(many_outputs):
    began = time.monotonic()
    html = side_by_side_html([many_outputs, many_outputs.model_copy(update={"release_tag": "v2"})])
    assert time.monotonic() - began < 2
    assert len(html) < 1_000_000
    assert "9,800 more outputs" in text_of(html)


def test_table_of_ten_thousand_outputs_opens_quickly(ws, wired, many_outputs):
    record(ws, many_outputs.outputs)
    began = time.monotonic()
    view = ws.history.view()
    assert time.monotonic() - began < 3
    head = Page(view).state("_head")
    assert len(head["columns"]) < 600
    assert "10,001 outputs" in head["note"]


def test_stored_values_are_sent_as_valid_json(ws, wired):
    record(ws, BROKEN)
    view, lab = ws.history.view(), ws.lab("answer")
    row = Page(view).state("_first")["rows"][0]
    assert "NaN" in str(row["cells"])
    assert "\ud83d" not in str(row["cells"])
    lab.tab = "Compare"
    for each in list(_instances.values()):
        for data in getattr(each.comm, "sent", []):
            json.dumps(data, allow_nan=False).encode()
            str(data).encode()
    lab.close()


def test_dollar_signs_are_not_rendered_as_mathematics(ws):
    record(ws, {"reply": HOSTILE_TEXT})
    form = ws.form("answer")
    form.value = {"ticket": HOSTILE_TEXT}
    for view in (form, ws.history.view()):
        assert HOSTILE_TEXT[:9] in texts(view.static_html(), ".tex2jax_ignore")[0]
    form.close()


def test_typed_path_is_read_only_by_a_run(make, tmp_path, monkeypatch):
    looked = []
    stat = os.stat

    def watched(path, *more, **named):
        looked.append(str(path))
        return stat(path, *more, **named)

    monkeypatch.setattr(os, "stat", watched)
    page = variable("page", "IMAGE", required=False)
    form, recorder = make(spec=replace(SPEC, variables=(page,)))
    [how] = [each for each in parts(form, "vnb-how") if each.description == "page"]
    how.value = "Path"
    [text] = [each for each in parts(form, "vnb-unlabelled") if "path" in str(each.description)]
    for end in range(1, 6):
        text.value = "/nowhere"[:end]
    assert not [path for path in looked if path.startswith("/n")]
    form.submit()
    assert not recorder.requests
    assert "does not exist" in form.errors["page"]
