"""Judges whose process is killed, or that two kernels run at once: each answer is judged once."""

import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from counting_server import KEY, CountingServer
from fork_kit import say
from runs_kit import later_run

import vellum_nb as vnb
import vellum_nb.workspace.comparing  # before kernels are forked

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


def compare_on_a_line(url, history, timeout, what=""):
    """Compare when a line comes on stdin, by duels first if `what` says so."""
    with connect(url, history, timeout) as ws:
        say("ready")
        sys.stdin.readline()
        if what == "duels":
            duels(ws)
        compared = compare(ws)
        missing = compared.errors()["message"].str.contains("was not called|was called").sum()
        say(missing, "missing")


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


@pytest.fixture
def kernel(forks):
    """Return a context with a process that compares; it is killed at the end."""

    @contextmanager
    def started(*arguments):
        with forks.process(__file__, "compare_on_a_line", *arguments) as process:
            assert process.stdout.readline() == "ready\n"
            yield process

    return started


def judgements(history):
    return Counter(run.state for run in history.runs(deployment="count"))


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_answers_are_judged_once_after_a_kill_if_executions_are_listed_late(
    answered, counting, kernel, until, refuses
):
    server = counting(latency=1.5, lag=12.0 if refuses else 5.0)
    server.refuses = refuses
    with kernel(server.url, answered, 3) as process:
        process.write_line()
        until(lambda: len(server.executed) == ANSWERS)
        process.kill()
    with connect(server.url, answered, 3) as ws:
        assert judgements(ws.history)["STARTED"] == ANSWERS
        compare(ws)
        assert judgements(ws.history) == {"FULFILLED": ANSWERS}
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == ANSWERS


@pytest.mark.parametrize("seconds", [0, 1])
def test_two_kernels_judge_each_answer_once(answered, counting, kernel, seconds):
    server = counting(latency=1.5)
    server.refuses = False
    arguments = server.url, answered, 20
    with kernel(*arguments) as first, kernel(*arguments) as second:
        first.write_line()
        time.sleep(seconds)
        second.write_line()
        said = [process.stdout.readline() for process in (first, second)]
    assert said == ["0 missing\n"] * 2
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == ANSWERS
    with vnb.History(answered) as history:
        assert judgements(history) == {"FULFILLED": ANSWERS}


def test_a_kernel_that_waits_goes_on_when_the_one_that_judges_is_killed(
    answered, counting, kernel, until
):
    server = counting(latency=1.5)
    arguments = server.url, answered, 20
    with kernel(*arguments) as first, kernel(*arguments) as second:
        first.write_line()
        until(lambda: len(server.executed) >= ANSWERS // 2)
        second.write_line()
        time.sleep(0.5)
        first.kill()
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
def test_duels_are_judged_once_after_a_kill(twice_answered, counting, kernel, until):
    server = counting(latency=1.5)
    server.refuses = False
    with kernel(server.url, twice_answered, 20, "duels") as process:
        process.write_line()
        until(lambda: len(server.executed) >= ANSWERS // 2)
        process.kill()
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
