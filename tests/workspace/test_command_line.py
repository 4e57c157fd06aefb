"""The command line, as a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pandas as pd
import pytest

import vellum_nb as vnb

COMMANDS = ["lab", "serve", "deployments", "run", "history"]


def vellum_nb(*arguments, check=True):
    command = [sys.executable, "-W", "error", "-m", "vellum_nb", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=check, encoding="utf-8"
    )


def test_run_on_a_machine_without_a_key_shows_two_releases_and_records_both(tmp_path):
    history = tmp_path / "runs.db"
    tags = ("--release-tag", "v1", "--release-tag", "v2")
    done = vellum_nb(
        "run", "ticket-triage", "--input", "ticket=charged twice", *tags, "--history", history
    )
    assert "v1 · FULFILLED" in done.stdout
    assert "v2 · FULFILLED" in done.stdout
    assert "category" in done.stdout
    assert "No VELLUM_API_KEY" in done.stderr
    with vnb.History(history) as kept:
        assert [run.release_tag for run in kept.runs()] == ["v2", "v1"]


def test_run_as_json_prints_one_run_a_line(tmp_path):
    done = vellum_nb(
        "run",
        "summarise",
        "--input",
        "text=One thing happened. Another thing happened. Nobody noticed.",
        "--input",
        "sentences=1",
        "--json",
        "--history",
        tmp_path / "runs.db",
    )
    run = json.loads(done.stdout)
    assert run["state"] == "FULFILLED"
    assert run["inputs"]["sentences"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "nope"), "no deployment 'nope'; there are: docs-qa"),
        (("run", "ticket-triage", "--input", "ticket"), "ticket: is not name=value"),
        (("run", "ticket-triage", "--input", "ticket=x", "--input", "sla_hours=soon"), "sla_hours"),
        (("run", "ticket-triage", "--input", "ticket=x", "--release-tag", "v9"), "it has: "),
        (("history", "export", "runs.xlsx"), "end its name in .csv"),
    ],
)
def test_errors_are_short_and_go_to_stderr(arguments, sentence, tmp_path):
    done = vellum_nb(*arguments, "--history", tmp_path / "runs.db", check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_export_writes_what_the_history_holds(tmp_path):
    history, path = tmp_path / "runs.db", tmp_path / "runs.csv"
    vellum_nb("run", "ticket-triage", "--input", "ticket=hello", "--history", history)
    vellum_nb("history", "export", path, "--history", history)
    with vnb.History(history) as kept:
        pd.testing.assert_frame_equal(vnb.read_csv(path), kept.frame())
    printed = vellum_nb("history", "export", "--history", history).stdout
    assert len(pd.read_csv(io.StringIO(printed))) == 1
    line = vellum_nb("history", "export", "--json", "--history", history).stdout
    assert json.loads(line)["deployment"] == "ticket-triage"


def test_deployments_lists_names_and_inputs():
    done = vellum_nb("deployments")
    assert "ticket-triage" in done.stdout
    assert "sla_hours?: NUMBER" in done.stdout
    assert {row["name"] for row in json.loads(vellum_nb("deployments", "--json").stdout)} == {
        "docs-qa",
        "summarise",
        "ticket-triage",
    }


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS], ["history", "export"]])
def test_every_command_has_help(command):
    assert "usage: vellum-nb" in vellum_nb(*command, "--help").stdout


def test_serve_says_where_and_with_which_key_and_ends_on_interrupt():
    command = [sys.executable, "-m", "vellum_nb", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        url = run.stdout.readline().strip().removeprefix("VELLUM_API_URL=")
        key = run.stdout.readline().strip().removeprefix("VELLUM_API_KEY=")
        with vnb.Client(api_key=key, base_url=url) as client:
            names = [item.name for item in client.iter_workflow_deployments()]
        run.terminate()
        run.communicate(timeout=20)
    assert names
    assert run.returncode == 0
