"""Cases of a sweep: read from any table, typed by the release, and checked before any call."""

import sys
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError
from vellum_nb.local import ChatHistory
from vellum_nb.models import case_id
from vellum_nb.sweep.cases import CaseFile, checked_cases, read_table


def first(text: str, n: int = 1) -> str:
    """Take little."""
    return text * n


def second(
    text: str,
    n: int = 1,
    *,
    flag: bool = False,
    size: Literal["small", "5"] = "small",
    extra: dict[str, Any] | None = None,
    turns: ChatHistory | None = None,
) -> str:
    """Take much."""
    return text * n


@pytest.fixture(scope="module")
def ws():
    with vnb.LocalServer() as server, vnb.connect(server, history=":memory:") as workspace:
        server.deploy(first, name="echo", release_tags=["v1"])
        server.deploy(second, name="echo", release_tags=["v2"])
        yield workspace


@pytest.fixture
def read(ws):
    """Return what checks a table on release tags, and returns its cases and notes."""

    def read(cases, *tags):
        release = ws.client.retrieve_workflow_deployment_release
        releases = {tag: release("echo", tag) for tag in tags or ("v2",)}
        return checked_cases(read_table(cases), releases, "echo")[:2]

    return read


def refused(read, cases, *tags) -> InputError:
    with pytest.raises(InputError) as caught:
        read(cases, *tags)
    return caught.value


def csv(text: str, encoding: str = "utf-8"):
    return CaseFile("cases.csv", text.encode(encoding))


def test_columns_are_inputs_expectations_or_labels(read):
    rows = [{"input.text": "a", "n": 2, "expected.output": "aa", "who": "ann", "label.day": 1}]
    ((case,), _) = read(rows)
    assert case.inputs == {"text": "a", "n": 2}
    assert case.expected == {"output": "aa"}
    assert case.labels == {"who": "ann", "day": 1}
    assert case.case_id == case_id({"n": 2, "text": "a"})


def test_cells_of_a_csv_are_what_their_variable_says(read):
    text = (
        "text,n,flag,size,extra,turns,who\n"
        '007,3,TRUE,5,"{""a"": [1]}","[{""role"": ""USER"", ""text"": ""hi""}]",8\n'
        '"",,,,,,\n'
    )
    (full, empty), _ = read(csv(text))
    assert full.inputs == {
        "text": "007",
        "n": 3,
        "flag": True,
        "size": "5",
        "extra": {"a": [1]},
        "turns": [{"role": "USER", "text": "hi"}],
    }
    assert type(full.inputs["text"]) is str
    assert full.labels == {"who": 8}
    assert empty.inputs == {"text": ""}
    assert empty.labels == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_as_spreadsheets_write_it_is_read(read, encoding):
    text = ' text ,,"who"\r\n"Zoë, ""she""\nsaid",x,\N{GRINNING FACE}\r\n\'=1+1,,\r\n\r\n'
    (first, second), _ = read(csv(text, encoding))
    assert first.inputs == {"text": 'Zoë, "she"\nsaid'}
    assert first.labels == {"who": "\N{GRINNING FACE}"}
    assert second.inputs == {"text": "=1+1"}


def test_text_in_a_frame_stays_text_and_rows_of_the_same_inputs_are_noted(read):
    frame = pd.DataFrame({"text": ["a"], "flag": ["true"], "n": ["2"]})
    number, flag = sorted(str(each.message) for each in refused(read, frame).problems)
    assert number.startswith("the text '2' is given; ")
    assert flag.startswith("the text 'true' is given; true or false is expected; in a DataFrame ")
    found, (note,) = read([{"text": "a"}, {"text": "b"}, {"text": "a", "who": "x"}])
    assert (len(found), note.partition(":")[0]) == (
        3,
        "1 row has the inputs of an earlier one, such as row 3 of row 1",
    )


