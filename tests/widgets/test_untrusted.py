"""What a page, a file of cases, a schema or an answer may not do to the kernel."""

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
def test_an_export_from_the_page_has_the_ending_of_its_format_and_stays_here(
    ws, wired, tmp_path, kind
):
    (tmp_path / "a").mkdir()
    view = ws.history.view() if kind == "csv" else ws.compare("answer").view().table
    names = ["evil.pth", "conftest.py", "x.csv.pth", "sitecustomize.py"]
    outside = ["../out.csv", "/vnb-out.csv", "~/vnb-out.csv", "a/../../b.md"]
    for name in names + outside:
        Page(view).send(kind="export", format=kind, path=name)
    done = view.comm.customs("exported")
    ending = kind.replace("markdown", "md")
    assert [each["path"] for each in done[:4]] == [str(tmp_path / f"{n}.{ending}") for n in names]
    assert all("folder" in each["error"] for each in done[4:])


def test_the_page_cannot_raise_the_limit_of_an_upload(make, wired):
    page = variable("page", "IMAGE", required=False)
    form, _ = make(spec=replace(SPEC, variables=(page,)))
    uploader = parts(form, "vnb-uploader")[0]
    limit = uploader.max_bytes
    Page(uploader).set(max_bytes=10**12)
    assert uploader.max_bytes == limit
    Page(uploader).send(kind="start", id="1", name="x.csv", size="many", type="")
    assert uploader.max_bytes == limit


def test_a_device_or_pipe_is_no_file_of_cases_and_very_many_columns_or_rows_are_refused_soon(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("zero.csv").symlink_to("/dev/zero")
    for path in ("zero.csv", "pipe.csv"):
        with pytest.raises(InputError, match="not a regular file"):
            read_table(path)
    content = ",".join(f"c{n}" for n in range(50_000)).encode() + b"\n"
    began = time.monotonic()
    with pytest.raises(InputError, match="50,000 columns"):
        read_table(CaseFile("wide.csv", content))
    assert time.monotonic() - began < 2
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    text = pa.array(["x" * 1000]).dictionary_encode()
    indices = pa.array([0] * 3_000_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, text.dictionary)
    pq.write_table(pa.table({"ticket": column}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1_000_000
    with pytest.raises(InputError, match="rows"):
        read_table(tmp_path / "bomb.parquet")


def test_a_schema_that_cannot_be_computed_holds_nothing_back_and_freezes_nothing():
    assert value_problem(10**400, variable("n", "JSON", schema={"multipleOf": 1e-320})) is None
    slow = variable("code", schema={"type": "string", "pattern": "^(a+)+$"})
    began = time.monotonic()
    value_problem("a" * 34 + "!", slow)
    assert time.monotonic() - began < 1


def test_ten_thousand_outputs_are_cut_with_a_sentence_and_their_table_opens_soon(ws, wired):
    request = RunRequest(deployment="d", inputs={}, release_tag="v1")
    run = answer(request, outputs={f"name-{n}": n for n in range(10_000)})
    began = time.monotonic()
    html = side_by_side_html([run, run.model_copy(update={"release_tag": "v2"})])
    assert time.monotonic() - began < 2
    assert len(html) < 1_000_000
    assert "9,800 more outputs" in text_of(html)
    record(ws, run.outputs)
    began = time.monotonic()
    view = ws.history.view()
    assert time.monotonic() - began < 3
    head = Page(view).state("_head")
    assert len(head["columns"]) < 600
    assert "10,001 outputs" in head["note"]


def test_every_value_that_the_history_keeps_opens_everywhere(ws, wired):
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


def test_names_with_dollar_signs_are_no_mathematics(ws):
    record(ws, {"reply": HOSTILE_TEXT})
    form = ws.form("answer")
    form.value = {"ticket": HOSTILE_TEXT}
    for view in (form, ws.history.view()):
        assert HOSTILE_TEXT[:9] in texts(view.static_html(), ".tex2jax_ignore")[0]
    form.close()


def test_a_path_typed_into_a_field_is_read_when_it_is_used(make, tmp_path, monkeypatch):
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
