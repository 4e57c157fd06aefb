"""``vellum-nb sweep``, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import vellum_nb as vnb

COMMAND = [sys.executable, "-W", "error", "-m", "vellum_nb", "sweep"]


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("text,expected.loud,who\na,A,ann\nb,B,bob\n", encoding="utf-8")
    return path


@pytest.fixture
def command(server, cases, tmp_path):
    """Return what starts the command on the server of the test."""
    key = {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}

    def command(name, *arguments):
        typed = [*COMMAND, name, str(cases), "--history", str(tmp_path / "runs.db"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            typed, stdout=pipe, stderr=pipe, encoding="utf-8", env=os.environ | key
        )

    return command


def ended(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


TAGS = ("--release-tag", "v1", "--release-tag", "v2")


def test_a_sweep_is_planned_stopped_by_a_limit_and_resumed(command, tmp_path):
    status, out, _ = ended(command("shout", *TAGS, "--dry-run"))
    assert (status, out) == (0, "2 cases × 2 release tags = 4 calls\n")  # noqa: RUF001
    status, out, err = ended(command("shout", *TAGS, "--max-calls", "3", "--json"))
    first = json.loads(out)
    assert status == 2
    assert (first["state"], first["done"], first["planned"]) == ("stopped", 3, 4)
    assert "max_calls=3 is reached: 3 of 4 runs are recorded; the same command with more, " in err
    assert "or no, --max-calls runs the other 1" in err
    plan = json.loads(ended(command("shout", *TAGS, "--dry-run", "--json"))[1])
    assert (plan["resumes"], plan["found"], plan["calls"]) == (first["sweep_id"], 3, 1)
    status, out, err = ended(command("shout", *TAGS, "--resume"))
    assert (status, err) == (0, "")
    assert out.startswith("shout: done, 4 of 4 runs\n  v1: 2 done, 0 failed, median ")
    assert out.endswith(f"  sweep {first['sweep_id']}\n")
    with vnb.History(tmp_path / "runs.db") as history:
        assert history.count(state="FULFILLED") == 4


def test_runs_that_fail_are_told_by_the_status(command):
    status, out, _ = ended(command("refuse"))
    assert status == 2
    assert "refuse: done, 2 of 2 runs\n  LATEST: 0 done, 2 failed" in out


def test_cases_that_do_not_fit_are_told_in_one_message(command, cases):
    cases.write_text("txt\na\n", encoding="utf-8")
    status, out, err = ended(command("shout"))
    assert (status, out) == (1, "")
    assert "cases.csv: 1 value does not fit shout; nothing was sent" in err
    assert "is the column txt meant? (row 1)" in err


def test_an_interrupt_ends_what_runs_and_says_how_to_go_on(server, command, cases):
    calls, entered = [], threading.Event()

    def slow(text: str) -> str:
        calls.append(text)
        entered.set()
        time.sleep(0.05)
        return text

    server.deploy(slow, name="slow")
    cases.write_text("text\n" + "".join(f"t{n}\n" for n in range(200)), encoding="utf-8")
    process = command("slow", "--concurrency", "1")
    try:
        assert entered.wait(60)
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    finally:
        process.kill()
    kept = len(calls)
    assert status == 130
    assert out.startswith(f"slow: stopped, {kept} of 200 runs")
    assert f"interrupted: {kept} of 200 runs are recorded; the same command runs" in err
    status, _, _ = ended(command("slow"))
    assert status == 0
    assert len(calls) == len(set(calls)) == 200
