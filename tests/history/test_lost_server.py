"""A server that goes away while runs are recorded, and comes back."""

from __future__ import annotations

import os
import random
import select
import signal
import stat
import threading
import warnings
from collections import Counter

import psycopg
import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError

SECRET = "s3cret/of#ada"
THREADS = 3


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def down(postgres):
    """Return what kills the server; it is up again when the test ends."""
    is_down = []

    class Down:
        def __enter__(self):
            postgres.kill()
            is_down.append(True)

        def __exit__(self, *_):
            is_down.pop()
            postgres.start()

    yield Down()
    if is_down:
        postgres.start()


def tell(recorder, *words):
    print(*words, file=recorder.stdin, flush=True)


def test_what_is_recorded_while_the_server_is_away_comes_in_order_when_it_is_back(
    postgres_url, down, make_run, folder
):
    run = make_run(inputs={"q": "\x00 \ud83d ü"}, quality=0.5)
    with History(postgres_url) as history:
        with down:
            with pytest.warns(RuntimeWarning, match="cannot be reached.*kept in") as told:
                history.begin(run)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # it is told once
                history.identify(run.id, "exec-1")
                history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))
                history.annotate(run.id, note="kept", tags=["t"])
            with pytest.raises(HistoryError, match="cannot be reached: see that its server runs"):
                history.count()
            (journal,) = folder.iterdir()
            assert str(journal) in str(told[0].message)
            assert stat.S_IMODE(journal.stat().st_mode) == 0o600
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert len(journal.read_text().splitlines()) == 4
        with pytest.warns(RuntimeWarning, match="is back: 4 writes were brought in"):
            found = history.get(run.id)
    ended = {"state": "FULFILLED", "outputs": {"a": 1}, "note": "kept", "tags": ("t",)}
    assert found == run.model_copy(update=ended)
    assert list(folder.iterdir()) == []


def test_it_comes_in_without_anybody_reading_or_writing(postgres_url, down, make_run, folder):
    with History(postgres_url) as history, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        with down:
            history.begin(make_run(id="waits"))
            history._store.journal._next_try = 0
        with History(postgres_url) as other:
            deadline = 100
            while not other.count() and deadline:
                deadline -= 1
                select.select([], [], [], 0.1)
            assert [run.id for run in other.runs()] == ["waits"]


def test_what_cannot_wait_says_that_the_server_is_away(postgres_url, down, make_run):
    with History(postgres_url) as history:
        history.begin(make_run(id="a"))
        with down, pytest.raises(HistoryError, match=r"cannot be reached|was lost"):
            history.delete(["a"])
        assert history.count() == 1


def test_a_server_that_was_restarted_meanwhile_is_nothing_to_tell(postgres_url, down, make_run):
    with History(postgres_url) as history:
        history.begin(make_run(id="before"))
        assert history.count() == 1
        with down:
            pass
        history.begin(make_run(id="after"))
        with down:
            pass
        assert history.count() == 2


def test_a_run_that_another_process_recorded_meanwhile_stays_as_it_is(
    postgres_url, down, make_run, folder
):
    here = make_run(id="same", external_id="x")
    stranger = make_run(id="other", external_id="taken")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        history = History(postgres_url)
        with down:
            history.begin(here)
            history.begin(make_run(id="doubt", external_id="taken"))
            history.finish(here.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))
            history._store.journal._next_try = float("inf")
        with History(postgres_url) as other:
            other.begin(here)
            other.finish(here.model_copy(update={"state": "FULFILLED", "outputs": {"b": 2}}))
            other.begin(stranger)
        history.close()
    with History(postgres_url) as history:
        assert history.get("same").outputs == {"b": 2}
        assert history.get("doubt").external_id is None
        assert history.count() == 3
    assert list(folder.iterdir()) == []


