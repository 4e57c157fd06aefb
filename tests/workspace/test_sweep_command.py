"""``vellum-nb sweep``: planned, limited, resumed, interrupted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command_kit import run

import vellum_nb as vnb

TAGS = ("--release-tag", "v1", "--release-tag", "v2")


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("text,expected.loud,who\na,A,ann\nb,B,bob\n", encoding="utf-8")
    return path


@pytest.fixture
def command(server, cases, tmp_path, monkeypatch):
    """Return the arguments of a sweep on the server of the test."""
    monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
    monkeypatch.setenv("VELLUM_API_URL", server.url)
    return lambda name, *rest: (
        "sweep", name, str(cases), "--history", str(tmp_path / "runs.db"), *rest
    )  # fmt: skip


def test_a_sweep_is_planned_stopped_by_a_limit_and_resumed(command, tmp_path):
    done = run(*command("shout", *TAGS, "--dry-run"))
    planned = "2 cases × 2 release tags = 4 calls"  # noqa: RUF001
    columns = ["  inputs: text", "  expected: expected.loud", "  labels: who"]
    assert (done.returncode, done.stdout.splitlines()) == (0, [planned, *columns])
    done = run(*command("shout", *TAGS, "--max-calls", "3", "--json"))
    first = json.loads(done.stdout)
    assert done.returncode == 2
    assert (first["state"], first["done"], first["planned"]) == ("stopped", 3, 4)
    assert "max_calls=3 is reached: 3 of 4 runs are recorded; the same command with a higher " in (
        done.stderr
    )
    plan = json.loads(run(*command("shout", *TAGS, "--dry-run", "--json")).stdout)
    assert (plan["resumes"], plan["found"], plan["calls"]) == (first["sweep_id"], 3, 1)
    done = run(*command("shout", *TAGS, "--resume"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("shout: done, 4 of 4 runs\n  v1: 2 done, 0 failed, median ")
    assert done.stdout.endswith(f"  sweep {first['sweep_id']}\n")
    with vnb.History(tmp_path / "runs.db") as history:
        assert history.count(state="FULFILLED") == 4


def test_a_sweep_of_a_file_with_a_simulated_user(server, command, cases):
    def echo(message: str) -> str:
        return message

    server.deploy(echo, release_tags=["v1"])
    server.deploy(lambda turn: f"message {turn}", name="user", release_tags=["v1"])
    row = {"turns": ["a"], "user": {"deployment": "user", "release_tag": "v1"}, "max_turns": 3}
    path = cases.with_suffix(".jsonl")
    path.write_text(json.dumps(row), encoding="utf-8")
    name, deployment, _, *rest = command("echo", "--release-tag", "v1")
    done = run(name, deployment, str(path), *rest)
    assert (done.returncode, done.stdout[:23], done.stderr) == (0, "echo: done, 5 of 5 runs", "")


def test_a_sweep_that_is_decided_has_ended_well(server, command, cases):
    server.deploy(lambda text: {"loud": text}, name="louder", release_tags=["v1"])
    server.deploy(lambda text: {"loud": text.upper()}, name="louder", release_tags=["v2"])
    rows = "".join(f"a{at},A{at}\n" for at in range(40))
    cases.write_text(f"text,expected.loud\n{rows}", encoding="utf-8")
    done = run(*command("louder", *TAGS, "--stop-when", "decided"))
    assert done.returncode == 0
    assert "decided by score after 7 of 40 cases: v2 is better; " in done.stderr


def test_margin_of_a_sweep_is_an_option(command):
    done = run(*command("shout", *TAGS, "--margin", "10%", "--dry-run"))
    assert done.returncode == 1
    assert "2 cases cannot decide" in done.stderr
    done = run(*command("shout", *TAGS, "--margin", "much"))
    assert "margin must be a number such as 0.05, or '10%'" in done.stderr


def test_runs_that_fail_make_the_status_2_and_cases_that_do_not_fit_are_listed_in_one_message(
    command, cases
):
    cases.write_text("text\na\nb\n", encoding="utf-8")
    done = run(*command("refuse"))
    assert done.returncode == 2
    assert "refuse: done, 2 of 2 runs\n  LATEST: 0 done, 2 failed" in done.stdout
    cases.write_text("txt\na\n", encoding="utf-8")
    done = run(*command("shout"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cases.csv: 1 value does not fit shout; nothing was sent" in done.stderr
    assert "is the column txt meant? (row 1)" in done.stderr


def test_reasons_of_failures_are_counted_with_escaped_control_characters(server, command, cases):
    def refuse(text: str) -> str:
        raise vnb.Reject("out of\norder \x1b[2J" if text == "a" else "x" * 300)

    server.deploy(refuse, name="broken")
    cases.write_text("text\na\nb\n", encoding="utf-8")
    done = run(*command("broken", "--repeats", "2"))
    lines = sorted(done.stdout.splitlines()[2:4])
    assert lines == [
        r"  2 failed with USER_DEFINED_ERROR: out of order \x1b[2J",
        f"  2 failed with USER_DEFINED_ERROR: {'x' * 200}",
    ]


def test_only_the_most_frequent_reasons_of_failures_are_printed(server, command, cases):
    def refuse(text: str) -> str:
        raise vnb.Reject(f"no {text}")

    server.deploy(refuse, name="broken")
    cases.write_text("text\n" + "".join(f"t{n}\n" for n in range(8)), encoding="utf-8")
    done = run(*command("broken"))
    assert "  3 failed with other errors\n" in done.stdout
    errors = json.loads(run(*command("broken", "--json")).stdout)["errors"]
    assert [error["runs"] for error in errors] == [1] * 5


@pytest.mark.slow
def test_an_interrupt_ends_what_runs_and_says_how_to_go_on(server, command, cases):
    calls, entered = [], threading.Event()

    def slow(text: str) -> str:
        calls.append(text)
        entered.set()
        time.sleep(0.05)
        return text

    server.deploy(slow, name="slow")
    cases.write_text("text\n" + "".join(f"t{n}\n" for n in range(200)), encoding="utf-8")
    typed = [sys.executable, "-W", "error", "-m", "vellum_nb"]
    typed += command("slow", "--concurrency", "1")
    pipe = subprocess.PIPE
    with subprocess.Popen(typed, stdout=pipe, stderr=pipe, encoding="utf-8") as process:
        assert entered.wait(60)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    ended = len(calls)
    assert process.returncode == 130
    assert out.startswith(f"slow: stopped, {ended} of 200 runs")
    assert f"interrupted: {ended} of 200 runs are recorded; the same command executes" in err
    assert run(*command("slow")).returncode == 0
    assert len(calls) == len(set(calls)) == 200