def test_rows_of_the_same_inputs_that_expect_different_values_are_noted(read):
    _, (note,) = read([{"text": "a", "expected.output": value} for value in ("A", "B", "A")])
    assert note.endswith("as one case; it expects what row 1 expects, not row 2")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_of_a_spreadsheet_that_has_no_commas_is_read(read, mark):
    rows = [["text", '"who, or what"', "n"], ['"a, ""b""; c"', "x", "3"], [f'"d{mark}e"', "", ""]]
    text = "\r\n".join(mark.join(row) for row in rows)
    (one, two), _ = read(csv(text, "utf-8-sig"))
    assert one.inputs == {"text": 'a, "b"; c', "n": 3}
    assert one.labels == {"who, or what": "x"}
    assert two.inputs == {"text": f"d{mark}e"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"text\n", "has no rows"),
        ("a.csv", b"text,text\na,b\n", "are called text"),
        ("a.csv", b"text,who\n\na\n", "row 3 has 1 cells, the header has 2"),
        ("a.csv", b'text\n"a\n', "row 2: cell 1 has unbalanced quotes"),
        ("a.csv", "text\né\n".encode("latin-1"), "save it as UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n\n{oops\n', "line 3"),
        ("a.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("a.json", b'{"text": "a"}', "a list of objects is expected"),
        ("a.json", b"", "a.json cannot be read as json"),
        ("a.parquet", b"", "a.parquet cannot be read as parquet"),
        ("a.xlsx", b"", "must end in one of .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(name, content, message):
    with pytest.raises(InputError, match=message):
        read_table(CaseFile(name, content))


NO_TABLES = ({"text": "a"}, 7, None, ["a"], [{"text": "a"}, 3])
NO_PATHS = ("~no-such-user/cases.csv", "a\0.csv", ".", "nowhere.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *((cases, "list of dicts|must be a dict") for cases in NO_TABLES),
        *((path, "cannot be read|its name must end in") for path in NO_PATHS),
    ],
)
def test_what_is_no_table_or_no_path_is_refused_in_a_sentence(given, message):
    with pytest.raises(InputError, match=message):
        read_table(given)


def test_cases_in_parquet_name_the_extra_that_reads_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'vellum-nb\[parquet\]'"):
        read_table(CaseFile("cases.parquet", b"PAR1"))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_values_of_a_file_are_meant_as_they_are_on_disk_and_in_memory(read, tmp_path, suffix):
    rows = [{"text": "[1]", "n": 2}, {"text": "Zo\u00eb\nsaid", "n": 3}]
    path, frame = tmp_path / f"cases{suffix}", pd.DataFrame(rows)
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=suffix == ".jsonl")
    assert read(path) == read(CaseFile(path.name, path.read_bytes())) == read(rows)
    assert [case.inputs for case in read(path)[0]] == rows


def test_a_dataframe_leaves_out_what_is_missing(read):
    frame = pd.DataFrame(
        {
            "text": ["a", "", "c"],
            "n": [1.0, np.nan, 3.0],
            "flag": pd.array([True, pd.NA, None], dtype="boolean"),
            "extra": ['{"a": 1}', None, None],
            "when": [pd.Timestamp("2026-07-01"), pd.NaT, pd.NaT],
        }
    )
    (a, b, c), _ = read(frame)
    assert a.inputs == {"text": "a", "n": 1, "flag": True, "extra": {"a": 1}}
    assert type(a.inputs["n"]) is int
    assert a.labels == {"when": "2026-07-01T00:00:00"}
    assert b.inputs == {"text": ""}
    assert c.inputs == {"text": "c", "n": 3}


def test_scalars_of_numpy_become_plain_values(read):
    row = {"text": np.str_("a"), "n": np.int64(2), "flag": np.True_, "extra": None}
    ((case,), _) = read([row])
    assert case.inputs == {"text": "a", "n": 2, "flag": True}
    assert [type(value) for value in case.inputs.values()] == [str, int, bool]


def test_nan_is_no_missing_value_in_a_list(read):
    assert "NaN" in str(refused(read, [{"text": "a", "n": float("nan")}]))


def test_a_label_may_be_anything(read):
    deep = []
    for _ in range(5000):
        deep = [deep]
    ((case,), _) = read([{"text": "a", "huge": 10**5000, "deep": deep, "odd": {1, 2}}])
    assert case.labels == {
        "huge": "the number that is too large to display",
        "deep": "the list that is too large to display",
        "odd": "{1, 2}",
    }


def test_every_row_of_a_large_table_is_a_case_in_its_place(read):
    frame = pd.DataFrame({"text": map(str, range(4_000)), "n": 2, "flag": True, "who": "x"})
    cases, _ = read(frame, "v1", "v2")
    assert [case.position for case in cases] == list(range(4_000))
    assert cases[3_999].inputs == {"text": "3999", "n": 2, "flag": True}


def test_problems_of_cases_are_a_table(read):
    file = csv("text,n,flag,extra\na,x,yes,{'a': 1}\n,2,,\nb,3,true,\n")
    frame = refused(read, file, "v1", "v2").frame()
    assert list(frame.columns) == ["row", "variable", "problem"]
    assert frame["row"].tolist() == [1, 2]
    assert frame["variable"].tolist() == ["extra", "text"]
    assert "json.dumps" in frame["problem"][0]


def test_problem_of_one_release_names_its_tag(read):
    frame = refused(read, csv("text,n,flag\na,x,yes\n,2,\n"), "v1", "v2").frame()
    assert frame["variable"].tolist() == ["n", "flag", "text"]
    assert frame["problem"][1].endswith("on v2")
    assert "v2" not in frame["problem"][0]


def test_message_of_many_problems_is_short(read):
    error = refused(read, [{"text": "a", "n": f"x{number}"} for number in range(500)])
    assert len(str(error).splitlines()) == 22
    assert "and 480 more" in str(error)
    assert len(error.frame()) == 500


def test_rows_with_the_same_problem_are_one_line(read):
    error = refused(read, [{"n": 1}] * 500)
    assert "rows 1, 2, 3, 4, 5 and 495 more" in str(error)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"txt": "a"}, "is the column txt meant?"),
        ({"txt": "a", "tex": "b"}, "is the column txt or tex meant?"),
        ({"text": "a", "input.nn": 1}, "input.nn: is not an input of echo on v2"),
        ({"text": "a", "input.text": "b"}, "text and input.text of the list are both the input"),
    ],
)
def test_wrong_column_is_named(read, row, message):
    assert message in str(refused(read, [row]))


