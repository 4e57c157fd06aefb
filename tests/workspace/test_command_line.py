"""The command line; as a process of its own where that is what matters."""

import io
import json
import os
import signal
import subprocess
import sys

import command_kit
import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.__main__ import main

COMMANDS = ["lab", "serve", "deployments", "run", "sweep", "history"]
TRIAGE = ("run", "ticket-triage", "--input", "ticket=x", "--input")
COMMAND = [sys.executable, "-W", "error", "-m", "vellum_nb"]


def vellum_nb(*arguments, check=True, **environment):
    done = command_kit.run(*arguments, **environment)
    assert done.returncode == 0 or not check, done
    return done


def process(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=True,
        encoding="utf-8",
        env=os.environ | environment,
    )


@pytest.fixture
def key(server):
    """Return what the command finds the server by."""
    return {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}


@pytest.fixture
def recorded(server, tmp_path):
    """Return a history with two runs, each on an awkward text."""
    path = tmp_path / "runs.db"
    with vnb.connect(server, history=path) as ws:
        for text in ("né\n2", "x\N{GRINNING FACE}"):
            ws.run("shout", {"text": text})
    return path


@pytest.mark.slow
def test_run_on_a_machine_without_a_key_shows_two_releases_and_records_both(tmp_path):
    history = tmp_path / "runs.db"
    tags = ("--release-tag", "v1", "--release-tag", "v2")
    done = process(
        "run", "ticket-triage", "--input", "ticket=charged twice", *tags, "--history", history
    )
    assert "v1 · FULFILLED" in done.stdout
    assert "v2 · FULFILLED" in done.stdout
    assert "category" in done.stdout
    assert "No VELLUM_API_KEY" in done.stderr
    with vnb.History(history) as kept:
        assert [run.release_tag for run in kept.runs()] == ["v2", "v1"]


@pytest.mark.slow
def test_run_prints_text_as_it_grows(key, faucet, tmp_path):
    history = tmp_path / "runs.db"
    arguments = ("run", "faucet", "--input", "text=hello", "--stream", "--history", str(history))
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=os.environ | key
    ) as run:
        assert run.stdout.read(len("LATEST\nreply: hello ")) == "LATEST\nreply: hello "
        with vnb.History(history) as kept:
            assert [row.state for row in kept.runs()] == ["STARTED"]
        faucet.open.set()
        assert run.stdout.read() == "and that is all\nscore: 7\nFULFILLED\n"
    assert run.returncode == 0


def test_a_streamed_run_that_is_rejected_says_why(key, tmp_path):
    arguments = ("run", "refuse", "--input", "text=\x1b[2J", "--stream", "--history")
    done = vellum_nb(*arguments, tmp_path / "runs.db", check=False, **key)
    assert done.returncode == 2
    assert done.stdout.startswith("LATEST\nerror: USER_DEFINED_ERROR: no \\x1b")
    assert done.stdout.endswith("\nREJECTED\n")


def test_history_sync_brings_what_ran_elsewhere(key, recorded, tmp_path):
    history = tmp_path / "other.db"
    arguments = ("history", "sync", "shout", "--since", "2026-01-01", "--history", history)
    assert vellum_nb(*arguments, **key).stdout.startswith("2 added, 0 completed")
    assert "2 already here" in vellum_nb(*arguments, **key).stdout
    with vnb.History(history) as kept, vnb.History(recorded) as first:
        assert {run.execution_id for run in kept.runs()} == {
            run.execution_id for run in first.runs()
        }