def test_killing_the_client_while_its_journal_fills_loses_no_acknowledged_run(
    postgres_url, down, recorder, opened, folder
):
    chance = random.Random(20261125)  # noqa: S311  (no secret depends on it)
    acknowledged, journals, killed = 0, 0, 0
    for number in range(2):
        name = f"round{number}"
        tell(recorder, "kill", postgres_url, name)
        pid = int(recorder.stdout.readline().split()[1])
        lines = [recorder.stdout.readline() for _ in range(chance.randrange(1, 30))]
        with down:
            while not any(folder.glob("*")):  # what was written before is still in the pipe
                lines.append(recorder.stdout.readline())
            lines += [recorder.stdout.readline() for _ in range(chance.randrange(60, 120))]
            os.kill(pid, signal.SIGKILL)
            while not (line := recorder.stdout.readline()).startswith("gone"):
                lines.append(line)
        journals += len(list(folder.iterdir()))
        longest = 0.05
        while opened(postgres_url, chance.uniform(0, longest)) == -signal.SIGKILL:
            killed += 1
            longest *= 1.2
        assert list(folder.iterdir()) == []
        began = {line.split()[1] for line in lines if line.startswith("began")}
        ended = {line.split()[1] for line in lines if line.startswith("ended")}
        with History(postgres_url) as history:
            found = history.runs(deployment=name)
        runs = {run.id: run for run in found}
        assert len(found) == len(runs)
        assert began <= runs.keys()
        assert all(runs[one].state == "FULFILLED" for one in ended)
        assert all(runs[one].outputs == {"reply": one} for one in ended)
        assert len([run for run in found if run.state == "STARTED"]) <= THREADS
        acknowledged += len(ended)
    assert journals == 2, "the journal was never used: the test has lost its teeth"
    assert acknowledged > 50
    assert killed > 0


def test_a_sweep_whose_server_is_killed_in_its_midst_loses_nothing(postgres_url, down, folder):
    calls = Counter()

    def work(text: str) -> str:
        calls[text] += 1
        return text.upper()

    cases = [{"text": f"case {number}"} for number in range(300)]
    with vnb.LocalServer() as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        server.deploy(work, name="work", release_tags=["v1"])
        with vnb.connect(server, history=postgres_url) as ws:
            sweep = ws.sweep("work", cases, release_tags=["v1"], background=True, concurrency=4)
            while len(calls) < 60:
                select.select([], [], [], 0.005)
            with down:
                at = len(calls)
                while len(calls) < at + 60:
                    select.select([], [], [], 0.005)
                assert len(list(folder.iterdir())) == 1
            sweep.wait()
    assert set(calls.values()) == {1}
    with History(postgres_url) as history:
        runs = history.runs(sweep_id=sweep.id)
        assert history.sweeps.held() == set()
    assert Counter(run.inputs["text"] for run in runs) == calls
    assert all(run.state == "FULFILLED" for run in runs)
    assert all(run.outputs == {"output": run.inputs["text"].upper()} for run in runs)
    ours = [each for each in told if "kept in" in str(each.message)]
    assert len(ours) == 1
    assert list(folder.iterdir()) == []


def test_an_interrupt_while_a_write_waits_for_its_turn_does_no_harm_to_the_next(
    postgres_url, make_run
):
    with History(postgres_url) as history, psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1986949736, hashtext(current_schema()))")
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            history.begin(make_run(id="interrupted"))
        other.rollback()
        history.begin(make_run(id="next"))
        assert [run.id for run in history.runs()] == ["next"]


def test_an_answer_that_comes_while_a_program_locks_the_history_is_kept(postgres_url, make_run):
    run = make_run()
    with History(postgres_url) as history, psycopg.connect(postgres_url) as other:
        history.begin(run)
        history._store._writer.connection.execute("SET lock_timeout = '50ms'")
        other.execute("LOCK TABLE runs")  # as VACUUM FULL does
        with pytest.warns(RuntimeWarning, match="kept it locked.*kept in"):
            history.finish(run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))
        other.rollback()
        history._store.journal._next_try = 0
        with pytest.warns(RuntimeWarning, match="is back: 1 writes"):
            assert history.get(run.id).outputs == {"a": 1}


def test_a_run_that_the_server_forgot_comes_back_with_its_answer(
    postgres, postgres_url, down, make_run
):
    run = make_run()
    with History(postgres_url) as history, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        history.begin(run)
        with down:
            ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}})
            history.finish(ended)
            history._store.journal._next_try = float("inf")  # not before the server forgot it
        postgres.execute("DELETE FROM payloads; DELETE FROM runs", postgres_url.rpartition("/")[2])
        history._store.journal._next_try = 0
        assert history.get(run.id) == ended


def test_what_is_refused_when_it_comes_in_is_kept_and_holds_nothing_up(
    postgres, postgres_url, down, make_run, folder
):
    database = postgres_url.rpartition("/")[2]
    with History(postgres_url) as history, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history.begin(make_run(id="a"))
        with down:
            history.annotate("a", note="kept")
            history.annotate("nobody", note="refused")
        postgres.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; "
            "CREATE TRIGGER no BEFORE DELETE ON settings FOR EACH ROW EXECUTE FUNCTION no()",
            database,
        )
        history._store.journal._next_try = 0
        assert history.get("a").note == "kept"
        history.annotate("a", note="goes on")
        assert history.get("a").note == "goes on"
    (refused,) = folder.iterdir()
    assert "nobody" in refused.read_text()
    assert any("1 writes were refused" in str(each.message) for each in told)
