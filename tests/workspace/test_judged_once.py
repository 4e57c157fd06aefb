"""Judges whose process is killed, or that two kernels run at once: each answer is judged once.

As a program of its own it compares, for ``URL HISTORY TIMEOUT``, when a line comes on its stdin;
with ``duels`` as a fourth argument, by duels.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from counting_server import KEY, CountingServer
from runs_kit import later_run

import vellum_nb as vnb

ANSWERS = 16

pytestmark = pytest.mark.slow


def compare(ws, **options):
    judge = ws.judge("count", inputs={"text": "output.reply"}, release_tag="v1")
    return ws.compare("words", release_tags=["v1"], metrics=judge, progress=False, **options)


def connect(url, history, timeout):
    return vnb.connect(url, api_key=KEY, history=history, timeout=(10, float(timeout)))


def both(first, second, _):
    return {"text": f"{first.outputs['reply']} or {second.outputs['reply']}"}


def duels(ws, **options):
    judge = ws.duel_judge("count", inputs=both, release_tag="v1")
    cmp = ws.compare("words", release_tags=["v1", "v2"])
    return cmp.duels(judge, progress=False, **options)


def main(url, history, timeout, what=""):
    with connect(url, history, timeout) as ws:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        if what == "duels":
            duels(ws)
        compared = compare(ws)
        missing = compared.errors()["message"].str.contains("was not called|was called").sum()
        sys.stdout.write(f"{missing} missing\n")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return tmp_path / "runs.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def answered(place):
    """Record answers that are to be judged."""
    runs = [
        later_run("v1", {"text": str(n)}, {"reply": f"reply {n}"}, deployment="words", id=f"w-{n}")
        for n in range(ANSWERS)
    ]
    with vnb.History(place) as history:
        history.merge(runs)
    return place


@pytest.fixture
def counting():
    """Return a function that starts a server."""
    servers = []

    def start(**options):
        servers.append(CountingServer(**options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@contextmanager
def kernel(*arguments):
    """Start a process that compares; it is killed at the end."""
    command = [sys.executable, Path(__file__), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the kits
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=env, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def judgements(history):
    return Counter(run.state for run in history.runs(deployment="count"))


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_answers_are_judged_once_after_a_kill_if_executions_are_listed_late(
    answered, counting, until, refuses
):
    server = counting(latency=1.5, lag=12.0 if refuses else 5.0)
    server.refuses = refuses
    with kernel(server.url, answered, 3) as process:
        go(process)
        until(lambda: len(server.executed) == ANSWERS)
        process.kill()
        process.wait()
    with connect(server.url, answered, 3) as ws:
        assert judgements(ws.history)["STARTED"] == ANSWERS
        compare(ws)
        assert judgements(ws.history) == {"FULFILLED": ANSWERS}
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == ANSWERS


@pytest.mark.parametrize("seconds", [0, 1])
def test_two_kernels_judge_each_answer_once(answered, counting, seconds):
    server = counting(latency=1.5)
    server.refuses = False
    arguments = server.url, answered, 20
    with kernel(*arguments) as first, kernel(*arguments) as second:
        go(first)
        time.sleep(seconds)
        go(second)
        said = [process.stdout.readline() for process in (first, second)]
    assert said == ["0 missing\n"] * 2
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == ANSWERS
    with vnb.History(answered) as history:
        assert judgements(history) == {"FULFILLED": ANSWERS}


def test_a_kernel_that_waits_goes_on_when_the_one_that_judges_is_killed(answered, counting, until):
    server = counting(latency=1.5)
    arguments = server.url, answered, 20
    with kernel(*arguments) as first, kernel(*arguments) as second:
        go(first)
        until(lambda: len(server.executed) >= ANSWERS // 2)
        go(second)
        time.sleep(0.5)
        first.kill()
        first.wait()
        assert second.stdout.readline() == "0 missing\n"
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == ANSWERS


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_judgement_that_failed_is_made_again_under_another_id(answered, counting):
    server = counting()
    with connect(server.url, answered, 5) as ws:
        for _ in range(4):
            server.script.append("answer shape")
            compare(ws, max_calls=1)
        assert judgements(ws.history) == {"FAILED": 4}
        compare(ws)
        compare(ws)
        assert judgements(ws.history) == {"FAILED": 4, "FULFILLED": ANSWERS}
    assert set(server.executed.values()) == {1}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_judgement_that_is_deleted_is_made_again(answered, counting):
    server = counting()
    with connect(server.url, answered, 5) as ws:
        compare(ws)
        deleted = ws.history.runs(deployment="count", limit=2)
        ws.history.delete(deleted)
        compare(ws)
        compare(ws)
        assert judgements(ws.history) == {"FULFILLED": ANSWERS}
        ids = {run.id for run in ws.history.runs(deployment="count")}
    assert not ids & {run.id for run in deleted}
    assert len(server.executed) == ANSWERS + 2
    assert set(server.executed.values()) == {1}


@pytest.fixture
def twice_answered(answered):
    """Record the answers of a second release, too."""
    runs = [
        later_run("v2", {"text": str(n)}, {"reply": f"other {n}"}, deployment="words", id=f"x-{n}")
        for n in range(ANSWERS)
    ]
    with vnb.History(answered) as history:
        history.merge(runs)
    return answered


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_duels_are_judged_once_after_a_kill(twice_answered, counting, until):
    server = counting(latency=1.5)
    server.refuses = False
    with kernel(server.url, twice_answered, 20, "duels") as process:
        go(process)
        until(lambda: len(server.executed) >= ANSWERS // 2)
        process.kill()
        process.wait()
    with connect(server.url, twice_answered, 20) as ws:
        duels(ws)
        duels(ws)
        assert judgements(ws.history) == {"FULFILLED": 2 * ANSWERS}
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == 2 * ANSWERS


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_duels_make_no_more_calls_than_their_limit(twice_answered, counting):
    server = counting()
    with connect(server.url, twice_answered, 5) as ws:
        for total in (10, 20, 2 * ANSWERS):
            duels(ws, max_calls=total - len(server.executed))
            assert len(server.executed) == server.posts == total


if __name__ == "__main__":
    main(*sys.argv[1:])
