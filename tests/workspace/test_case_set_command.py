"""Case sets on the command line: swept and compared by name, grown from files, exported."""

import json

import pytest
from command_kit import run

import vellum_nb as vnb

TAGS = ("--release-tag", "v1", "--release-tag", "v2")


@pytest.fixture
def history(server, tmp_path, monkeypatch):
    """Return a history with the sets loud, of two cases, and other."""
    monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
    monkeypatch.setenv("VELLUM_API_URL", server.url)
    path = tmp_path / "runs.db"
    with vnb.connect(server, history=path) as ws:
        cases = [{"text": text, "expected.loud": text.upper()} for text in "ab"]
        ws.case_set("loud", deployment="shout").add(cases)
        ws.case_set("other", deployment="shout").add([{"text": "c"}])
    return path


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "more.csv"
    path.write_text("text,expected.loud\nb,x\nd,D\n", encoding="utf-8")
    return path


def sweeps(history, server):
    with vnb.connect(server, history=history) as ws:
        return ws.sweeps()[["case_set", "case_set_version", "planned"]].to_numpy().tolist()


def test_sweep_runs_the_set_of_a_name(history, server):
    done = run("sweep", "shout", "loud", *TAGS, "--history", history)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "shout: done, 4 of 4 runs")
    assert sweeps(history, server) == [["loud", 1, 4]]


def test_sweep_of_a_set_reuses_runs(history, file):
    run("sweep", "shout", "loud", *TAGS, "--history", history)
    run("case-set", "add", "loud", file, "--history", history)
    done = run("sweep", "shout", "loud", *TAGS, "--history", history, "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert (plan["planned"], plan["calls"]) == (6, 2)


@pytest.mark.parametrize(
    "command",
    [("sweep", "lod"), ("watch", "--cases", "lod"), ("compare", "--cases", "lod")],
    ids=lambda command: command[0],
)
def test_unknown_set_is_an_error_with_the_existing_ones(history, command):
    done = run(*command[:1], "shout", *command[1:], "--history", history)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "vellum-nb: There is no case set 'lod'; a file ends in .csv, .jsonl, .ndjson, .json, "
        ".parquet; available: loud, other\n"
    )


def test_compare_takes_only_the_cases_of_a_set(history):
    for name in ("loud", "other"):
        run("sweep", "shout", name, *TAGS, "--history", history)
    done = run("compare", "shout", "--cases", "loud", "--json", "--history", history)
    assert {row["cases"] for row in json.loads(done.stdout)} == {2}


def test_list_has_a_row_per_set(history):
    rows = json.loads(run("case-set", "list", "--json", "--history", history).stdout)
    assert [(row["name"], row["deployment"], row["cases"], row["version"]) for row in rows] == [
        ("loud", "shout", 2, 1),
        ("other", "shout", 1, 1),
    ]


def test_list_is_readable_without_json(history):
    lines = run("case-set", "list", "--history", history).stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["loud", "shout", "2", "1"],
        ["other", "shout", "1", "1"],
    ]


def test_add_exits_with_2_if_expected_outputs_differ(history, file):
    done = run("case-set", "add", "loud", file, "--message", "from CI", "--history", history)
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "loud, version 2: 1 added, 1 already there"
    assert "loud (kept B, not x)" in done.stdout


def test_add_creates_a_set_of_a_deployment(history, file, server):
    new = ("case-set", "add", "new", file, "--history", history)
    assert run(*new, "--deployment", "shout").returncode == 0
    with vnb.connect(server, history=history) as ws:
        assert len(ws.case_set("new")) == 2


def test_add_of_a_new_set_needs_its_deployment(history, file):
    done = run("case-set", "add", "new", file, "--history", history)
    assert done.returncode == 1
    assert "name their deployment" in done.stderr


def test_exported_file_runs_the_same_cases(history, tmp_path, server):
    path = tmp_path / "loud.csv"
    done = run("case-set", "export", "loud", path, "--history", history)
    assert (done.returncode, done.stdout) == (0, f"Wrote {path}\n")
    with vnb.connect(server, history=history) as ws:
        assert ws.case_set("copy", deployment="shout").add(path).added == tuple(
            ws.case_set("loud").frame().index
        )


def test_export_of_an_unknown_set_writes_nothing(history, tmp_path):
    path = tmp_path / "lod.csv"
    done = run("case-set", "export", "lod", path, "--history", history)
    assert (done.returncode, path.exists()) == (1, False)
    assert "There is no case set 'lod'; available: loud, other" in done.stderr
