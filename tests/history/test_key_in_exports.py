"""No export of a history is written that would contain the API key."""

import io

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError, read_csv
from vellum_nb.__main__ import main
from vellum_nb.history import connected
from vellum_nb.models import NodeRun, RunError
from vellum_nb.models.base import SecretMask

on_file = pytest.mark.usefixtures("path")  # one database is enough
KEY = "sk-0123456789abcdef"
LONG = "long text " * 4_000
PLACES = {
    "input.text": {"inputs": {"text": f"my key is {KEY}"}},
    "input.deep": {"inputs": {"deep": {"a": [f"x{KEY.upper()}x"]}}},
    "input.large": {"inputs": {"large": f"{LONG}{KEY}"}},
    "output.answer": {"outputs": {"answer": f"https://a.example/?key=sk%2D{KEY[3:]}"}},
    "the name of a value": {"outputs": {KEY: 1}},
    "desired.answer": {"desired": {"answer": KEY}},
    "error_message": {"state": "REJECTED", "error": RunError(code="X", message=f"bad key {KEY}")},
    "note": {"note": f"&#115;k-{KEY[3:]}"},
    "tags": {"tags": ["a", KEY]},
    "metadata": {"metadata": {"k": KEY}},
    "model": {"model": KEY},
    "external_id": {"external_id": KEY},
}
EXPORTS = {
    "to_csv": ("runs.csv", {}),
    "to_jsonl": ("runs.jsonl", {}),
    "to_parquet": ("runs.parquet", {}),
}


@pytest.fixture
def keyed(history):
    """Return a history that knows the key."""
    return connected(history, view=print, leaks=SecretMask(KEY).found_in)


@on_file
@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("column", PLACES)
def test_export_with_the_key_is_refused_and_names_run_and_column(
    column, export, keyed, put, tmp_path
):
    put(keyed)
    run = put(keyed, **PLACES[column])
    folder = tmp_path / "exports"
    folder.mkdir()
    old = folder / EXPORTS[export][0]
    old.write_text("old")
    with pytest.raises(HistoryError, match="would contain the API key") as caught:
        getattr(keyed, export)(old)
    assert f"in {column} of run {run.id}. Delete the run" in str(caught.value)
    assert KEY not in str(caught.value)
    assert [file.read_text() for file in folder.iterdir()] == ["old"]


@pytest.mark.parametrize("export", ["to_csv", "to_jsonl"])
@pytest.mark.parametrize("options", [{}, {"columns": ["state", "note"]}])
def test_nothing_is_written_to_a_stream_before_all_of_it_was_checked(
    export, options, keyed, put, make_run
):
    put(keyed, note=KEY)  # the oldest, which comes last
    keyed.merge([make_run(state="FULFILLED") for _ in range(300)])
    file = io.StringIO()
    with pytest.raises(HistoryError, match="in note of run"):
        getattr(keyed, export)(file, **options)
    assert file.getvalue() == ""


def test_columns_without_the_key_and_runs_without_it_are_exported(keyed, put, tmp_path):
    put(keyed, note=KEY, nodes=(NodeRun(name="n", outputs={"a": KEY}),))
    good = put(keyed, note=KEY[:-1])
    path = tmp_path / "a.csv"
    assert len(read_csv(keyed.to_csv(path, columns=["id", "state"]))) == 2
    assert read_csv(keyed.to_csv(path, state="FULFILLED", limit=1))["id"].tolist() == [good.id]
    with pytest.raises(HistoryError, match="in note of run"):
        keyed.to_jsonl(tmp_path / "a.jsonl")
    keyed.annotate("run-0", note=None)
    assert len(read_csv(keyed.to_csv(path))) == 2  # a CSV has no nodes
    with pytest.raises(HistoryError, match="in nodes of run"):
        keyed.to_jsonl(tmp_path / "a.jsonl")


def test_a_history_without_a_workspace_knows_the_key_of_the_environment(
    history, put, tmp_path, monkeypatch
):
    put(history, note=KEY)
    history.to_csv(tmp_path / "before.csv")
    monkeypatch.setenv("VELLUM_API_KEY", KEY)
    with pytest.raises(HistoryError, match="in note of run"):
        history.to_csv(tmp_path / "after.csv")


@pytest.mark.parametrize("name", ["runs.csv", "runs.jsonl", "runs.parquet", None])
def test_the_command_line_refuses_too(name, tmp_path, put, monkeypatch, capsys):
    path = tmp_path / "runs.db"
    with History(path) as history:
        put(history)
        put(history, outputs={"a": KEY})
    monkeypatch.setenv("VELLUM_API_KEY", KEY)
    target = [] if name is None else [str(tmp_path / name)]
    assert main(["history", "export", *target, "--history", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "would contain the API key, in output.a of run run-1" in shown.err
    assert KEY not in shown.err
    assert name is None or not (tmp_path / name).exists()


def test_a_workspace_tells_its_history_the_key(tmp_path, put):
    with vnb.connect("http://127.0.0.1:9", api_key=KEY, history=tmp_path / "a.db") as workspace:
        put(workspace.history, inputs={"text": KEY})
        with pytest.raises(HistoryError, match=r"in input\.text of run run-0"):
            workspace.history.to_jsonl(tmp_path / "a.jsonl")


def test_a_damaged_row_hides_no_key(keyed, put, tmp_path):
    put(keyed, note=KEY)
    keyed._store.write(lambda tx: tx.execute("UPDATE runs SET tags = '{'"))
    for export in EXPORTS:
        with pytest.raises(HistoryError, match="in note of run run-0"):
            getattr(keyed, export)(tmp_path / "file", skip_damaged=True)