@pytest.mark.parametrize(
    "arguments", [("run", "shout", "--rel", "v1"), ("history", "export", "--depl", "shout")]
)
def test_abbreviated_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"unrecognized arguments: {arguments[2]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "nope"), "no deployment 'nope'; available: angry-customer"),
        (("run", "ticket-triage", "--input", "ticket"), "ticket: is not name=value"),
        ((*TRIAGE, "sla_hours=soon"), "sla_hours: the text 'soon' is given; a number is exp"),
        ((*TRIAGE, "vip=yes"), "vip: the text 'yes' is given; true or false is"),
        ((*TRIAGE, "context={'a': 'b'}"), "in double quotes: line 1 column 2 (char 1); json.d"),
        ((*TRIAGE, "context=@deep.json"), "not JSON: it is nested too deep"),
        (("run", "ticket-triage", "--input", "ticket=x", "--release-tag", "v9"), "; available: "),
        (("run", "ticket-triage", "--input", "ticket=@no.txt"), "cannot be read: No such file"),
        (("history", "export"), "There is no history"),
    ],
)
def test_errors_are_short_and_go_to_stderr(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    done = vellum_nb(*arguments, "--history", tmp_path / "runs.db", check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_histories_are_merged_and_vacuumed(recorded, tmp_path, postgres_url):
    team = ("--history", postgres_url)
    vellum_nb("history", "merge", recorded, *team)
    assert len(vellum_nb("history", "export", "--json", *team).stdout.splitlines()) == 2
    assert "shout" in vellum_nb("compare", "shout", *team).stdout
    history = ("--history", tmp_path / "mine.db")
    done = vellum_nb("history", "merge", recorded, *history)
    assert done.stdout.startswith("2 added, 0 completed, 0 updated, 0 already here; 2 of the added")
    with vnb.History(tmp_path / "mine.db") as mine:
        mine.delete([mine.runs()[0].id])
    done = vellum_nb("history", "vacuum", *history, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 deleted runs could not be restored after that; add --yes" in done.stderr
    done = vellum_nb("history", "vacuum", "--yes", *history)
    assert "1 deleted run(s) removed for good" in done.stderr


def test_export_writes_the_rows_and_columns_that_are_named(recorded, tmp_path):
    history, path = ("--history", recorded), tmp_path / "runs.csv"
    with vnb.History(recorded) as kept:
        frame = kept.frame()
    assert vellum_nb("history", "export", path, *history).stderr.endswith(f"2 runs to {path}\n")
    pd.testing.assert_frame_equal(vnb.read_csv(path), frame)
    printed = vellum_nb("history", "export", *history).stdout
    assert len(pd.read_csv(io.StringIO(printed))) == 2
    lines = vellum_nb("history", "export", "--json", *history).stdout.splitlines()
    assert [json.loads(line)["deployment"] for line in lines] == ["shout", "shout"]
    path = tmp_path / "runs.parquet"
    columns = ("--columns", 'state,"output.loud"', "--columns", "id")
    vellum_nb("history", "export", path, *columns, *history)
    pd.testing.assert_frame_equal(vnb.read_parquet(path), frame[["state", "output.loud", "id"]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--columns", "x"], 1, "Unknown column 'x'; available: release_tag"),
        (["runs.xlsx"], 1, "end its name in .csv"),
        (["runs.csv", "--deployment", "nope"], 0, "runs.csv contains no runs: no run has"),
    ],
)
def test_an_export_that_cannot_be_or_is_empty_says_so(
    recorded, tmp_path, arguments, status, sentence
):
    command = [sys.executable, "-m", "vellum_nb", "history", "export", "--history", recorded]
    options = {"cwd": tmp_path, "capture_output": True, "encoding": "utf-8"}
    done = subprocess.run([*command, *arguments], check=False, **options)
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in done.stderr.splitlines()[0]
    assert not (tmp_path / "runs.xlsx").exists()


@pytest.mark.slow
def test_data_is_utf8_with_plain_line_feeds_whatever_the_terminal_is(recorded):
    arguments = ("history", "export", "--history", recorded)
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for more in ([], ["--json"]):
        command = [*COMMAND, *map(str, arguments), *more]
        done = subprocess.run(command, capture_output=True, check=True, env=environment)
        assert "é" in done.stdout.decode()
        assert b"\r\n" not in done.stdout
    arguments = ("run", "ticket-triage", "--input", "ticket=x", "--history", recorded)
    assert r"LATEST \xb7 FULFILLED" in process(*arguments, PYTHONIOENCODING="ascii").stdout


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(recorded):
    command = [*COMMAND, "history", "export", "--history", str(recorded)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        export.stdout.close()
        assert export.stderr.read() == b""
    assert export.returncode == 1


@pytest.mark.parametrize("tags", [("v1", "v3"), ("v3", "v1")])
def test_inputs_are_checked_on_every_tag_before_any_runs(tmp_path, tags):
    history = tmp_path / "runs.db"
    chosen = [word for tag in tags for word in ("--release-tag", tag)]
    inputs = ("--input", "ticket=x", "--input", "vip=true")
    done = vellum_nb("run", "ticket-triage", *inputs, *chosen, "--history", history, check=False)
    assert done.returncode == 1
    assert "vip: is not an input of ticket-triage on v1" in done.stderr
    with vnb.History(history) as kept:
        assert kept.count() == 0


def test_an_error_on_one_tag_does_not_hide_the_answer_of_another(key, execute_only, tmp_path):
    key["VELLUM_API_URL"] = execute_only
    arguments = ("run", "shout", "--input", "text=hi", "--history", tmp_path / "runs.db")
    tags = ("--release-tag", "v1", "--release-tag", "broken")
    done = vellum_nb(*arguments, *tags, "--json", check=False, **key)
    assert done.returncode == 1
    assert json.loads(done.stdout)["outputs"] == {"loud": "hi"}
    assert "500 Internal Server Error: out of order \\x1b[2J" in done.stderr


def test_deployments_lists_names_inputs_and_release_tags():
    done = vellum_nb("deployments")
    assert "  tags  LATEST, v1, v2, production, v3\n" in done.stdout
    assert "ticket-triage" in done.stdout
    assert "sla_hours?: NUMBER" in done.stdout
    names = {row["name"] for row in json.loads(vellum_nb("deployments", "--json").stdout)}
    assert names >= {"docs-qa", "summarise", "ticket-triage"}


KEEPING = [["history", "merge"], ["history", "vacuum"]]
ACTIONS = [["history", "export"], ["history", "sync"], *KEEPING]


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS], *ACTIONS])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: vellum-nb" in capsys.readouterr().out


@pytest.mark.slow
def test_serve_says_where_and_with_which_key_and_ends_on_interrupt():
    command = [sys.executable, "-m", "vellum_nb", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        url = run.stdout.readline().strip().removeprefix("VELLUM_API_URL=")
        key = run.stdout.readline().strip().removeprefix("VELLUM_API_KEY=")
        with vnb.Client(api_key=key, base_url=url) as client:
            names = [item.name for item in client.iter_workflow_deployments()]
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=120)
    assert names
    assert run.returncode == 0
    assert "Traceback" not in said