def test_column_with_a_name_like_an_input_is_a_noted_label(read):
    (case,), notes = read([{"text": "a", "flg": True}])
    assert case.labels == {"flg": True}
    assert "did you mean flag?" in notes[0]


def test_every_column_with_a_name_like_an_input_is_noted(read):
    _, notes = read([{"text": "a", "flg": True, "flagg": True}])
    question = "the column {} is used as a label; did you mean flag?"
    assert notes == (question.format("flg"), question.format("flagg"))


def test_input_that_one_release_does_not_know_is_not_sent_to_it(read):
    (case,), notes = read([{"text": "a", "flag": True}], "v1", "v2")
    assert case.inputs == {"text": "a", "flag": True}
    assert notes == ("flag: not sent to v1, which knows no such input",)


def test_input_of_a_run_that_no_release_knows_stays_in_its_case(read):
    inputs = {"text": "a", "old": 1}
    time = pd.Timestamp("2026-07-01", tz="UTC")
    fields = {"id": "1", "deployment": "echo", "release_tag": "v0", "timestamp": time}
    run = vnb.Run(**fields, inputs=inputs, case_id=case_id(inputs))
    (case,), notes = read([run], "v1", "v2")
    assert case.case_id == run.case_id
    assert notes == tuple(f"old: not sent to {t}, which knows no such input" for t in ("v1", "v2"))


@pytest.mark.parametrize("form", ["frame", "csv", "runs", "jsonl", "parquet"])
def test_stored_runs_are_cases_again_each_once(ws, read, tmp_path, form):
    ws.history.delete(ws.history.runs())
    inputs = {
        "text": "{no json",
        "size": "5",
        "extra": {"a": [1, None]},
        "turns": [{"role": "USER", "text": "hi"}],
    }
    for _ in range(2):
        run = ws.run("echo", inputs, release_tag="v2")
    ws.rate(run, quality=0, desired={"output": "better"})
    ws.run("echo", {"text": "b"}, release_tag="v1")
    forms = {
        "frame": lambda: ws.history.frame(deployment="echo"),
        "csv": lambda: ws.history.to_csv(tmp_path / "h.csv"),
        "runs": ws.history.runs,
        "jsonl": lambda: ws.history.to_jsonl(tmp_path / "h.jsonl"),
        "parquet": lambda: ws.history.to_parquet(tmp_path / "h.parquet"),
    }
    (b, a), notes = read(forms[form]())
    assert b.inputs == {"text": "b"}
    assert a.inputs == inputs
    assert a.case_id == run.case_id
    assert a.expected == {"output": "better"}
    assert set(a.labels) == {"execution_id"}
    assert (b.position, a.position) == (0, 1)
    assert "3 runs are of 2 cases, each used once" in notes


def test_a_url_of_cases_is_refused_with_the_remedy(ws):
    with pytest.raises(InputError, match="cannot be read from a URL; download the file, or pass"):
        ws.sweep("echo", "https://example.com/cases.csv")
